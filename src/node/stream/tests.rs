use std::collections::{BTreeMap, BTreeSet};

use tol_events::reserved::{OWNER_CLAIMED, OwnerClaimed};
use tol_events::{Attribute, Event, EventTime};
use tol_kafka::{Append, EventLog, Faults, MemoryLog, Record, TopicPartition, TopicSpec};
use tol_plug::Kind;

use super::merge::{Merge, Step};
use super::token::{self, CLOCKS_APART_MS, NAMED, Token};
use super::*;

/// A log whose partitions one owner has claimed, and its clock.
struct Owned {
    log: MemoryLog,
    sequences: BTreeMap<TopicPartition, u64>,
    now_ms: i64,
}

const HOUR: i64 = 3_600_000;

impl Owned {
    fn new(topics: &[&str], partitions: u32) -> Self {
        let mut owned = Self { log: MemoryLog::new(1, Faults::default()), sequences: BTreeMap::new(), now_ms: 0 };
        owned.at(HOUR);
        topics.iter().for_each(|topic| owned.add_topic(topic, partitions));
        owned
    }

    fn add_topic(&mut self, topic: &str, partitions: u32) {
        self.log.ensure_topics(&[TopicSpec { name: topic.to_owned(), partitions, retention: None }]).unwrap();
        for partition in 0..partitions {
            let to = TopicPartition::new(topic, partition);
            let claim = OwnerClaimed { epoch: 1, nonce: "n".into(), node: "http://localhost".into(), code_version: "1".into(), config_hash: "0".into() };
            let mut event = Event::new(format!("claim-{to}"), "/test", OWNER_CLAIMED, "system/test").with_data(&claim).unwrap();
            event.set(Attribute::Epoch, "1");
            self.append(&to, event);
            self.sequences.insert(to, 0);
        }
    }

    fn at(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.log.set_time(EventTime::from_millis(now_ms));
    }

    fn append(&self, to: &TopicPartition, event: Event) {
        self.log.append(vec![Append { to: to.clone(), expected: None, records: vec![Record::from_event(&event)] }], Box::new(|done| drop(done.unwrap())));
    }

    /// Appends an event; its id is what is said of it.
    fn write(&mut self, to: &TopicPartition, id: &str) {
        let sequence = self.sequences.get_mut(to).unwrap();
        *sequence += 1;
        let mut event = Event::new(id, "/test", "a.b.v1", "customer/1");
        event.set(Attribute::Sequence, sequence.to_string()).set(Attribute::Epoch, "1");
        self.append(to, event);
    }

    fn merge(&self, resume: Option<&str>) -> Result<Merge, Problem> {
        let resume = resume.map(|text| token::parse(text, self.now_ms)).transpose()?;
        Merge::begin(Arc::new(self.log.clone()), Box::new(|_| tol_kafka::Cursor::default()), resume, self.now_ms)
    }

    /// All that a stream has for now: ids and tokens.
    fn drain(&self, merge: &mut Merge) -> Vec<(String, String)> {
        self.take(merge, usize::MAX)
    }

    fn take(&self, merge: &mut Merge, most: usize) -> Vec<(String, String)> {
        let mut taken = Vec::new();
        let is_fact = |event: EventView<'_>| event.event_type() == "a.b.v1";
        while merge.step(self.now_ms, &is_fact, &mut |delivered| {
            taken.push((delivered.event.get(Attribute::Id).to_owned(), delivered.token));
            taken.len() < most
        }) == Ok(Step::Moved)
        {}
        taken
    }
}

fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(topic, number)
}

fn ids(taken: &[(String, String)]) -> Vec<&str> {
    taken.iter().map(|(id, _)| id.as_str()).collect()
}

#[test]
fn a_token_reads_back_and_so_does_one_of_the_old_format() {
    let named = BTreeMap::from([(partition("facts.customer", 3), 120), (partition("control", 0), 7)]);
    assert_eq!(token::parse("at:5000,control/0:7,facts.customer/3:120", 6_000).unwrap(), Token { time_ms: 5_000, named: named.clone() });
    assert_eq!(token::parse("control/0:7,facts.customer/3:120", 0).unwrap(), Token { time_ms: 0, named });
    assert_eq!(token::parse("start", 0).unwrap(), Token::default());
    assert_eq!(token::parse("at:-3", 0).unwrap(), Token::default());
    for wrong in ["", "x", "at:", "at:x", "at:1,", "at:1,x", "facts.customer/3", "facts.customer/3:-1", "a/1:1,", "start,a/1:1"] {
        assert_eq!(token::parse(wrong, 10).unwrap_err().kind, Kind::INVALID_CURSOR, "{wrong}");
    }
    assert_eq!(token::parse("at:900000", 1).unwrap_err().kind, Kind::STREAM_AHEAD);
}

#[test]
fn a_stream_goes_on_behind_any_of_its_tokens_without_gap_or_repeat() {
    let mut owned = Owned::new(&["facts.customer", "facts.service"], 4);
    let all: Vec<TopicPartition> = ["facts.customer", "facts.service"].iter().flat_map(|topic| (0..4).map(|number| partition(topic, number))).collect();
    let mut live = owned.merge(None).unwrap();
    let head = live.token();
    let mut taken = Vec::new();
    for number in 0..120_i64 {
        owned.at(HOUR + number * 700);
        owned.write(&all[(number * 5 % 8) as usize], &number.to_string());
        if number % 3 == 0 {
            taken.extend(owned.drain(&mut live));
        }
    }
    taken.extend(owned.drain(&mut live));
    let every: BTreeSet<String> = (0..120).map(|number| number.to_string()).collect();
    assert_eq!((taken.len(), taken.iter().map(|(id, _)| id.clone()).collect::<BTreeSet<_>>()), (120, every.clone()));
    for (place, (_, token)) in std::iter::once((0, &(String::new(), head))).chain(taken.iter().enumerate().map(|(place, one)| (place + 1, one))) {
        let rest = owned.drain(&mut owned.merge(Some(token)).unwrap());
        let seen: BTreeSet<&str> = ids(&taken[..place]).into_iter().chain(ids(&rest)).collect();
        assert_eq!((place + rest.len(), seen.len()), (120, 120), "after {place}: {token}");
    }
}

#[test]
fn a_token_is_bounded_whatever_the_number_of_partitions_and_nothing_is_left_out() {
    const PARTITIONS: u32 = 300;
    let mut owned = Owned::new(&["facts.customer"], PARTITIONS);
    let mut live = owned.merge(None).unwrap();
    // All of them in one second, three times.
    let mut taken = Vec::new();
    for round in 1..4 {
        owned.at(HOUR * round + HOUR - 10_000);
        owned.drain(&mut live);
        owned.at(HOUR * round + HOUR);
        (0..PARTITIONS).for_each(|number| owned.write(&partition("facts.customer", number), &format!("{round}-{number}")));
        taken.extend(owned.drain(&mut live));
    }
    assert_eq!(taken.len(), 3 * PARTITIONS as usize);
    for (place, (_, token)) in taken.iter().enumerate().step_by(37) {
        assert!(token.len() < 64 + (NAMED + 1) * 32, "{} bytes: {token}", token.len());
        let rest = owned.drain(&mut owned.merge(Some(token)).unwrap());
        let (seen, rest): (BTreeSet<&str>, BTreeSet<&str>) = (ids(&taken[..=place]).into_iter().collect(), ids(&rest).into_iter().collect());
        assert_eq!(seen.union(&rest).count(), taken.len(), "nothing is skipped after {place}");
        // What comes again is of the same moment.
        let round = taken[place].0.split('-').next().unwrap();
        assert!(seen.intersection(&rest).all(|id| id.starts_with(round)), "after {place}");
    }
    owned.at(HOUR * 10);
    owned.drain(&mut live);
    assert_eq!(live.token(), format!("at:{}", HOUR * 10 - CLOCKS_APART_MS), "what is long past needs no names");
}

#[test]
fn a_stream_begins_at_the_start_or_at_a_time() {
    let mut owned = Owned::new(&["facts.customer", "facts.service"], 2);
    for number in 0..40_i64 {
        owned.at(HOUR + number * 60_000);
        let topic = if number % 4 < 2 { "facts.service" } else { "facts.customer" };
        owned.write(&partition(topic, (number % 2) as u32), &format!("{number:02}"));
    }
    let sorted = |taken: &[(String, String)]| -> Vec<String> {
        let mut ids: Vec<String> = taken.iter().map(|(id, _)| id.clone()).collect();
        ids.sort();
        ids
    };
    let expected: Vec<String> = (0..40).map(|number| format!("{number:02}")).collect();
    assert_eq!(sorted(&owned.drain(&mut owned.merge(Some("start")).unwrap())), expected);
    let time = EventTime::from_millis(HOUR + 30 * 60_000);
    let mut from_time = owned.merge(Some(&tol_plug::platform::stream_token_at(time))).unwrap();
    let head = from_time.token();
    assert_eq!(sorted(&owned.drain(&mut from_time)), &expected[30..]);
    assert_eq!(sorted(&owned.drain(&mut owned.merge(Some(&head)).unwrap())), &expected[30..], "its first token stands for the same place");
    assert_eq!(sorted(&owned.drain(&mut owned.merge(None).unwrap())), [""; 0], "without a place it begins now");
    // In the middle of the past, a token goes on there.
    let some = owned.take(&mut owned.merge(Some("start")).unwrap(), 13);
    let rest = owned.drain(&mut owned.merge(Some(&some[12].1)).unwrap());
    assert_eq!(sorted(&[some, rest].concat()), expected);
}

#[test]
fn the_past_comes_in_about_the_order_of_recording() {
    let mut owned = Owned::new(&["facts.customer", "facts.service"], 1);
    // Each as large as what is read at a time.
    let large = |id: &str| {
        let mut event = Event::new(id, "/test", "a.b.v1", "customer/1");
        event.data = format!("\"{}\"", "x".repeat(300_000)).into_bytes();
        event
    };
    for number in 0..8_u64 {
        owned.at(HOUR + number as i64 * 60_000);
        let to = partition(if number % 2 == 0 { "facts.service" } else { "facts.customer" }, 0);
        let mut event = large(&number.to_string());
        event.set(Attribute::Sequence, (number / 2 + 1).to_string()).set(Attribute::Epoch, "1");
        owned.append(&to, event);
    }
    owned.at(2 * HOUR);
    let taken = owned.drain(&mut owned.merge(Some("start")).unwrap());
    let places: Vec<usize> = ids(&taken).iter().map(|id| id.parse().unwrap()).collect();
    assert!(places.iter().enumerate().all(|(place, number)| place.abs_diff(*number) <= 2), "{places:?}");
}

#[test]
fn a_token_that_is_ahead_of_the_log_is_refused() {
    let mut owned = Owned::new(&["facts.customer"], 2);
    let mut live = owned.merge(None).unwrap();
    owned.write(&partition("facts.customer", 1), "1");
    let token = owned.drain(&mut live).pop().unwrap().1;
    assert!(owned.merge(Some(&token)).is_ok());
    // The log as it was before, of which the token is ahead.
    let restored = Owned::new(&["facts.customer"], 2);
    assert_eq!(restored.merge(Some(&token)).err().unwrap().kind, Kind::STREAM_AHEAD, "{token}");
    let other = Owned::new(&["facts.service"], 2);
    assert_eq!(other.merge(Some(&token)).err().unwrap().kind, Kind::STREAM_AHEAD, "{token}");
    assert_eq!(owned.merge(Some("at:1,facts.customer/9:3")).err().unwrap().kind, Kind::STREAM_AHEAD);
    assert!(owned.merge(Some("at:1,facts.customer/9:0")).is_ok(), "of a partition that may still be made");
}

#[test]
fn a_topic_that_is_made_while_a_stream_runs_is_in_it() {
    let mut owned = Owned::new(&["facts.customer"], 1);
    let mut live = owned.merge(None).unwrap();
    let head = live.token();
    owned.drain(&mut live);
    owned.at(HOUR + 100);
    owned.add_topic("facts.flag", 2);
    owned.write(&partition("facts.flag", 1), "new");
    owned.at(HOUR + 3_000);
    let taken = owned.drain(&mut live);
    assert_eq!(ids(&taken), ["new"]);
    assert_eq!(ids(&owned.drain(&mut owned.merge(Some(&head)).unwrap())), ["new"]);
    assert_eq!(ids(&owned.drain(&mut owned.merge(Some(&taken[0].1)).unwrap())), [""; 0]);
}

#[test]
fn a_group_that_is_held_back_is_not_lost() {
    let mut owned = Owned::new(&["facts.customer"], 2);
    let (first, second) = (partition("facts.customer", 0), partition("facts.customer", 1));
    let mut live = owned.merge(None).unwrap();
    let half = |index: &str, sequence: &str| {
        let mut event = Event::new(format!("half-{index}"), "/test", "a.b.v1", "customer/1");
        event.set(Attribute::Sequence, sequence).set(Attribute::Epoch, "1").set(Attribute::InputIndex, format!("{index}/2"));
        event
    };
    owned.append(&first, half("1", "1"));
    owned.drain(&mut live);
    // Long after the first half something else is delivered, whose token stands before the group.
    owned.at(2 * HOUR);
    owned.drain(&mut live);
    owned.write(&second, "other");
    let token = owned.drain(&mut live).pop().unwrap().1;
    owned.append(&first, half("2", "2"));
    assert_eq!(ids(&owned.drain(&mut live)), ["half-1", "half-2"]);
    assert_eq!(ids(&owned.drain(&mut owned.merge(Some(&token)).unwrap())), ["half-1", "half-2"], "{token}");
}
