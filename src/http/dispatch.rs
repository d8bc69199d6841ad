//! Takes requests from actix-web's router to the handlers of the node and of systems: method, guard, query parameters, handler, metrics.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use tol_plug::mounted::{Called, Mounted, Row};
use tol_plug::request::{BodyLimits, Parts, PathValues, percent};
use tol_plug::{Cors, Credential, Handler, Kind, Outcome, Problem, Request, Spec};

use super::guard;
use super::meters::RowMeter;
use super::plugs::{PlugEntry, disabled};
use super::routes::routes;
use super::server::{Shared, State};

/// All routes but those of protocols, by path.
pub(crate) struct Router {
    state: State,
    paths: Vec<Arc<PathGroup>>,
}

/// A path and its methods.
struct PathGroup {
    path: &'static str,
    patterns: Vec<String>,
    methods: Vec<MethodRow>,
    /// Counts requests with a method that the path does not have.
    other: RowMeter,
}

struct MethodRow {
    spec: Spec,
    target: Target,
    meter: RowMeter,
}

/// What answers a row.
enum Target {
    Node(Handler<Shared>),
    System(Arc<dyn Mounted>, Row),
    Disabled(&'static str),
}

impl Router {
    /// The routes of the node, then those of each system, in the order in which they are tried.
    pub(crate) fn of(state: &State, plugs: &[PlugEntry]) -> Self {
        let mut groups: Vec<PathGroup> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut add = |spec: Spec, target: Target| {
            let place = *places.entry(spec.path).or_insert_with(|| {
                groups.push(PathGroup { path: spec.path, patterns: spec.patterns(), methods: Vec::new(), other: RowMeter::default() });
                groups.len() - 1
            });
            groups[place].methods.push(MethodRow { spec, target, meter: RowMeter::default() });
        };
        for route in routes() {
            add(route.spec, Target::Node(route.handler));
        }
        for plug in plugs {
            for (index, spec) in plug.description.routes.iter().enumerate() {
                let target = plug.mounted.clone().map_or(Target::Disabled(plug.description.name), |mounted| Target::System(mounted, Row::Route(index)));
                add(*spec, target);
            }
        }
        Self { state: state.clone(), paths: groups.into_iter().map(Arc::new).collect() }
    }

    /// Registers all paths with a worker's application.
    pub(crate) fn register(&self, config: &mut ServiceConfig) {
        for group in &self.paths {
            let (state, group) = (self.state.clone(), group.clone());
            let patterns = group.patterns.clone();
            let handle = move |request: HttpRequest, payload: web::Payload| {
                let (state, group) = (state.clone(), group.clone());
                async move { group.handle(&state, request, payload.into_inner()).await }
            };
            config.service(web::resource(patterns).to(handle));
        }
    }
}

impl PathGroup {
    async fn handle(&self, state: &State, request: HttpRequest, payload: Payload) -> HttpResponse {
        let started = Instant::now();
        let row = self.methods.iter().find(|row| row.spec.serves(request.method()));
        let outcome = match row {
            Some(row) => row.answer(state, request, payload).await,
            None => Err(self.other_method(request.method())),
        };
        let response = outcome.unwrap_or_else(|problem| problem.to_response());
        let (meter, method) = row.map_or((&self.other, "other"), |row| (&row.meter, row.spec.method));
        meter.count(method, || Cow::Borrowed(self.path), response.status(), started);
        response
    }

    fn other_method(&self, method: &Method) -> Problem {
        let mut allowed: Vec<&str> = self.methods.iter().map(|row| row.spec.method).collect();
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        let allow = allowed.join(", ");
        let mut problem = Problem::new(Kind::METHOD_NOT_ALLOWED, format!("{} has {allow}, not {method}", self.path));
        problem.allow = Some(allow);
        problem
    }
}

impl MethodRow {
    async fn answer(&self, state: &State, request: HttpRequest, payload: Payload) -> Outcome {
        let spec = &self.spec;
        let no_values = PathValues::new();
        let caller = guard::let_in(state, spec, &request, &no_values, &Credential::NODE, Cors::SameOrigin)?;
        let path = path_values(spec, &request)?;
        if !request.query_string().is_empty() {
            tol_plug::request::Query::of(&request)?.check(spec)?;
        }
        let limits = BodyLimits { bytes: spec.body_limit.unwrap_or(state.body_limit), patience: state.request_timeout };
        let parts = Parts { platform: state.platform.clone(), http: request, path, caller, limits, credential: None };
        match &self.target {
            Target::Node(Handler::Immediate(handler)) => handler(&Request { serving: state.clone(), parts }),
            Target::Node(Handler::Waiting(handler)) => handler(Request { serving: state.clone(), parts }, payload).await,
            Target::Disabled(system) => Err(disabled(system)),
            Target::System(mounted, row) => match mounted.call(*row, parts, payload) {
                Called::Done(_, outcome) => outcome,
                Called::Later(_, outcome) => outcome.await,
            },
        }
    }
}

/// The path's parameters, decoded.
fn path_values(spec: &Spec, request: &HttpRequest) -> Result<PathValues, Problem> {
    let refused = |why| Problem::new(Kind::INVALID_PATH, format!("the path {why}; encode each of its parameters as UTF-8 and write % itself as %25"));
    percent::check_encoding(request.uri().path()).map_err(refused)?;
    let matched = request.match_info();
    let value = |name: &'static str| Ok((name, percent::decode(matched.get(name).unwrap_or_default()).map_err(refused)?.into_owned()));
    spec.path_parameters().map(value).collect()
}
