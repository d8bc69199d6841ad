//! What HTTP asks of a node. Each group of questions has its file; this one only hands them on.

mod dead_letters;
mod events;
mod operate;
mod peer;
mod projections;
mod redrive;
mod systems;

pub(crate) use events::readable;
pub(crate) use redrive::Redrives;
pub(crate) use systems::measure;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tol_events::Event;
use tol_kafka::{Position, TopicPartition};
use tol_runtime::supervision::actor::Question;

use super::{Node, Open};
use crate::flags::FlagServer;
use crate::http::api::{
    Answer, Control, DeadLetter, DeadLetterPage, DeadLetterQuery, Digest, EventFilter, EventPage, Folded, LoggedEvent, NodeApi, Past, ProjectionStatus,
    Published, Readiness, RebuildStatus, RedriveFilter, Redriven, Row, RowPage, RowsQuery, SearchQuery, StopState, Subscription, SystemDetail, SystemStatus,
    Trace, Version,
};
use crate::http::problem::{Kind, Problem};

impl Node {
    /// The open parts, or why there are none yet.
    pub(crate) fn opened(&self) -> Result<&Arc<Open>, Problem> {
        self.open.get().ok_or_else(|| Problem::new(Kind::NotReady, format!("the node is not open yet: {}", self.phase())).retry_after(1))
    }
}

/// An answer that is known already.
fn ready<'a, T: Send + 'a>(answer: Result<T, Problem>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl NodeApi for Node {
    fn publish(&self, events: Vec<Event>) -> Answer<'_, Published> {
        events::publish(self, events)
    }

    fn search(&self, query: &SearchQuery) -> Result<EventPage, Problem> {
        events::search(self.opened()?, query)
    }

    fn event(&self, id: &str, source: Option<&str>) -> Result<Vec<LoggedEvent>, Problem> {
        events::by_id(self.opened()?, id, source)
    }

    fn subscribe(&self, filter: EventFilter, resume: Option<String>) -> Answer<'_, Subscription> {
        ready(self.opened().and_then(|open| super::stream::subscribe(open, filter, resume.as_deref())))
    }

    fn trace(&self, correlation: &str) -> Result<Trace, Problem> {
        events::trace(self.opened()?, correlation)
    }

    fn timeline(&self, subject: &str, limit: usize, cursor: Option<&str>) -> Result<EventPage, Problem> {
        events::timeline(self.opened()?, subject, limit, cursor)
    }

    fn projections(&self) -> Vec<ProjectionStatus> {
        self.open.get().map(|open| projections::statuses(open)).unwrap_or_default()
    }

    fn wait_for(&self, projection: &str, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Answer<'_, bool> {
        match self.opened() {
            Ok(open) => Box::pin(projections::wait_for(open, projection.to_owned(), positions, timeout)),
            Err(problem) => ready(Err(problem)),
        }
    }

    fn row(&self, projection: &str, key: &str, past: Option<Past>) -> Result<Option<Row>, Problem> {
        projections::row(self.opened()?, projection, key, past)
    }

    fn rows(&self, projection: &str, query: &RowsQuery) -> Result<Folded<RowPage>, Problem> {
        projections::rows(self.opened()?, projection, query)
    }

    fn digest(&self, projection: &str, past: Option<Past>) -> Result<Folded<Digest>, Problem> {
        projections::digest(self.opened()?, projection, past)
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
        self.open.get().map(|open| systems::all(open)).unwrap_or_default()
    }

    fn system(&self, name: &str, subject: Option<&str>) -> Result<Option<SystemDetail>, Problem> {
        systems::one(self.opened()?, name, subject)
    }

    fn query(&self, system: &str, query: &str, subject: &str, parameters: BTreeMap<String, String>) -> Result<serde_json::Value, Problem> {
        systems::query(self.opened()?, system, Question { subject: subject.to_owned(), query: query.to_owned(), parameters })
    }

    fn control(&self, name: &str, control: Control, by: &str) -> Answer<'_, SystemStatus> {
        Box::pin(peer::control(self, name.to_owned(), control, by.to_owned()))
    }

    fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, Problem> {
        dead_letters::dead_letters(self.opened()?, query)
    }

    fn redrive(&self, id: &str, by: &str) -> Answer<'_, Redriven> {
        Box::pin(peer::redrive(self, id.to_owned(), by.to_owned()))
    }

    fn discard(&self, id: &str, reason: &str, by: &str) -> Answer<'_, DeadLetter> {
        match self.opened() {
            Ok(open) => Box::pin(peer::discard(open, id.to_owned(), reason.to_owned(), by.to_owned())),
            Err(problem) => ready(Err(problem)),
        }
    }

    fn redrive_all(&self, filter: RedriveFilter, by: &str) -> Answer<'_, Redriven> {
        Box::pin(peer::redrive_all(self, filter, by.to_owned()))
    }

    fn redrive_status(&self, id: &str) -> Answer<'_, Option<Redriven>> {
        let id = id.to_owned();
        match self.opened() {
            Ok(open) => Box::pin(async move { peer::redrive_status(open, &id).await }),
            Err(problem) => ready(Err(problem)),
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

    fn flags(&self) -> &Arc<FlagServer> {
        &self.flags
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

    fn peer(&self, question: Vec<u8>) -> Answer<'_, serde_json::Value> {
        Box::pin(peer::answer(self, question))
    }
}
