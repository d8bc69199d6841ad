//! The HTTP client: blocking, one node, errors that say what to do.

use std::io::BufRead;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Method, Request};

use crate::cli::error::{Error, Problem};
use crate::tls;

/// A whole query's answer may be large; this only bounds a runaway.
const ANSWER_LIMIT_BYTES: u64 = 1 << 30;

/// A node's HTTP interface.
pub struct Client {
    agent: ureq::Agent,
    /// Without a trailing slash.
    base: String,
    key: Option<String>,
}

/// An answer, whatever its status.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// How long the node asks to wait before the next try.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: String,
}

/// JSON that the node answered, and its very text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// As it was sent.
    pub text: String,
    /// What it says; null where nothing was sent.
    pub value: Value,
}

impl std::ops::Deref for Reply {
    type Target = Value;
    fn deref(&self) -> &Value {
        &self.value
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Client {
    /// A client of the node at `url` that presents `key` as a bearer token.
    ///
    /// # Errors
    /// When the URL is neither `http://…` nor `https://…`.
    pub fn new(url: &str, key: Option<&str>) -> Result<Self, Error> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::Usage(format!("--url {url}: it is to begin with http:// or https://")));
        }
        let tls = tls::config_for(url);
        if let Some(problem) = url.starts_with("https://").then(tls::problem).flatten() {
            return Err(Error::Failed(problem.to_owned()));
        }
        let config = ureq::config::Config::builder()
            .http_status_as_error(false)
            .tls_config(tls)
            .timeout_connect(Some(Duration::from_secs(5)))
            .user_agent(concat!("tol/", env!("CARGO_PKG_VERSION")))
            .build();
        let key = key.filter(|key| !key.is_empty()).map(str::to_owned);
        Ok(Self { agent: ureq::Agent::new_with_config(config), base: url.trim_end_matches('/').to_owned(), key })
    }

    /// The node's URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request and returns the answer, whatever its status.
    ///
    /// # Errors
    /// [`Error::NotReachable`] when there is no answer.
    pub fn send(&self, method: Method, path: &str, query: &[(&str, String)], body: Option<(&str, Vec<u8>)>) -> Result<Answer, Error> {
        let mut response = self.response(method, path, query, body, Some(Duration::from_secs(120)), None)?;
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_LIMIT_BYTES).read_to_string().map_err(|error| self.unreachable(&error))?;
        Ok(Answer { status, retry_after, body })
    }

    fn response(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<(&str, Vec<u8>)>,
        timeout: Option<Duration>,
        last_event_id: Option<&str>,
    ) -> Result<ureq::http::Response<ureq::Body>, Error> {
        let mut url = format!("{}{path}", self.base);
        for (index, (name, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&format!("{name}={}", encode(value)));
        }
        let mut request = Request::builder().method(method).uri(&url).header("accept", "application/json, text/event-stream");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let invalid = |error: ureq::http::Error| Error::Usage(format!("{url} cannot be requested: {error}"));
        let sent = match body {
            Some((content_type, bytes)) => {
                let request = request.header("content-type", content_type).body(bytes).map_err(invalid)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(timeout).build())
            }
            None => {
                let request = request.body(()).map_err(invalid)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(timeout).build())
            }
        };
        sent.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &ureq::Error) -> Error {
        Error::NotReachable { url: self.base.clone(), why: error.to_string() }
    }

    /// The error that an answer of status 400 or above is.
    pub fn refusal(&self, answer: &Answer) -> Error {
        let problem = Problem::read(answer.status, &answer.body);
        match answer.status {
            503 => Error::NotReachable { url: self.base.clone(), why: format!("it answers 503, {}: {}", problem.title, problem.detail) },
            500.. => Error::Failed(format!("the node failed with status {}: {}: {}; its log tells more", answer.status, problem.title, problem.detail)),
            _ => Error::Refused(Box::new(problem)),
        }
    }

    /// Sends a request, with a JSON body or none; the status and the answer, null where it is empty.
    ///
    /// # Errors
    /// Not reachable, refused, or not JSON.
    pub(super) fn json(&self, method: Method, path: &str, query: &[(&str, String)], body: Option<&Value>) -> Result<(u16, Reply), Error> {
        let body = body.map(|value| ("application/json", value.to_string().into_bytes()));
        let answer = self.send(method, path, query, body)?;
        if answer.status >= 400 {
            return Err(self.refusal(&answer));
        }
        if answer.body.trim().is_empty() {
            return Ok((answer.status, Reply::default()));
        }
        let parsed = serde_json::from_str(&answer.body);
        let value = parsed.map_err(|error| Error::Failed(format!("{}{path} did not answer with JSON: {error}; is it a tol node?", self.base)))?;
        Ok((answer.status, Reply { text: answer.body, value }))
    }

    /// GET.
    ///
    /// # Errors
    /// Not reachable, refused, or not JSON.
    pub fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Reply, Error> {
        self.json(Method::GET, path, query, None).map(|(_, value)| value)
    }

    /// GET, with the status: 202 means that the answer is still being computed.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_with_status(&self, path: &str, query: &[(&str, String)]) -> Result<(u16, Reply), Error> {
        self.json(Method::GET, path, query, None)
    }

    /// POST of JSON, or of nothing.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, path: &str, body: Option<&Value>) -> Result<Reply, Error> {
        self.json(Method::POST, path, &[], body).map(|(_, value)| value)
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete(&self, path: &str) -> Result<Reply, Error> {
        self.json(Method::DELETE, path, &[], None).map(|(_, value)| value)
    }

    /// A stream of server-sent events, without a time limit; after the event of that id, or from now on.
    ///
    /// # Errors
    /// Not reachable or refused.
    pub fn stream(&self, path: &str, query: &[(&str, String)], last_event_id: Option<&str>) -> Result<impl BufRead + use<>, Error> {
        let mut response = self.response(Method::GET, path, query, None, None, last_event_id)?;
        let status = response.status().as_u16();
        if status >= 400 {
            let body = response.body_mut().read_to_string().unwrap_or_default();
            return Err(self.refusal(&Answer { status, retry_after: None, body }));
        }
        Ok(std::io::BufReader::new(response.into_body().into_reader()))
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986 section 2.3).
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_encoded() {
        assert_eq!(encode("customer/42 ä"), "customer%2F42%20%C3%A4");
    }

    #[test]
    fn another_scheme_is_refused_with_advice() {
        for url in ["ftp://node", "node:7700", ""] {
            assert!(Client::new(url, None).is_err_and(|error| error.exit_code() == 2 && error.to_string().contains("https://")), "{url}");
        }
    }
}
