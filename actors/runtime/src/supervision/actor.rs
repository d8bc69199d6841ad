//! One system as an actix actor on a thread of its own: its partitions' drivers, stepped when woken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler};
use tol_events::personal::KeyStore;
use tol_kafka::EventLog;
use tol_system::{AnySystem, Description};

use crate::control::ControlGate;
use crate::driver::{Driver, Output, READ_AGAIN_MS};
use crate::metric_definitions;
use crate::owner::{Answered, Counts, Moment, Options, Owner, Parked, PendingEffect, Uncovered};
use crate::shared_inputs::SharedInputs;
use crate::store::Store;
use crate::writer::Phase;

pub use super::command::{Command, Covered, Discard, Question, Reply, Wake};
use super::root::lock;
pub use super::shared::{PartitionSnapshot, SystemShared};
use super::turn::Turn;

/// Mailbox places: wake-ups are coalesced, so these are commands.
const MAILBOX: usize = 256;
/// How long one turn may take before commands get theirs.
const TURN: Duration = Duration::from_millis(20);

/// Runs effects and dead-letter copies for systems.
pub trait Outlet: Send + Sync + 'static {
    /// Runs an effect; its result comes back as [`Command::EffectEnded`], until it is settled. Must not block.
    fn start_effect(&self, system: &str, partition: u32, request_id: String, effect: PendingEffect);
    /// The result of this effect need not be offered any more. Must not block.
    fn effect_settled(&self, request_id: &str);
    /// Copies a parked input to the dead-letter topic. Must not block.
    fn dead_letter(&self, parked: &Parked);
}

/// What a system runs with.
#[derive(Clone)]
pub struct Environment {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The caches.
    pub store: Arc<dyn Store>,
    /// The node's URL.
    pub node: String,
    /// Keys of persons, for own events that hold personal data.
    pub keys: Arc<dyn KeyStore>,
    /// The emergency stop and pauses.
    pub gate: ControlGate,
    /// Effects and copies.
    pub outlet: Arc<dyn Outlet>,
    /// Limits of owners.
    pub options: Options,
    /// Tries of an input and the wait before the second, where a system has its own.
    pub retries: BTreeMap<String, (u32, u64)>,
    /// Zero of the monotonic clock.
    pub started: Instant,
}

impl Environment {
    fn moment(&self) -> Moment {
        Moment { now_ms: self.started.elapsed().as_millis() as u64, wall: chrono::Utc::now().into(), stopped: self.gate.is_closed() }
    }
}

/// One system on its thread.
pub struct SystemActor {
    description: Description,
    drivers: Vec<Driver>,
    /// What all of them read.
    inputs: SharedInputs,
    /// Something was done since the last snapshot.
    changed: bool,
    /// The store that the drivers' caches were opened with.
    session: Arc<dyn Store>,
    environment: Environment,
    shared: Arc<SystemShared>,
    replies: BTreeMap<u64, Reply<Result<Answered, String>>>,
    /// Who asked which own position covers an input.
    covering: BTreeMap<u64, Reply<Covered>>,
    next_ticket: u64,
}

impl SystemActor {
    /// Opens the caches of all partitions.
    ///
    /// # Errors
    /// The store failed.
    pub fn new(system: Arc<dyn AnySystem>, environment: Environment, shared: Arc<SystemShared>) -> Result<Self, crate::owner::Error> {
        let mut drivers = Vec::new();
        let mut options = environment.options.clone();
        if let Some((attempts, retry_ms)) = environment.retries.get(system.describe().name) {
            (options.attempts, options.retry_ms) = (*attempts, *retry_ms);
        }
        let session = crate::store::session(&environment.store)?;
        for partition in 0..environment.options.partitions {
            let waker = Arc::downgrade(&shared);
            let wake = Arc::new(move || {
                if let Some(shared) = waker.upgrade() {
                    shared.wake_partition(partition);
                }
            });
            let nonce_seed = uuid::Uuid::new_v4().as_u64_pair().0;
            let store = session.clone();
            let mut driver = Driver::open(system.clone(), partition, &environment.node, environment.log.clone(), store, options.clone(), nonce_seed, wake)?;
            driver.owner_mut().heed(&environment.gate);
            driver.owner_mut().seal_with(environment.keys.clone());
            drivers.push(driver);
        }
        let inputs = SharedInputs::default();
        Ok(Self {
            description: system.describe(),
            drivers,
            inputs,
            changed: true,
            session,
            environment,
            shared,
            replies: BTreeMap::new(),
            covering: BTreeMap::new(),
            next_ticket: 0,
        })
    }

    fn moment(&self) -> Moment {
        self.environment.moment()
    }

    /// Steps the partitions that have something to do until nothing moves or the turn is over; whether there is more to do.
    fn turn(&mut self) -> Result<bool, String> {
        let until = Instant::now() + TURN;
        crate::store::check_current(self.session.as_ref()).map_err(|error| error.to_string())?;
        loop {
            let pending = std::mem::take(&mut *lock(&self.shared.pending));
            let now_ms = self.moment().now_ms;
            pending.inputs.into_iter().for_each(|partition| self.inputs.grew(partition));
            if pending.look {
                self.inputs.look(self.environment.log.as_ref());
            }
            let wanted = |driver: &mut Driver| {
                let number = driver.owner().partition();
                pending.all
                    || pending.some.contains(&number)
                    || (pending.followers.contains(&number) && driver.owner().read_own_from().is_some())
                    || (pending.due && driver.due_ms().is_some_and(|due| due <= now_ms))
                    || (pending.look && driver.look(now_ms))
            };
            let shared = self.shared.clone();
            let environment = &self.environment;
            let moved = |partition| {
                lock(&shared.pending).some.insert(partition);
            };
            let turn = Turn { moment: &|| environment.moment(), abandoned: &shared.abandoned, beat: &shared.beat, moved: &moved, until };
            let wanting: Vec<&mut Driver> = self.drivers.iter_mut().filter_map(|driver| wanted(driver).then_some(driver)).collect();
            self.changed |= !wanting.is_empty();
            let mut stepped = turn.steps(wanting);
            // What a partition gave out stays done, whatever became of those stepped after it.
            for (partition, output) in stepped.outputs.drain(..) {
                self.output(partition, output);
            }
            if let Some(problem) = stepped.problem {
                return Err(problem);
            }
            if shared.abandoned.load(Ordering::Acquire) {
                return Ok(false);
            }
            shared.beat.fetch_add(1, Ordering::Relaxed);
            let moved = self.hand_out()? || stepped.moved;
            if !moved || Instant::now() >= until {
                self.shared.due_ms.store(self.due_ms(), Ordering::Release);
                return Ok(moved);
            }
        }
    }

    /// Reads what all partitions read, and hands it to those it is for; whether there was anything.
    fn hand_out(&mut self) -> Result<bool, String> {
        let moment = self.moment();
        if moment.stopped || self.environment.gate.is_paused(self.description.name) || !self.inputs.has_work(self.drivers.iter().map(Driver::owner)) {
            return Ok(false);
        }
        let mut owners: Vec<&mut Owner> = self.drivers.iter_mut().map(Driver::owner_mut).collect();
        let read_bytes = self.environment.options.read_bytes;
        let handed = self.inputs.step(self.environment.log.as_ref(), &mut owners, moment, read_bytes).map_err(|error| error.to_string())?;
        self.changed |= handed.read;
        let moved = handed.read || !handed.owners.is_empty();
        lock(&self.shared.pending).some.extend(handed.owners);
        Ok(moved)
    }

    /// Gives the time at which it wants its next turn without a wake-up.
    fn due_ms(&self) -> u64 {
        let again = self.inputs.failed().then(|| self.moment().now_ms + READ_AGAIN_MS);
        self.drivers.iter().filter_map(Driver::due_ms).chain(again).min().unwrap_or(u64::MAX)
    }

    fn output(&mut self, partition: u32, output: Output) {
        match output {
            Output::StartEffect(request_id, effect) => self.environment.outlet.start_effect(self.description.name, partition, request_id, effect),
            Output::EffectSettled(request_id) => self.environment.outlet.effect_settled(&request_id),
            Output::DeadLetter(parked) => self.environment.outlet.dead_letter(&parked),
            Output::Answer(ticket, answer) => {
                if let Some(reply) = self.replies.remove(&ticket) {
                    reply(answer);
                }
            }
            Output::Covered(ticket, covered) => {
                let own = self.drivers.get(partition as usize).map(|driver| driver.owner().own().clone());
                if let (Some(reply), Some(own)) = (self.covering.remove(&ticket), own) {
                    reply(covered.map(|end| (own, end)));
                }
            }
        }
    }

    fn publish_snapshot(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let name = self.description.name;
        let snapshot: Vec<PartitionSnapshot> = self
            .drivers
            .iter()
            .map(|driver| {
                let owner = driver.owner();
                let phase = match owner.phase() {
                    Phase::Following => "following",
                    Phase::Claiming { .. } => "claiming",
                    Phase::Active => "active",
                };
                let inputs = self.inputs.positions(owner).into_iter().map(|(partition, cursor)| (partition, cursor.position)).collect();
                PartitionSnapshot { partition: owner.partition(), phase, counts: owner.counts(), inputs, last_problem: owner.last_problem().map(str::to_owned) }
            })
            .collect();
        let total = |count: fn(&Counts) -> u64| snapshot.iter().map(|partition| count(&partition.counts)).sum::<u64>();
        metric_definitions::system_events_consumed(name).absolute(total(|counts| counts.consumed));
        metric_definitions::system_events_emitted(name).absolute(total(|counts| counts.emitted));
        *lock(&self.shared.partitions) = Arc::new(snapshot);
    }

    fn driver_of(&mut self, subject: &str) -> Option<&mut Driver> {
        let partition = tol_events::id::partition_of(subject, self.environment.options.partitions);
        self.drivers.get_mut(partition as usize)
    }

    fn ticket(&mut self, reply: Reply<Result<Answered, String>>) -> u64 {
        self.next_ticket += 1;
        self.replies.insert(self.next_ticket, reply);
        self.next_ticket
    }
}

impl SystemActor {
    fn refuse(&mut self, ticket: u64, problem: String) {
        if let Some(reply) = self.replies.remove(&ticket) {
            reply(Err(problem));
        }
    }
}

impl Actor for SystemActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        crate::background::yield_to_others(crate::background::Background::Deciding);
        context.set_mailbox_capacity(MAILBOX);
        *lock(&self.shared.recipient) = Some(context.address().recipient());
        context.run_interval(Duration::from_millis(500), |actor, _| actor.publish_snapshot());
        self.shared.wake();
    }
}

impl Handler<Wake> for SystemActor {
    type Result = ();

    fn handle(&mut self, _: Wake, context: &mut Self::Context) {
        use actix::ActorContext;
        if self.shared.abandoned.load(Ordering::Acquire) {
            return context.stop();
        }
        self.shared.woken.store(false, Ordering::Release);
        match self.turn() {
            Ok(true) => self.shared.send_wake(),
            Ok(false) => {}
            Err(problem) => {
                self.changed = true;
                self.publish_snapshot();
                *lock(&self.shared.failed) = Some(problem);
                context.stop();
            }
        }
    }
}

impl Handler<Command> for SystemActor {
    type Result = ();

    fn handle(&mut self, command: Command, _: &mut Self::Context) {
        let moment = self.moment();
        match &command {
            Command::Assign(_) => self.shared.wake(),
            Command::Redrive(partition, ..) | Command::Discard(Discard { partition, .. }, _) | Command::EffectEnded(partition, ..) => {
                self.shared.wake_partition(*partition);
            }
            Command::Covering(partition, ..) => self.shared.wake_partition(partition.partition),
            Command::Observe(..) | Command::Query(..) => {}
        }
        match command {
            Command::Assign(partitions) => {
                for driver in &mut self.drivers {
                    let assigned = partitions.contains(&driver.owner().partition());
                    driver.owner_mut().assign(assigned);
                }
            }
            Command::Redrive(partition, subjects, reply) => {
                let ticket = self.ticket(reply);
                match self.drivers.get_mut(partition as usize) {
                    Some(driver) => driver.owner_mut().redrive(subjects, ticket),
                    None => self.refuse(ticket, format!("there is no partition {partition}")),
                }
            }
            Command::Discard(Discard { partition, id, by, reason }, reply) => {
                let ticket = self.ticket(reply);
                let asked = self.drivers.get_mut(partition as usize).map(|driver| driver.owner_mut().discard(&id, &by, &reason, ticket, moment));
                match asked {
                    Some(Ok(())) => {}
                    Some(Err(error)) => self.refuse(ticket, error.to_string()),
                    None => self.refuse(ticket, format!("there is no partition {partition}")),
                }
            }
            Command::Observe(subject, reply) => {
                let value = self.driver_of(&subject).and_then(|driver| driver.owner_mut().observe(&subject).ok()).unwrap_or_default();
                reply(value);
            }
            Command::Query(Question { subject, query, parameters }, reply) => {
                // Without an answer whoever asked learns that the system is away: its store failed.
                if let Some(Ok(answer)) = self.driver_of(&subject).map(|driver| driver.owner_mut().query(&subject, &query, &parameters)) {
                    reply(answer);
                }
            }
            Command::Covering(partition, position, patience, reply) => match self.drivers.get_mut(partition.partition as usize) {
                Some(driver) => {
                    self.next_ticket += 1;
                    self.covering.insert(self.next_ticket, reply);
                    let until_ms = moment.now_ms + patience.as_millis() as u64;
                    driver.owner_mut().cover(partition, position, self.next_ticket, until_ms);
                }
                None => reply(Err(Uncovered::NotRead)),
            },
            Command::EffectEnded(partition, request_id, outcome, at) => {
                if let Some(driver) = self.drivers.get_mut(partition as usize) {
                    driver.effect_ended(request_id, outcome, at);
                }
            }
        }
    }
}
