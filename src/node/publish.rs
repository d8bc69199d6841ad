//! Events to candidates: validated by their type, personal fields encrypted, routed to their partition.

use tol_events::personal::{self, KeyStore};
use tol_events::registry::{self, Validity};
use tol_events::{Attribute, Event, EventTime};
use tol_kafka::Position;
use tol_runtime::admission::Candidate;
use tol_runtime::admission::candidate::keyed_content_hash;

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

/// Validates; `index` is its place in the request.
pub(crate) fn check(index: usize, fact: &Fact) -> Result<Option<&'static registry::KnownType>, Problem> {
    if fact.own { Ok(None) } else { check_event(index, &fact.event) }
}

/// Validates and encrypts; all or none.
pub(crate) fn prepare(facts: Vec<Fact>, keys: &dyn KeyStore, partitions: u32, now: EventTime) -> Result<(Vec<Candidate>, Vec<String>), Problem> {
    let mut candidates = Vec::with_capacity(facts.len());
    let mut ids = Vec::with_capacity(facts.len());
    let mut validities = Vec::with_capacity(facts.len());
    for (index, fact) in facts.iter().enumerate() {
        validities.push(check(index, fact)?);
    }
    ensure_keys(&facts, &validities, keys)?;
    for (Fact { mut event, inbox, .. }, validity) in facts.into_iter().zip(validities) {
        tol_events::binding::clear_platform(&mut event, true);
        ids.push(event.get(Attribute::Id).to_owned());
        let mut keyed = None;
        if let Some(known) = validity {
            if event.get(Attribute::DataSchema).is_empty() {
                let schema = tol_events::domain::schema_uri(event.get(Attribute::Type));
                event.set(Attribute::DataSchema, schema);
            }
            if !known.personal.is_empty() {
                let subject = event.get(Attribute::Subject).to_owned();
                keyed = Some(content_hash(&event, &subject, keys)?);
                personal::encrypt_fields(&mut event, known, keys).map_err(|error| Problem::unavailable(error.to_string(), 5))?;
            }
        }
        candidates.push(Candidate::new(event, keyed, partitions, inbox, now));
    }
    Ok((candidates, ids))
}

/// A keyed hash of what was sent: the key goes when the person is erased, and with it any way to guess the content.
fn content_hash(event: &Event, subject: &str, keys: &dyn KeyStore) -> Result<u64, Problem> {
    let state = keys.get(subject).map_err(|error| Problem::unavailable(error.to_string(), 5))?;
    let key = match state {
        personal::KeyState::Present(key) => key.derive("tree-of-life 2026 content hash"),
        _ => [0; 32],
    };
    Ok(keyed_content_hash(&key, event))
}

fn check_event(index: usize, event: &Event) -> Result<Option<&'static registry::KnownType>, Problem> {
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
    match registry::validate(&encoded.view()) {
        Ok(Validity::Known(known)) => Ok(Some(known)),
        Ok(Validity::Open) => Ok(None),
        Err(error) => Err(Problem::invalid_data(index, &error)),
    }
}

/// One sync for all new subjects of a batch, before the first fact that uses a key.
fn ensure_keys(facts: &[Fact], validities: &[Option<&'static registry::KnownType>], keys: &dyn KeyStore) -> Result<(), Problem> {
    let subjects: Vec<&str> = facts
        .iter()
        .zip(validities)
        .filter(|(_, known)| known.is_some_and(|known| !known.personal.is_empty()))
        .map(|(fact, _)| fact.event.get(Attribute::Subject))
        .collect();
    if subjects.is_empty() {
        return Ok(());
    }
    keys.ensure(&subjects).map_err(|error| Problem::unavailable(error.to_string(), 5))
}
