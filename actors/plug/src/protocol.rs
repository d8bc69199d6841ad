//! Foreign protocols: what clients of other products speak, unchanged, below `/compat/<name>` or at the root of a port of their own.

use std::borrow::Cow;

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;

use crate::problem::Problem;
use crate::request::{PathValues, Query};
use crate::route::Route;

/// A foreign protocol: its routes, how its clients present a key, and how a problem looks to them.
pub struct Protocol<S: 'static> {
    /// Its name in the path: `unleash` for `/compat/unleash/…`.
    pub name: &'static str,
    /// How its clients present an API key of the node.
    pub credential: Credential,
    /// Which web pages may use it.
    pub cors: Cors,
    /// Its routes, with paths relative to `/compat/<name>`.
    pub routes: &'static [Route<S>],
    /// Writes a problem in the protocol's own shape.
    pub error: fn(&Problem) -> HttpResponse,
}

/// The places where clients of a protocol may present an API key, in the order in which they are read; the first that has one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential(pub &'static [Presented]);

/// A place of a request where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// `Authorization`, with or without `Bearer`.
    Authorization,
    /// The user name of `Authorization: Basic …`.
    BasicUser,
    /// A header of its own.
    Header(&'static str),
    /// A parameter of the path.
    Path(&'static str),
    /// A query parameter.
    Query(&'static str),
}

impl Credential {
    /// The places of the node's own interface.
    pub const NODE: Credential = Credential(&[Presented::Bearer, Presented::Header("x-api-key")]);

    /// Reads the key as presented, whether the node knows it or not. The first header that is there decides: where it holds no key, a good key in a
    /// later place does not count, so that a request never gets in with an authorization that is wrong.
    pub fn presented<'r>(&self, request: &'r HttpRequest, path: &'r PathValues) -> Option<Cow<'r, str>> {
        let mut deciding = None;
        for place in self.0 {
            let header = place.header();
            if deciding.is_some() && header != deciding {
                return None;
            }
            if let Some(found) = place.of(request, path) {
                return Some(found);
            }
            deciding = header.filter(|name| request.headers().contains_key(*name));
        }
        None
    }
}

impl Presented {
    /// The header in which the place lies.
    fn header(self) -> Option<&'static str> {
        match self {
            Presented::Bearer | Presented::Authorization | Presented::BasicUser => Some("authorization"),
            Presented::Header(name) => Some(name),
            Presented::Path(_) | Presented::Query(_) => None,
        }
    }

    fn of<'r>(self, request: &'r HttpRequest, path: &'r PathValues) -> Option<Cow<'r, str>> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::trim).filter(|text| !text.is_empty());
        let authorization = || header(AUTHORIZATION.as_str());
        let with_scheme = |wanted: &str| {
            let (scheme, key) = authorization()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case(wanted).then(|| key.trim())
        };
        match self {
            Presented::Bearer => with_scheme("bearer").map(Cow::Borrowed),
            Presented::Authorization => with_scheme("bearer").or_else(authorization).map(Cow::Borrowed),
            Presented::BasicUser => {
                let decoded = base64::engine::general_purpose::STANDARD.decode(with_scheme("basic")?).ok()?;
                let text = String::from_utf8(decoded).ok()?;
                Some(Cow::Owned(text.split(':').next().unwrap_or_default().to_owned()))
            }
            Presented::Header(name) => header(name).map(Cow::Borrowed),
            Presented::Path(name) => path.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(value.as_str())),
            Presented::Query(name) => Query::of(request).ok()?.text(name).map(Cow::Owned),
        }
    }
}

/// Which web pages may use a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cors {
    /// No page of another origin.
    SameOrigin,
    /// Pages of any origin, since each request presents its key itself; answers show them these headers.
    AnyOrigin {
        /// Header names, separated by commas.
        exposed: &'static str,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn presented(places: &'static [Presented], name: &str, value: &str) -> Option<String> {
        let request = TestRequest::with_uri("/x?api_key=q").insert_header((name, value)).to_http_request();
        let mut path = PathValues::new();
        path.push(("key", "p".to_owned()));
        Credential(places).presented(&request, &path).map(Cow::into_owned)
    }

    #[test]
    fn a_key_is_found_where_the_protocol_s_clients_put_it() {
        use Presented::*;
        let node = Credential::NODE.0;
        assert_eq!(presented(node, "authorization", "Bearer tol_a").as_deref(), Some("tol_a"));
        assert_eq!(presented(node, "authorization", "bearer  tol_a").as_deref(), Some("tol_a"));
        assert_eq!(presented(node, "x-api-key", "tol_a").as_deref(), Some("tol_a"));
        assert_eq!(presented(node, "authorization", "Basic dG9s"), None);
        assert_eq!(presented(&[Authorization], "authorization", "*:development.secret").as_deref(), Some("*:development.secret"));
        assert_eq!(presented(&[Authorization], "authorization", "Bearer x").as_deref(), Some("x"));
        assert_eq!(presented(&[BasicUser], "authorization", "Basic d3JpdGVLZXk6").as_deref(), Some("writeKey"));
        assert_eq!(presented(&[BasicUser], "authorization", "Basic %%%"), None);
        assert_eq!(presented(&[BasicUser, Bearer], "authorization", "Bearer x").as_deref(), Some("x"));
        assert_eq!(presented(&[Bearer, Query("api_key")], "authorization", "Basic dG9s"), None, "the header that is there decides");
        assert_eq!(presented(&[Bearer, Query("api_key")], "authorization", "wrong"), None, "the header that is there decides");
        assert_eq!(presented(&[Path("key")], "x", "y").as_deref(), Some("p"));
        assert_eq!(presented(&[Header("x-k"), Query("api_key")], "x", "y").as_deref(), Some("q"));
    }
}
