//! What a supervised system is: [`System`], and the values that go in and out of its two pure functions; and [`Projection`], what a read model is.
//!
//! * [`system`] — the trait, its [`Description`], [`Input`], and what `decide` and `evolve` may ask for
//! * [`effect`] — an effect as its runner sees it
//! * [`erased`] — [`AnySystem`], the same without its state's type, which the runtime runs
//! * [`read()`] — an event's data as its typed form
//! * [`projection`] — the trait of read models, their rows, and the same without the row's type
//! * [`settings`] — a system's own settings: read, refused, shown; [`Secret`]
//! * [`contract`] — the suite every registered system passes

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
