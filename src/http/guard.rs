//! What happens to a request of the table's routes before and after its handler.

use std::borrow::Cow;
use std::time::Instant;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};
use tol_config::{Scope, find_key};

use super::metric_definitions::{REQUEST_SECONDS, REQUESTS};
use super::parameters::Query;
use super::problem::{Kind, Problem};
use super::routes::{Operation, Route};
use super::server::Shared;

/// Who sent the request; recorded with what an operator does.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub String);

/// Who may do anything where no keys are configured.
const LOCAL: &str = "local";

/// Checks a request to a path whose methods are `routes`, has it handled, and measures it.
pub(crate) async fn guard(routes: &'static [&'static Route], request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let route = routes.iter().copied().find(|route| route.serves(request.method().as_str()));
    let (method, path) = route.map_or(("other", routes[0].path), |route| (route.method, route.path));
    let response = match check(routes, route, &request) {
        Err(problem) => request.into_response(problem.to_response()),
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.call(request).await?
        }
    };
    metrics::counter!(REQUESTS, "method" => method, "route" => path, "status" => response.status().as_u16().to_string()).increment(1);
    metrics::histogram!(REQUEST_SECONDS, "method" => method, "route" => path).record(started.elapsed().as_secs_f64());
    Ok(response)
}

fn check(routes: &[&Route], route: Option<&Route>, request: &ServiceRequest) -> Result<Option<Caller>, Problem> {
    let Some(route) = route else {
        let mut allowed: Vec<&str> = routes.iter().map(|route| route.method).collect();
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        let allow = allowed.join(", ");
        let mut problem = Problem::new(Kind::MethodNotAllowed, format!("{} has {allow}, not {}", routes[0].path, request.method()));
        problem.allow = Some(allow);
        return Err(problem);
    };
    let shared = request.app_data::<web::Data<Shared>>().ok_or_else(|| Problem::internal("the server has no state"))?;
    let mut caller = None;
    if let Some(scope) = route.scope {
        refuse_foreign_pages(request, shared.keys.is_empty())?;
        let (place, name) = authorize(request.headers(), shared, scope)?;
        // Whoever may stop the business can do so at any load, also of their own making.
        if route.operation != Operation::Stop {
            limit_rate(shared, place, &name)?;
        }
        caller = Some(Caller(name));
    }
    if let Err(why) = percent_encoding(request.uri().path()) {
        return Err(Problem::new(Kind::InvalidPath, format!("the path {why}; encode each of its parameters as UTF-8 and write % itself as %25")));
    }
    if !request.query_string().is_empty() {
        Query::of(request.request())?.check(route)?;
    }
    Ok(caller)
}

/// The place and name of the key that may do this.
fn authorize(headers: &HeaderMap, shared: &Shared, scope: Scope) -> Result<(usize, String), Problem> {
    if shared.keys.is_empty() {
        return Ok((0, LOCAL.to_owned()));
    }
    let Some(presented) = presented_key(headers) else {
        return Err(Problem::new(Kind::MissingKey, "send \"Authorization: Bearer tol_…\" or \"X-Api-Key: tol_…\"; `tol keys new` makes a key"));
    };
    let Some((place, key)) = find_key(presented, &shared.keys) else {
        return Err(Problem::new(Kind::InvalidKey, "this key is not configured on the node (security.api_keys)"));
    };
    if !key.allows(scope) {
        let detail = format!("key \"{}\" lacks the scope \"{scope}\"", key.name);
        return Err(Problem::new(Kind::MissingScope, detail).with("scope", scope.name()));
    }
    Ok((place, key.name.clone()))
}

fn limit_rate(shared: &Shared, place: usize, name: &str) -> Result<(), Problem> {
    shared.rates.take(place).map_err(|wait| {
        let limit = shared.rates.limit(place);
        let detail = format!("\"{name}\" may send {limit} requests a second; send more events a request, or raise requests_per_second");
        // Whole seconds are all that Retry-After knows.
        Problem::new(Kind::TooManyRequests, detail).with("limit", limit).retry_after(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
    })
}

/// Whether each `%` is followed by two hexadecimal digits and what they stand for is UTF-8. Decoding goes on where it is not,
/// and makes one path or parameter of several.
pub(super) fn percent_encoding(text: &str) -> Result<(), &'static str> {
    percent_decoded(text).map(drop)
}

/// What a percent-encoded text stands for.
pub(super) fn percent_decoded(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(value) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return Err("has a % that two hexadecimal digits do not follow");
        };
        decoded.push(value);
        rest = &tail[2..];
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| "is not UTF-8 once percent-decoded")
}

fn presented_key(headers: &HeaderMap) -> Option<&str> {
    if let Some(header) = headers.get("authorization").and_then(|value| value.to_str().ok()) {
        let (scheme, key) = header.split_once(' ').unwrap_or(("", header));
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim());
    }
    headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(str::trim)
}

/// A web page must not use a visitor's way to this node: not by a form or script of another origin, and, where no key
/// protects it, not by a name that was made to point to this machine (DNS rebinding).
fn refuse_foreign_pages(request: &ServiceRequest, without_keys: bool) -> Result<(), Problem> {
    // The authority of an absolute request target outweighs the header (RFC 9112 3.2.2).
    refuse_foreign(request.headers(), request.uri().authority().map(|authority| authority.as_str()), without_keys)
}

fn refuse_foreign(headers: &HeaderMap, authority: Option<&str>, without_keys: bool) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = authority.or_else(|| text("host")).unwrap_or_default();
    if let Some(origin) = text("origin") {
        let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
        if !authority.eq_ignore_ascii_case(host) {
            return Err(Problem::new(Kind::ForbiddenOrigin, format!("a page of {origin} may not use this node at {host}")));
        }
    }
    if without_keys && !host.is_empty() && !names_this_machine(host) {
        let detail = format!("this node has no API keys and answers to names of this machine only, not to \"{host}\"; configure a key to reach it by name");
        return Err(Problem::new(Kind::ForbiddenOrigin, detail));
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

    #[test]
    fn malformed_percent_encoding_is_told() {
        for fine in ["/events/a", "/events/%41%c3%a4%2F", "/", "%25"] {
            assert_eq!(percent_encoding(fine), Ok(()), "{fine}");
        }
        for wrong in ["%", "/a%", "%4", "%zz", "%+1", "%ff", "%c3", "%c0%ae", "%ed%a0%80"] {
            assert!(percent_encoding(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_found_in_either_header() {
        assert_eq!(presented_key(&headers_of(&[("authorization", "Bearer tol_a")])), Some("tol_a"));
        assert_eq!(presented_key(&headers_of(&[("authorization", "bearer  tol_a")])), Some("tol_a"));
        assert_eq!(presented_key(&headers_of(&[("x-api-key", "tol_a")])), Some("tol_a"));
        assert_eq!(presented_key(&headers_of(&[("authorization", "Basic dG9s")])), None);
    }
}
