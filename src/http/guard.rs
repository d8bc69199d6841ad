//! Lets requests in: checks API key, scope, rate and origin before any handler is called, for the node's own routes, those of systems and foreign
//! protocols alike.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use tol_config::{ApiKey, find_key};
use tol_plug::listener::Keys;
use tol_plug::request::{Key, PathValues};
use tol_plug::{Caller, Cors, Credential, Kind, Problem, Scope, Spec};

use super::limits::RateLimits;
use super::server::Shared;

/// The API keys of a node, and how much each may ask.
pub(crate) struct KeyRing {
    keys: Vec<ApiKey>,
    /// As handlers see the holders, in the order of the keys.
    callers: Vec<Caller>,
    rates: RateLimits,
}

impl KeyRing {
    /// `requests_per_second` is the limit of keys without one of their own; 0 is none.
    pub(crate) fn new(keys: Vec<ApiKey>, requests_per_second: u32) -> Self {
        let caller = |key: &ApiKey| Caller::Key(Arc::new(Key { name: key.name.clone(), attributes: key.attributes.clone() }));
        Self { callers: keys.iter().map(caller).collect(), rates: RateLimits::new(&keys, requests_per_second), keys }
    }

    /// Whether there is none: then only this machine is served.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Who presents this, and the place of its limit.
    fn holder(&self, presented: Option<&str>, scope: Scope) -> Result<(usize, Caller), Problem> {
        if self.keys.is_empty() {
            return Ok((0, Caller::Anybody));
        }
        let Some(presented) = presented else {
            let detail =
                "send \"Authorization: Bearer tol_…\" or \"X-Api-Key: tol_…\", or give the client a key of this node as its token; `tol keys new` makes a key";
            return Err(Problem::new(Kind::MISSING_KEY, detail));
        };
        let Some((place, key)) = find_key(presented, &self.keys) else {
            return Err(Problem::new(Kind::INVALID_KEY, "this key is not configured on the node (security.api_keys)"));
        };
        if !key.allows(scope.0) {
            let detail = format!("key \"{}\" lacks the scope \"{scope}\"", key.name);
            return Err(Problem::new(Kind::MISSING_SCOPE, detail).with("scope", scope.0));
        }
        Ok((place, self.callers.get(place).cloned().unwrap_or_default()))
    }

    fn limit_rate(&self, place: usize, name: &str) -> Result<(), Problem> {
        self.rates.take(place).map_err(|wait| {
            let limit = self.rates.limit(place);
            let detail = format!("\"{name}\" may send {limit} requests a second; send more events a request, or raise requests_per_second");
            // Whole seconds are all that Retry-After knows.
            Problem::new(Kind::TOO_MANY_REQUESTS, detail).with("limit", limit).retry_after(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
        })
    }
}

impl Keys for KeyRing {
    fn any(&self) -> bool {
        !self.is_empty()
    }

    fn caller(&self, secret: &str, scope: Scope) -> Option<Caller> {
        self.holder(Some(secret), scope).ok().map(|(_, caller)| caller)
    }
}

/// Lets a request in, and says who sent it. A protocol's pages of other origins are let in where [`Cors`] says so: each of its requests presents its
/// key itself.
pub(super) fn let_in(shared: &Shared, spec: &Spec, request: &HttpRequest, path: &PathValues, credential: &Credential, cors: Cors) -> Result<Caller, Problem> {
    let Some(scope) = spec.access.scope() else { return Ok(Caller::Anybody) };
    if cors == Cors::SameOrigin {
        // The authority of an absolute request target outweighs the header (RFC 9112 3.2.2).
        refuse_foreign(request.headers(), request.uri().authority().map(|authority| authority.as_str()), shared.keys.is_empty())?;
    }
    let presented = if shared.keys.is_empty() { None } else { credential.presented(request, path) };
    let (place, caller) = shared.keys.holder(presented.as_deref(), scope)?;
    if spec.rate_limited {
        shared.keys.limit_rate(place, caller.name())?;
    }
    Ok(caller)
}

/// A web page must not use a visitor's way to this node: not by a form or script of another origin, and, where no key
/// protects it, not by a name that was made to point to this machine (DNS rebinding).
fn refuse_foreign(headers: &HeaderMap, authority: Option<&str>, without_keys: bool) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = authority.or_else(|| text("host")).unwrap_or_default();
    if let Some(origin) = text("origin") {
        let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
        if !authority.eq_ignore_ascii_case(host) {
            return Err(Problem::new(Kind::FORBIDDEN_ORIGIN, format!("a page of {origin} may not use this node at {host}")));
        }
    }
    if without_keys && !host.is_empty() && !names_this_machine(host) {
        let detail = format!("this node has no API keys and answers to names of this machine only, not to \"{host}\"; configure a key to reach it by name");
        return Err(Problem::new(Kind::FORBIDDEN_ORIGIN, detail));
    }
    Ok(())
}

fn names_this_machine(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = without_port.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    use actix_web::http::header::{HeaderName, HeaderValue};

    fn headers_of(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn pages_of_other_origins_and_rebound_names_are_refused() {
        let refused = |pairs, without_keys| refuse_foreign(&headers_of(pairs), None, without_keys).is_err();
        assert!(!refused(&[("host", "127.0.0.1:7700")], true));
        assert!(!refused(&[("host", "localhost:7700"), ("origin", "http://localhost:7700")], true));
        assert!(!refused(&[("host", "[::1]:7700")], true));
        assert!(!refused(&[("host", "tol.example")], false));
        assert!(refused(&[("host", "localhost:7700"), ("origin", "https://evil.example")], true));
        assert!(refused(&[("host", "tol.example"), ("origin", "null")], false));
        assert!(refused(&[("host", "evil.example:7700"), ("origin", "http://evil.example:7700")], true));
        assert!(refused(&[("host", "127.0.0.1.evil.example")], true));
        assert!(refuse_foreign(&headers_of(&[("host", "localhost")]), Some("evil.example"), true).is_err());
    }
}
