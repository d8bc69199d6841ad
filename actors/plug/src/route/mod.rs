//! [`Route`] and [`Spec`]: rows of the table of routes. Serving, access, limits, metrics, the OpenAPI document and tests follow these rows, so that they
//! cannot differ.

mod handler;
pub mod parameters;

use actix_web::http::Method;

use crate::problem::Kind;

pub use handler::{Handler, Outcome};
pub use parameters::{Parameter, Place, Shape};

/// A right that an API key may have. It is text, since each system adds scopes of its own, e.g. `flags:evaluate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(pub &'static str);

impl Scope {
    /// Allows sending facts.
    pub const PUBLISH: Scope = Scope("publish");
    /// Allows everything that shows and changes nothing.
    pub const READ: Scope = Scope("read");
    /// Allows changing how the node runs: pausing, redriving, rebuilding, stopping.
    pub const OPERATE: Scope = Scope("operate");
    /// Allows releasing an emergency stop, erasing a person, and what every other scope allows.
    pub const ADMIN: Scope = Scope("admin");
    /// Allows what the nodes of a cluster ask of each other.
    pub const NODE: Scope = Scope("node");
    /// The scopes of the platform.
    pub const CORE: &'static [Scope] = &[Self::PUBLISH, Self::READ, Self::OPERATE, Self::ADMIN, Self::NODE];
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Which requests may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// All requests; the guard asks for no key.
    Open,
    /// Requests with a key of this scope; where no keys are configured, requests of this machine.
    Scope(Scope),
    /// Requests whose signature over the body as sent the handler itself checks. The guard asks for no API key.
    Signed,
}

impl Access {
    /// Gives the scope that a key must have; `None` where no key is asked for.
    pub const fn scope(self) -> Option<Scope> {
        match self {
            Access::Scope(scope) => Some(scope),
            Access::Open | Access::Signed => None,
        }
    }
}

/// The body of a request, for the document and the tests. The handler reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// No body.
    None,
    /// CloudEvents: binary, structured or batch.
    Events,
    /// JSON of this component.
    Json(&'static str),
    /// JSON of this component, or no body.
    OptionalJson(&'static str),
    /// JSON in a form that another product defines; the text is an example.
    AnyJson(&'static str),
    /// A body of these media types.
    Other(&'static [&'static str]),
}

/// The body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// JSON of this component.
    Json(&'static str),
    /// A JSON array of this component.
    List(&'static str),
    /// Any JSON.
    AnyJson,
    /// A body of this media type.
    Other(&'static str),
    /// No body.
    Empty,
}

/// An answer of a route that is no problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// One line for the document.
    pub description: &'static str,
    /// Its body.
    pub content: Content,
}

impl Reply {
    /// Describes an answer 200.
    pub const fn ok(description: &'static str, content: Content) -> Self {
        Self { status: 200, description, content }
    }

    /// Describes an answer 202: the node folds the past; ask again.
    pub const fn running(description: &'static str) -> Self {
        Self { status: 202, description, content: Content::Json("Running") }
    }
}

/// The request that the contract suite sends. Its path and query come from the parameters' examples.
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

/// Describes a method of a path: all but its handler.
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
    /// Which requests may use it.
    pub access: Access,
    /// Group in the document: the system's short name.
    pub tag: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Whatever else a client should know, in Markdown.
    pub description: &'static str,
    /// Its parameters in path, query and headers.
    pub parameters: &'static [&'static Parameter],
    /// The body of its requests.
    pub body: Body,
    /// Longest body, in bytes; `None` is the node's limit.
    pub body_limit: Option<usize>,
    /// Answers that are no problems.
    pub answers: &'static [Reply],
    /// Problems of its own, beside those that [`Spec::all_problems`] adds for every such route.
    pub problems: &'static [&'static Kind],
    /// The request that the contract suite sends.
    pub example: Example,
    /// Whether query parameters that no row declares are left to the handler.
    pub any_query: bool,
    /// Whether its requests count for the key's limit of requests a second. False only for what must work at any load.
    pub rate_limited: bool,
}

/// A method of a path, with its handler. `S` is the system's serving side.
pub struct Route<S: 'static> {
    /// Describes it.
    pub spec: Spec,
    /// Answers its requests.
    pub handler: Handler<S>,
}

impl Spec {
    /// Describes a `GET` without parameters, for keys with the scope `read`.
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

    /// Describes a `POST` without parameters and body, for keys with the scope `operate`.
    pub const fn post(operation: &'static str, path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self { method: "POST", access: Access::Scope(Scope::OPERATE), ..Self::get(operation, path, tag, summary) }
    }

    /// Changes the method.
    #[must_use]
    pub const fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    /// Adds the handler.
    pub const fn by<S>(self, handler: Handler<S>) -> Route<S> {
        Route { spec: self, handler }
    }

    /// Gives the paths in the form that actix-web matches.
    pub fn patterns(&self) -> Vec<String> {
        let own = self.path.replace("{subject}", "{subject:.+}").replace("{file}", "{file:.*}");
        std::iter::once(own).chain(self.aliases.iter().map(|alias| (*alias).to_owned())).collect()
    }

    /// Names the parameters in its path, in order.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).map(|name| name.trim_start_matches('*'))
    }

    /// Tells whether it has the query parameter.
    pub fn takes(&self, query_parameter: &str) -> bool {
        self.any_query || self.query_parameters().any(|name| name == query_parameter)
    }

    /// Names its query parameters.
    pub fn query_parameters(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.parameters.iter().filter(|parameter| parameter.place == Place::Query).map(|parameter| parameter.name)
    }

    /// Tells whether it serves the method.
    pub fn serves(&self, method: &Method) -> bool {
        self.method == method.as_str() || (self.method == "GET" && *method == Method::HEAD)
    }

    /// Lists all kinds of problem that it may answer with.
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
