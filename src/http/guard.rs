//! What happens to every request before and after its handler.

use std::time::Instant;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};
use tol_config::{Scope, find_key};

use super::metric_definitions::{REQUEST_SECONDS, REQUESTS};
use super::parameters::Query;
use super::problem::{Kind, Problem};
use super::routes::Route;
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
        refuse_foreign_pages(request.headers(), shared.keys.is_empty())?;
        caller = Some(Caller(authorize(request.headers(), shared, scope)?));
    }
    if !request.query_string().is_empty() {
        Query::of(request.request())?.check(route)?;
    }
    Ok(caller)
}

/// The name of the key that may do this.
fn authorize(headers: &HeaderMap, shared: &Shared, scope: Scope) -> Result<String, Problem> {
    if shared.keys.is_empty() {
        return Ok(LOCAL.to_owned());
    }
    let Some(presented) = presented_key(headers) else {
        return Err(Problem::new(Kind::MissingKey, "send \"Authorization: Bearer tol_…\" or \"X-Api-Key: tol_…\"; `tol keys new` makes a key"));
    };
    let Some(key) = find_key(presented, &shared.keys) else {
        return Err(Problem::new(Kind::InvalidKey, "this key is not configured on the node (security.api_keys)"));
    };
    if !key.allows(scope) {
        let detail = format!("key \"{}\" lacks the scope \"{scope}\"", key.name);
        return Err(Problem::new(Kind::MissingScope, detail).with("scope", scope.name()));
    }
    Ok(key.name.clone())
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
fn refuse_foreign_pages(headers: &HeaderMap, without_keys: bool) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").unwrap_or_default();
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

/// Headers of every answer, errors included.
pub(crate) async fn headers(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let request_id = request_id(&request);
    let documentation = request.path().starts_with("/docs");
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    let policy = if documentation {
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    } else {
        "default-src 'none'; frame-ancestors 'none'"
    };
    let fixed = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", policy),
        ("cache-control", if documentation { "public, max-age=3600" } else { "no-store" }),
    ];
    for (name, value) in fixed {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(HeaderName::from_static("x-request-id"), request_id);
    Ok(response)
}

/// The sender's request id where it is a sane one, else a new one.
fn request_id(request: &ServiceRequest) -> HeaderValue {
    let given = request.headers().get("x-request-id");
    let sane = |value: &&HeaderValue| !value.is_empty() && value.len() <= 128 && value.as_bytes().iter().all(|byte| byte.is_ascii_graphic());
    if let Some(given) = given.filter(sane) {
        return given.clone();
    }
    let number = request.app_data::<web::Data<Shared>>().map(|shared| shared.next_request_id());
    number.and_then(|id| HeaderValue::from_str(&id).ok()).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers_of(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn pages_of_other_origins_and_rebound_names_are_refused() {
        let refused = |pairs, without_keys| refuse_foreign_pages(&headers_of(pairs), without_keys).is_err();
        assert!(!refused(&[("host", "127.0.0.1:7700")], true));
        assert!(!refused(&[("host", "localhost:7700"), ("origin", "http://localhost:7700")], true));
        assert!(!refused(&[("host", "[::1]:7700")], true));
        assert!(!refused(&[("host", "tol.example")], false));
        assert!(refused(&[("host", "localhost:7700"), ("origin", "https://evil.example")], true));
        assert!(refused(&[("host", "tol.example"), ("origin", "null")], false));
        assert!(refused(&[("host", "evil.example:7700"), ("origin", "http://evil.example:7700")], true));
        assert!(refused(&[("host", "127.0.0.1.evil.example")], true));
    }

    #[test]
    fn a_key_is_found_in_either_header() {
        assert_eq!(presented_key(&headers_of(&[("authorization", "Bearer tol_a")])), Some("tol_a"));
        assert_eq!(presented_key(&headers_of(&[("authorization", "bearer  tol_a")])), Some("tol_a"));
        assert_eq!(presented_key(&headers_of(&[("x-api-key", "tol_a")])), Some("tol_a"));
        assert_eq!(presented_key(&headers_of(&[("authorization", "Basic dG9s")])), None);
    }
}
