//! Makes candidates of events: validates them by their type, seals their personal fields, and routes them to their partitions.

use std::sync::Arc;

use tol_events::personal::{self, KeyStore};
use tol_events::registry::{self, Validity};
use tol_events::{Attribute, Event, EventTime};
use tol_kafka::Position;
use tol_runtime::admission::candidate::keyed_content_hash;
use tol_runtime::admission::{Candidate, Kinds};

use tol_plug::platform::Warning;
use tol_plug::platform::events::add_warning;
use tol_plug::{Kind, Problem};

/// A fact before admission.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) event: Event,
    /// Where in `inbox` it came from.
    pub(crate) inbox: Option<(u32, Position)>,
    /// Whether the platform says it: such a one may be of a type of the platform's own.
    pub(crate) own: bool,
}

impl Fact {
    /// One that a client sent.
    pub(crate) fn sent(event: Event) -> Self {
        Self { event, inbox: None, own: false }
    }

    /// One that the platform says.
    pub(crate) fn own(event: Event) -> Self {
        Self { event, inbox: None, own: true }
    }
}

/// Events that are ready for admission.
pub(crate) struct Prepared {
    pub(crate) candidates: Vec<Candidate>,
    /// Their ids, to name one in a refusal.
    pub(crate) ids: Vec<String>,
    /// What they probably got wrong.
    pub(crate) warnings: Vec<Warning>,
}

/// What a valid fact is.
pub(crate) struct Checked {
    known: Option<&'static registry::KnownType>,
    warnings: Vec<registry::Warning>,
}

/// Validates; `index` is its place in the request.
pub(crate) fn check(index: usize, fact: &Fact) -> Result<Checked, Problem> {
    if fact.own { Ok(Checked { known: None, warnings: Vec::new() }) } else { check_event(index, &fact.event) }
}

/// Validates and encrypts; all or none. Blocking where a fact is of a kind that has no place yet.
pub(crate) fn prepare(facts: Vec<Fact>, keys: &dyn KeyStore, kinds: &Kinds, partitions: u32, now: EventTime) -> Result<Prepared, Problem> {
    let mut candidates = Vec::with_capacity(facts.len());
    let mut ids = Vec::with_capacity(facts.len());
    let mut validities = Vec::with_capacity(facts.len());
    let mut warnings = Vec::new();
    for (index, fact) in facts.iter().enumerate() {
        let checked = check(index, fact)?;
        validities.push(checked.known);
        for warning in checked.warnings {
            add_warning(&mut warnings, warning.kind.as_str(), index, 1, warning.detail);
        }
    }
    ensure_keys(&facts, &validities, keys)?;
    let topics = place(&facts, kinds)?;
    for ((Fact { mut event, inbox, .. }, validity), topic) in facts.into_iter().zip(validities).zip(topics) {
        tol_events::binding::clear_platform(&mut event, true);
        ids.push(event.get(Attribute::Id).to_owned());
        let (mut keyed, mut erased) = (None, false);
        if let Some(known) = validity {
            if event.get(Attribute::DataSchema).is_empty() {
                let schema = tol_events::domain::schema_uri(event.get(Attribute::Type));
                event.set(Attribute::DataSchema, schema);
            }
            if !known.personal.is_empty() {
                (keyed, erased) = content_hash(&event, keys)?;
                personal::encrypt_fields(&mut event, known, keys).map_err(|error| Problem::unavailable(error.to_string(), 5))?;
            }
        }
        let candidate = Candidate::new(event, keyed, topic, partitions, inbox, now);
        candidates.push(if erased { candidate.erased() } else { candidate });
    }
    Ok(Prepared { candidates, ids, warnings })
}

/// The topic of each fact.
fn place(facts: &[Fact], kinds: &Kinds) -> Result<Vec<Arc<str>>, Problem> {
    let subjects = || facts.iter().map(|fact| fact.event.get(Attribute::Subject));
    if let Some(topics) = kinds.topics_of(subjects()) {
        return Ok(topics);
    }
    let unavailable = |detail: String| Problem::unavailable(detail, 1);
    kinds.place(subjects().filter_map(tol_events::kinds::kind_of)).map_err(|error| unavailable(error.to_string()))?;
    kinds.topics_of(subjects()).ok_or_else(|| unavailable("a kind of subject has no topic yet; send the same events again".to_owned()))
}

/// A keyed hash of what was sent: the key goes when the person is erased, and with it any way to guess the content. Of an erased person what was
/// sent is not hashed at all. Returns whether the person was erased, too.
fn content_hash(event: &Event, keys: &dyn KeyStore) -> Result<(Option<u64>, bool), Problem> {
    let state = keys.get(personal::person_of(event)).map_err(|error| Problem::unavailable(error.to_string(), 5))?;
    Ok(match state {
        personal::KeyState::Present(key) => (Some(keyed_content_hash(&key.derive("tree-of-life 2026 content hash"), event)), false),
        personal::KeyState::Erased => (None, true),
        // No key was made, so no personal field is set.
        personal::KeyState::Absent => (None, false),
    })
}

fn check_event(index: usize, event: &Event) -> Result<Checked, Problem> {
    let subject = event.get(Attribute::Subject);
    if subject.is_empty() || subject.contains('\0') {
        let detail = format!("event {index}: it has no usable subject; say which entity it is about as kind/id, for example customer/42");
        return Err(Problem::new(Kind::INVALID_EVENT, detail).with("index", index));
    }
    let event_type = event.get(Attribute::Type);
    if event_type.starts_with(tol_events::reserved::PREFIX) || event.get(Attribute::Source).starts_with("/systems/") {
        let detail = format!("event {index}: types that begin with tol. and sources below /systems/ are the platform's own; choose another");
        return Err(Problem::new(Kind::INVALID_EVENT, detail).with("index", index));
    }
    let encoded = event.encode();
    match registry::examine(&encoded.view()) {
        Ok((Validity::Known(known), warnings)) => Ok(Checked { known: Some(known), warnings }),
        Ok((Validity::Open, warnings)) => Ok(Checked { known: None, warnings }),
        Err(error) => Err(Problem::invalid_data(index, &error)),
    }
}

/// One sync for all new persons of a batch, before the first fact that uses a key.
fn ensure_keys(facts: &[Fact], validities: &[Option<&'static registry::KnownType>], keys: &dyn KeyStore) -> Result<(), Problem> {
    let persons: Vec<&str> = facts
        .iter()
        .zip(validities)
        .filter(|(_, known)| known.is_some_and(|known| !known.personal.is_empty()))
        .map(|(fact, _)| personal::person_of(&fact.event))
        .collect();
    if persons.is_empty() {
        return Ok(());
    }
    keys.ensure(&persons).map_err(|error| Problem::unavailable(error.to_string(), 5))
}
