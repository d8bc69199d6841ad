//! One call as facts: one about the strongest identifier, and one for each further identifier that is new to this node, so that its value is sealed
//! with a key of its own.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tol_events::engagement::{Aliased, Grouped, Identified, IdentifierNamed, IdentifierRef, MOST_LINKS, PageViewed, ScreenViewed, Tracked};
use tol_events::{Attribute, DomainEvent, Event, PersonalText};
use tol_plug::Problem;

use super::{Call, CallKind, Refused};
use crate::metric_definitions;
use crate::serving::CdpService;

/// Longest value of an identifier, bytes.
const LONGEST_VALUE: usize = 1_024;
/// Longest name of an event, page or screen, bytes.
const LONGEST_NAME: usize = 512;
/// Longest id of a call that is taken as it is, bytes; of a longer one the hash counts.
const LONGEST_ID: usize = 256;
/// The source of facts that name an identifier: one fact for each, whoever named it.
const NAMED: &str = "/cdp/identifiers";

/// Why a call did not become facts.
pub(super) enum Error {
    /// It is the call's own fault.
    Call(Refused),
    /// It is not.
    Node(Problem),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Error::Call(refused)
    }
}

/// An identifier with its value.
struct Known {
    reference: IdentifierRef,
    value: String,
}

/// The facts of a call; the first is the call.
pub(super) fn facts(service: &CdpService, source: &str, mut call: Call) -> Result<Vec<Event>, Error> {
    if call.kind == CallKind::Identify {
        for (name, identifier_type) in &service.settings.identifier_traits {
            if let Some(Value::String(value)) = call.traits.get(name) {
                call.identifiers.push((identifier_type.clone(), value.clone()));
            }
        }
    }
    let rules = &service.rules;
    let mut named = identifiers(service, std::mem::take(&mut call.identifiers))?;
    named.sort_by_key(|known| rules.of(&known.reference.identifier_type).priority);
    let aliases = identifiers(service, std::mem::take(&mut call.aliases))?;
    if named.is_empty() {
        return Err(Refused::Nobody.into());
    }
    if call.kind == CallKind::Alias && aliases.is_empty() {
        return Err(Refused::Missing("previousId").into());
    }
    let me = named.remove(0);
    let mut others: Vec<Known> = Vec::new();
    for known in aliases.into_iter().chain(named) {
        if known.reference != me.reference && !others.iter().any(|other| other.reference == known.reference) {
            others.push(known);
        }
    }
    others.truncate(MOST_LINKS);
    if call.kind == CallKind::Alias && others.is_empty() {
        return Err(Refused::Field { field: "previousId", problem: "the same id".to_owned() }.into());
    }
    let mut main = fact_of(service, source, &call, &me, others.iter().map(|known| known.reference.clone()).collect())?;
    main.set(Attribute::Time, call.time.to_string());
    if let Some(Value::String(correlation)) = call.context.get("correlationid") {
        main.set(Attribute::CorrelationId, correlation.chars().filter(|c| !c.is_control()).take(128).collect::<String>());
    }
    let mut facts = vec![main];
    for other in others.into_iter().filter(|other| !service.named.has(&other.reference.identifier_id)) {
        let named = IdentifierNamed {
            identifier_id: other.reference.identifier_id.as_str().into(),
            identifier_type: other.reference.identifier_type.as_str().into(),
            value: Some(PersonalText::Plain(other.value)),
            ..IdentifierNamed::default()
        };
        facts.push(event(&named, &other.reference.identifier_id, NAMED)?);
    }
    Ok(facts)
}

/// Identifiers that say something, as hashes.
fn identifiers(service: &CdpService, given: Vec<(String, String)>) -> Result<Vec<Known>, Error> {
    let mut known = Vec::with_capacity(given.len());
    for (identifier_type, value) in given {
        let value = normal(&identifier_type, &value);
        if value.len() > LONGEST_VALUE {
            return Err(Refused::Field { field: "an id", problem: format!("{} bytes long; at most {LONGEST_VALUE} are taken", value.len()) }.into());
        }
        if service.blocked.is_match(&value) {
            metrics::counter!(metric_definitions::BLOCKED).increment(1);
            continue;
        }
        let identifier_id = service.id(&identifier_type, &value).map_err(Error::Node)?;
        known.push(Known { reference: IdentifierRef { identifier_id, identifier_type }, value });
    }
    Ok(known)
}

/// Values that are the same to people: without white space around, and e-mail addresses without regard to the case of ASCII letters. Letters that only
/// look alike stay different, since nothing may be merged on a look.
pub(crate) fn normal(identifier_type: &str, value: &str) -> String {
    let trimmed = value.trim();
    if identifier_type == "email" { trimmed.to_ascii_lowercase() } else { trimmed.to_owned() }
}

fn fact_of(service: &CdpService, source: &str, call: &Call, me: &Known, links: Vec<IdentifierRef>) -> Result<Event, Error> {
    let id = id_of(&call.message_id);
    let (identifier_id, identifier_type) = (me.reference.identifier_id.as_str().into(), me.reference.identifier_type.as_str().into());
    let value = Some(PersonalText::Plain(me.value.clone()));
    let context = object(&call.context);
    let properties = object(&call.properties);
    let name = call.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    if let Some(name) = name.filter(|name| name.len() > LONGEST_NAME) {
        return Err(Refused::Field { field: "the name", problem: format!("{} bytes long; at most {LONGEST_NAME} are taken", name.len()) }.into());
    }
    let owned = name.map(str::to_owned);
    match call.kind {
        CallKind::Identify => {
            let customer = call.traits.get(&service.settings.customer_trait).and_then(text).filter(|id| id.len() <= LONGEST_NAME && !id.contains('\0'));
            let traits = call.traits.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            let data = Identified { identifier_id, identifier_type, value, links, context, traits, consent: consent(&call.context), customer_id: customer };
            event(&data, &id, source)
        }
        CallKind::Track => {
            let event_name = owned.ok_or(Refused::Missing("event"))?;
            let measures = measures(&service.settings.measures, &call.properties);
            event(&Tracked { identifier_id, identifier_type, value, links, context, event: event_name, measures, properties }, &id, source)
        }
        CallKind::Page => event(&PageViewed { identifier_id, identifier_type, value, links, context, name: owned, properties }, &id, source),
        CallKind::Screen => event(&ScreenViewed { identifier_id, identifier_type, value, links, context, name: owned, properties }, &id, source),
        CallKind::Group => {
            let group = call.group.as_deref().map(str::trim).filter(|group| !group.is_empty()).ok_or(Refused::Missing("groupId"))?;
            let company_id = service.id("company", group).map_err(Error::Node)?;
            let traits = call.traits.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            event(&Grouped { identifier_id, identifier_type, value, links, context, company_id, traits }, &id, source)
        }
        CallKind::Alias => event(&Aliased { identifier_id, identifier_type, value, links, context }, &id, source),
    }
}

fn event(data: &impl DomainEvent, id: &str, source: &str) -> Result<Event, Error> {
    data.to_event(id, source).map_err(|error| Error::Node(Problem::internal(error.to_string())))
}

/// An id of bounded length.
fn id_of(message_id: &str) -> String {
    if message_id.len() <= LONGEST_ID && !message_id.chars().any(char::is_control) {
        return message_id.to_owned();
    }
    blake3::hash(message_id.as_bytes()).to_hex()[..32].to_owned()
}

fn object(map: &Map<String, Value>) -> Option<Value> {
    (!map.is_empty()).then(|| Value::Object(map.clone()))
}

/// A text or a number as text.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn measures(wanted: &[String], properties: &Map<String, Value>) -> BTreeMap<String, f64> {
    let found = wanted.iter().filter_map(|name| Some((name.clone(), properties.get(name)?.as_f64()?)));
    found.filter(|(_, value)| value.is_finite()).collect()
}

/// Segment's consent object: `context.consent.categoryPreferences`.
fn consent(context: &Map<String, Value>) -> BTreeMap<String, bool> {
    let preferences = context.get("consent").and_then(|consent| consent.get("categoryPreferences")).and_then(Value::as_object);
    let known = preferences.into_iter().flatten().filter_map(|(purpose, granted)| Some((purpose.clone(), granted.as_bool()?)));
    known.filter(|(purpose, _)| !purpose.is_empty()).take(100).collect()
}
