//! Reading a system's own settings, `[systems.<name>.settings]`; see [`tol_system::settings`].

pub use tol_system::settings::{Secret, SettingError, read, shown};
