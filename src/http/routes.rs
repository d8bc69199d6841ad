//! The table of routes: what is served, who may, what it takes and answers. Serving, access and the OpenAPI document follow it,
//! so that they cannot differ.

pub(crate) mod parameters;
mod table;

use tol_config::Scope;

use super::problem::Kind;

pub(crate) use table::routes;

/// What a route does; `app` maps each to its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Publish,
    SearchEvents,
    StreamEvents,
    Event,
    Trace,
    Timeline,
    Projections,
    Rows,
    Digest,
    StartRebuild,
    RebuildStatus,
    CancelRebuild,
    Row,
    Systems,
    System,
    SystemQuery,
    PauseSystem,
    ResumeSystem,
    RestartSystem,
    DeadLetters,
    RedriveAll,
    RedriveStatus,
    Redrive,
    Discard,
    Flags,
    ImportFlags,
    ExportFlags,
    EvaluateFlags,
    Flag,
    ChangeFlag,
    ArchiveFlag,
    FlagHistory,
    KillFlag,
    RestoreFlag,
    ScheduleFlag,
    Rollout,
    StartRollout,
    StopRollout,
    Experiments,
    StartExperiment,
    Experiment,
    ConcludeExperiment,
    FlagExperiments,
    RecordExposures,
    FlagEnvironments,
    ChangeShared,
    StopState,
    Stop,
    Release,
    Live,
    Ready,
    Metrics,
    Version,
    Peer,
    OpenApi,
    Docs,
    ProblemPage,
    DocsFile,
    Schema,
}

/// A method of a path.
#[derive(Debug)]
pub(crate) struct Route {
    pub operation: Operation,
    /// `GET`, `POST`, `PUT` or `DELETE`. A `GET` serves `HEAD` too.
    pub method: &'static str,
    /// Template as in OpenAPI.
    pub path: &'static str,
    /// What a key must be allowed; `None` needs no key.
    pub scope: Option<Scope>,
    /// Group in the document.
    pub tag: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Whatever else a client should know.
    pub description: &'static str,
    pub parameters: &'static [&'static Parameter],
    pub body: Body,
    pub answers: &'static [Reply],
    /// Beside those every route may answer.
    pub problems: &'static [Kind],
}

impl Route {
    /// The path as actix-web matches it. A subject may hold slashes that are not percent-encoded. A flag whose key is what is done with all flags
    /// has another path.
    pub(crate) fn patterns(&self) -> Vec<String> {
        let mut patterns = vec![self.path.replace("{subject}", "{subject:.+}").replace("{file}", "{file:.*}")];
        if self.path == "/flags/{key}" {
            patterns.push("/flags/key/{key:import|export|evaluate}".to_owned());
        }
        patterns
    }

    /// Whether the query parameter exists. Those of a system's query are known to the system alone, which refuses others.
    pub(crate) fn takes(&self, query_parameter: &str) -> bool {
        self.operation == Operation::SystemQuery || self.query_parameters().any(|name| name == query_parameter)
    }

    /// The query parameters' names.
    pub(crate) fn query_parameters(&self) -> impl Iterator<Item = &'static str> + use<'_> {
        self.parameters.iter().filter(|parameter| parameter.place == Place::Query).map(|parameter| parameter.name)
    }

    /// Whether the method is this route's.
    pub(crate) fn serves(&self, method: &str) -> bool {
        self.method == method || (self.method == "GET" && method == "HEAD")
    }

    /// The kinds of problem it may answer with.
    pub(crate) fn all_problems(&self) -> Vec<Kind> {
        let mut kinds = self.problems.to_vec();
        if self.scope.is_some() {
            kinds.extend([
                Kind::MissingKey,
                Kind::InvalidKey,
                Kind::MissingScope,
                Kind::ForbiddenOrigin,
                Kind::TooManyRequests,
                Kind::NotReady,
                Kind::Internal,
            ]);
        }
        if self.query_parameters().next().is_some() {
            kinds.push(Kind::InvalidParameter);
        }
        if self.path.contains('{') {
            kinds.push(Kind::InvalidPath);
        }
        if self.body != Body::None {
            kinds.push(Kind::RequestTimeout);
        }
        match self.body {
            Body::None => {}
            Body::Events => kinds.extend([Kind::UnsupportedContentType, Kind::BodyTooLarge, Kind::MalformedJson]),
            Body::Reason | Body::RedriveFilter | Body::AnyJson | Body::Json(_) | Body::Definitions => {
                kinds.extend([Kind::UnsupportedContentType, Kind::BodyTooLarge, Kind::MalformedJson, Kind::InvalidBody])
            }
        }
        kinds.sort();
        kinds.dedup();
        kinds
    }
}

/// Where a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
}

/// What a parameter looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    /// Text without which the operation cannot be answered.
    Needed,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, without which the operation cannot be answered.
    NeededWord(&'static [&'static str]),
    /// An integer from .0 to .1, .2 when absent.
    Integer(u64, u64, u64),
    /// RFC 3339, or a date.
    Moment,
    /// `topic/partition:position`, repeatable.
    Positions,
}

/// A parameter.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub name: &'static str,
    pub place: Place,
    pub shape: Shape,
    pub description: &'static str,
    pub example: &'static str,
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    /// CloudEvents: binary, structured or batch.
    Events,
    /// `{"reason"}`.
    Reason,
    /// [`super::api::RedriveFilter`], or nothing.
    RedriveFilter,
    /// Any JSON.
    AnyJson,
    /// A component of the document.
    Json(&'static str),
    /// Flags in their format's own JSON.
    Definitions,
}

/// What an answer's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A component of the document.
    Json(&'static str),
    /// An array of a component.
    List(&'static str),
    /// Any JSON.
    AnyJson,
    /// Of that media type.
    Other(&'static str),
    /// Nothing.
    Empty,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub description: &'static str,
    pub content: Content,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_route_stands_twice_and_path_parameters_are_declared() {
        let mut seen = BTreeSet::new();
        for route in routes() {
            assert!(seen.insert((route.method, route.path)), "{} {} stands twice", route.method, route.path);
            let declared: Vec<&str> = route.parameters.iter().filter(|parameter| parameter.place == Place::Path).map(|parameter| parameter.name).collect();
            let in_path: Vec<&str> = route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            assert_eq!(declared, in_path, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn what_changes_state_needs_more_than_read() {
        for route in routes().filter(|route| route.method != "GET") {
            assert!(route.scope.is_some_and(|scope| scope != Scope::Read), "{} {}", route.method, route.path);
        }
    }
}
