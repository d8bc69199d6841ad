//! [`Driver`]: runs one [`Owner`] against an [`EventLog`]. Blocking reads, answers through a queue; no thread of its own,
//! so that an actor and the simulation drive it alike.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tol_kafka::{Append, Appended, Batch, EventLog, Position};
use tol_system::EffectOutcome;

use crate::owner::{Action, Answered, Error, Moment, Owner, Parked, PendingEffect, Ticket};
use crate::store::Store;

/// How long an owner that writes nothing may not notice that its partition was claimed above it, in milliseconds.
pub(crate) const WATCH_MS: u64 = 1_000;

/// From so many records on that it has to fold before it can own its partition, a driver is worth a thread of its own.
const FAR_BEHIND: u64 = 1_000;

/// An answer of the log, on its way to the owner.
enum Answer {
    Claim(u64, Result<Vec<Appended>, tol_kafka::Error>),
    Batch(u64, Result<Vec<Appended>, tol_kafka::Error>),
}

/// What a driver hands to whoever runs it.
#[derive(Debug)]
pub enum Output {
    /// Run this effect; its result is offered to [`Driver::effect_ended`] until it is settled.
    StartEffect(String, PendingEffect),
    /// The result of this effect need not be offered any more.
    EffectSettled(String),
    /// Copy to the dead-letter topic.
    DeadLetter(Box<Parked>),
    /// An operator's request is settled.
    Answer(Ticket, Result<Answered, String>),
}

/// What one step did.
#[derive(Debug, Default)]
pub struct Progress {
    /// Something moved: step again before waiting.
    pub moved: bool,
    /// For the shell.
    pub outputs: Vec<Output>,
}

/// What was read: nothing from a log that cannot be read now (it is read at the next step), an error where it is damaged, lest
/// its reader waits in silence.
pub(crate) fn readable(read: Result<Vec<Arc<Batch>>, tol_kafka::Error>) -> Result<Vec<Arc<Batch>>, Error> {
    match read {
        Err(damaged @ tol_kafka::Error::Corrupt(_)) => Err(damaged.into()),
        read => Ok(read.unwrap_or_default()),
    }
}

/// One owner with its log.
pub struct Driver {
    owner: Owner,
    log: Arc<dyn EventLog>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// Called when an answer of the log arrived.
    wake: Arc<dyn Fn() + Send + Sync>,
    read_bytes: usize,
    checked: bool,
    /// Where its own topic ended when the cache was checked.
    end_at_start: Position,
    /// When the end of the own topic is looked at next, while active.
    watch_at_ms: u64,
}

impl Driver {
    /// Runs `owner`; `wake` is called, from a thread of the log's, when [`Driver::step`] has something new.
    pub fn new(owner: Owner, log: Arc<dyn EventLog>, read_bytes: usize, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { owner, log, answers: Arc::default(), wake, read_bytes, checked: false, end_at_start: 0, watch_at_ms: 0 }
    }

    /// The state machine.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The state machine, for commands.
    pub fn owner_mut(&mut self) -> &mut Owner {
        &mut self.owner
    }

    /// Whether it has much to do before it can own its partition: to look at the log for the first time, which waits for the log, to fold
    /// what its own topic held then, or to write what it folded. Costs nothing: the log is not asked.
    pub fn is_far_behind(&self) -> bool {
        let Some(position) = self.owner.read_own_from() else { return false };
        !self.checked || position + FAR_BEHIND <= self.end_at_start || self.owner.unwritten_bytes() >= self.read_bytes
    }

    /// Opens an owner's cache and checks it against the log (E10).
    ///
    /// # Errors
    /// The store failed.
    #[allow(clippy::too_many_arguments)]
    pub fn open(
        system: Arc<dyn tol_system::AnySystem>,
        partition: u32,
        node: &str,
        log: Arc<dyn EventLog>,
        store: Arc<dyn Store>,
        options: crate::owner::Options,
        nonce_seed: u64,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, Error> {
        let read_bytes = options.read_bytes;
        let owner = Owner::open(system, partition, node, &log.identity(), store, options, nonce_seed)?;
        Ok(Self::new(owner, log, read_bytes, wake))
    }

    /// E10: a cache that names what the log does not hold starts empty.
    fn check(&mut self) -> Result<bool, Error> {
        let Some(position) = self.owner.read_own_from() else { return Ok(true) };
        let Ok(bounds) = self.log.bounds(self.owner.own()) else { return Ok(false) };
        self.end_at_start = bounds.end;
        let mut known = bounds.end >= position;
        if let (true, Some((id, at))) = (known, self.owner.last_event()) {
            let batches = match self.log.read(self.owner.own(), at, 1) {
                Err(damaged @ tol_kafka::Error::Corrupt(_)) => return Err(damaged.into()),
                Err(_) => return Ok(false),
                Ok(batches) => batches,
            };
            let event = batches.first().and_then(|batch| batch.event(at.saturating_sub(batch.base()) as usize));
            known = event.is_some_and(|event| event.id() == id);
        }
        if !known {
            self.owner.forget()?;
        }
        Ok(true)
    }

    /// E6, for an owner that has nothing to append: a higher claim shows at the end of its topic.
    fn watch(&mut self, now_ms: u64) {
        if self.owner.read_own_from().is_some() || now_ms < self.watch_at_ms {
            return;
        }
        self.watch_at_ms = now_ms + WATCH_MS;
        // Where the end cannot be told now, it is at the next look.
        if let Ok(end) = self.log.known_end(self.owner.own()) {
            self.owner.take_end(end);
        }
    }

    /// Takes answers, reads what the owner wants, lets it decide, and hands its appends to the log.
    ///
    /// # Errors
    /// The owner ends and says why.
    pub fn step(&mut self, moment: Moment) -> Result<Progress, Error> {
        let mut progress = Progress::default();
        if !self.checked {
            self.checked = self.check()?;
            if !self.checked {
                return Ok(progress);
            }
        }
        loop {
            let answer = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(answer) = answer else { break };
            progress.moved = true;
            match answer {
                Answer::Claim(number, answer) => self.owner.claimed(number, answer),
                Answer::Batch(number, answer) => self.owner.appended(number, answer)?,
            }
        }
        self.watch(moment.now_ms);
        if let Some(position) = self.owner.read_own_from() {
            let batches = readable(self.log.read(self.owner.own(), position, self.read_bytes))?;
            if batches.is_empty() {
                self.owner.rest()?;
            }
            for batch in batches {
                progress.moved = true;
                self.owner.take_own(&batch)?;
                if self.owner.read_own_from().is_none() {
                    break;
                }
            }
        } else if !moment.stopped {
            for (partition, position) in self.owner.read_inputs_from() {
                for batch in readable(self.log.read(&partition, position, self.read_bytes))? {
                    progress.moved = true;
                    self.owner.take_input(&batch)?;
                }
            }
        }
        for action in self.owner.step(moment)? {
            progress.moved = true;
            match action {
                Action::Append(number, append) => self.append(append, move |answer| Answer::Batch(number, answer)),
                Action::Claim(number, append) => self.append(append, move |answer| Answer::Claim(number, answer)),
                Action::StartEffect(id, effect) => progress.outputs.push(Output::StartEffect(id, effect)),
                Action::EffectSettled(id) => progress.outputs.push(Output::EffectSettled(id)),
                Action::DeadLetter(parked) => progress.outputs.push(Output::DeadLetter(parked)),
                Action::Answer(ticket, answer) => progress.outputs.push(Output::Answer(ticket, answer)),
            }
        }
        Ok(progress)
    }

    fn append(&self, append: Append, wrap: impl FnOnce(Result<Vec<Appended>, tol_kafka::Error>) -> Answer + Send + 'static) {
        let (answers, wake) = (self.answers.clone(), self.wake.clone());
        self.log.append(
            vec![append],
            Box::new(move |answer| {
                answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(wrap(answer));
                wake();
            }),
        );
    }

    /// Takes an effect's result.
    pub fn effect_ended(&mut self, request_id: String, outcome: EffectOutcome, at: tol_events::EventTime) {
        self.owner.effect_ended(request_id, outcome, at);
    }
}
