//! Scopes: what an API key may be used for. A scope does not contain another, except that [`ADMIN`] contains all.
//!
//! Beside those of the platform there are those that systems declare, written `<system's short name>:<what>`. Older configurations write `<what>` alone.

use tol_system::settings::nearest;

use crate::error::Error;

/// `POST /events`.
pub const PUBLISH: &str = "publish";
/// Every `GET` but the unauthenticated ones.
pub const READ: &str = "read";
/// Pause, resume and restart systems, rebuild, redrive.
pub const OPERATE: &str = "operate";
/// Everything, and releasing the emergency stop.
pub const ADMIN: &str = "admin";
/// What nodes of one cluster ask each other (`POST /nodes/ask`).
pub const NODE: &str = "node";

/// The scopes of the platform itself.
pub const CORE: [&str; 5] = [PUBLISH, READ, OPERATE, ADMIN, NODE];

/// The name of the scope that a configuration calls `written`: one of [`CORE`], a declared one, or what follows the colon of a declared one where that is
/// the only such.
///
/// # Errors
/// [`Error::Scope`].
pub fn resolve(written: &str, declared: &[String]) -> Result<String, Error> {
    if CORE.contains(&written) || declared.iter().any(|name| name == written) {
        return Ok(written.to_owned());
    }
    let mut short = declared.iter().filter(|name| name.split_once(':').is_some_and(|(_, what)| what == written));
    if let (Some(name), None) = (short.next(), short.next()) {
        return Ok(name.clone());
    }
    let names: Vec<&str> = CORE.into_iter().chain(declared.iter().map(String::as_str)).collect();
    let nearest = nearest::find(written, names.iter().copied()).map_or_else(String::new, |nearest| nearest.advice("scope"));
    Err(Error::Scope { written: written.to_owned(), nearest, known: names.join(", ") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_scope_is_known_by_its_name_and_by_what_follows_the_colon() {
        let declared = ["shop:browse", "shop:buy", "bank:buy"].map(str::to_owned);
        for (written, name) in [("read", "read"), ("shop:browse", "shop:browse"), ("browse", "shop:browse"), ("bank:buy", "bank:buy")] {
            assert_eq!(resolve(written, &declared).unwrap(), name);
        }
        let message = resolve("shop:brows", &declared).unwrap_err().to_string();
        assert!(message.contains("did you mean shop:browse?") && message.contains("publish, read, operate, admin, node, shop:browse"), "{message}");
        assert!(resolve("buy", &declared).is_err(), "it may mean two");
        assert!(resolve("shop:browse", &[]).is_err());
    }
}
