//! The customer data platform in the simulated cluster; see `tests/simulated.rs`. It is a crate of its own because the simulation links the log's C++, which the
//! system's own tests do without.
