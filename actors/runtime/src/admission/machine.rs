//! [`Machine`]: all gates of a node and the requests that wait for them. It reads its memory from the store and does no other I/O: it takes
//! requests, the log's answers and notices of writes, and returns [`Action`]s for its shell.
//!
//! `R` identifies a request: a callback in a node, a number in the simulation.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tol_kafka::{Append, Appended, Batch, Position, TopicPartition};

use super::gate::GateAction;
use super::request::{AdmissionOptions, Opener, Published, Refusal, Request, Session};
use super::waiting::{Unsettled, Waiter};
use super::{Gate, Memory};
use crate::owner::{Error, Moment};
use crate::writer::Sent;

/// Which appends of which gates one call to the log holds.
pub type Call = Vec<(TopicPartition, Sent)>;

/// What is to be done.
pub enum Action<R> {
    /// Hand these to the log in one call, and its answer with generation and call to [`Machine::appended`].
    Append {
        /// The gates' generation.
        generation: u64,
        /// Whose they are.
        call: Call,
        /// The records.
        appends: Vec<Append>,
    },
    /// Write this to the store and call [`Machine::remembered`]; no answer waits for it.
    Remember {
        /// The gates' generation.
        generation: u64,
        /// The rows.
        memory: Memory,
    },
    /// Answer this requester.
    Answer(R, Result<Published, Refusal>),
    /// Answer this requester that the log did not confirm in time, and how the log is.
    Late(R),
}

/// Own topics to be read, while their gates are not active.
pub struct Read {
    /// Of which partition.
    pub partition: TopicPartition,
    /// From where.
    pub position: Position,
    /// Whether [`Machine::ends_at`] wants to know its end first.
    pub unchecked: bool,
}

/// How long gates that could not be opened anew wait for the next try.
const REOPEN_MS: u64 = 250;

/// Admission of one node.
pub struct Machine<R> {
    pub(super) gates: BTreeMap<TopicPartition, Gate>,
    /// What the gates were opened with.
    session: Session,
    pub(super) options: AdmissionOptions,
    pub(super) queue: VecDeque<Request<R>>,
    pub(super) queued_events: usize,
    pub(super) waiters: HashMap<u64, Waiter<R>>,
    pub(super) next_ticket: u64,
    /// Gates whose memory was compared with the log.
    checked: BTreeSet<TopicPartition>,
    /// Dropped by a lost claim, to be offered again.
    pub(super) unsettled: Vec<Unsettled>,
    opener: Opener,
    /// Times the gates were opened anew: answers to an earlier generation mean nothing to this one.
    generation: u64,
    pub(super) assigned: Option<BTreeSet<u32>>,
    /// Why the store failed, and when the gates are to be opened anew.
    broken: Option<(String, u64)>,
    pub(super) actions: Vec<Action<R>>,
    /// Before this time no batches are cut, unless one is full.
    cut_at_ms: u64,
}

impl<R> Machine<R> {
    /// Opens all gates; they follow their topics until they are assigned.
    ///
    /// # Errors
    /// The store failed.
    pub fn open(opener: Opener, options: AdmissionOptions) -> Result<Self, Error> {
        let (gates, session) = opener.open(0, &options, &BTreeMap::new())?;
        Ok(Self {
            gates,
            session,
            options,
            queue: VecDeque::new(),
            queued_events: 0,
            waiters: HashMap::new(),
            next_ticket: 0,
            checked: BTreeSet::new(),
            unsettled: Vec::new(),
            opener,
            generation: 0,
            assigned: None,
            broken: None,
            actions: Vec::new(),
            cut_at_ms: 0,
        })
    }

    /// Opens the gates of a topic of facts that has come.
    ///
    /// # Errors
    /// The store failed.
    pub fn open_topic(&mut self, topic: Arc<str>) -> Result<(), Error> {
        if self.options.topics.contains(&topic) {
            return Ok(());
        }
        self.options.topics.push(topic.clone());
        if self.broken.is_some() {
            return Ok(()); // opened with the others
        }
        let mut gates = self.opener.open_topic(&topic, &self.options, &self.session)?;
        for (partition, gate) in &mut gates {
            gate.assign(self.assigned.as_ref().is_some_and(|own| own.contains(&partition.partition)));
        }
        self.gates.append(&mut gates);
        Ok(())
    }

    /// Which partition numbers this node owns now.
    pub fn assign(&mut self, assigned: BTreeSet<u32>) {
        let mut dropped = Vec::new();
        for (partition, gate) in &mut self.gates {
            let kept = assigned.contains(&partition.partition);
            gate.assign(kept);
            if !kept {
                dropped.push(gate.take_unsettled());
            }
        }
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unsettled).into_iter().partition(|(partition, ..)| assigned.contains(&partition.partition));
        self.unsettled = kept;
        dropped.extend(gone.into_iter().map(|(_, candidates, followers)| (candidates, followers)));
        self.assigned = Some(assigned);
        for (candidates, followers) in dropped {
            let tickets = candidates.into_iter().map(|candidate| candidate.ticket).chain(followers.into_iter().map(|follower| follower.ticket));
            self.refuse(tickets, "the partition went to another node");
        }
    }

    /// Takes a request; it waits until its gates take it. Whoever calls sees to the bound, by [`Machine::queued`].
    pub fn push(&mut self, request: Request<R>) {
        self.queued_events += request.candidates.len();
        self.queue.push_back(request);
    }

    /// Requests that no gate took yet, and their events.
    pub fn queued(&self) -> (usize, usize) {
        (self.queue.len(), self.queued_events)
    }

    /// Whether requests were taken that are not answered.
    pub fn is_waited_for(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// When [`Machine::step`] is due even if nothing happens: facts gather until then.
    pub fn due_ms(&self) -> Option<u64> {
        self.gates.values().any(Gate::can_cut).then_some(self.cut_at_ms)
    }

    /// How many gates this node is to own (once it was told), and how many take facts.
    pub fn gates(&self) -> (Option<usize>, usize) {
        let owned = |assigned: &BTreeSet<u32>| self.gates.keys().filter(|partition| assigned.contains(&partition.partition)).count();
        (self.assigned.as_ref().map(owned), self.gates.values().filter(|gate| gate.is_active()).count())
    }

    /// Why nothing is taken now, if so.
    pub fn failed(&self) -> Option<&str> {
        self.broken.as_ref().map(|(why, _)| why.as_str())
    }

    /// What is to be done, in order.
    pub fn take_actions(&mut self) -> Vec<Action<R>> {
        std::mem::take(&mut self.actions)
    }

    /// Refuses all that wait.
    pub fn refuse_all(&mut self, why: &str) {
        let mut tickets: Vec<u64> = self.waiters.keys().copied().collect();
        tickets.sort_unstable();
        let waiters: Vec<Waiter<R>> = tickets.iter().filter_map(|ticket| self.waiters.remove(ticket)).collect();
        self.queued_events = 0;
        let replies = waiters.into_iter().map(|waiter| waiter.reply).chain(self.queue.drain(..).map(|request| request.reply));
        self.actions.extend(replies.map(|reply| Action::Answer(reply, Err(Refusal::Unavailable(why.to_owned())))));
    }

    /// The store failed (a full disk, say): what the gates know may not be what is stored. They are opened and claimed anew, as soon as that
    /// goes; until then requests are refused, and repeats of those that were under way are told apart by what the log says.
    pub fn begin_anew(&mut self, error: &Error, moment: Moment) {
        self.broken = Some((error.to_string(), moment.now_ms));
        self.generation += 1;
        self.checked.clear();
        self.unsettled.clear();
        self.refuse_all(&error.to_string());
    }

    fn reopen(&mut self, moment: Moment) -> Result<(), Error> {
        let Some((why, at)) = self.broken.take() else { return Ok(()) };
        self.refuse_all(&why);
        if moment.now_ms < at {
            self.broken = Some((why, at));
            return Ok(());
        }
        match self.opener.open(self.generation, &self.options, &self.gates) {
            Ok((gates, session)) => {
                self.gates = gates;
                self.session = session;
                if let Some(assigned) = self.assigned.take() {
                    self.assign(assigned);
                }
            }
            Err(taken @ Error::Store(crate::store::Error::TokenLost(_))) => return Err(taken),
            Err(again) => self.broken = Some((again.to_string(), moment.now_ms + REOPEN_MS)),
        }
        Ok(())
    }

    /// The log's answer to a call.
    ///
    /// # Errors
    /// The store failed.
    pub fn appended(&mut self, generation: u64, call: Call, answer: &Result<Vec<Appended>, tol_kafka::Error>) -> Result<(), Error> {
        if generation != self.generation {
            return Ok(());
        }
        for (index, (partition, sent)) in call.into_iter().enumerate() {
            let Some(gate) = self.gates.get_mut(&partition) else { continue };
            let single = match answer {
                Ok(appended) => appended.get(index).ok_or(&tol_kafka::Error::Closed),
                Err(error) => Err(error),
            };
            let actions = match sent {
                Sent::Claim(number) => {
                    gate.claimed(number, single);
                    Vec::new()
                }
                Sent::Batch(number) => gate.appended(number, single)?,
            };
            if !gate.is_active() {
                let (candidates, followers) = gate.take_unsettled();
                if !candidates.is_empty() || !followers.is_empty() {
                    self.unsettled.push((partition.clone(), candidates, followers));
                }
            }
            self.answer(&partition, actions);
        }
        Ok(())
    }

    /// What became of an [`Action::Remember`].
    ///
    /// # Errors
    /// The store failed.
    pub fn remembered(&mut self, generation: u64, partition: &TopicPartition, outcome: Result<(), crate::store::Error>) -> Result<(), Error> {
        // Gates that were opened anew have another token: what their predecessors wrote late was refused.
        if generation == self.generation {
            outcome?;
            if let Some(gate) = self.gates.get_mut(partition) {
                gate.stored();
            }
        }
        Ok(())
    }

    /// Own topics it wants to read now.
    pub fn reads(&self) -> Vec<Read> {
        // Memory that is being written carries an older cursor; the log is read on after it.
        let quiet = self.gates.iter().filter(|(_, gate)| gate.unstored() == 0 && self.broken.is_none());
        quiet
            .filter_map(|(partition, gate)| {
                Some(Read { partition: partition.clone(), position: gate.read_own_from()?, unchecked: !self.checked.contains(partition) })
            })
            .collect()
    }

    /// Where the partition of a [`Read`] ends: a memory that is beyond it is none of this log (E10). Returns where to read from.
    ///
    /// # Errors
    /// The store failed.
    pub fn ends_at(&mut self, partition: &TopicPartition, end: Position) -> Result<Option<Position>, Error> {
        let Some(gate) = self.gates.get_mut(partition) else { return Ok(None) };
        if gate.read_own_from().is_some_and(|position| position > end) {
            gate.forget()?;
        }
        self.checked.insert(partition.clone());
        Ok(gate.read_own_from())
    }

    /// What was read.
    ///
    /// # Errors
    /// The topic cannot be read on, or the store failed.
    pub fn take_own(&mut self, batch: &Arc<Batch>) -> Result<(), Error> {
        self.gates.get_mut(batch.topic_partition()).map_or(Ok(()), |gate| gate.take_own(batch))
    }

    /// Takes requests, cuts batches, hands over what is to be remembered, gives up what waits too long. Whether anything moved.
    ///
    /// # Errors
    /// The store failed.
    pub fn step(&mut self, moment: Moment) -> Result<bool, Error> {
        if self.broken.is_some() {
            self.reopen(moment)?;
            return Ok(false);
        }
        crate::store::check_current(self.session.store.as_ref())?;
        self.offer_again()?;
        let taken = self.take_requests(moment)?;
        let cut = self.step_gates(moment);
        for gate in self.gates.values_mut() {
            if let Some(memory) = gate.take_unstored()? {
                self.actions.push(Action::Remember { generation: self.generation, memory });
            }
        }
        self.expire(moment);
        Ok(taken || cut)
    }

    fn step_gates(&mut self, moment: Moment) -> bool {
        let (mut call, mut appends): (Call, Vec<Append>) = Default::default();
        let mut moved = false;
        let cut = moment.now_ms >= self.cut_at_ms || self.gates.values().any(|gate| gate.can_cut() && gate.pending() >= self.options.batch_events);
        if cut && self.options.gather_ms > 0 && self.gates.values().any(Gate::can_cut) {
            self.cut_at_ms = moment.now_ms + self.options.gather_ms;
        }
        for (partition, gate) in &mut self.gates {
            for action in gate.step(moment, cut) {
                let (sent, append, joint) = match action {
                    GateAction::Append(number, append) => (Sent::Batch(number), append, self.options.joint_appends),
                    GateAction::Claim(number, append) => (Sent::Claim(number), append, false),
                    GateAction::Admitted { .. } => continue, // a gate says so only when the log answered
                };
                moved = true;
                if joint {
                    call.push((partition.clone(), sent));
                    appends.push(append);
                } else {
                    self.actions.push(Action::Append { generation: self.generation, call: vec![(partition.clone(), sent)], appends: vec![append] });
                }
            }
        }
        if !call.is_empty() {
            self.actions.push(Action::Append { generation: self.generation, call, appends });
        }
        moved
    }
}
