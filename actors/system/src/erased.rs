//! [`AnySystem`]: a [`System`] without the type of its state, so that one runtime runs all systems.

use std::any::Any;

use tol_events::{Event, EventView};

use crate::system::{Decision, Description, Error, Evolution, Input, Parameters, QueryError, QuerySpec, System};

/// A subject's state whose type only its system knows.
pub type State = Box<dyn Any + Send>;

/// A [`System`] without the type of its state; [`erase`] makes it. A state of another system gives an error, never a panic.
pub trait AnySystem: Send + Sync + 'static {
    /// See [`System::describe`].
    fn describe(&self) -> Description;
    /// See [`System::configuration`].
    fn configuration(&self) -> serde_json::Value;
    /// Makes the state of a subject of which nothing is known.
    fn empty_state(&self) -> State;
    /// Copies `state`.
    fn copy_state(&self, state: &State) -> State;
    /// Reads what [`AnySystem::write_state`] wrote.
    ///
    /// # Errors
    /// The bytes are no state of this version.
    fn read_state(&self, bytes: &[u8]) -> Result<State, Error>;
    /// Writes a state as bytes for the cache.
    ///
    /// # Errors
    /// The state does not serialise.
    fn write_state(&self, state: &State) -> Result<Vec<u8>, Error>;
    /// See [`System::decide`].
    ///
    /// # Errors
    /// As there.
    fn decide(&self, state: &State, input: Input<'_>, decision: &mut Decision) -> Result<(), Error>;
    /// See [`System::evolve`].
    ///
    /// # Errors
    /// As there.
    fn evolve(&self, state: &mut State, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error>;
    /// See [`System::observe`].
    fn observe(&self, state: &State) -> serde_json::Value;
    /// See [`System::queries`].
    fn queries(&self) -> &'static [QuerySpec];
    /// See [`System::query`].
    ///
    /// # Errors
    /// As there.
    fn query(&self, state: &State, query: &str, parameters: &Parameters) -> Result<serde_json::Value, QueryError>;
    /// See [`System::examples`].
    fn examples(&self) -> Vec<Event>;
}

/// Erases the type of the system's state.
pub fn erase<S: System>(system: S) -> std::sync::Arc<dyn AnySystem> {
    std::sync::Arc::new(Erased(system))
}

struct Erased<S>(S);

impl<S: System> Erased<S> {
    fn foreign(&self) -> Error {
        Error::Refused(format!("a state of another system was given to {}", self.0.describe().name))
    }
}

impl<S: System> AnySystem for Erased<S> {
    fn describe(&self) -> Description {
        self.0.describe()
    }

    fn configuration(&self) -> serde_json::Value {
        self.0.configuration()
    }

    fn empty_state(&self) -> State {
        Box::new(S::State::default())
    }

    fn copy_state(&self, state: &State) -> State {
        Box::new(state.downcast_ref::<S::State>().cloned().unwrap_or_default())
    }

    fn read_state(&self, bytes: &[u8]) -> Result<State, Error> {
        let state: S::State = serde_json::from_slice(bytes).map_err(|problem| Error::Refused(format!("cached state does not read: {problem}")))?;
        Ok(Box::new(state))
    }

    fn write_state(&self, state: &State) -> Result<Vec<u8>, Error> {
        let state = state.downcast_ref::<S::State>().ok_or_else(|| self.foreign())?;
        serde_json::to_vec(state).map_err(|problem| Error::Refused(format!("state does not serialise: {problem}")))
    }

    fn decide(&self, state: &State, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        let state = state.downcast_ref::<S::State>().ok_or_else(|| self.foreign())?;
        self.0.decide(state, input, decision)
    }

    fn evolve(&self, state: &mut State, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        let state = state.downcast_mut::<S::State>().ok_or_else(|| self.foreign())?;
        self.0.evolve(state, event, evolution)
    }

    fn observe(&self, state: &State) -> serde_json::Value {
        state.downcast_ref::<S::State>().map(|state| self.0.observe(state)).unwrap_or_default()
    }

    fn queries(&self) -> &'static [QuerySpec] {
        self.0.queries()
    }

    fn query(&self, state: &State, query: &str, parameters: &Parameters) -> Result<serde_json::Value, QueryError> {
        match state.downcast_ref::<S::State>() {
            Some(state) => self.0.query(state, query, parameters),
            None => Err(QueryError::Unknown(query.to_owned())),
        }
    }

    fn examples(&self) -> Vec<Event> {
        self.0.examples()
    }
}
