//! [`Driver`]: runs one [`Owner`] against an [`EventLog`]. Blocking reads, answers through a queue; no thread of its own,
//! so that an actor and the simulation drive it alike.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tol_kafka::{Append, Appended, Batch, EventLog, Position};
use tol_system::EffectOutcome;

use crate::owner::{Action, Answered, Error, Moment, Owner, Parked, PendingEffect, Ticket, Uncovered};
use crate::store::Store;

/// How long an owner that writes nothing may not notice that its partition was claimed above it, in milliseconds.
pub(crate) const WATCH_MS: u64 = 1_000;

/// Wait before a log that could not be read is read again, in milliseconds.
pub(crate) const READ_AGAIN_MS: u64 = 100;

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
    /// Which own position covers an input.
    Covered(Ticket, Result<Position, Uncovered>),
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
    /// The log could not be read at the last step: when it is tried again.
    again_ms: Option<u64>,
}

impl Driver {
    /// Runs `owner`; `wake` is called, from a thread of the log's, when [`Driver::step`] has something new.
    pub fn new(owner: Owner, log: Arc<dyn EventLog>, read_bytes: usize, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { owner, log, answers: Arc::default(), wake, read_bytes, checked: false, end_at_start: 0, watch_at_ms: 0, again_ms: None }
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

    /// When it is to be stepped although nobody wakes it; `None` where only something new gives it something to do.
    pub fn due_ms(&self) -> Option<u64> {
        [self.again_ms, self.owner.due_ms()].into_iter().flatten().min()
    }

    /// Whether it has something to do that nobody may have told it of: its own topic or an input goes on behind what it read. Costs next to nothing.
    pub fn look(&mut self, now_ms: u64) -> bool {
        if !self.checked || self.owner.read_own_from().is_some() {
            return true;
        }
        self.watch(now_ms);
        let grew = |partition: &tol_kafka::TopicPartition, next: Position| self.log.known_end(partition).is_ok_and(|end| end > next);
        self.owner.read_own_from().is_some() || self.owner.has_waiting() || self.owner.read_inputs_from().iter().any(|(input, next)| grew(input, *next))
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
        self.again_ms = None;
        if !self.checked {
            self.checked = self.check()?;
            if !self.checked {
                self.again_ms = Some(moment.now_ms + READ_AGAIN_MS);
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
            let read = self.log.read(self.owner.own(), position, self.read_bytes);
            let batches = self.readable_now(read, moment)?;
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
                let read = self.log.read(&partition, position, self.read_bytes);
                for batch in self.readable_now(read, moment)? {
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
                Action::Covered(ticket, covered) => progress.outputs.push(Output::Covered(ticket, covered)),
            }
        }
        Ok(progress)
    }

    /// [`readable`]; a log that cannot be read now is read again soon.
    fn readable_now(&mut self, read: Result<Vec<Arc<Batch>>, tol_kafka::Error>, moment: Moment) -> Result<Vec<Arc<Batch>>, Error> {
        if read.is_err() {
            self.again_ms = Some(moment.now_ms + READ_AGAIN_MS);
        }
        readable(read)
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
