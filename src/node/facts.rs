//! Hands facts to the owners of their partitions: admission here, or that of another node.
//!
//! The parts of a request that belong to several owners are stored independently of each other, and the whole is answered once all are
//! durable. What was not confirmed is tried again until the time is up; ids make that safe, here as for the client.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use serde_json::value::RawValue;
use tol_events::personal::{self, KeyState};
use tol_events::{Attribute, Event, binding, delivery, registry};
use tol_runtime::admission::Refusal;
use tol_runtime::admission::candidate::partition_of;

use super::peers::{Ask, PassedOn};
use super::publish::{self, Fact, Prepared};
use super::routing::Owner;
use super::{Node, Open, spelling};
use tol_plug::platform::events::add_warning;
use tol_plug::platform::{Published, Warning};
use tol_plug::{Kind, Problem};

/// How long a client's facts are tried.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long one try with another node may take: one that hangs must leave time for its successor.
const TRY: Duration = Duration::from_secs(3);
/// How long admission may take: longer than it lets a request wait. One that hangs never answers.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// Between tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A part of a request, with the places its facts have there.
type Part = Vec<(usize, Fact)>;

/// What became of a part.
enum Outcome {
    Stored(Published),
    /// To be tried again, and why.
    Again(Part, Problem),
    Refused(Problem),
}

impl Open {
    /// Whether this node owns the partitions of all of these.
    pub(crate) fn owns(&self, facts: &[Fact]) -> bool {
        if self.routing.owns_all() {
            return true;
        }
        let own = self.routing.own();
        facts.iter().all(|fact| own.contains(&partition_of(&fact.event, self.partitions)))
    }

    /// Whether all these can be prepared without waiting for the log, the key store or rows: their kinds have a topic, their persons a key, and the
    /// environments of their services are remembered.
    pub(crate) fn prepares_at_once(&self, facts: &[Fact]) -> bool {
        let has_key = |event: &Event| {
            let personal = registry::known(event.get(Attribute::Type)).is_some_and(|known| !known.personal.is_empty());
            !personal || matches!(self.keys.get(personal::person_of(event)), Ok(KeyState::Present(_) | KeyState::Erased))
        };
        let spelt = |event: &Event| {
            let service = event.get(Attribute::Subject).strip_prefix("service/").filter(|_| event.get(Attribute::Type).starts_with("delivery."));
            service.is_none_or(|service| self.spellings.remembers(service))
        };
        facts.iter().all(|fact| self.kinds.topic_of(fact.event.get(Attribute::Subject)).is_some() && has_key(&fact.event) && spelt(&fact.event))
    }

    /// Events to candidates, see [`publish::prepare`]; with warnings of environments that are known in another spelling.
    pub(crate) fn prepare(&self, facts: Vec<Fact>) -> Result<Prepared, Problem> {
        let environments = self.environments_of(&facts);
        let mut prepared = publish::prepare(facts, self.keys.as_ref(), &self.kinds, self.partitions, chrono::Utc::now().into())?;
        for (index, service, environment) in environments {
            let known = self.spellings.known_otherwise(&service, &environment, || spelling::environments(&self.engine, &service));
            if let Some(known) = known {
                let detail = format!("service \"{service}\" has the environment \"{known}\"; \"{environment}\" is another one, and is counted apart");
                add_warning(&mut prepared.warnings, registry::WarningKind::Spelling.as_str(), index, 1, detail);
            }
        }
        for warning in &prepared.warnings {
            super::metric_definitions::facts_warned(&warning.kind).increment(warning.events);
        }
        Ok(prepared)
    }

    /// (place, service, environment) of facts that name one.
    fn environments_of(&self, facts: &[Fact]) -> Vec<(usize, String, String)> {
        let named = |(index, fact): (usize, &Fact)| {
            fact.event.get(Attribute::Type).strip_prefix("delivery.").filter(|_| !fact.own)?;
            let service = fact.event.get(Attribute::Subject).strip_prefix("service/")?;
            Some((index, service.to_owned(), delivery::environment_of(&fact.event.data)?.into_owned()))
        };
        facts.iter().enumerate().filter_map(named).collect()
    }

    /// Stores facts with the owners of their partitions. Blocking.
    ///
    /// # Errors
    /// The first refusal; other parts may be stored nonetheless. `unavailable` when an owner did not confirm in time.
    pub(crate) fn settle(&self, facts: Vec<Fact>, patience: Duration) -> Result<Published, Problem> {
        let until = Instant::now() + patience;
        let mut published = Published::default();
        let mut waiting: Part = facts.into_iter().enumerate().collect();
        loop {
            let moving = || Problem::unavailable("a partition is moving from one node to another; send the same again, the same ids are safe", 1);
            let mut why = moving();
            let mut parts: BTreeMap<Option<String>, Part> = BTreeMap::new();
            let mut again: Part = Vec::new();
            for (index, fact) in std::mem::take(&mut waiting) {
                match self.routing.owner(partition_of(&fact.event, self.partitions)) {
                    Owner::Here => parts.entry(None).or_default().push((index, fact)),
                    Owner::There(url) => parts.entry(Some(url)).or_default().push((index, fact)),
                    Owner::Nobody => again.push((index, fact)),
                }
            }
            let mut refusal: Option<Problem> = None;
            for outcome in self.offer(parts) {
                match outcome {
                    Outcome::Stored(part) => merge(&mut published, part),
                    Outcome::Again(part, problem) => {
                        again.extend(part);
                        // That two nodes disagree about the owner is no client's business.
                        why = if problem.kind == Kind::NOT_OWNER { moving() } else { problem };
                    }
                    Outcome::Refused(problem) => refusal = refusal.or(Some(problem)),
                }
            }
            if let Some(problem) = refusal {
                return Err(problem);
            }
            if again.is_empty() {
                return Ok(published);
            }
            if Instant::now() >= until {
                return Err(why.retry_after(1));
            }
            // Within a partition facts keep the order of the request.
            again.sort_by_key(|(index, _)| *index);
            waiting = again;
            std::thread::sleep(PAUSE);
        }
    }

    /// Offers each part to its owner, all at once.
    fn offer(&self, parts: BTreeMap<Option<String>, Part>) -> Vec<Outcome> {
        if parts.len() == 1 {
            return parts.into_iter().map(|(url, part)| self.offer_part(url, part)).collect();
        }
        std::thread::scope(|scope| {
            let offers: Vec<_> = parts.into_iter().map(|(url, part)| scope.spawn(move || self.offer_part(url, part))).collect();
            offers.into_iter().map(|offer| offer.join().unwrap_or_else(|_| Outcome::Refused(Problem::internal("passing facts on panicked")))).collect()
        })
    }

    fn offer_part(&self, url: Option<String>, part: Part) -> Outcome {
        let answer = match &url {
            None => self.admit_and_wait(part.iter().map(|(_, fact)| fact.clone()).collect()),
            Some(url) => pass_on(&part).and_then(|ask| {
                super::metric_definitions::facts_passed_on().increment(part.len() as u64);
                self.peers.ask(url, &ask, TRY)
            }),
        };
        match answer {
            Ok(published) => Outcome::Stored(warnings_at_their_places(published, &part)),
            Err(problem) if matches!(problem.kind, Kind::NOT_OWNER | Kind::NOT_READY | Kind::UNAVAILABLE) => Outcome::Again(part, problem),
            Err(problem) => Outcome::Refused(at_their_places(problem, &part)),
        }
    }

    /// Facts of this node's own partitions, to its admission. Blocking.
    pub(crate) fn admit_and_wait(&self, facts: Vec<Fact>) -> Result<Published, Problem> {
        let sources: Vec<String> = facts.iter().map(|fact| fact.event.get(Attribute::Source).to_owned()).collect();
        let Prepared { candidates, ids, warnings } = self.prepare(facts)?;
        let (sender, answer) = mpsc::sync_channel(1);
        self.admission.publish(candidates, ids, Box::new(move |published| drop(sender.send(published))));
        match answer.recv_timeout(ANSWERED_WITHIN) {
            Ok(Ok(published)) => Ok(answer_of(published, warnings)),
            Ok(Err(refusal)) => Err(self.refused(refusal, &sources)),
            Err(_) => Err(Problem::unavailable("admission ended or hangs; GET /readyz tells why", 5)),
        }
    }

    /// A refusal of admission as a problem; `sources` of the request's events.
    pub(crate) fn refused(&self, refusal: Refusal, sources: &[String]) -> Problem {
        match refusal {
            Refusal::Conflict { index, id, at } => Problem::id_conflict(index, sources.get(index).map_or("", String::as_str), &id).with("at", at),
            Refusal::Busy(_) => Problem::unavailable(refusal.to_string(), 1),
            Refusal::Unavailable(why) if why.contains("No space left") => Problem::new(Kind::DISK_FULL, why),
            Refusal::Unavailable(_) => {
                let detail = self.log.health().detail;
                if detail.contains("full") { Problem::new(Kind::DISK_FULL, detail) } else { Problem::unavailable(refusal.to_string(), 1) }
            }
        }
    }
}

/// Admission's answer with what was warned about.
pub(crate) fn answer_of(admitted: tol_runtime::admission::Published, warnings: Vec<Warning>) -> Published {
    Published { accepted: admitted.accepted, duplicates: admitted.duplicates, positions: admitted.positions, warnings }
}

/// Counts a refusal that is the sender's to mend.
pub(crate) fn count_refused(problem: &Problem) {
    if super::inbox::is_final(problem) {
        super::metric_definitions::facts_refused(problem.kind.slug).increment(1);
    }
}

fn merge(whole: &mut Published, part: Published) {
    for warning in part.warnings {
        add_warning(&mut whole.warnings, &warning.kind, warning.index, warning.events, warning.detail);
    }
    whole.accepted += part.accepted;
    whole.duplicates += part.duplicates;
    for (partition, position) in part.positions {
        let highest = whole.positions.entry(partition).or_insert(position);
        *highest = (*highest).max(position);
    }
}

fn pass_on(part: &Part) -> Result<Ask, Problem> {
    let facts = part.iter().map(|(_, fact)| {
        let text = String::from_utf8(binding::json::encode(&fact.event)).map_err(|error| Problem::internal(error.to_string()))?;
        let event = RawValue::from_string(text).map_err(|error| Problem::internal(error.to_string()))?;
        Ok(PassedOn { event, inbox: fact.inbox, own: fact.own })
    });
    facts.collect::<Result<_, Problem>>().map(Ask::Facts)
}

/// Warnings that name an event by its place in the part name it by its place in the request.
fn warnings_at_their_places(mut published: Published, part: &Part) -> Published {
    for warning in &mut published.warnings {
        warning.index = part.get(warning.index).map_or(warning.index, |(place, _)| *place);
    }
    published
}

/// A problem that names an event by its place in the part names it by its place in the request.
fn at_their_places(mut problem: Problem, part: &Part) -> Problem {
    let place = problem.extensions.get("index").and_then(Value::as_u64).and_then(|index| Some((index, part.get(usize::try_from(index).ok()?)?.0)));
    if let Some((index, place)) = place {
        if let Some(rest) = problem.detail.strip_prefix(&format!("event {index}:")) {
            problem.detail = format!("event {place}:{rest}");
        }
        problem.extensions.insert("index".into(), place.into());
    }
    problem
}

impl Node {
    /// What another node passed on: all of it is this node's, or none is taken.
    pub(crate) fn take_passed_on(&self, passed: Vec<PassedOn>) -> Result<Vec<Fact>, Problem> {
        let open = self.opened()?;
        let read = |passed: PassedOn| {
            let event = binding::json::decode(passed.event.get().as_bytes()).map_err(|error| Problem::new(Kind::INVALID_EVENT, error.to_string()))?;
            Ok(Fact { event, inbox: passed.inbox, own: passed.own })
        };
        let facts = passed.into_iter().map(read).collect::<Result<Vec<Fact>, Problem>>()?;
        if open.owns(&facts) { Ok(facts) } else { Err(not_owner()) }
    }
}

pub(crate) fn not_owner() -> Problem {
    Problem::new(Kind::NOT_OWNER, "a partition of this belongs to another node now; look at the claims again")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fact(id: &str) -> Fact {
        Fact::sent(Event::new(id, "/shop", "shop.thing_done.v1", "customer/1").with_data(&serde_json::json!({"a": 1})).unwrap())
    }

    #[test]
    fn a_conflict_in_a_part_names_the_place_in_the_request() {
        let part = vec![(3, fact("a")), (7, fact("b"))];
        let problem = at_their_places(Problem::id_conflict(1, "/shop", "b"), &part);
        assert_eq!(problem.extensions["index"], 7);
        assert!(problem.detail.starts_with("event 7: "), "{}", problem.detail);
    }

    #[test]
    fn a_fact_is_passed_on_as_it_came_with_its_place_in_the_inbox() {
        let mut sent = fact("a");
        sent.inbox = Some((2, 9));
        let ask = serde_json::to_vec(&pass_on(&vec![(0, sent.clone())]).unwrap()).unwrap();
        let Ask::Facts(passed) = serde_json::from_slice(&ask).unwrap() else { panic!("another question") };
        assert_eq!((passed[0].inbox, passed[0].own), (Some((2, 9)), false));
        assert_eq!(binding::json::decode(passed[0].event.get().as_bytes()).unwrap().data, sent.event.data);
    }

    #[test]
    fn parts_are_merged_to_one_answer() {
        let place = |text: &str| text.parse::<tol_kafka::TopicPartition>().unwrap();
        let warned = |index: usize, part: &Part| {
            let mut warnings = Vec::new();
            add_warning(&mut warnings, "unknown-field", index, 2, "odd".to_owned());
            warnings_at_their_places(Published { warnings, ..Published::default() }, part)
        };
        let mut whole = Published { accepted: 1, positions: BTreeMap::from([(place("facts.customer/1"), 5)]), ..warned(0, &vec![(4, fact("a"))]) };
        merge(
            &mut whole,
            Published {
                accepted: 2,
                duplicates: 1,
                positions: BTreeMap::from([(place("facts.customer/1"), 3), (place("facts.customer/2"), 8)]),
                ..warned(1, &vec![(0, fact("a")), (2, fact("b"))])
            },
        );
        assert_eq!((whole.accepted, whole.duplicates), (3, 1));
        assert_eq!(whole.warnings.iter().map(|warning| (warning.index, warning.events)).collect::<Vec<_>>(), [(2, 4)]);
        assert_eq!(whole.positions, BTreeMap::from([(place("facts.customer/1"), 5), (place("facts.customer/2"), 8)]));
    }
}
