//! Owners, readers, admission, supervision, timers and effects.
