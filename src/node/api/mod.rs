//! What HTTP asks of a node. Each group of questions has its file; this one only hands them on.

mod dead_letters;
mod events;
mod operate;
mod peer;
mod platform;
mod projections;
mod redrive;
mod refused;
mod systems;

pub(crate) use events::readable;
pub(crate) use redrive::Redrives;
pub(crate) use systems::measure;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tol_events::{Position, TopicPartition};
use tol_plug::platform::{Folded, Past};
use tol_plug::request::known;
use tol_plug::{Answer, Kind, Problem};

use super::{Node, Open};
use crate::http::api::{
    Control, DeadLetter, DeadLetterDetail, DeadLetterPage, DeadLetterQuery, Digest, EffectStatus, NodeApi, ProjectionStatus, Readiness, RebuildStatus,
    RedriveFilter, RedriveOne, Redriven, SetAsidePage, StopState, SystemDetail, SystemDigest, SystemStatus, Trace, Version,
};

impl Node {
    /// The open parts, or why there are none yet.
    pub(crate) fn opened(&self) -> Result<&Arc<Open>, Problem> {
        self.open.get().ok_or_else(|| Problem::new(Kind::NOT_READY, format!("the node is not open yet: {}", self.phase())).retry_after(1))
    }
}

impl NodeApi for Node {
    fn wait_indexed(&self, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Answer<'_, bool> {
        match self.opened() {
            Ok(open) => Box::pin(events::wait_indexed(open, positions, timeout)),
            Err(problem) => known(Err(problem)),
        }
    }

    fn index_lag(&self) -> u64 {
        self.open.get().map_or(0, |open| open.index.status().lag)
    }

    fn trace(&self, correlation: &str) -> Result<Trace, Problem> {
        events::trace(self.opened()?, correlation)
    }

    fn projections(&self) -> Vec<ProjectionStatus> {
        self.open.get().map(|open| projections::statuses(open)).unwrap_or_default()
    }

    fn digest(&self, projection: &str, past: Option<Past>) -> Result<Folded<Digest>, Problem> {
        projections::digest(self.opened()?, projection, past)
    }

    fn set_aside(&self, projection: &str, limit: usize, cursor: Option<&str>) -> Result<SetAsidePage, Problem> {
        projections::set_aside(self.opened()?, projection, limit, cursor)
    }

    fn rebuild(&self, projection: &str, by: &str) -> Result<RebuildStatus, Problem> {
        tracing::info!(projection, by, "rebuild asked for");
        let open = self.opened()?;
        open.engine.rebuild(projection).map(projections::rebuild_status).map_err(|error| projections::problem(projection, &error))
    }

    fn rebuild_status(&self, projection: &str) -> Result<RebuildStatus, Problem> {
        self.opened()?.engine.rebuild_status(projection).map(projections::rebuild_status).map_err(|error| projections::problem(projection, &error))
    }

    fn cancel_rebuild(&self, projection: &str, by: &str) -> Result<RebuildStatus, Problem> {
        tracing::info!(projection, by, "rebuild cancelled");
        self.opened()?.engine.cancel_rebuild(projection).map_err(|error| projections::problem(projection, &error))?;
        self.rebuild_status(projection)
    }

    fn systems(&self) -> Vec<SystemStatus> {
        self.open.get().map(|open| systems::all(open, &self.gate)).unwrap_or_default()
    }

    fn system(&self, name: &str, subject: Option<&str>) -> Result<Option<SystemDetail>, Problem> {
        systems::one(self.opened()?, &self.gate, name, subject)
    }

    fn system_digest(&self, name: &str) -> Result<SystemDigest, Problem> {
        systems::digest(self.opened()?, name)
    }

    fn control(&self, name: &str, control: Control, by: &str) -> Answer<'_, SystemStatus> {
        Box::pin(peer::control(self, name.to_owned(), control, by.to_owned()))
    }

    fn effects(&self, limit: usize) -> Vec<EffectStatus> {
        self.open.get().map(|open| open.effects.statuses(limit)).unwrap_or_default()
    }

    fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, Problem> {
        dead_letters::dead_letters(self.opened()?, query)
    }

    fn dead_letter(&self, id: &str) -> Result<DeadLetterDetail, Problem> {
        dead_letters::show(self.opened()?, id)
    }

    fn redrive(&self, id: &str, request: RedriveOne, by: &str) -> Answer<'_, Redriven> {
        Box::pin(peer::redrive(self, id.to_owned(), request, by.to_owned()))
    }

    fn discard(&self, id: &str, reason: &str, by: &str) -> Answer<'_, DeadLetter> {
        Box::pin(peer::discard(self, id.to_owned(), reason.to_owned(), by.to_owned()))
    }

    fn redrive_all(&self, filter: RedriveFilter, by: &str) -> Answer<'_, Redriven> {
        Box::pin(peer::redrive_all(self, filter, by.to_owned()))
    }

    fn redrive_status(&self, id: &str) -> Answer<'_, Option<Redriven>> {
        let id = id.to_owned();
        match self.opened() {
            Ok(open) => Box::pin(async move { peer::redrive_status(open, &id).await }),
            Err(problem) => known(Err(problem)),
        }
    }

    fn stop(&self, reason: &str, by: &str) -> Answer<'_, StopState> {
        // The stop holds on this node at once, whatever becomes of the log.
        Box::pin(operate::stop(self, reason.to_owned(), by.to_owned()))
    }

    fn stop_state(&self) -> StopState {
        operate::stop_state(self, true)
    }

    fn release(&self, reason: &str, by: &str) -> Answer<'_, StopState> {
        Box::pin(operate::release(self, reason.to_owned(), by.to_owned()))
    }

    fn readiness(&self) -> Readiness {
        operate::readiness(self)
    }

    fn metrics(&self) -> String {
        operate::metrics(self)
    }

    fn version(&self) -> Version {
        operate::version(self)
    }

    fn peer(&self, question: Vec<u8>) -> Answer<'_, Value> {
        Box::pin(peer::answer(self, question))
    }
}
