//! [`AdmissionDriver`]: runs a [`Machine`] against an [`EventLog`]. Blocking reads, answers through a queue; no thread of its own,
//! so that a thread and the simulation drive it alike.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tol_kafka::{Append, Appended, EventLog};

use super::Memory;
use super::machine::{Action, Call, Machine};
use super::request::{AdmissionOptions, Opener, Published, Refusal};
use crate::owner::{Error, Moment};

/// The log's answer to one call.
struct Answer {
    generation: u64,
    call: Call,
    answer: Result<Vec<Appended>, tol_kafka::Error>,
}

/// What a driver gives to the code that runs it.
pub enum Output<R> {
    /// Write this, and tell [`Machine::remembered`] of this generation.
    Remember(u64, Memory),
    /// Answer this requester.
    Answer(R, Result<Published, Refusal>),
}

/// Admission of one node with its log.
pub struct AdmissionDriver<R> {
    machine: Machine<R>,
    log: Arc<dyn EventLog>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// Called when an answer of the log arrived.
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl<R> AdmissionDriver<R> {
    /// Opens all gates; `wake` is called, from a thread of the log's, when [`AdmissionDriver::step`] has something new.
    ///
    /// # Errors
    /// The store failed.
    pub fn open(log: Arc<dyn EventLog>, opener: Opener, options: AdmissionOptions, wake: Arc<dyn Fn() + Send + Sync>) -> Result<Self, Error> {
        Ok(Self { machine: Machine::open(opener, options)?, log, answers: Arc::default(), wake })
    }

    /// The state machine.
    pub fn machine(&self) -> &Machine<R> {
        &self.machine
    }

    /// The state machine, for requests and assignments.
    pub fn machine_mut(&mut self) -> &mut Machine<R> {
        &mut self.machine
    }

    /// Opens the gates of a topic of facts that has come.
    ///
    /// # Errors
    /// As [`AdmissionDriver::step`].
    pub fn open_topic(&mut self, topic: Arc<str>, moment: Moment) -> Result<(), Error> {
        self.machine.open_topic(topic).or_else(|error| self.failed(error, moment).map(drop))
    }

    /// Takes the log's answers, reads what the gates want, steps the machine and hands its appends to the log. Whether anything moved.
    ///
    /// # Errors
    /// Admission ends and says why. A store that failed does not end it: [`Machine::begin_anew`].
    pub fn step(&mut self, moment: Moment, outputs: &mut Vec<Output<R>>) -> Result<bool, Error> {
        let moved = self.round(moment).or_else(|error| self.failed(error, moment))?;
        for action in self.machine.take_actions() {
            match action {
                Action::Append { generation, call, appends } => self.append(generation, call, appends),
                Action::Remember { generation, memory } => outputs.push(Output::Remember(generation, memory)),
                Action::Answer(reply, answer) => outputs.push(Output::Answer(reply, answer)),
                Action::Late(reply) => outputs.push(Output::Answer(reply, Err(Refusal::Unavailable(self.log.health().detail)))),
            }
        }
        Ok(moved)
    }

    /// What became of an [`Output::Remember`].
    ///
    /// # Errors
    /// As [`AdmissionDriver::step`].
    pub fn remembered(
        &mut self,
        generation: u64,
        partition: &tol_kafka::TopicPartition,
        outcome: Result<(), crate::store::Error>,
        moment: Moment,
    ) -> Result<(), Error> {
        self.machine.remembered(generation, partition, outcome).or_else(|error| self.failed(error, moment).map(drop))
    }

    fn failed(&mut self, error: Error, moment: Moment) -> Result<bool, Error> {
        let Error::Store(crate::store::Error::Failed(_)) = &error else { return Err(error) };
        tracing::error!(%error, "admission begins anew");
        self.machine.begin_anew(&error, moment);
        Ok(true)
    }

    fn round(&mut self, moment: Moment) -> Result<bool, Error> {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        let mut moved = !answers.is_empty();
        for Answer { generation, call, answer } in answers {
            self.machine.appended(generation, call, &answer)?;
        }
        for read in self.machine.reads() {
            let mut from = Some(read.position);
            if read.unchecked {
                let Ok(bounds) = self.log.bounds(&read.partition) else { continue };
                from = self.machine.ends_at(&read.partition, bounds.end)?;
            }
            let Some(position) = from else { continue };
            for batch in crate::driver::readable(self.log.read(&read.partition, position, 4 << 20))? {
                self.machine.take_own(&batch)?;
                moved = true;
            }
        }
        Ok(self.machine.step(moment)? || moved)
    }

    fn append(&self, generation: u64, call: Call, appends: Vec<Append>) {
        let (answers, wake) = (self.answers.clone(), self.wake.clone());
        self.log.append(
            appends,
            Box::new(move |answer| {
                answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(Answer { generation, call, answer });
                wake();
            }),
        );
    }
}
