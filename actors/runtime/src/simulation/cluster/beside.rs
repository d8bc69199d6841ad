//! What nodes run beside their systems: projections, and the guest's companions.

use std::sync::atomic::Ordering;

use tol_kafka::TopicPartition;

use super::super::oracle;
use super::super::projection::Counting;
use super::super::rules;
use super::{Cluster, Outcome};

impl Cluster {
    pub(super) fn open_projections(&mut self, node: usize) -> Outcome {
        let topics = match &self.cast {
            Some(_) => self.kinds.iter().map(|kind| format!("{}.events", kind.name())).take(3).collect(),
            None => [rules::FACTS, "sim-counter.events", "sim-worker.events"].map(str::to_owned).to_vec(),
        };
        let of = topics.into_iter().flat_map(|topic| (0..self.partitions).map(move |partition| TopicPartition::new(topic.clone(), partition)));
        let opened: Result<Vec<Counting>, String> = of.map(|of| Counting::open(of, &self.nodes[node].store.inner)).collect();
        self.nodes[node].projections = opened?;
        Ok(())
    }

    /// The projections of a node are folded anew, while everything else goes on.
    pub(super) fn rebuild(&mut self, node: usize) -> Outcome {
        self.say(|| format!("n{node} rebuilds its projections"));
        if let Some(companion) = &mut self.nodes[node].companion {
            companion.rebuild();
        }
        if self.nodes[node].up && Counting::forget(self.nodes[node].store.as_ref()).is_ok() {
            return self.open_projections(node);
        }
        Ok(())
    }

    /// A projection of a node folds on; one that cannot write begins again from what is stored.
    pub(super) fn step_projection(&mut self, node: usize, at: usize, bytes: usize) -> Result<bool, String> {
        let place = &mut self.nodes[node];
        let Some(projection) = place.projections.get_mut(at) else { return Ok(false) };
        match projection.step(place.log.as_ref(), place.store.as_ref(), bytes) {
            Err(_) if place.store.full.load(Ordering::Relaxed) => self.open_projections(node).map(|()| false),
            other => other.map_err(|problem| format!("n{node}: a projection ended: {problem}")),
        }
    }

    pub(super) fn open_companion(&mut self, node: usize) -> Outcome {
        // What crashed is closed before it is opened again.
        self.nodes[node].companion = None;
        let place = &self.nodes[node];
        let opened = match (&self.guest, &self.cast) {
            (Some(guest), _) => guest.companion(&place.name, place.log.clone())?,
            (None, Some(cast)) => cast.companion(&place.name, place.log.clone())?,
            (None, None) => None,
        };
        self.nodes[node].companion = opened;
        Ok(())
    }

    /// What a node runs beside its systems does a round; whether there may be more to do.
    pub(super) fn step_companion(&mut self, node: usize) -> Result<bool, String> {
        match &mut self.nodes[node].companion {
            Some(companion) => companion.step().map_err(|problem| format!("n{node}: {problem}")),
            None => Ok(false),
        }
    }

    /// What runs beside the systems holds what the log says.
    pub(in crate::simulation) fn check_companions(&mut self) -> Outcome {
        let mut events = Vec::new();
        if let Some(guest) = &self.guest {
            for partition in 0..self.partitions {
                let own = TopicPartition::new(format!("{}.events", guest.reads().system), partition);
                events.extend(oracle::accepted(&self.log, &own)?.into_iter().flatten());
            }
        }
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if let Some(companion) = &mut node.companion {
                companion.check(&events).map_err(|problem| format!("n{number}: {problem}"))?;
            }
        }
        Ok(())
    }
}
