//! Compiled flags and their evaluation.
