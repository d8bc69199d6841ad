//! Inputs to groups of own events: routing, deciding with panics caught, retrying, numbering.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tol_events::personal::{self, PERSONAL_SUBJECT};
use tol_events::registry::KnownType;
use tol_events::{Attribute, Event, EventTime, id, reserved};
use tol_kafka::{Cursor, Position, Record, TopicPartition};
use tol_system::{Decision, Draft, EffectOutcome, Evolution, Input};

use super::cache::DueTimer;
use super::fold::{EFFECT_MARK, TIMER_MARK, apply, evolve, fold_parking, marks, panic_text, parking, write_positions};
use super::{Action, Error, Moment, Mutation, Owner, Waiting, recipient};

/// What led to a group of own events. Of an event it borrows all: nearly all inputs lead to nothing.
#[derive(Clone, Debug)]
pub(super) struct Cause<'a> {
    /// The input's source, or what stands for it.
    pub source: Cow<'a, str>,
    /// The input's id.
    pub id: Cow<'a, str>,
    /// The request it belongs to.
    pub correlation: Cow<'a, str>,
    /// W3C trace context.
    pub trace: Option<&'a str>,
    /// The input's time.
    pub time: EventTime,
    /// Extensions of the group's first event that tell the fold what was consumed.
    pub marks: Vec<(&'static str, String)>,
    /// Where the input lies, for people.
    pub at: Place<'a>,
}

impl Cause<'_> {
    /// The id of the `index`-th event it leads to.
    pub(super) fn derived_id(&self, system: &str, index: u32) -> String {
        id::derived(system, &self.source, &self.id, index).to_string()
    }
}

/// Where an input lies.
#[derive(Clone, Debug)]
pub(super) enum Place<'a> {
    /// In the log.
    At(&'a TopicPartition, Position),
    /// Not there, or told earlier.
    Told(Cow<'a, str>),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::At(partition, position) => write!(f, "{partition}@{position}"),
            Place::Told(text) => f.write_str(text),
        }
    }
}

/// An own event before it is numbered.
#[derive(Clone, Debug)]
pub(super) struct OwnDraft {
    event_type: &'static str,
    data: Vec<u8>,
    time: Option<EventTime>,
    target: Option<String>,
    /// Whose key seals it, where that is not its subject.
    person: Option<String>,
}

impl OwnDraft {
    /// One of the runtime's own.
    pub(super) fn reserved<T: serde::Serialize>(event_type: &'static str, data: &T) -> Self {
        // Plain structs of strings and numbers always serialise.
        Self { event_type, data: serde_json::to_vec(data).unwrap_or_default(), time: None, target: None, person: None }
    }
}

impl Owner {
    /// Decides what waits, as far as one batch goes.
    pub(super) fn decide_waiting(&mut self, moment: Moment) -> Result<(), Error> {
        while self.building.records.len() < self.options.batch_events && moment.now_ms >= self.retry.1 && !self.is_halted_by_now() {
            let Some(front) = self.waiting.pop_front() else { break };
            let done = match &front {
                Waiting::Moved { partition, after, count, .. } => {
                    let before = self.moved_inputs;
                    self.advance(partition, *after);
                    self.moved_inputs += count.saturating_sub(1);
                    // Checkpoints of the system's other owners lie in its own topic: counted, they would cause checkpoints for ever.
                    if *partition.topic == *self.own().topic {
                        self.moved_inputs = before;
                    }
                    true
                }
                Waiting::Event { batch, index, after, .. } => self.decide_event(&batch.clone(), *index, *after, moment)?,
                Waiting::Effect { request_id, outcome, at } => self.decide_effect(request_id, outcome, *at, moment)?,
            };
            if done {
                if let Waiting::Effect { request_id, .. } = &front {
                    self.results.remove(request_id);
                }
                self.counts.consumed += 1;
                self.shared_waiting -= usize::from(front.is_shared());
                self.retry = (0, 0);
            } else {
                self.waiting.push_front(front);
            }
        }
        if self.moved_inputs >= self.options.checkpoint_inputs && self.building.records.is_empty() {
            self.checkpoint(moment)?;
        }
        Ok(())
    }

    /// E8: records input positions that led to nothing, as a numbered group of one.
    fn checkpoint(&mut self, moment: Moment) -> Result<(), Error> {
        let cause = Cause {
            source: "checkpoint".into(),
            id: format!("{}@{}", self.own(), self.writer.next_position()).into(),
            correlation: "".into(),
            trace: None,
            time: moment.wall,
            marks: Vec::new(),
            at: Place::Told("".into()),
        };
        let subject = format!("partition/{}", self.partition);
        self.emit_own(&subject, &cause, vec![OwnDraft::reserved(reserved::CHECKPOINTED, &serde_json::json!({}))], moment)
    }

    /// The position moves with the group the input leads to, or with a later one. Returns what [`Owner::go_back`] takes.
    fn advance(&mut self, partition: &TopicPartition, after: Cursor) -> (Option<Cursor>, bool) {
        let before = match self.positions.get_mut(partition) {
            Some(cursor) => Some(std::mem::replace(cursor, after)),
            None => self.positions.insert(partition.clone(), after),
        };
        let moved = self.moved.contains(partition);
        if !moved {
            self.moved.insert(partition.clone());
        }
        self.moved_inputs += 1;
        (before, moved)
    }

    /// The input is not done with after all.
    fn go_back(&mut self, partition: &TopicPartition, (before, moved): (Option<Cursor>, bool)) {
        match before {
            Some(cursor) => self.positions.insert(partition.clone(), cursor),
            None => self.positions.remove(partition),
        };
        if !moved {
            self.moved.remove(partition);
        }
        self.moved_inputs -= 1;
    }

    /// Whether the input is done with; `false` where it has to be offered again.
    fn decide_event(&mut self, batch: &Arc<tol_kafka::Batch>, index: usize, after: Cursor, moment: Moment) -> Result<bool, Error> {
        let partition = batch.topic_partition();
        let Some(event) = batch.event(index) else { return Err(Error::Internal("an accepted event is not in its batch")) };
        if &*partition.topic == "clock" {
            return self.decide_timers(event.time().unwrap_or_default(), partition, after, moment);
        }
        let input = Input::Event(event);
        if !self.is_mine(partition, &input) {
            self.advance(partition, after);
            return Ok(true);
        }
        let cause = Cause::of_event(event, Place::At(partition, after.position.saturating_sub(1)));
        let before = self.advance(partition, after);
        let done = self.settle(input, cause, None, moment)?;
        if !done {
            self.go_back(partition, before);
        }
        Ok(done)
    }

    /// Whether an event of an input topic is for this owner: wanted, and of a subject of this partition.
    fn is_mine(&self, partition: &TopicPartition, input: &Input<'_>) -> bool {
        let Input::Event(event) = input else { return true };
        let number = recipient(&self.description.inputs, self.options.partitions, partition, *event);
        // What concerns all nodes concerns all owners.
        number.is_some_and(|number| number == self.partition || (&*partition.topic == "control" && event.target().is_none()))
    }

    /// Fires every timer that is due at a tick, in (due, subject, id) order.
    fn decide_timers(&mut self, now: EventTime, partition: &TopicPartition, after: Cursor, moment: Moment) -> Result<bool, Error> {
        while let Some(DueTimer { due, subject, id: timer, set_by, correlation }) = self.cache.due_timer(now)? {
            if self.building.records.len() >= self.options.batch_events || moment.now_ms < self.retry.1 || self.is_halted_by_now() {
                return Ok(false);
            }
            let cause = Cause {
                source: "timer".into(),
                // With what set it: a timer may be set again for a time at which it fired already.
                id: format!("{subject}\u{0}{timer}\u{0}{due}\u{0}{set_by}").into(),
                correlation: correlation.into(),
                trace: None,
                time: due,
                marks: vec![(TIMER_MARK, timer.clone())],
                at: Place::Told(format!("timer {timer}").into()),
            };
            let input = Input::Timer { id: &timer, subject: &subject, due };
            let mut otherwise = Some(reserved::TIMER_FIRED);
            if self.options.breaks(Mutation::TimerSilent) {
                self.cache.set_timer(&subject, &timer, None)?;
                otherwise = None;
            }
            if !self.settle(input, cause, otherwise, moment)? {
                return Ok(false);
            }
            self.retry = (0, 0);
        }
        self.advance(partition, after);
        Ok(true)
    }

    fn decide_effect(&mut self, request_id: &str, outcome: &EffectOutcome, at: EventTime, moment: Moment) -> Result<bool, Error> {
        let Some(pending) = self.cache.effect(request_id)? else {
            // E7: where what settled it is not committed yet, the commit says so.
            if self.building.records.is_empty() && self.in_flight.is_none() {
                self.actions.push(Action::EffectSettled(request_id.to_owned()));
            }
            return Ok(true);
        };
        let cause = Cause {
            source: "effect".into(),
            id: request_id.into(),
            correlation: pending.correlation.into(),
            trace: None,
            time: at,
            marks: vec![(EFFECT_MARK, request_id.to_owned())],
            at: Place::Told(format!("effect {request_id}").into()),
        };
        let input = Input::Effect { request_id, subject: &pending.subject, outcome, at };
        self.settle(input, cause, Some(reserved::EFFECT_SETTLED), moment)
    }

    /// Decides one input: emits its group, retries it later (`false`), or parks it. `otherwise` is emitted where nothing else is.
    fn settle(&mut self, input: Input<'_>, cause: Cause<'_>, otherwise: Option<&'static str>, moment: Moment) -> Result<bool, Error> {
        let subject = input.subject();
        if self.is_parked(subject)? && !self.options.breaks(Mutation::ParkedOvertaken) {
            self.park(input, &cause, format!("waits behind an earlier input of {subject} that is parked"), 0, moment)?;
            return Ok(true);
        }
        let problem = match self.decide(subject, input, &cause)? {
            Ok(drafts) if drafts.is_empty() && otherwise.is_none() => return Ok(true),
            Ok(drafts) => {
                let drafts = match otherwise {
                    Some(event_type) if drafts.is_empty() => vec![OwnDraft::reserved(event_type, &serde_json::json!({ "at": cause.at.to_string() }))],
                    _ => drafts,
                };
                match self.emit(subject, &cause, drafts, moment)? {
                    Ok(()) => return Ok(true),
                    Err(problem) => problem,
                }
            }
            Err(problem) => problem,
        };
        self.counts.failures += 1;
        self.last_problem = Some(problem.clone());
        let attempts = self.retry.0 + 1;
        if attempts < self.options.attempts {
            self.retry = (attempts, moment.now_ms + (self.options.retry_ms << (attempts - 1).min(16)));
            return Ok(false);
        }
        self.park(input, &cause, problem, attempts, moment)?;
        Ok(true)
    }

    /// Runs `decide` with panics turned into failures of this input. The outer error is the store's.
    pub(super) fn decide(&mut self, subject: &str, input: Input<'_>, cause: &Cause<'_>) -> Result<Result<Vec<OwnDraft>, String>, Error> {
        let system = self.system.clone();
        let state = match self.cache.state(subject) {
            Ok(state) => state,
            Err(Error::System(problem)) => return Ok(Err(problem.to_string())),
            Err(other) => return Err(other),
        };
        let mut decision = Decision::new(self.description.name, &cause.source, &cause.id);
        let started = Instant::now(); // for the metric only
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| system.decide(state, input, &mut decision).and_then(|()| decision.finish())));
        let elapsed = started.elapsed();
        self.counts.decide_micros += elapsed.as_micros() as u64;
        self.decision_seconds.record(elapsed);
        let drafts = match outcome {
            Err(panic) => return Ok(Err(format!("decide panicked: {}", panic_text(&*panic)))),
            Ok(Err(problem)) => return Ok(Err(problem.to_string())),
            Ok(Ok(drafts)) => drafts,
        };
        if drafts.len() > self.options.group_events {
            return Ok(Err(format!(
                "one input led to {} events; at most {} are allowed, split the work with a timer",
                drafts.len(),
                self.options.group_events
            )));
        }
        if let Some(unlisted) = drafts.iter().find(|draft| !self.description.emits.contains(&draft.event_type)) {
            return Ok(Err(format!("{} is not listed among the events that {} emits", unlisted.event_type, self.description.name)));
        }
        let own = |Draft { event_type, data, time, target, person }| OwnDraft { event_type, data, time, target, person };
        Ok(Ok(drafts.into_iter().map(own).collect()))
    }

    /// [`Owner::emit`] of the runtime's own events, which no system can refuse.
    pub(super) fn emit_own(&mut self, subject: &str, cause: &Cause<'_>, drafts: Vec<OwnDraft>, moment: Moment) -> Result<(), Error> {
        self.emit(subject, cause, drafts, moment)?.map_err(|_| Error::Internal("an event of the runtime's own was refused"))
    }

    /// Numbers a group, folds it into the overlay and adds it to the batch. What cannot be folded is refused before it is written:
    /// the inner error. The outer one is the store's, and the owner ends: half a group may be in the overlay.
    pub(super) fn emit(&mut self, subject: &str, cause: &Cause<'_>, drafts: Vec<OwnDraft>, moment: Moment) -> Result<Result<(), String>, Error> {
        // On a copy first: an event that its own system cannot fold must not reach the log. The runtime's own are not folded by it.
        let folds = drafts.iter().any(|draft| !draft.event_type.starts_with(reserved::PREFIX));
        let mut trial = if folds { Some(self.cache.copy_of(subject)?) } else { None };
        let count = drafts.len();
        let first_sequence = self.writer.peek_sequence();
        let epoch = self.writer.epoch();
        let moved = write_positions(self.moved.iter().filter_map(|partition| Some((partition, self.positions.get(partition)?))));
        let mut events = Vec::with_capacity(count);
        for (index, draft) in drafts.into_iter().enumerate() {
            let mut event =
                Event::new(cause.derived_id(self.description.name, index as u32), format!("/systems/{}", self.description.name), draft.event_type, subject);
            event.set(Attribute::Time, draft.time.unwrap_or(cause.time).to_string());
            event.set(Attribute::RecordedTime, moment.wall.to_string());
            event.set(Attribute::CausationId, cause.id.replace('\u{0}', "/"));
            event.set(Attribute::Epoch, epoch.to_string());
            event.set(Attribute::Sequence, (first_sequence + index as u64).to_string());
            event.set(Attribute::InputIndex, format!("{}/{count}", index + 1));
            if !cause.correlation.is_empty() {
                event.set(Attribute::CorrelationId, cause.correlation.clone().into_owned());
            }
            if let Some(trace) = cause.trace {
                event.set(Attribute::TraceParent, trace.to_owned());
            }
            if let Some(target) = draft.target {
                event.set(Attribute::Target, target);
            }
            if index == 0 {
                if !moved.is_empty() {
                    event.set(Attribute::InputPosition, moved.clone());
                }
                event.extensions.extend(cause.marks.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            }
            event.data = draft.data;
            if let Some(person) = draft.person {
                event.extensions.insert(PERSONAL_SUBJECT.to_owned(), person);
            }
            if let Some(known) = tol_events::registry::known(draft.event_type) {
                event.set(Attribute::DataSchema, tol_events::domain::schema_uri(draft.event_type));
                // Before it is folded: what is remembered of a person is sealed too.
                if let Err(problem) = self.seal(&mut event, known)? {
                    return Ok(Err(problem));
                }
            }
            let encoded = event.encode();
            let mut evolution = Evolution::default();
            if let Some(trial) = trial.as_mut().filter(|_| !draft.event_type.starts_with(reserved::PREFIX))
                && let Err(problem) = evolve(self.system.as_ref(), trial, encoded.view(), &mut evolution)
            {
                return Ok(Err(problem.to_string()));
            }
            events.push((event, encoded, evolution));
        }
        self.accept_group(subject, trial, events)?;
        if self.options.breaks(Mutation::GroupCompleted) {
            let group = self.building.records.len() - count;
            self.building.records.drain(group..group + self.writer.begun(count));
        }
        Ok(Ok(()))
    }

    /// Seals the personal fields of an own event as those of facts are. The inner error is the event's, the outer one the key store's.
    fn seal(&self, event: &mut Event, known: &KnownType) -> Result<Result<(), String>, Error> {
        if known.personal.is_empty() {
            return Ok(Ok(()));
        }
        let Some(keys) = &self.keys else { return Ok(Err(format!("{} holds personal data, and there is no key store", known.event_type))) };
        match personal::encrypt_own_fields(event, known, keys.as_ref()) {
            Ok(()) => Ok(Ok(())),
            Err(error) if error.is_of_the_event() => Ok(Err(error.to_string())),
            Err(error) => Err(Error::Keys(error.to_string())),
        }
    }

    fn accept_group(
        &mut self,
        subject: &str,
        trial: Option<tol_system::State>,
        events: Vec<(Event, tol_events::EncodedEvent, Evolution)>,
    ) -> Result<(), Error> {
        if let Some(trial) = trial {
            *self.cache.state_mut(subject)? = trial;
        }
        for (event, encoded, evolution) in events {
            let (_, sequence) = self.writer.number();
            let view = encoded.view();
            self.building.settled.extend(marks(&mut self.cache, view)?);
            match view.event_type() {
                event_type if parking(event_type) => fold_parking(&mut self.cache, view, sequence)?,
                _ => self.building.effects.extend(apply(&mut self.cache, view, evolution)?),
            }
            self.building.last_id = view.id().to_owned();
            self.building.records.push(Record::from_event(&event));
        }
        // The group's first event carries what moved (E5).
        for partition in std::mem::take(&mut self.moved) {
            if let Some(cursor) = self.positions.get(&partition) {
                self.recorded.insert(partition, *cursor);
            }
        }
        self.moved_inputs = 0;
        Ok(())
    }
}
