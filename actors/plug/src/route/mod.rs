//! Rows of the table of routes. Serving, access, limits, metrics, the OpenAPI document and tests follow these rows, so that they cannot differ.

mod handler;
pub mod parameters;

use actix_web::http::Method;

use crate::problem::Kind;

pub use handler::{Handler, Outcome};
pub use parameters::{Parameter, Place, Shape};

/// What an API key allows: text, since each system adds scopes of its own, e.g. `flags:evaluate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(pub &'static str);

impl Scope {
    /// Sending facts.
    pub const PUBLISH: Scope = Scope("publish");
    /// Everything that shows and changes nothing.
    pub const READ: Scope = Scope("read");
    /// Changing how the node runs: pausing, redriving, rebuilding, stopping.
    pub const OPERATE: Scope = Scope("operate");
    /// Releasing an emergency stop, and every other scope.
    pub const ADMIN: Scope = Scope("admin");
    /// What the nodes of a cluster ask of each other.
    pub const NODE: Scope = Scope("node");
    /// The scopes of the platform.
    pub const CORE: &'static [Scope] = &[Self::PUBLISH, Self::READ, Self::OPERATE, Self::ADMIN, Self::NODE];
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody: no key is asked for.
    Open,
    /// A key with this scope, where keys are configured; the local machine where none is.
    Scope(Scope),
    /// The handler checks each request itself, by a signature over the body as it came. No API key is asked for.
    Signed,
}

impl Access {
    /// The scope a key must have, if a key is asked for.
    pub const fn scope(self) -> Option<Scope> {
        match self {
            Access::Scope(scope) => Some(scope),
            Access::Open | Access::Signed => None,
        }
    }
}

/// What a request's body is, for the document and the tests; the handler reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing is read.
    None,
    /// CloudEvents: binary, structured or batch.
    Events,
    /// JSON of that component.
    Json(&'static str),
    /// JSON of that component, or nothing.
    OptionalJson(&'static str),
    /// JSON of another's form; the text is an example.
    AnyJson(&'static str),
    /// A body of these media types.
    Other(&'static [&'static str]),
}

/// What an answer's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// JSON of that component.
    Json(&'static str),
    /// An array of that component.
    List(&'static str),
    /// Any JSON.
    AnyJson,
    /// Of that media type.
    Other(&'static str),
    /// Nothing.
    Empty,
}

/// An answer that is no problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// One line.
    pub description: &'static str,
    /// Its body.
    pub content: Content,
}

impl Reply {
    /// 200.
    pub const fn ok(description: &'static str, content: Content) -> Self {
        Self { status: 200, description, content }
    }

    /// 202: the past is being folded; ask again.
    pub const fn running(description: &'static str) -> Self {
        Self { status: 202, description, content: Content::Json("Running") }
    }
}

/// A request that the contract suite sends: its path parameters and query are the parameters' examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// Media type of the body; empty where there is none.
    pub content_type: &'static str,
    /// The body.
    pub body: &'static str,
}

impl Example {
    /// No body.
    pub const NONE: Example = Example { content_type: "", body: "" };

    /// A JSON body.
    pub const fn json(body: &'static str) -> Self {
        Self { content_type: "application/json", body }
    }
}

/// A method of a path, all but its handler.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name, unique on the node; the document's `operationId`.
    pub operation: &'static str,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. A `GET` serves `HEAD` too.
    pub method: &'static str,
    /// Template as in OpenAPI. `{subject}` may hold slashes, and so does `{*key}` at the end of a protocol's path. A protocol's path is
    /// relative to its prefix.
    pub path: &'static str,
    /// Further paths as actix-web matches them, for values that another route's path would take.
    pub aliases: &'static [&'static str],
    /// Who may use it.
    pub access: Access,
    /// Group in the document: the system's short name.
    pub tag: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Whatever else a client should know.
    pub description: &'static str,
    /// What stands in its path, query and headers.
    pub parameters: &'static [&'static Parameter],
    /// What its body is.
    pub body: Body,
    /// Longest body, bytes; the node's limit where it is `None`.
    pub body_limit: Option<usize>,
    /// Answers that are no problems.
    pub answers: &'static [Reply],
    /// Problems beside those that every such route may answer with.
    pub problems: &'static [&'static Kind],
    /// What the contract suite sends.
    pub example: Example,
    /// Whether query parameters that no row declares are left to the handler.
    pub any_query: bool,
    /// Whether a key's limit of requests a second counts here. Only what must work at any load is left out.
    pub rate_limited: bool,
}

/// A method of a path and what answers it. `S` is what answers from memory: a system's serving side.
pub struct Route<S: 'static> {
    /// All but the handler.
    pub spec: Spec,
    /// What answers.
    pub handler: Handler<S>,
}

impl Spec {
    /// A route that takes nothing and answers 200 to who may read.
    pub const fn get(operation: &'static str, path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self {
            operation,
            method: "GET",
            path,
            aliases: &[],
            access: Access::Scope(Scope::READ),
            tag,
            summary,
            description: "",
            parameters: &[],
            body: Body::None,
            body_limit: None,
            answers: &[],
            problems: &[],
            example: Example::NONE,
            any_query: false,
            rate_limited: true,
        }
    }

    /// A route that changes something, for who may operate.
    pub const fn post(operation: &'static str, path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self { method: "POST", access: Access::Scope(Scope::OPERATE), ..Self::get(operation, path, tag, summary) }
    }

    /// The same with another method.
    #[must_use]
    pub const fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    /// With a handler.
    pub const fn by<S>(self, handler: Handler<S>) -> Route<S> {
        Route { spec: self, handler }
    }

    /// The paths as actix-web matches them.
    pub fn patterns(&self) -> Vec<String> {
        let own = self.path.replace("{subject}", "{subject:.+}").replace("{file}", "{file:.*}");
        std::iter::once(own).chain(self.aliases.iter().map(|alias| (*alias).to_owned())).collect()
    }

    /// Names of the parameters in its path, in order.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).map(|name| name.trim_start_matches('*'))
    }

    /// Whether the query parameter exists.
    pub fn takes(&self, query_parameter: &str) -> bool {
        self.any_query || self.query_parameters().any(|name| name == query_parameter)
    }

    /// The query parameters' names.
    pub fn query_parameters(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.parameters.iter().filter(|parameter| parameter.place == Place::Query).map(|parameter| parameter.name)
    }

    /// Whether the method is this route's.
    pub fn serves(&self, method: &Method) -> bool {
        self.method == method.as_str() || (self.method == "GET" && *method == Method::HEAD)
    }

    /// All kinds of problem that it may answer with.
    pub fn all_problems(&self) -> Vec<&'static Kind> {
        let mut kinds = self.problems.to_vec();
        if self.access != Access::Open {
            kinds.extend([Kind::TOO_MANY_REQUESTS, Kind::NOT_READY, Kind::INTERNAL]);
        }
        if self.access.scope().is_some() {
            kinds.extend([Kind::MISSING_KEY, Kind::INVALID_KEY, Kind::MISSING_SCOPE, Kind::FORBIDDEN_ORIGIN]);
        }
        if self.query_parameters().next().is_some() {
            kinds.push(Kind::INVALID_PARAMETER);
        }
        if self.path.contains('{') {
            kinds.push(Kind::INVALID_PATH);
        }
        if self.body != Body::None {
            kinds.extend([Kind::REQUEST_TIMEOUT, Kind::BODY_TOO_LARGE]);
        }
        match self.body {
            Body::None | Body::Other(_) => {}
            Body::Events => kinds.extend([Kind::UNSUPPORTED_CONTENT_TYPE, Kind::MALFORMED_JSON]),
            Body::Json(_) | Body::OptionalJson(_) | Body::AnyJson(_) => {
                kinds.extend([Kind::UNSUPPORTED_CONTENT_TYPE, Kind::MALFORMED_JSON, Kind::INVALID_BODY]);
            }
        }
        kinds.sort();
        kinds.dedup();
        kinds
    }
}
