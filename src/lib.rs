//! The tol binary as a library.
