//! The node as systems use it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tol_events::{Attribute, Event, EventTime, Position, TopicPartition, id, personal};
use tol_plug::platform::{
    Decided, EventFilter, EventPage, Folded, LoggedEvent, Owner, Past, Permit, Published, Row, RowPage, RowsQuery, SearchQuery, Standing, Subscription,
};
use tol_plug::question::Asked;
use tol_plug::request::{known, run_blocking};
use tol_plug::{Answer, Blobs, Kind, Platform, Problem};
use tol_runtime::supervision::actor::Question;

use super::{events, projections, systems};
use crate::node::facts::not_owner;
use crate::node::{Node, Open, routing};

impl Platform for Node {
    fn admit(&self, facts: Vec<Event>) -> Answer<'_, Published> {
        let admitted = events::publish(self, facts);
        Box::pin(async move { admitted.await.inspect_err(crate::node::facts::count_refused) })
    }

    fn decide(&self, system: &str, facts: Vec<Event>, patience: Duration) -> Answer<'_, Decided> {
        Box::pin(decide(self, system.to_owned(), facts, patience))
    }

    fn search(&self, query: &SearchQuery) -> Result<EventPage, Problem> {
        events::search(self.opened()?, query)
    }

    fn event(&self, id: &str, source: Option<&str>) -> Result<Vec<LoggedEvent>, Problem> {
        events::by_id(self.opened()?, id, source)
    }

    fn timeline(&self, subject: &str, limit: usize, cursor: Option<&str>) -> Result<EventPage, Problem> {
        events::timeline(self.opened()?, subject, limit, cursor)
    }

    fn subscribe(&self, filter: EventFilter, resume: Option<String>) -> Answer<'_, Subscription> {
        match self.opened().cloned() {
            Ok(open) => Box::pin(run_blocking(move || crate::node::stream::subscribe(&open, filter, resume.as_deref()))),
            Err(problem) => known(Err(problem)),
        }
    }

    fn wait_for(&self, projection: &str, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Answer<'_, bool> {
        match self.opened() {
            Ok(open) => Box::pin(projections::wait_for(open, projection.to_owned(), positions, timeout)),
            Err(problem) => known(Err(problem)),
        }
    }

    fn row(&self, projection: &str, key: &str, past: Option<Past>) -> Result<Option<Row>, Problem> {
        projections::row(self.opened()?, projection, key, past)
    }

    fn rows(&self, projection: &str, query: &RowsQuery) -> Result<Folded<RowPage>, Problem> {
        projections::rows(self.opened()?, projection, query)
    }

    fn query(&self, system: &str, query: &str, subject: &str, parameters: BTreeMap<String, String>) -> Result<Value, Problem> {
        systems::query(self.opened()?, system, Question { subject: subject.to_owned(), query: query.to_owned(), parameters })
    }

    fn owner(&self, subject: &str) -> Owner {
        match self.open.get().map(|open| open.owner_of(subject)) {
            Some(routing::Owner::Here) => Owner::Here,
            Some(routing::Owner::There(url)) => Owner::There(url),
            Some(routing::Owner::Nobody) | None => Owner::Moving,
        }
    }

    fn ask(&self, question: &str, subject: &str, body: Value) -> Answer<'_, Value> {
        Box::pin(ask(self, question.to_owned(), Asked { subject: subject.to_owned(), body }))
    }

    fn reveal(&self, subject: &str, json: &[u8]) -> Result<Vec<u8>, Problem> {
        let open = self.opened()?;
        let opened = personal::decrypt_data(json, subject, open.keys.as_ref());
        opened.map(std::borrow::Cow::into_owned).map_err(|error| Problem::unavailable(format!("personal data of {subject} cannot be read: {error}"), 5))
    }

    fn blobs(&self) -> Result<Arc<dyn Blobs>, Problem> {
        Ok(self.opened()?.blobs.clone())
    }

    fn erase(&self, subject: &str, by: &str, reason: &str) -> Answer<'_, ()> {
        let (subject, by, reason) = (subject.to_owned(), by.to_owned(), reason.to_owned());
        match self.opened().cloned() {
            Ok(open) => Box::pin(async move {
                let erased = tokio::task::spawn_blocking(move || open.erase(&subject, &by, &reason)).await;
                erased.unwrap_or_else(|_| Err(Problem::unavailable("the node is stopping", 1))).map(drop)
            }),
            Err(problem) => known(Err(problem)),
        }
    }

    fn permit(&self) -> Option<Permit> {
        self.gate.permit(self.started.elapsed().as_millis() as u64).map(Permit::holding)
    }

    fn stopped(&self) -> watch::Receiver<bool> {
        self.standing.stopped()
    }

    fn health(&self) -> Standing {
        self.standing.now()
    }

    fn now(&self) -> EventTime {
        chrono::Utc::now().into()
    }
}

/// How long an owner may take to answer a question of another node.
const ASKED_FOR: Duration = Duration::from_secs(10);

/// Asks the owner of a subject: here, or the node that owns it.
async fn ask(node: &Node, question: String, asked: Asked) -> Result<Value, Problem> {
    let open = node.opened()?;
    match open.owner_of(&asked.subject) {
        routing::Owner::Here => answer(node, &question, asked).await,
        routing::Owner::There(url) => {
            let ask = crate::node::peers::Ask::Question { question, subject: asked.subject, body: asked.body };
            open.peers.ask_later(url, ask, ASKED_FOR).await
        }
        routing::Owner::Nobody => {
            Err(Problem::unavailable(format!("{} belongs to a partition that is moving from one node to another; ask again", asked.subject), 1))
        }
    }
}

/// Answers a question as the owner of its subject; it is not passed on.
pub(super) async fn answer(node: &Node, question: &str, asked: Asked) -> Result<Value, Problem> {
    let open = node.opened()?;
    if !open.is_here(&asked.subject) {
        return Err(not_owner());
    }
    let Some((mounted, number)) = node.plugs.question(question) else {
        return Err(Problem::new(Kind::NOT_FOUND, format!("no enabled system answers the question \"{question}\"")));
    };
    let platform = open.platform.upgrade().ok_or_else(|| Problem::unavailable("the node is stopping", 1))?;
    mounted.answer(number, platform, asked).await
}

/// Admits facts, waits until a system has decided all of them, and finds what it decided by the ids of its events, which follow from their cause.
async fn decide(node: &Node, system: String, facts: Vec<Event>, patience: Duration) -> Result<Decided, Problem> {
    let until = tokio::time::Instant::now() + patience;
    if !node.opened()?.root.statuses().iter().any(|status| status.description.name == system) {
        return Err(Problem::unknown_system(&system));
    }
    let causes: Vec<(String, String)> = facts.iter().map(|fact| (fact.get(Attribute::Source).to_owned(), fact.get(Attribute::Id).to_owned())).collect();
    let published = node.admit(facts).await?;
    let open = node.opened()?.clone();
    for (partition, position) in &published.positions {
        let Some(covering) = projections::covering(&open, &system, partition, *position, until).await? else { return Ok(Decided::Pending(published)) };
        if !events::indexed(&open, &covering, until).await? {
            return Ok(Decided::Pending(published));
        }
    }
    let found = tokio::task::spawn_blocking(move || causes.iter().map(|(source, id)| decided(&open, &system, source, id)).collect::<Result<Vec<_>, _>>());
    found.await.unwrap_or_else(|_| Err(Problem::unavailable("the node is stopping", 1))).map(Decided::By)
}

fn decided(open: &Arc<Open>, system: &str, source: &str, cause: &str) -> Result<Vec<Event>, Problem> {
    let own = format!("/systems/{system}");
    let mut found = Vec::new();
    loop {
        let id = id::derived(system, source, cause, found.len() as u32).to_string();
        match events::by_id(open, &id, Some(&own))?.into_iter().next() {
            Some(logged) => found.push(logged.event),
            None => return Ok(found),
        }
    }
}
