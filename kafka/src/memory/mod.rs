//! [`MemoryLog`]: the event log for tests. No threads and no clock of its own: everything happens inside calls, in an order that follows from the seed.
//!
//! A node of a simulated cluster appends through a [`MemoryClient`] of its own, so that it can crash alone.

mod faults;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tol_events::EventTime;

pub use faults::Faults;
use state::{Calls, State};

use crate::log::{Append, AppendDone, Assignment, Bounds, Error, EventLog, Health, Position, TopicPartition, TopicSpec};
use crate::record::Batch;

/// The log itself; as an [`EventLog`] it is the client named "".
#[derive(Clone)]
pub struct MemoryLog {
    state: Arc<Mutex<State>>,
    itself: Arc<MemoryClient>,
}

/// One node's access to a [`MemoryLog`].
pub struct MemoryClient {
    state: Arc<Mutex<State>>,
    number: usize,
    name: String,
}

impl std::fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryLog")
    }
}

impl std::fmt::Debug for MemoryClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryClient({})", self.name)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `change` on the state, and what it wants called after the state is free again.
fn run<T>(state: &Mutex<State>, change: impl FnOnce(&mut State, &mut Calls) -> T) -> T {
    let mut calls = Calls::default();
    let result = change(&mut lock(state), &mut calls);
    calls.make();
    result
}

impl MemoryLog {
    /// An empty log whose order of events follows from `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let state = Arc::new(Mutex::new(State::new(seed, faults)));
        let number = lock(&state).add_client();
        let itself = Arc::new(MemoryClient { state: state.clone(), number, name: String::new() });
        Self { state, itself }
    }

    /// Access for a node. A node that crashed comes back with a new one.
    pub fn client(&self, name: impl Into<String>) -> Arc<MemoryClient> {
        let number = lock(&self.state).add_client();
        Arc::new(MemoryClient { state: self.state.clone(), number, name: name.into() })
    }

    /// Does one thing that is due, chosen by the seed: applies an append or a part of one, delivers an acknowledgement, or tells who owns what.
    /// False when nothing is due.
    pub fn run_one(&self) -> bool {
        run(&self.state, State::run_one)
    }

    /// [`MemoryLog::run_one`] until nothing is due.
    pub fn run_all(&self) {
        while self.run_one() {}
    }

    /// How many appends were not applied and acknowledged yet.
    pub fn pending(&self) -> usize {
        lock(&self.state).pending()
    }

    /// Changes the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.state).set_faults(faults);
    }

    /// Sets the log's clock; it never goes back. In automatic mode each append moves it on by a millisecond.
    pub fn set_time(&self, time: EventTime) {
        lock(&self.state).set_time(time.as_millis());
    }

    /// Says whether the log can be reached; while not, every operation fails with [`Error::Unavailable`].
    pub fn set_reachable(&self, reachable: bool) {
        lock(&self.state).set_reachable(reachable);
    }
}

impl MemoryClient {
    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node dies: of its appends in flight, in each partition the first few (by the seed) are applied now or at a later step, the rest never; nothing of it is called any more.
    pub fn crash(&self) {
        run(&self.state, |state, calls| state.crash(self.number, calls));
    }

    /// The node leaves the group as one that hangs does: its partitions go to others and it is not told.
    pub fn expire(&self) {
        run(&self.state, |state, calls| state.leave(self.number, calls));
    }
}

impl EventLog for MemoryClient {
    fn append(&self, appends: Vec<Append>, done: AppendDone) {
        run(&self.state, |state, calls| state.append(self.number, appends, done, calls));
    }

    fn read(&self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<Batch>>, Error> {
        lock(&self.state).read(from, position, max_bytes)
    }

    fn bounds(&self, of: &TopicPartition) -> Result<Bounds, Error> {
        Ok(Bounds { earliest: 0, end: lock(&self.state).end(of)? })
    }

    fn position_at(&self, of: &TopicPartition, time: EventTime) -> Result<Position, Error> {
        lock(&self.state).position_at(of, time.as_micros())
    }

    fn topics(&self) -> Result<Vec<(String, u32)>, Error> {
        lock(&self.state).topics()
    }

    fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        lock(&self.state).ensure_topics(topics)
    }

    fn watch(&self, woken: Arc<dyn Fn(&TopicPartition) + Send + Sync>) {
        lock(&self.state).watch(self.number, woken);
    }

    fn join(&self, partitions: u32, changed: Arc<dyn Fn(Assignment) + Send + Sync>) {
        run(&self.state, |state, calls| state.join(self.number, partitions, changed, calls));
    }

    fn identity(&self) -> String {
        lock(&self.state).identity()
    }

    fn health(&self) -> Health {
        lock(&self.state).health()
    }

    /// An orderly end: what is in flight is applied or not, and fails with [`Error::Closed`].
    fn close(&self) {
        run(&self.state, |state, calls| state.close(self.number, calls));
    }
}

impl EventLog for MemoryLog {
    fn append(&self, appends: Vec<Append>, done: AppendDone) {
        self.itself.append(appends, done);
    }

    fn read(&self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<Batch>>, Error> {
        self.itself.read(from, position, max_bytes)
    }

    fn bounds(&self, of: &TopicPartition) -> Result<Bounds, Error> {
        self.itself.bounds(of)
    }

    fn position_at(&self, of: &TopicPartition, time: EventTime) -> Result<Position, Error> {
        self.itself.position_at(of, time)
    }

    fn topics(&self) -> Result<Vec<(String, u32)>, Error> {
        self.itself.topics()
    }

    fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        self.itself.ensure_topics(topics)
    }

    fn watch(&self, woken: Arc<dyn Fn(&TopicPartition) + Send + Sync>) {
        self.itself.watch(woken);
    }

    fn join(&self, partitions: u32, changed: Arc<dyn Fn(Assignment) + Send + Sync>) {
        self.itself.join(partitions, changed);
    }

    fn identity(&self) -> String {
        self.itself.identity()
    }

    fn health(&self) -> Health {
        self.itself.health()
    }

    fn close(&self) {
        self.itself.close();
    }
}
