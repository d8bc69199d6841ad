//! Listens, and maps routes to their handlers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::web;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use tokio::sync::Semaphore;
use tol_config::ApiKey;
use tol_plug::{Kind, Platform, Problem};

use super::api::NodeApi;
use super::dispatch::Router;
use super::front::Front;
use super::guard::KeyRing;
use super::limits::{affordable_connections, limit_writing};
use super::metric_definitions;
use super::plugs::PlugEntry;
use super::protocols::Protocols;

/// How the server runs.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Largest body of `POST /events`, bytes.
    pub body_limit: usize,
    /// Threads that serve requests.
    pub workers: usize,
    /// Who may use it; none means that everything is allowed, and that only names of this machine are answered to.
    pub keys: Vec<ApiKey>,
    /// Streams of events open at most.
    pub max_streams: usize,
    /// Requests a second of each key without a limit of its own; 0 is none.
    pub requests_per_second: u32,
    /// Connections open at a time.
    pub max_connections: usize,
    /// How long the head of a request may take, and its body beside a second for each 16 KB.
    pub request_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// How long requests under way may take once the server is told to stop, seconds.
    pub shutdown_timeout_s: u64,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7700".into(),
            body_limit: 10_000_000,
            workers: 2,
            keys: Vec::new(),
            max_streams: 256,
            requests_per_second: 0,
            max_connections: 20_000,
            request_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            shutdown_timeout_s: 10,
        }
    }
}

impl From<&tol_config::Config> for HttpOptions {
    fn from(config: &tol_config::Config) -> Self {
        Self {
            listen: config.http.listen.clone(),
            body_limit: usize::try_from(config.http.body_limit_bytes).unwrap_or(usize::MAX),
            workers: config.http.workers as usize,
            keys: config.security.api_keys.clone(),
            requests_per_second: config.http.requests_per_second,
            max_connections: config.http.max_connections as usize,
            request_timeout: Duration::from_secs(config.http.request_timeout_s),
            write_timeout: Duration::from_secs(config.http.write_timeout_s),
            ..Self::default()
        }
    }
}

/// What all workers share.
pub(crate) struct Shared {
    /// The node, for its own routes.
    pub api: Arc<dyn NodeApi>,
    /// The same node, for those of systems.
    pub platform: Arc<dyn Platform>,
    /// Who may use it.
    pub keys: Arc<KeyRing>,
    /// Longest body of a route without a limit of its own, bytes.
    pub body_limit: usize,
    /// How long a body may take to arrive, beside what its length allows.
    pub request_timeout: Duration,
    /// A permit for each stream that may still be opened.
    pub streams: Arc<Semaphore>,
    /// Foreign protocols.
    pub protocols: Protocols,
    /// Begins the ids of requests that brought none, so that they differ between runs.
    request_prefix: String,
    request_number: AtomicU64,
}

/// What all workers share, as they hold it.
pub(crate) type State = Arc<Shared>;

impl Shared {
    pub(crate) fn next_request_id(&self) -> String {
        format!("{}-{:x}", self.request_prefix, self.request_number.fetch_add(1, Ordering::Relaxed))
    }
}

/// A server that listens.
pub struct Listening {
    /// Await it, or spawn it. End it with `server.handle().stop(true)`: requests under way are finished first. Streams end when the node drops their
    /// senders, so let it do that before.
    pub server: Server,
    /// Where it listens.
    pub address: SocketAddr,
    /// What further ports of systems serve with.
    pub(crate) state: State,
}

/// Listens and serves on threads of its own.
///
/// # Errors
/// When the address cannot be listened on, or a system's path cannot be routed.
pub fn serve(options: &HttpOptions, api: Arc<dyn NodeApi>, plugs: &[PlugEntry]) -> std::io::Result<Listening> {
    metric_definitions::describe();
    for plug in plugs {
        (plug.description.metrics)();
    }
    let platform: Arc<dyn Platform> = api.clone();
    let state = Arc::new(Shared {
        api,
        platform,
        keys: Arc::new(KeyRing::new(options.keys.clone(), options.requests_per_second)),
        request_timeout: options.request_timeout,
        body_limit: options.body_limit,
        streams: Arc::new(Semaphore::new(options.max_streams.min(Semaphore::MAX_PERMITS))),
        protocols: Protocols::of(plugs).map_err(std::io::Error::other)?,
        request_prefix: uuid::Uuid::new_v4().simple().to_string(),
        request_number: AtomicU64::new(0),
    });
    let router = Arc::new(Router::of(&state, plugs));
    let shared = state.clone();
    let workers = options.workers.max(1);
    let connections_a_worker = affordable_connections(options.max_connections).div_ceil(workers);
    let write_timeout = options.write_timeout;
    let server = HttpServer::new(move || {
        let router = router.clone();
        App::new().wrap(Front(shared.clone())).configure(move |config| router.register(config)).default_service(web::to(no_route))
    })
    .workers(workers)
    .max_connections(connections_a_worker)
    .client_request_timeout(options.request_timeout)
    .on_connect(move |connection, _| limit_writing(connection, write_timeout))
    .disable_signals()
    .shutdown_timeout(options.shutdown_timeout_s)
    .bind(&options.listen)
    .map_err(|error| {
        let advice = "choose another --listen address or stop the program that uses it";
        std::io::Error::new(error.kind(), format!("cannot listen on {}: {error}; {advice}", options.listen))
    })?;
    let address = server.addrs().first().copied().ok_or_else(|| std::io::Error::other(format!("no address to listen on in {}", options.listen)))?;
    Ok(Listening { server: server.run(), address, state })
}

async fn no_route(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::new(Kind::NOT_FOUND, format!("there is nothing at {}; GET /openapi.json lists what is served, /docs shows it", request.path())))
}
