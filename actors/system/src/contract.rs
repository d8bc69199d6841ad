//! The contract every system passes before it may be registered.
