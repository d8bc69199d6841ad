//! What the flag system's events are folded into.

pub mod flags;

pub use self::flags::FlagsProjection;
