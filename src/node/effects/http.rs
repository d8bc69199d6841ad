//! `http`: sends one HTTP request with the header `Idempotency-Key`, the same at each try.
//!
//! The payload has `url`, and may have `method` (`POST` without it), `headers` and `body`: text is sent as it is, anything else as JSON. The URL
//! must be one of the system's settings or lie below one, or begin with a prefix that `effects.allow` names. Redirects are not followed: they may lead
//! elsewhere. What the runner answers is status and body, cut after [`MAX_ANSWER`] bytes.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tol_config::Effects;
use tol_runtime::effects::{EffectRunner, RunnerLimits};
use tol_system::{Effect, Failure, OnStop};
use url::Url;

use crate::node::Node;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes kept of an answer.
const MAX_ANSWER: u64 = 1 << 20;
/// The longest wait that an answer's `Retry-After` is followed for, in seconds.
const MAX_RETRY_AFTER: u64 = 600;
/// Headers that the runner sets.
const OWN_HEADERS: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "idempotency-key"];

/// The URLs that systems may call.
pub(super) struct AllowedUrls {
    /// Prefixes for URLs of data.
    of_data: Effects,
    /// The URLs in the settings of each system.
    of_settings: BTreeMap<String, Vec<Url>>,
}

impl AllowedUrls {
    /// As the node's configuration says.
    pub(super) fn of(node: &Node) -> Self {
        let of_system = |name: &str, shown: &Value| {
            // Those that an operator set may be secrets; defaults are not.
            let mut urls = Vec::new();
            collect_urls(shown, &mut urls);
            collect_urls(&node.config.system(name).settings.expose(), &mut urls);
            urls
        };
        let enabled = node.plugs.enabled();
        let of_settings = enabled.map(|(entry, _, shown)| (entry.description.name.to_owned(), of_system(entry.description.name, shown))).collect();
        Self { of_data: node.config.effects.clone(), of_settings }
    }

    /// The URL, if the system may call it.
    fn check(&self, system: &str, text: &str) -> Result<Url, Failure> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| Failure::permanent(format!("\"{text}\" is no URL that begins with http:// or https://")))?;
        // Checked as it is sent: with `..` resolved.
        let is_set = self.of_settings.get(system).into_iter().flatten().any(|set| is_below(&url, set));
        if is_set || self.of_data.allows(url.as_str()) {
            return Ok(url);
        }
        Err(Failure::permanent(format!("{system} may not call {text}; add a prefix of it to effects.allow")))
    }
}

/// Texts in a table of settings that are URLs.
fn collect_urls(settings: &Value, urls: &mut Vec<Url>) {
    match settings {
        Value::String(text) => urls.extend(Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))),
        Value::Array(items) => items.iter().for_each(|item| collect_urls(item, urls)),
        Value::Object(table) => table.values().for_each(|item| collect_urls(item, urls)),
        _ => {}
    }
}

/// Whether `url` is `set`, or differs from it only in what follows its path.
fn is_below(url: &Url, set: &Url) -> bool {
    let rest = url.as_str().strip_prefix(set.as_str());
    rest.is_some_and(|rest| rest.is_empty() || set.as_str().ends_with('/') || rest.starts_with(['/', '?', '#']))
}

/// What a request's payload says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
}

/// The platform's runner `http`.
pub(super) fn runner(allowed: AllowedUrls) -> EffectRunner {
    let limits = RunnerLimits { at_once: 4, tries: 3, limit: 2 * TIMEOUT, on_stop: OnStop::Finish };
    EffectRunner { system: None, name: "http".to_owned(), limits, run: Arc::new(move |effect: &Effect| send(&allowed, effect)) }
}

fn send(allowed: &AllowedUrls, effect: &Effect) -> Result<Value, Failure> {
    let wanted = Wanted::deserialize(effect.payload()).map_err(|error| Failure::permanent(format!("the payload for http is wrong: {error}")))?;
    let url = allowed.check(&effect.info().system, &wanted.url)?;
    let method = wanted.method.as_deref().unwrap_or("POST");
    let request = request(&url, method, &wanted, effect.key())?;
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(0).http_status_as_error(false);
    let config = config.tls_config(crate::tls::config_for(url.as_str()));
    let failed = |error: &dyn std::fmt::Display| Failure::retry(format!("{method} {url}: {error}"));
    let agent = config.build().new_agent();
    let answered = if request.body().is_empty() { agent.run(request.map(|_| ())) } else { agent.run(request) };
    let mut response = answered.map_err(|error| failed(&error))?;
    let status = response.status();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    let mut body = Vec::new();
    response.body_mut().as_reader().take(MAX_ANSWER + 1).read_to_end(&mut body).map_err(|error| failed(&error))?;
    let is_cut = body.len() as u64 > MAX_ANSWER;
    body.truncate(MAX_ANSWER as usize);
    let text = String::from_utf8_lossy(&body);
    if status.is_success() {
        let mut answer = json!({"status": status.as_u16(), "body": text});
        if is_cut {
            answer["truncated"] = true.into();
        }
        return Ok(answer);
    }
    let said: String = text.chars().take(300).collect();
    let problem = format!("{method} {url} answered {}: {said}", status.as_u16());
    match status.as_u16() {
        408 | 425 | 429 | 500.. => Err(Failure::Retry { problem, after: retry_after.map(|seconds| Duration::from_secs(seconds.min(MAX_RETRY_AFTER))) }),
        _ => Err(Failure::Permanent(problem)),
    }
}

fn request(url: &Url, method: &str, wanted: &Wanted, key: &str) -> Result<ureq::http::Request<Vec<u8>>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::permanent(format!("the payload for http is wrong: {error}"));
    if !["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&method) {
        return Err(wrong(&format!("method \"{method}\" is none of GET, HEAD, POST, PUT, PATCH and DELETE")));
    }
    let (body, media_type) = match &wanted.body {
        Value::Null => (Vec::new(), None),
        Value::String(text) => (text.clone().into_bytes(), Some("text/plain; charset=utf-8")),
        body => (body.to_string().into_bytes(), Some("application/json")),
    };
    if !body.is_empty() && matches!(method, "GET" | "HEAD" | "DELETE") {
        return Err(wrong(&format!("{method} has no body")));
    }
    let mut request = ureq::http::Request::builder().method(method).uri(url.as_str());
    for (name, value) in &wanted.headers {
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(wrong(&format!("the header {name} is the runner's own")));
        }
        request = request.header(name, value);
    }
    if let Some(media_type) = media_type.filter(|_| !wanted.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"))) {
        request = request.header("content-type", media_type);
    }
    request.header("idempotency-key", key).body(body).map_err(|error| wrong(&error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn allowed(prefix: &str, settings: &Value) -> AllowedUrls {
        let mut urls = Vec::new();
        collect_urls(settings, &mut urls);
        AllowedUrls { of_data: Effects { allow: vec![prefix.to_owned()] }, of_settings: BTreeMap::from([("shop".to_owned(), urls)]) }
    }

    #[test]
    fn a_system_calls_what_its_settings_or_the_configuration_name_and_nothing_else() {
        let allowed = allowed("https://hooks.example/in/", &json!({"hook": {"url": "https://shop.example/hook"}, "more": ["http://127.0.0.1:9/"]}));
        for url in ["https://hooks.example/in/1?a=b", "https://shop.example/hook", "https://shop.example/hook/7", "http://127.0.0.1:9/any"] {
            assert!(allowed.check("shop", url).is_ok(), "{url}");
        }
        let refused = [
            "https://hooks.example/in/../out",
            "https://hooks.example/out",
            "https://shop.example/hooks",
            "https://shop.example.org/hook",
            "https://shop.example@evil.example/hook",
            "file:///etc/passwd",
            "hook",
        ];
        for url in refused {
            assert!(matches!(allowed.check("shop", url), Err(Failure::Permanent(_))), "{url}");
        }
        assert!(allowed.check("another", "https://shop.example/hook").is_err(), "settings are each system's own");
    }

    #[test]
    fn the_runners_own_headers_and_other_methods_are_refused() {
        let url = Url::parse("http://127.0.0.1/").unwrap();
        let wanted = |headers: Value, body: Value| Wanted::deserialize(json!({"url": url.as_str(), "headers": headers, "body": body})).unwrap();
        let sent = request(&url, "PUT", &wanted(json!({"Content-Type": "text/csv"}), json!("a,b")), "k").unwrap();
        assert_eq!((sent.headers()["content-type"].as_bytes(), sent.headers()["idempotency-key"].as_bytes()), (&b"text/csv"[..], &b"k"[..]));
        assert_eq!(sent.body(), b"a,b");
        for (method, headers, body) in [("TRACE", json!({}), Value::Null), ("GET", json!({}), json!(1)), ("POST", json!({"Idempotency-Key": "x"}), Value::Null)]
        {
            assert!(request(&url, method, &wanted(headers, body), "k").is_err(), "{method}");
        }
    }
}
