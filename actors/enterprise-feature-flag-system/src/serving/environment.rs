//! One environment's flags, compiled and written.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_128;

use super::text::{Change, Text, Texts};
use crate::definition::{Definition, ValueType, written};
use crate::evaluation::keyed::Keyed;
use crate::evaluation::value::Value as Js;
use crate::evaluation::{Answer, Compiled, Error, Format, flagd, growthbook, unleash};
use crate::served::{FlagSet, Shared};

/// So many changes are remembered, for SDKs that ask what has changed since.
const REMEMBERED: usize = 256;

/// One environment's flags.
#[derive(Clone)]
pub struct Environment {
    pub(super) name: String,
    /// Counted up by every change of this environment in this process.
    pub(super) revision: u64,
    /// Hash of what is served: the same wherever the same is served.
    pub(super) digest: u128,
    pub(super) entries: Keyed<Entry>,
    /// All flags that Unleash can say, of whatever family.
    pub(super) unleash: unleash::CompiledFeatures,
    /// All flags that GrowthBook can say.
    growthbook: growthbook::Features,
    /// The flags that were born in flagd's format.
    flagd: flagd::CompiledFlags,
    pub(super) shared: Arc<Parts>,
    /// The last changes, oldest first.
    pub(super) changes: VecDeque<Arc<Change>>,
    pub(super) texts: Arc<Texts>,
}

/// What flags share, taken apart once.
pub(super) struct Parts {
    segments: Vec<unleash::model::Segment>,
    /// The segments as JSON.
    pub(super) segments_text: String,
    /// GrowthBook's saved groups and bandits, and whatever else stands beside its features, as members of an object, each after a comma.
    pub(super) growthbook_text: String,
    bandits: Js<'static>,
    groups: Js<'static>,
    evaluators: Js<'static>,
    /// flagd's file without its flags.
    flagd_file: Map<String, Value>,
    digest: u128,
}

/// One flag.
pub(super) struct Entry {
    /// The format it was born in, whose semantics answer for it.
    pub(super) family: Format,
    pub(super) kind: ValueType,
    /// Whether it serves at all.
    pub(super) live: bool,
    /// As Unleash's SDKs want it; `None` if Unleash cannot say it.
    pub(super) unleash: Option<Box<str>>,
    /// As GrowthBook's SDKs want it.
    pub(super) growthbook: Option<Box<str>>,
    /// Its key as JSON.
    pub(super) key_text: Box<str>,
    pub(super) variants: Box<[Variant]>,
    tags: BTreeSet<String>,
    /// What OFREP answers, where that is the same for everybody.
    pub(super) fixed: OnceLock<Option<Box<str>>>,
    digest: u128,
}

/// A variant of a flag.
pub(super) struct Variant {
    pub(super) name: Box<str>,
    /// Its value as JSON, as it came: SDKs tell 1.0 from 1. Of one that carries nothing, its name.
    pub(super) text: Box<str>,
    /// The same as evaluations write it.
    pub(super) plain: Box<str>,
}

/// What a flag is compiled from.
struct Sources {
    unleash: Option<unleash::model::Feature>,
    growthbook: Option<Js<'static>>,
    flagd: Option<Js<'static>>,
}

fn owned(value: &Value) -> Js<'static> {
    Js::parse(&value.to_string()).map_or(Js::Null, Js::into_owned)
}

impl Parts {
    fn of(shared: Option<&Arc<Shared>>) -> Self {
        let empty = Map::new();
        let part = |format| shared.and_then(|shared| shared.get(&format)).unwrap_or(&empty);
        let (unleash, growthbook, flagd) = (part(Format::Unleash), part(Format::GrowthBook), part(Format::Flagd));
        let segments = unleash.get("segments").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        let js = |fields: &Map<String, Value>, name: &str| fields.get(name).map_or(Js::Null, owned);
        // Status and date are the answer's, not the flags'.
        let beside = growthbook.iter().filter(|(name, _)| !matches!(name.as_str(), "features" | "status" | "dateUpdated"));
        let growthbook_text: String = beside.map(|(name, value)| format!(",{}:{value}", Value::from(name.as_str()))).collect();
        let segments_text = segments.to_string();
        let digest = xxh3_128(segments_text.as_bytes())
            ^ xxh3_128(growthbook_text.as_bytes()).rotate_left(32)
            ^ xxh3_128(Value::Object(flagd.clone()).to_string().as_bytes()).rotate_left(64);
        Self {
            segments: serde_json::from_value(segments).unwrap_or_default(),
            segments_text,
            growthbook_text,
            bandits: js(growthbook, "contextualBandits"),
            groups: js(growthbook, "savedGroups"),
            evaluators: js(flagd, "$evaluators"),
            flagd_file: flagd.clone(),
            digest,
        }
    }
}

impl Entry {
    fn of(flag: &Definition, environment: &str) -> Option<(Self, Sources)> {
        let live = flag.environments.get(environment)?;
        let written = |format| written(format, flag, environment);
        let (unleash, growthbook) = (written(Format::Unleash), written(Format::GrowthBook));
        let flagd = if flag.family == Format::Flagd { written(Format::Flagd) } else { None };
        let variant = |(name, value): (&String, &Value)| Variant {
            name: name.as_str().into(),
            text: if value.is_null() { Value::from(name.as_str()).to_string() } else { value.to_string() }.into(),
            plain: owned(value).to_json().into(),
        };
        let variants = live.variants.as_ref().unwrap_or(&flag.variants);
        let sources = Sources {
            unleash: unleash.as_ref().and_then(|json| serde_json::from_value(json.clone()).ok()),
            growthbook: growthbook.as_ref().map(owned),
            flagd: flagd.as_ref().map(owned),
        };
        let text = |json: Option<Value>| json.map(|json| json.to_string().into_boxed_str());
        let mut entry = Self {
            family: flag.family,
            kind: if live.variants.is_some() { ValueType::of(variants.values()) } else { flag.value_type },
            live: live.is_live(),
            // What the evaluation cannot read is not given to SDKs either.
            unleash: sources.unleash.as_ref().and_then(|_| text(unleash)),
            growthbook: text(growthbook),
            key_text: Value::from(flag.key.as_str()).to_string().into(),
            variants: variants.iter().map(variant).collect(),
            tags: flag.tags.clone(),
            fixed: OnceLock::new(),
            digest: 0,
        };
        let flagd = flagd.map(|json| json.to_string()).unwrap_or_default();
        let parts = [entry.unleash.as_deref().unwrap_or("-"), entry.growthbook.as_deref().unwrap_or("-"), &flagd, &flag.key];
        entry.digest = xxh3_128(parts.join("\n").as_bytes());
        Some((entry, sources))
    }
}

impl Environment {
    /// An environment from nothing. What was served before, if anything, gives the number that goes on counting.
    pub(super) fn of(name: &str, set: &FlagSet, before: Option<&Self>) -> Self {
        let shared = Parts::of(set.shared(name));
        let flagd_file = {
            let mut file = shared.flagd_file.clone();
            file.insert("flags".to_owned(), Value::Object(Map::new()));
            Value::Object(file).to_string()
        };
        let mut made = Self {
            name: name.to_owned(),
            revision: before.map_or(0, |before| before.revision),
            digest: shared.digest,
            entries: Keyed::default(),
            unleash: unleash::CompiledFeatures::default(),
            growthbook: growthbook::Features::compile(&Js::Null, &shared.groups, &shared.bandits),
            flagd: flagd::CompiledFlags::from_json(&flagd_file).unwrap_or_else(|_| flagd::CompiledFlags::empty()),
            shared: Arc::new(shared),
            changes: VecDeque::new(),
            texts: Arc::default(),
        };
        let keys: Vec<&str> = set.sorted().into_iter().map(|(key, _)| key).collect();
        made.put(set, keys.iter().copied());
        made.changes = VecDeque::from([Arc::new(Change { revision: made.revision, digest: made.digest, events: Vec::new() })]);
        made
    }

    /// An environment of that name that has no flag.
    pub fn without_flags(name: &str) -> Arc<Self> {
        Arc::new(Self::of(name, &FlagSet::default(), None))
    }

    /// The environment after a change of these flags.
    pub(super) fn with(&self, set: &FlagSet, flags: &BTreeSet<String>) -> Self {
        let mut next = Self { texts: Arc::default(), ..self.clone() };
        next.put(set, flags.iter().map(String::as_str));
        next
    }

    fn put<'k>(&mut self, set: &FlagSet, keys: impl Iterator<Item = &'k str>) {
        let made: Vec<(&str, Option<(Entry, Sources)>)> =
            keys.map(|key| (key, set.get(key).and_then(|served| Entry::of(&served.definition, &self.name)))).collect();
        let source = made.iter().map(|(key, made)| (*key, made.as_ref().map(|(_, sources)| sources)));
        self.unleash.set(source.clone().map(|(key, made)| (key, made.and_then(|made| made.unleash.as_ref()))), &self.shared.segments);
        self.growthbook.set(source.clone().map(|(key, made)| (key, made.and_then(|made| made.growthbook.as_ref()))), &self.shared.bandits);
        let was_flagd = |key: &str| self.entries.get(key).is_some_and(|known| known.family == Format::Flagd);
        let flagd = source.filter(|(key, made)| made.is_some_and(|made| made.flagd.is_some()) || was_flagd(key));
        self.flagd.set(flagd.map(|(key, made)| (key, made.and_then(|made| made.flagd.as_ref()))), &self.shared.evaluators);
        self.revision += 1;
        let mut events = Vec::new();
        for (key, made) in &made {
            let (known, new) = (self.entries.get(key), made.as_ref().map(|(entry, _)| entry));
            // Added up, so that it does not depend on the order in which the flags came.
            self.digest = self.digest.wrapping_sub(known.map_or(0, |known| known.digest)).wrapping_add(new.map_or(0, |new| new.digest));
            let (before, now) = (known.and_then(|known| known.unleash.as_deref()), new.and_then(|new| new.unleash.as_deref()));
            if before != now {
                events.push(Change::event(self.revision, key, now));
            }
        }
        let entries: Vec<(Arc<str>, Option<Entry>)> = made.into_iter().map(|(key, made)| (key.into(), made.map(|(entry, _)| entry))).collect();
        self.entries.set(entries);
        if self.changes.len() >= REMEMBERED {
            self.changes.pop_front();
        }
        self.changes.push_back(Arc::new(Change { revision: self.revision, digest: self.digest, events }));
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counted up by every change of this environment, in this process.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether it has no flag.
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// Whether it has this flag.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.get(key).is_some()
    }

    /// Whether a flag has one of these tags. Unleash says `type:value`; a tag without a type is of its type `simple`.
    pub fn is_tagged(&self, key: &str, tags: &[String]) -> bool {
        let Some(entry) = self.entries.get(key) else { return false };
        tags.iter().any(|tag| entry.tags.contains(tag) || tag.strip_prefix("simple:").is_some_and(|value| entry.tags.contains(value)))
    }

    /// The keys of its flags, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// The answers about flags with a format's semantics, in their order; `None` if not all of them are compiled for that format: to say flags of
    /// other formats in flagd's terms is left to who asks for it.
    ///
    /// # Errors
    /// If the context is no JSON object.
    pub fn evaluate(&self, format: Format, context: &str, flags: &[&str], now: DateTime<Utc>, seed: u64) -> Option<Result<Vec<Answer>, Error>> {
        let compiled = match format {
            Format::Unleash => Compiled::Unleash(&self.unleash),
            Format::GrowthBook => Compiled::GrowthBook(&self.growthbook),
            Format::Flagd if self.entries.values().all(|entry| entry.family == Format::Flagd) => Compiled::Flagd(&self.flagd),
            Format::Flagd => return None,
        };
        Some(compiled.evaluate(context, flags, now, seed))
    }

    pub(super) fn growthbook(&self) -> &growthbook::Features {
        &self.growthbook
    }

    pub(super) fn flagd(&self) -> &flagd::CompiledFlags {
        &self.flagd
    }

    /// The tag of what is served, for one kind of answer.
    pub(super) fn tag(&self, kind: &str) -> String {
        format!("\"{:032x}:{kind}\"", self.digest)
    }

    pub(super) fn text(&self, body: String, kind: &str) -> Text {
        Text { body: body.into(), tag: self.tag(kind) }
    }
}
