//! What a supervised system is: [`System`], and the values that go in and out of its two pure functions.
//!
//! * [`system`] — the trait, its [`Description`], [`Input`], and what `decide` and `evolve` may ask for
//! * [`erased`] — [`AnySystem`], the same without its state's type, which the runtime runs
//! * [`read()`] — an event's data as its typed form
//! * [`contract`] — the suite every registered system passes

pub mod contract;
pub mod erased;
mod read;
pub mod system;

pub use erased::{AnySystem, State, erase};
pub use read::read;
pub use system::{
    Decision, Description, Draft, EffectOutcome, EffectRequest, Error, Evolution, Input, InputSpec, Parameters, QueryError, QueryParameter, QuerySpec, System,
    TimerRequest,
};
