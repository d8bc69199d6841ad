//! The flag system as a [`Guest`] of the runtime's seeded simulation.
//!
//! * `facts` — what clients tell it, drawn from the seed
//! * `model` — what must come of it, with `flag` (what the model knows) and `requests` (what it expects); no code in common with the flag system
//! * `broken` — ways to break it: the model must notice each
//!
//! The system is the real one, in the real owners, behind the real admission; only its log, its clock and its disk are the simulation's.

mod broken;
mod facts;
mod flag;
mod model;
mod requests;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use rand_chacha::ChaCha8Rng;
use tol_enterprise_feature_flag_system::EnterpriseFeatureFlagSystem;
use tol_events::{Event, EventTime};
use tol_kafka::EventLog;
use tol_runtime::simulation::{Companion, Guest, GuestReads, Judge};
use tol_system::{AnySystem, erase};

pub use broken::Broken;

/// Opens what a node runs beside its systems, by the node's name.
pub type OpenCompanion = Box<dyn Fn(&str, Arc<dyn EventLog>) -> Result<Box<dyn Companion>, String> + Send + Sync>;

/// The flag system in the simulation.
#[derive(Default)]
pub struct FlagGuest {
    broken: Option<Broken>,
    companion: Option<OpenCompanion>,
    tally: model::Tally,
}

impl FlagGuest {
    /// With a rule left out.
    pub fn without(broken: Broken) -> Self {
        Self { broken: Some(broken), ..Self::default() }
    }

    /// With something on each node that follows what the system decides.
    pub fn followed(open: OpenCompanion) -> Self {
        Self { companion: Some(open), ..Self::default() }
    }

    /// How often each kind of event was told so far, counted at each comparison.
    pub fn told(&self) -> BTreeMap<String, usize> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Guest for FlagGuest {
    fn system(&self) -> Arc<dyn AnySystem> {
        match self.broken {
            Some(broken) => erase(broken::BrokenFlags::new(broken)),
            None => erase(EnterpriseFeatureFlagSystem),
        }
    }

    fn reads(&self) -> GuestReads {
        GuestReads { system: "enterprise-feature-flag-system", topic: "facts.flag", types: "flags." }
    }

    fn facts(&self, random: &mut ChaCha8Rng, start: EventTime) -> Vec<Event> {
        facts::facts(random, start)
    }

    fn judge(&self) -> Box<dyn Judge> {
        Box::new(model::Model::new(self.tally.clone()))
    }

    fn companion(&self, node: &str, log: Arc<dyn EventLog>) -> Result<Option<Box<dyn Companion>>, String> {
        self.companion.as_ref().map(|open| open(node, log)).transpose()
    }
}
