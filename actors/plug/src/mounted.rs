//! [`Mounted`]: a plug without the type of its serving side, as the node holds and calls it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tol_system::{AnyProjection, AnySystem, EffectOutcome, Followed, Projection};

use crate::cli::Verb;
use crate::listener::{Connection, Keys, Serve};
use crate::platform::{Check, Platform};
use crate::plug::{Plug, Start, StartError};
use crate::problem::{Kind, Problem};
use crate::protocol::{Cors, Credential};
use crate::question::Asked;
use crate::request::{Parts, Request};
use crate::route::{Handler, Outcome, Route, Scope, Spec};
use crate::runner::{Effect, Failure, OnStop};
use crate::settings::{self, SettingError};

/// Makes the systems of a plug under its settings.
pub type MakeSystems = fn(&Value) -> Result<Vec<Arc<dyn AnySystem>>, SettingError>;
/// Makes what answers from memory, under a plug's settings.
pub type StartPlug = fn(&Value, &Start) -> Result<Arc<dyn Mounted>, StartError>;

/// A line of the registry: functions that need no type of the plug.
#[derive(Clone, Copy)]
pub struct Mount {
    /// Describes the plug; needs no settings.
    pub describe: fn() -> Description,
    /// Checks settings, and gives them back for people: with the defaults filled in, and `***` for secrets.
    pub settings: fn(&Value) -> Result<Value, SettingError>,
    /// Its systems under these settings.
    pub systems: MakeSystems,
    /// Makes what answers from memory.
    pub start: StartPlug,
}

impl Mount {
    pub(crate) const fn of<P: Plug>() -> Self {
        Self { describe: Description::of::<P>, settings: checked::<P>, systems: systems::<P>, start: start::<P> }
    }
}

fn read<P: Plug>(given: &Value) -> Result<P::Settings, SettingError> {
    let settings = settings::read::<P::Settings>(given)?;
    P::check(&settings)?;
    Ok(settings)
}

fn checked<P: Plug>(given: &Value) -> Result<Value, SettingError> {
    Ok(settings::shown(&read::<P>(given)?))
}

fn systems<P: Plug>(given: &Value) -> Result<Vec<Arc<dyn AnySystem>>, SettingError> {
    Ok(P::systems(&read::<P>(given)?))
}

fn start<P: Plug>(given: &Value, start: &Start) -> Result<Arc<dyn Mounted>, StartError> {
    let settings = read::<P>(given).map_err(|error| StartError { system: P::NAME, problem: error.to_string() })?;
    Ok(Arc::new(Running::<P> { serving: Arc::new(P::serving(settings, start)?) }))
}

/// What a plug declares, without its handlers.
pub struct Description {
    /// The folder's name.
    pub name: &'static str,
    /// The short name.
    pub short: &'static str,
    /// Words that its paths begin with, the short name first.
    pub words: Vec<&'static str>,
    /// Routes of the system's own.
    pub routes: Vec<Spec>,
    /// Foreign protocols.
    pub protocols: Vec<ProtocolSpec>,
    /// Names of its ports, each with the name of the HTTP protocol that it speaks; `None` for TCP.
    pub listeners: Vec<(&'static str, Option<&'static str>)>,
    /// Its runners.
    pub runners: Vec<RunnerSpec>,
    /// Names of its questions.
    pub questions: Vec<&'static str>,
    /// Its scopes, each with what it allows.
    pub scopes: &'static [(Scope, &'static str)],
    /// Its kinds of problem.
    pub problems: &'static [&'static Kind],
    /// Describes its metrics to the recorder.
    pub metrics: fn(),
    /// Components of the OpenAPI document.
    pub components: fn() -> Value,
    /// Verbs of the command line.
    pub verbs: &'static [Verb],
}

/// What a protocol declares.
#[derive(Clone)]
pub struct ProtocolSpec {
    /// Its name in the path.
    pub name: &'static str,
    /// How its clients present an API key.
    pub credential: Credential,
    /// Which web pages may use it.
    pub cors: Cors,
    /// Writes a problem in the protocol's own shape.
    pub error: fn(&Problem) -> HttpResponse,
    /// Its routes, with paths relative to its prefix.
    pub routes: Vec<Spec>,
}

/// What a runner declares.
#[derive(Clone)]
pub struct RunnerSpec {
    /// Its name.
    pub name: &'static str,
    /// How many of its effects run at a time.
    pub at_once: usize,
    /// How often an effect is tried.
    pub tries: u32,
    /// How long a try may take.
    pub limit: Duration,
    /// What an emergency stop does to running effects.
    pub on_stop: OnStop,
    /// Payloads with how such an effect ends.
    pub examples: fn() -> Vec<(Value, EffectOutcome)>,
}

impl Description {
    fn of<P: Plug>() -> Self {
        let tables = P::tables();
        let specs = |routes: &'static [Route<P::Serving>]| routes.iter().map(|route| route.spec).collect::<Vec<_>>();
        Self {
            name: P::NAME,
            short: P::SHORT,
            words: std::iter::once(P::SHORT).chain(tables.words.iter().copied()).collect(),
            routes: specs(tables.routes),
            protocols: tables
                .protocols
                .iter()
                .map(|protocol| ProtocolSpec {
                    name: protocol.name,
                    credential: protocol.credential,
                    cors: protocol.cors,
                    error: protocol.error,
                    routes: specs(protocol.routes),
                })
                .collect(),
            listeners: tables
                .listeners
                .iter()
                .map(|listener| {
                    let protocol = match &listener.serve {
                        Serve::Protocol(protocol) => Some(protocol.name),
                        Serve::Connection(_) => None,
                    };
                    (listener.name, protocol)
                })
                .collect(),
            runners: tables
                .runners
                .iter()
                .map(|runner| RunnerSpec {
                    name: runner.name,
                    at_once: runner.at_once,
                    tries: runner.tries,
                    limit: runner.limit,
                    on_stop: runner.on_stop,
                    examples: runner.examples,
                })
                .collect(),
            questions: tables.questions.iter().map(|question| question.name).collect(),
            scopes: tables.scopes,
            problems: tables.problems,
            metrics: tables.metrics,
            components: tables.components,
            verbs: tables.verbs,
        }
    }
}

/// A row of a plug's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// One of its own routes.
    Route(usize),
    /// A route of a protocol.
    Protocol(usize, usize),
}

/// The outcome of a call.
pub enum Called {
    /// The handler answered; the request's head comes back for metrics.
    Done(HttpRequest, Outcome),
    /// The handler answers later.
    Later(HttpRequest, LocalBoxFuture<'static, Outcome>),
}

/// An accepted connection, to which [`Mounted::connection`] adds the serving side.
pub struct Accepted {
    /// The node.
    pub platform: Arc<dyn Platform>,
    /// The TCP connection.
    pub stream: TcpStream,
    /// The address of the client.
    pub peer: SocketAddr,
    /// Becomes true when the node stops.
    pub stopping: watch::Receiver<bool>,
    /// The node's API keys.
    pub keys: Arc<dyn Keys>,
}

/// A started plug, as the node calls it.
pub trait Mounted: Send + Sync + 'static {
    /// See [`Plug::projections`].
    fn projections(&self) -> Vec<MountedProjection>;
    /// Calls a row's handler.
    fn call(&self, row: Row, parts: Parts, payload: Payload) -> Called;
    /// Serves a connection to the listener of that number.
    fn connection(&self, listener: usize, accepted: Accepted) -> LocalBoxFuture<'static, std::io::Result<()>>;
    /// Runs one try of an effect with the runner of that number. Blocking.
    ///
    /// # Errors
    /// Why the try did not succeed.
    fn run(&self, runner: usize, effect: &Effect<'_>) -> Result<Value, Failure>;
    /// Answers the question of that number, as the owner of its subject.
    fn answer(&self, question: usize, platform: Arc<dyn Platform>, asked: Asked) -> BoxFuture<'static, Result<Value, Problem>>;
    /// See [`Plug::checks`].
    fn checks(&self) -> Vec<Check>;
    /// See [`Plug::opened`].
    fn opened(&self, platform: &Arc<dyn Platform>);
    /// See [`Plug::owns`].
    fn owns(&self, partitions: &BTreeSet<u32>);
    /// See [`Plug::erased`].
    fn erased(&self, subject: &str);
    /// See [`Plug::closing`].
    fn closing(&self);
}

struct Running<P: Plug> {
    serving: Arc<P::Serving>,
}

fn missing(what: &str) -> Problem {
    Problem::internal(format!("there is no such {what}; the registry and the system's tables differ"))
}

impl<P: Plug> Mounted for Running<P> {
    fn projections(&self) -> Vec<MountedProjection> {
        P::projections(&self.serving)
    }

    fn call(&self, row: Row, parts: Parts, payload: Payload) -> Called {
        let tables = P::tables();
        let found = match row {
            Row::Route(row) => tables.routes.get(row),
            Row::Protocol(protocol, row) => tables.protocols.get(protocol).and_then(|protocol| protocol.routes.get(row)),
        };
        let Some(route) = found else { return Called::Done(parts.http, Err(missing("route"))) };
        let request = Request { serving: self.serving.clone(), parts };
        match route.handler {
            Handler::Immediate(handler) => {
                let outcome = handler(&request);
                Called::Done(request.parts.http, outcome)
            }
            Handler::Waiting(handler) => Called::Later(request.parts.http.clone(), handler(request, payload)),
        }
    }

    fn connection(&self, listener: usize, accepted: Accepted) -> LocalBoxFuture<'static, std::io::Result<()>> {
        let Accepted { platform, stream, peer, stopping, keys } = accepted;
        match P::tables().listeners.get(listener).map(|listener| &listener.serve) {
            Some(Serve::Connection(serve)) => serve(Connection { serving: self.serving.clone(), platform, stream, peer, stopping, keys }),
            _ => Box::pin(std::future::ready(Err(std::io::Error::other("this port speaks HTTP")))),
        }
    }

    fn run(&self, runner: usize, effect: &Effect<'_>) -> Result<Value, Failure> {
        let runner = P::tables().runners.get(runner).ok_or_else(|| Failure::Permanent("there is no such runner".to_owned()))?;
        (runner.run)(&self.serving, effect)
    }

    fn answer(&self, question: usize, platform: Arc<dyn Platform>, asked: Asked) -> BoxFuture<'static, Result<Value, Problem>> {
        match P::tables().questions.get(question) {
            Some(question) => (question.answer)(self.serving.clone(), platform, asked),
            None => Box::pin(std::future::ready(Err(missing("question")))),
        }
    }

    fn checks(&self) -> Vec<Check> {
        P::checks(&self.serving)
    }

    fn opened(&self, platform: &Arc<dyn Platform>) {
        P::opened(&self.serving, platform);
    }

    fn owns(&self, partitions: &BTreeSet<u32>) {
        P::owns(&self.serving, partitions);
    }

    fn erased(&self, subject: &str) {
        P::erased(&self.serving, subject);
    }

    fn closing(&self) {
        P::closing(&self.serving);
    }
}

/// Called with the changed rows of a projection, as they are stored.
pub type Follower = Arc<dyn Fn(Followed<Vec<u8>>) + Send + Sync>;

/// A projection of a plug, followed by its serving side or only served.
pub struct MountedProjection {
    /// The projection.
    pub projection: Arc<dyn AnyProjection>,
    /// Called with its changed rows; `None` where the serving side keeps none in memory.
    pub follower: Option<Follower>,
}

impl MountedProjection {
    /// Mounts a projection that is only queried.
    pub fn of<P: Projection>(projection: P) -> Self {
        Self { projection: tol_system::projection::erase(projection), follower: None }
    }

    /// Mounts a projection and calls `follower` with its rows: first, before the log is open, those of the last run; then each change, before
    /// a query that waits for the position sees it.
    pub fn followed<P: Projection>(projection: P, follower: impl Fn(Followed<P::Row>) + Send + Sync + 'static) -> Self {
        let follower = move |stored: Followed<Vec<u8>>| follower(stored.read::<P>());
        Self { projection: tol_system::projection::erase(projection), follower: Some(Arc::new(follower)) }
    }
}
