//! The one definition of a flag behind Unleash's, GrowthBook's and flagd's formats, and the way in and out of each.
//!
//! * [`model`] — [`Definition`]: key, type, variants, and for each environment rules, prerequisites, schedule and kill switch
//! * [`FlagDefinitions`] — a set of definitions: [`FlagDefinitions::import`] and [`FlagDefinitions::export`]
//! * `unleash`, `growthbook`, `flagd` — one flag in and out of a format
//! * `condition`, `targeting` — GrowthBook's conditions and flagd's JSONLogic as constraints and back
//!
//! Nothing is lost on the way in. What the common model cannot say is kept verbatim with its format: a rule as [`Rule::Native`], a field among the
//! `extra` of its flag or rule, and the flag's whole text as `source` where writing it anew would give another text. So what is imported and exported
//! in the same format is the same JSON, and a flag that was changed meanwhile keeps what nobody changed.
//!
//! On the way out to another format percentages and weights are kept, but who is among them is decided by that format's own hash. What that format
//! cannot say is a [`Problem`] that names the flag and the place; a flag whose answers would come out wrong is left out as a whole.

mod condition;
mod flagd;
mod growthbook;
mod json;
pub mod model;
mod set;
mod targeting;
mod unleash;

pub use self::model::{Constraint, Definition, Environment, Operator, Part, Prerequisite, Rule, Scheduled, Serve, Share, Split, Targeted, ValueType};
pub(crate) use self::set::written;
pub use self::set::{Effect, Error, Exported, FlagDefinitions, Imported, Mode, Problem};

#[cfg(test)]
mod tests;
