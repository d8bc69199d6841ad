//! Answers that are the same for everybody, written once a change and only when they are asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::Value;

use super::Environment;

/// An answer and its tag, which changes with what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// JSON.
    pub body: Bytes,
    /// The entity tag, with its quotes.
    pub tag: String,
}

/// A change, as Unleash's deltas tell it.
pub(super) struct Change {
    pub(super) revision: u64,
    /// Of what was served after it.
    pub(super) digest: u128,
    /// Each as JSON.
    pub(super) events: Vec<String>,
}

/// What was asked for so far.
#[derive(Default)]
pub(super) struct Texts {
    features: OnceLock<Text>,
    inlined: OnceLock<Text>,
    hydration: OnceLock<Text>,
    growthbook: OnceLock<Text>,
    pub(super) frontend_bytes: OnceLock<usize>,
    /// By kind, and by the number of changes that those have not seen whom it is for.
    events: Mutex<BTreeMap<(EventKind, Option<usize>), Bytes>>,
}

/// What has changed since a client was told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing.
    Nothing,
    /// This.
    Changes(Text),
    /// It is not known what the client knows: everything.
    Everything(Text),
}

/// A server-sent event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// The first to an Unleash SDK.
    UnleashConnected,
    /// A later one.
    UnleashUpdated,
    /// Any to a GrowthBook SDK.
    GrowthBook,
}

impl EventKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::UnleashConnected => "unleash-connected",
            Self::UnleashUpdated => "unleash-updated",
            Self::GrowthBook => "features",
        }
    }
}

impl Change {
    /// A flag is so now, or gone.
    pub(super) fn event(revision: u64, key: &str, feature: Option<&str>) -> String {
        match feature {
            Some(feature) => format!(r#"{{"eventId":{revision},"type":"feature-updated","feature":{feature}}}"#),
            None => format!(r#"{{"eventId":{revision},"type":"feature-removed","featureName":{},"project":"default"}}"#, Value::from(key)),
        }
    }
}

impl Environment {
    /// What Unleash's `GET /client/features` answers. Clients whose specification is older than 4.2 know no segments: they get them written
    /// into the constraints.
    pub fn features(&self, knows_segments: bool) -> &Text {
        if !knows_segments && self.shared.segments_text != "[]" {
            return self.texts.inlined.get_or_init(|| self.text(inlined(&self.list(), &self.shared.segments_text), "i"));
        }
        let whole = || self.text(format!(r#"{{"version":2,"features":{},"segments":{}}}"#, self.list(), self.shared.segments_text), "f");
        self.texts.features.get_or_init(whole)
    }

    /// All features that Unleash can say, as a list.
    fn list(&self) -> String {
        joined('[', ']', self.entries.values().filter_map(|entry| entry.unleash.as_deref()).map(|feature| ("", feature)))
    }

    /// What GrowthBook's `GET /api/features/{clientKey}` answers.
    pub fn growthbook_payload(&self) -> &Text {
        let whole = || {
            let features = self.entries.values().filter_map(|entry| Some((entry.key_text.as_ref(), entry.growthbook.as_deref()?)));
            self.text(format!(r#"{{"status":200,"features":{}{}}}"#, joined('{', '}', features), self.shared.growthbook_text), "g")
        };
        self.texts.growthbook.get_or_init(whole)
    }

    /// Everything, as the first event of a delta.
    pub fn hydration(&self) -> &Text {
        let whole = || {
            let (list, segments) = (self.list(), &self.shared.segments_text);
            let body = format!(r#"{{"events":[{{"eventId":{},"type":"hydration","features":{list},"segments":{segments}}}]}}"#, self.revision);
            Text { body: body.into(), tag: self.delta_tag() }
        };
        self.texts.hydration.get_or_init(whole)
    }

    /// What a client holds that was told everything up to now.
    pub fn delta_tag(&self) -> String {
        format!("\"{}:{:032x}\"", self.revision, self.digest)
    }

    /// How many changes a client has not been told of that was given a [`Environment::delta_tag`]; `None` where that is not known.
    fn behind(&self, tag: Option<&str>) -> Option<usize> {
        let (revision, digest) = tag?.trim_start_matches("W/").trim_matches('"').split_once(':')?;
        // Numbers begin anew with the process: only one that stood for the same then counts.
        let known = (revision.parse::<u64>().ok()?, u128::from_str_radix(digest, 16).ok()?);
        self.changes.iter().rev().position(|change| (change.revision, change.digest) == known)
    }

    /// What has changed since a client was given a [`Environment::delta_tag`].
    pub fn since(&self, tag: Option<&str>) -> Since {
        match self.behind(tag) {
            None => Since::Everything(self.hydration().clone()),
            Some(0) => Since::Nothing,
            Some(behind) => Since::Changes(self.last_changes(behind)),
        }
    }

    fn last_changes(&self, count: usize) -> Text {
        let events = self.changes.iter().skip(self.changes.len().saturating_sub(count)).flat_map(|change| &change.events);
        Text { body: format!(r#"{{"events":{}}}"#, joined('[', ']', events.map(|event| ("", event.as_str())))).into(), tag: self.delta_tag() }
    }

    /// The server-sent event that tells a client what it does not know, if anything; its id is the [`Environment::delta_tag`] without quotes. It
    /// is written once, however many clients follow. To Unleash's SDKs everything is a hydration, whichever event brings it.
    pub fn event(&self, kind: EventKind, told: Option<&str>) -> Option<Bytes> {
        let behind = self.behind(told);
        if behind == Some(0) {
            return None;
        }
        // GrowthBook's SDKs take everything at each change.
        let behind = behind.filter(|_| kind != EventKind::GrowthBook);
        // Held while it is written: whoever asks meanwhile would write the same.
        let mut events = self.texts.events.lock().unwrap_or_else(PoisonError::into_inner);
        Some(events.entry((kind, behind)).or_insert_with(|| self.written_event(kind, behind)).clone())
    }

    fn written_event(&self, kind: EventKind, behind: Option<usize>) -> Bytes {
        let data = match (kind, behind) {
            (EventKind::GrowthBook, _) => self.growthbook_payload().body.clone(),
            (_, None) => self.hydration().body.clone(),
            (_, Some(behind)) => self.last_changes(behind).body,
        };
        let head = format!("event: {}\nid: {}\ndata: ", kind.name(), self.delta_tag().trim_matches('"'));
        [head.as_bytes(), &data, b"\n\n"].concat().into()
    }
}

/// Items with their keys, if they have any, as a JSON list or object.
fn joined<'a>(open: char, close: char, items: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> String {
    let length = items.clone().map(|(key, item)| key.len() + item.len() + 2).sum::<usize>();
    let mut text = String::with_capacity(length + 2);
    text.push(open);
    for (key, item) in items {
        if text.len() > 1 {
            text.push(',');
        }
        if !key.is_empty() {
            text.push_str(key);
            text.push(':');
        }
        text.push_str(item);
    }
    text.push(close);
    text
}

/// The features with the constraints of their segments among their own.
fn inlined(features: &str, segments: &str) -> String {
    let parse = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap_or_default();
    let (mut features, segments) = (parse(features), parse(segments));
    let strategies = features.iter_mut().filter_map(|feature| feature.get_mut("strategies")?.as_array_mut()).flatten();
    for strategy in strategies.filter_map(Value::as_object_mut) {
        let Some(Value::Array(ids)) = strategy.remove("segments") else { continue };
        let constraints = strategy.entry("constraints").or_insert_with(|| Value::Array(Vec::new()));
        for id in ids {
            let segment = segments.iter().find(|segment| segment.get("id") == Some(&id));
            match (segment.and_then(|segment| segment.get("constraints")?.as_array()), constraints.as_array_mut()) {
                (Some(more), Some(constraints)) => constraints.extend(more.iter().cloned()),
                // A segment that is not there holds for nobody.
                (None, Some(constraints)) => constraints.push(serde_json::json!({"contextName": "userId", "operator": "IN", "values": []})),
                (_, None) => {}
            }
        }
    }
    format!(r#"{{"version":2,"features":{}}}"#, Value::Array(features))
}
