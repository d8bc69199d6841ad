//! The pure half of a system: [`System`], its rules, with the values that go in and out of its two functions; and [`Projection`], a read model.
//!
//! * [`system`] — the trait, its [`Description`], [`Input`], and what `decide` and `evolve` may ask for
//! * [`effect`] — one try of an effect, as its runner sees it
//! * [`erased`] — [`AnySystem`], a system without the type of its state, which the runtime runs
//! * [`read()`] — reads an event's data as its type
//! * [`projection`] — the trait of read models, their rows, and a projection without the type of its rows
//! * [`settings`] — a system's own settings: read, refused, shown; [`Secret`]
//! * [`contract`] — the suite that every registered system passes

pub mod contract;
pub mod effect;
pub mod erased;
pub mod projection;
mod read;
pub mod settings;
pub mod system;

pub use effect::{CancelReason, Effect, EffectInfo, Failure, OnStop, Report};
pub use erased::{AnySystem, State, erase};
pub use projection::{AnyOverlay, AnyProjection, ChangedRows, Followed, Projection, Rows};
pub use read::read;
pub use settings::{Secret, SettingError};
pub use system::{
    Decision, Description, Draft, EffectOutcome, EffectRequest, Error, Evolution, Input, InputSpec, Parameters, QueryError, QueryParameter, QuerySpec, System,
    TimerRequest,
};
