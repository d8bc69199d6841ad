//! What was told about each identifier: traits, what it did, consent. Of traits the newest by event time counts, so that the order of arrival does not
//! show; they stay sealed. What a person did stays with the identifier that did it, so that undoing a merge moves nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tol_events::cdp::SuppressionRequested;
use tol_events::engagement::{Identified, IdentifierNamed, IdentifierRef, Tracked};
use tol_events::{DomainEvent as _, Event, EventTime, EventView};
use tol_system::projection::{Error, refuse_other_version};
use tol_system::{Projection, Rows};
use xxhash_rust::xxh3::xxh3_64;

use super::FACTS_TOPIC;
use crate::activity::Activity;
use crate::types;

/// Traits of one identifier; those that come later are left out.
const MOST_TRAITS: usize = 500;
/// Names of events of one identifier that are counted; those that come later are left out.
const MOST_EVENTS: usize = 500;

/// What was told about one identifier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its type.
    pub identifier_type: String,
    /// Its value as JSON, sealed.
    pub value: Option<String>,
    /// Its traits by name.
    pub traits: BTreeMap<String, Told>,
    /// What it did, by the event's name.
    pub events: BTreeMap<String, Activity>,
    /// What it agreed to: purpose to whether, and when (microseconds).
    pub consent: BTreeMap<String, (bool, i64)>,
    /// Groups that it belongs to.
    pub companies: BTreeMap<String, i64>,
    /// The customer's number, and when that was told.
    pub customer: Option<(i64, String)>,
    /// The first and the last call (microseconds).
    pub seen: Option<(i64, i64)>,
    /// Calls.
    pub calls: u64,
    /// Whether nothing is shown of it any more.
    pub suppressed: bool,
}

/// A trait as it was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Told {
    /// When (microseconds).
    pub at: i64,
    /// The id of the fact: orders what was told at one moment.
    pub by: String,
    /// The value as JSON, sealed.
    pub value: String,
}

/// What a call tells, whatever its kind.
#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    identifier_type: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    traits: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    measures: BTreeMap<String, f64>,
    #[serde(default)]
    consent: BTreeMap<String, bool>,
    #[serde(default)]
    company_id: Option<String>,
    #[serde(default)]
    customer_id: Option<String>,
    #[serde(default)]
    erased: bool,
}

/// The projection `identifiers`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identifiers;

impl Projection for Identifiers {
    type Row = Row;
    const NAME: &'static str = "identifiers";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = FACTS_TOPIC;
    const ROW_BYTES: usize = 2_048;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Row>) -> Result<(), Error> {
        refuse_other_version(event.event_type(), types::CALLS)?;
        refuse_other_version(event.event_type(), &[types::IDENTIFIER_NAMED, types::SUPPRESSION_REQUESTED])?;
        match event.event_type() {
            call if types::CALLS.contains(&call) => fold_call(&event, rows.get_mut(event.subject())?),
            types::IDENTIFIER_NAMED => {
                let call: Call<'_> = event.data_as()?;
                let row = rows.get_mut(event.subject())?;
                name(row, &call);
                Ok(())
            }
            types::SUPPRESSION_REQUESTED => {
                *rows.get_mut(event.subject())? = Row { suppressed: true, ..Row::default() };
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn merge(a: Row, b: Row) -> Row {
        // Facts about one identifier lie in one partition.
        if a.calls >= b.calls { a } else { b }
    }

    fn value(row: &Row, _: &str) -> Value {
        let parsed = |text: &String| serde_json::from_str::<Value>(text).unwrap_or_default();
        let time = |micros: i64| EventTime::from_micros(micros).to_string();
        json!({
            "type": row.identifier_type,
            "value": row.value.as_ref().map(parsed),
            "traits": row.traits.iter().map(|(name, told)| (name.clone(), parsed(&told.value))).collect::<BTreeMap<_, _>>(),
            "told": row.traits.iter().map(|(name, told)| (name.clone(), json!([told.at, told.by]))).collect::<BTreeMap<_, _>>(),
            "events": row.events,
            "consent": row.consent,
            "companies": row.companies.keys().collect::<Vec<_>>(),
            "customer_id": row.customer.as_ref().map(|(_, customer)| customer),
            "first_seen": row.seen.map(|(first, _)| time(first)),
            "last_seen": row.seen.map(|(_, last)| time(last)),
            "calls": row.calls,
            "suppressed": row.suppressed,
        })
    }

    fn subject_of(key: &str) -> Option<String> {
        Some(key.to_owned())
    }

    fn examples(&self) -> Vec<Event> {
        examples().into_iter().map(|event| event.at(EventTime::from_secs(1_767_268_800))).collect()
    }
}

fn name(row: &mut Row, call: &Call<'_>) {
    if row.suppressed || call.erased {
        return;
    }
    call.identifier_type.as_ref().clone_into(&mut row.identifier_type);
    // Every sealed form of the value opens to the same; the smallest makes the order of facts not matter.
    let value = call.value.map(|value| value.get().to_owned()).filter(|value| value != "null");
    row.value = match (row.value.take(), value) {
        (Some(known), Some(told)) => Some(known.min(told)),
        (known, told) => known.or(told),
    };
}

fn fold_call(event: &EventView<'_>, row: &mut Row) -> Result<(), Error> {
    let call: Call<'_> = event.data_as()?;
    if row.suppressed || call.erased {
        return Ok(());
    }
    name(row, &call);
    let at = event.time().unwrap_or_default().as_micros();
    row.calls += 1;
    row.seen = Some(row.seen.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
    if event.event_type() == types::IDENTIFIED {
        for (trait_name, value) in call.traits.into_iter().flatten() {
            let told = Told { at, by: event.id().to_owned(), value: value.get().to_owned() };
            let room = row.traits.len() < MOST_TRAITS;
            match row.traits.get_mut(&trait_name) {
                Some(known) if (known.at, &known.by) < (told.at, &told.by) => *known = told,
                None if room => drop(row.traits.insert(trait_name, told)),
                _ => {}
            }
        }
        for (purpose, granted) in call.consent {
            // The newest word counts; of two at one time, the withdrawal.
            let known = row.consent.entry(purpose).or_insert((granted, at));
            if (known.1, !known.0) < (at, !granted) {
                *known = (granted, at);
            }
        }
        if let Some(customer_id) = call.customer_id {
            row.customer = row.customer.take().max(Some((at, customer_id)));
        }
    }
    if let Some(company) = call.company_id {
        let known = row.companies.entry(company).or_insert(at);
        *known = (*known).max(at);
    }
    let name = match event.event_type() {
        types::PAGE_VIEWED => Some("$page".to_owned()),
        types::SCREEN_VIEWED => Some("$screen".to_owned()),
        _ => call.event,
    };
    if let Some(name) = name.filter(|name| row.events.len() < MOST_EVENTS || row.events.contains_key(name)) {
        row.events.entry(name).or_default().add(at, xxh3_64(event.id().as_bytes()), &call.measures);
    }
    Ok(())
}

fn examples() -> Vec<Event> {
    let link = IdentifierRef { identifier_id: "a1".into(), identifier_type: "anonymous_id".into() };
    let identified = Identified {
        identifier_id: "u1".into(),
        identifier_type: "user_id".into(),
        value: Some("u1".into()),
        links: vec![link],
        traits: BTreeMap::from([("plan".to_owned(), json!("pro"))]),
        consent: BTreeMap::from([("Advertising".to_owned(), true)]),
        customer_id: Some("42".into()),
        ..Identified::default()
    };
    let tracked = Tracked {
        identifier_id: "u1".into(),
        identifier_type: "user_id".into(),
        event: "Order Completed".into(),
        measures: BTreeMap::from([("revenue".to_owned(), 12.5)]),
        ..Tracked::default()
    };
    let named = IdentifierNamed { identifier_id: "a1".into(), identifier_type: "anonymous_id".into(), value: Some("a1".into()), ..IdentifierNamed::default() };
    let suppressed = SuppressionRequested { identifier_id: "x9".into(), by: "ops".into() };
    [identified.to_event("1", "/sdk"), tracked.to_event("2", "/sdk"), named.to_event("3", "/sdk"), suppressed.to_event("4", "/ops")]
        .into_iter()
        .flatten()
        .collect()
}
