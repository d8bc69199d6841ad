//! Searching: postings merged over the partitions in recorded order, events read back from the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rocksdb::DBRawIterator;
use serde_json::json;
use tol_events::{Attribute, Event, EventTime, EventView};
use tol_kafka::{Batch, EventLog, Position, TopicPartition};
use tol_runtime::store::Table;
use xxhash_rust::xxh3::xxh3_64;

use super::postings::{Kind, read_deltas, term_hash};
use super::{EventIndex, TYPES};
use crate::error::Error;
use crate::store::Database;

/// How many events one search reads at most; a page may end early, its cursor goes on.
const SCANNED: usize = 20_000;
/// How many types a search for a prefix walks side by side at most.
const WALKED_TYPES: usize = 64;
/// How many events a trace shows at most.
const TRACED: usize = 2_000;

/// What to look for; what is `None` is not looked at.
#[derive(Clone, Debug, Default)]
pub struct SearchQuery {
    /// The subject, whole.
    pub subject: Option<String>,
    /// The type with its version; ending in `*`, all types that begin so.
    pub event_type: Option<String>,
    /// The correlation id; the event that started the request has it as its id.
    pub correlation: Option<String>,
    /// Not earlier than this, by `time`.
    pub from: Option<EventTime>,
    /// Not later than this, by `time`.
    pub to: Option<EventTime>,
    /// At most so many.
    pub limit: usize,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl SearchQuery {
    fn matches(&self, event: &EventView<'_>) -> bool {
        let time = event.time().or_else(|| event.recorded_time());
        self.subject.as_deref().is_none_or(|subject| event.subject() == subject)
            && self.event_type.as_deref().is_none_or(|event_type| match event_type.strip_suffix('*') {
                Some(prefix) => event.event_type().starts_with(prefix),
                None => event.event_type() == event_type,
            })
            && self.correlation.as_deref().is_none_or(|correlation| event.correlation_id() == correlation)
            && self.from.is_none_or(|from| time.is_some_and(|time| time >= from))
            && self.to.is_none_or(|to| time.is_some_and(|time| time <= to))
    }

    /// The postings to walk: of the rarest term that is given.
    fn terms(&self, store: &Database) -> Result<Vec<(Kind, u64)>, Error> {
        Ok(match (&self.subject, &self.correlation, &self.event_type) {
            (_, Some(correlation), _) => vec![(Kind::Correlation, term_hash(correlation)), (Kind::Id, term_hash(correlation))],
            (Some(subject), _, _) => vec![(Kind::Subject, term_hash(subject))],
            (_, _, Some(event_type)) => match event_type.strip_suffix('*') {
                Some(prefix) => terms_of_prefix(store, prefix)?,
                None => vec![(Kind::Type, term_hash(event_type))],
            },
            _ => vec![(Kind::All, term_hash(""))],
        })
    }
}

/// The postings of the types that begin with `prefix`; those of all events where they are too many to walk side by side.
fn terms_of_prefix(store: &Database, prefix: &str) -> Result<Vec<(Kind, u64)>, Error> {
    let from = [TYPES, prefix.as_bytes()].concat();
    let mut stored = store.iterate(Table::Meta, &from)?;
    stored.seek(&from);
    let mut terms = Vec::new();
    while let Some(name) = stored.key().and_then(|key| key.strip_prefix(TYPES)) {
        if terms.len() == WALKED_TYPES {
            return Ok(vec![(Kind::All, term_hash(""))]);
        }
        terms.push((Kind::Type, xxh3_64(name)));
        stored.next();
    }
    store.noted(stored.status())?;
    Ok(terms)
}

/// An event and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The topic partition.
    pub at: TopicPartition,
    /// Its position there.
    pub position: Position,
    /// The event.
    pub event: Event,
}

impl Located {
    /// As JSON: the CloudEvent, with `position` as `topic/partition@position` beside it.
    pub fn to_json(&self) -> serde_json::Value {
        json!({"position": format!("{}@{}", self.at, self.position), "event": self.event.to_json()})
    }
}

/// A page of a search. It may be empty and still have a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPage {
    /// What was found, in recorded order; within a partition in its order.
    pub items: Vec<Located>,
    /// Where to go on; `None` at the end.
    pub next_cursor: Option<String>,
}

/// Next position of each partition that has moved, written `topic/partition:position,…`.
fn parse_cursor(text: &str) -> Result<BTreeMap<TopicPartition, Position>, Error> {
    let parse = |part: &str| -> Option<(TopicPartition, Position)> {
        let (at, position) = part.rsplit_once(':')?;
        Some((at.parse().ok()?, position.parse().ok()?))
    };
    text.split(',').filter(|part| !part.is_empty()).map(|part| parse(part).ok_or(Error::Cursor)).collect()
}

/// Reads single events, keeping the last batch.
pub(super) struct EventReader<'a> {
    pub(super) log: &'a dyn EventLog,
    pub(super) batch: Option<Arc<Batch>>,
}

impl EventReader<'_> {
    pub(super) fn read(&mut self, at: &TopicPartition, position: Position) -> Result<Option<EventView<'_>>, Error> {
        let holds = |batch: &Arc<Batch>| batch.topic_partition() == at && (batch.base()..batch.end()).contains(&position);
        if !self.batch.as_ref().is_some_and(holds) {
            self.batch = match self.log.read(at, position, 1) {
                Ok(batches) => batches.into_iter().find(holds),
                Err(tol_kafka::Error::OutOfRange { .. }) => None,
                Err(problem) => return Err(problem.into()),
            };
        }
        Ok(self.batch.as_ref().and_then(|batch| batch.event((position - batch.base()) as usize)))
    }
}

/// The postings of one term in one partition, in order.
pub(super) struct PostingReader<'a> {
    store: &'a Database,
    rows: DBRawIterator<'a>,
    buffered: VecDeque<Position>,
}

impl PostingReader<'_> {
    pub(super) fn next(&mut self, from: Position) -> Result<Option<Position>, Error> {
        loop {
            while let Some(position) = self.buffered.pop_front() {
                if position >= from {
                    return Ok(Some(position));
                }
            }
            self.store.noted(self.rows.status())?;
            let Some((key, value)) = self.rows.item() else { return Ok(None) };
            let first = key.get(13..21).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
            let mut position = first.ok_or_else(|| Error::Store("an index row does not read".to_owned()))?;
            self.buffered.push_back(position);
            for delta in read_deltas(value) {
                position = position.saturating_add(delta);
                self.buffered.push_back(position);
            }
            self.rows.next();
        }
    }
}

/// One partition's matches.
struct Stream<'a> {
    at: TopicPartition,
    /// One for each term; their positions are merged.
    postings: Vec<(PostingReader<'a>, Option<Position>)>,
    events: EventReader<'a>,
    /// Next position to look at.
    next: Position,
    head: Option<(EventTime, Position, Event)>,
    /// The postings have come to their end.
    ended: bool,
}

impl Stream<'_> {
    /// Finds the next match; counts what it reads.
    fn advance(&mut self, query: &SearchQuery, scanned: &mut usize) -> Result<(), Error> {
        while self.head.is_none() && *scanned < SCANNED {
            for (postings, waiting) in &mut self.postings {
                if waiting.is_none_or(|position| position < self.next) {
                    *waiting = postings.next(self.next)?;
                }
            }
            let Some(position) = self.postings.iter().filter_map(|(_, waiting)| *waiting).min() else {
                self.ended = true;
                return Ok(());
            };
            self.next = position + 1;
            *scanned += 1;
            if let Some(event) = self.events.read(&self.at, position)?
                && query.matches(&event)
            {
                let time = event.recorded_time().or_else(|| event.time()).unwrap_or_default();
                self.head = Some((time, position, event.to_event()));
            }
        }
        Ok(())
    }

    fn exhausted(&self) -> bool {
        self.head.is_none() && self.ended
    }
}

impl EventIndex {
    /// Events that match, in recorded order.
    ///
    /// # Errors
    /// [`Error::Cursor`], or the log or the store failed.
    pub fn search(&self, query: &SearchQuery) -> Result<SearchPage, Error> {
        self.take_newest();
        let moved = query.cursor.as_deref().map(parse_cursor).transpose()?.unwrap_or_default();
        let store = self.database()?;
        let terms = query.terms(&store)?;
        let partitions: Vec<(TopicPartition, u16)> = self.state.lock().partitions.iter().map(|(at, partition)| (at.clone(), partition.topic_number)).collect();
        let mut scanned = 0;
        let mut streams = Vec::new();
        for (at, topic_number) in partitions {
            let next = moved.get(&at).copied().unwrap_or_default();
            let mut postings = Vec::new();
            for (kind, hash) in &terms {
                postings.push((Self::postings(&store, *kind, *hash, topic_number, at.partition, next)?, None));
            }
            let mut stream = Stream { at, postings, events: EventReader { log: &*self.log, batch: None }, next, head: None, ended: false };
            stream.advance(query, &mut scanned)?;
            if stream.head.is_some() || !stream.exhausted() {
                streams.push(stream);
            }
        }
        let mut page = SearchPage::default();
        let mut moved = moved;
        while page.items.len() < query.limit && scanned < SCANNED {
            let first = streams.iter().enumerate().filter_map(|(place, stream)| stream.head.as_ref().map(|(time, ..)| (*time, place))).min();
            let Some((_, place)) = first else { break };
            let stream = &mut streams[place];
            if let Some((_, position, event)) = stream.head.take() {
                moved.insert(stream.at.clone(), position + 1);
                page.items.push(Located { at: stream.at.clone(), position, event });
            }
            stream.advance(query, &mut scanned)?;
        }
        if streams.iter().any(|stream| !stream.exhausted()) {
            for stream in &streams {
                // A head that was not handed out is found again; what was looked at in vain is not looked at again.
                moved.insert(stream.at.clone(), stream.head.as_ref().map_or(stream.next, |(_, position, _)| *position));
            }
            let parts: Vec<String> = moved.iter().map(|(at, position)| format!("{at}:{position}")).collect();
            page.next_cursor = Some(parts.join(","));
        }
        Ok(page)
    }

    pub(super) fn postings(store: &Database, kind: Kind, hash: u64, topic_number: u16, partition: u32, from: Position) -> Result<PostingReader<'_>, Error> {
        let mut prefix = vec![kind as u8];
        prefix.extend_from_slice(&hash.to_be_bytes());
        prefix.extend_from_slice(&topic_number.to_be_bytes());
        prefix.extend_from_slice(&(partition as u16).to_be_bytes());
        let mut options = Database::prefix_options(&prefix);
        options.set_iterate_lower_bound(prefix.clone());
        let mut rows = store.db().raw_iterator_cf_opt(store.family(Table::Index)?, options);
        // The row that `from` lies in may begin below it.
        rows.seek_for_prev([&prefix[..], &from.to_be_bytes()[..]].concat());
        if !rows.valid() {
            rows.seek(&prefix);
        }
        Ok(PostingReader { store, rows, buffered: VecDeque::new() })
    }

    /// All events with this id (ids are unique within a source only).
    ///
    /// # Errors
    /// The log or the store failed.
    pub fn by_id(&self, id: &str) -> Result<Vec<Located>, Error> {
        let found = self.indexed_by_id(id)?;
        if !found.is_empty() {
            return Ok(found);
        }
        self.take_newest();
        self.indexed_by_id(id)
    }

    fn indexed_by_id(&self, id: &str) -> Result<Vec<Located>, Error> {
        let store = self.database()?;
        let partitions: Vec<(TopicPartition, u16)> = self.state.lock().partitions.iter().map(|(at, partition)| (at.clone(), partition.topic_number)).collect();
        let mut events = EventReader { log: &*self.log, batch: None };
        let mut found = Vec::new();
        for (at, topic_number) in partitions {
            let mut postings = Self::postings(&store, Kind::Id, term_hash(id), topic_number, at.partition, 0)?;
            let mut next = 0;
            while let Some(position) = postings.next(next)? {
                next = position + 1;
                if let Some(event) = events.read(&at, position)?.filter(|event| event.id() == id) {
                    found.push(Located { at: at.clone(), position, event: event.to_event() });
                }
            }
        }
        Ok(found)
    }

    /// What happened to a subject, in recorded order over all topics.
    ///
    /// # Errors
    /// As [`EventIndex::search`].
    pub fn timeline(&self, subject: &str, limit: usize, cursor: Option<&str>) -> Result<SearchPage, Error> {
        self.search(&SearchQuery { subject: Some(subject.to_owned()), limit, cursor: cursor.map(str::to_owned), ..SearchQuery::default() })
    }

    /// The tree of causes of one request: `{"correlation", "count", "truncated", "roots": [{"position", "event", "caused": […]}]}`; `None` if there is no such event.
    ///
    /// # Errors
    /// As [`EventIndex::search`].
    pub fn trace(&self, correlation: &str) -> Result<Option<serde_json::Value>, Error> {
        let mut events: Vec<Located> = Vec::new();
        let mut query = SearchQuery { correlation: Some(correlation.to_owned()), limit: 500, ..SearchQuery::default() };
        let truncated = loop {
            let page = self.search(&query)?;
            events.extend(page.items);
            query.cursor = page.next_cursor;
            if events.len() >= TRACED || query.cursor.is_none() {
                break query.cursor.is_some();
            }
        };
        if events.is_empty() {
            return Ok(None);
        }
        let ids: BTreeSet<&str> = events.iter().map(|located| located.event.get(Attribute::Id)).collect();
        let mut caused: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut roots = Vec::new();
        for (place, located) in events.iter().enumerate() {
            let (id, cause) = (located.event.get(Attribute::Id), located.event.get(Attribute::CausationId));
            if cause != id && ids.contains(cause) {
                caused.entry(cause).or_default().push(place);
            } else {
                roots.push(place);
            }
        }
        let mut shown = BTreeSet::new();
        let mut trees: Vec<serde_json::Value> = roots.iter().map(|root| tree(*root, &events, &caused, &mut shown)).collect();
        // Events that cause each other in a circle have no root; each is still shown once.
        for place in 0..events.len() {
            if !shown.contains(&place) {
                trees.push(tree(place, &events, &caused, &mut shown));
            }
        }
        Ok(Some(json!({"correlation": correlation, "count": events.len(), "truncated": truncated, "roots": trees})))
    }
}

fn tree(place: usize, events: &[Located], caused: &BTreeMap<&str, Vec<usize>>, shown: &mut BTreeSet<usize>) -> serde_json::Value {
    let mut value = events[place].to_json();
    let mut children = Vec::new();
    if shown.insert(place) {
        for child in caused.get(events[place].event.get(Attribute::Id)).into_iter().flatten() {
            if !shown.contains(child) {
                children.push(tree(*child, events, caused, shown));
            }
        }
    }
    value["caused"] = children.into();
    value
}
