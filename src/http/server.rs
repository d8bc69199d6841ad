//! Listening, and the routes mapped to their handlers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, guard as method_guard};
use tokio::sync::Semaphore;
use tol_config::ApiKey;

use super::api::NodeApi;
use super::compat;
use super::front::Front;
use super::guard;
use super::handlers::{control, events, flags, node, projections, stream};
use super::limits::{RateLimits, affordable_connections, limit_writing};
use super::metric_definitions;
use super::problem::{Kind, Problem};
use super::routes::{Operation, Route, routes};

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
    /// Streams of flags open at most.
    pub max_flag_streams: usize,
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
            max_flag_streams: 10_000,
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
    /// The node.
    pub api: Arc<dyn NodeApi>,
    /// Who may use it.
    pub keys: Vec<ApiKey>,
    /// What each of them may send.
    pub rates: RateLimits,
    /// Largest body of `POST /events`, bytes.
    pub body_limit: usize,
    /// How long a body may take to arrive, beside what its length allows.
    pub request_timeout: Duration,
    /// Held by the import of flags that runs.
    pub importing: tokio::sync::Mutex<()>,
    /// A permit for each stream that may still be opened.
    pub streams: Arc<Semaphore>,
    /// What is served to SDKs.
    pub flags: compat::Flags,
    /// What is counted of it.
    pub meters: compat::Meters,
    /// Begins the ids of requests that brought none, so that they differ between runs.
    request_prefix: String,
    request_number: AtomicU64,
}

impl Shared {
    pub(crate) fn next_request_id(&self) -> String {
        format!("{}-{:x}", self.request_prefix, self.request_number.fetch_add(1, Ordering::Relaxed))
    }
}

/// Listens and serves on threads of its own. Await the server (or spawn it) and end it with `server.handle().stop(true)`: requests
/// under way are finished first. Streams end when the node drops their senders, so let it do that before.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(options: HttpOptions, api: Arc<dyn NodeApi>) -> std::io::Result<(Server, SocketAddr)> {
    metric_definitions::describe();
    let flags = compat::Flags::of(api.flags(), options.max_flag_streams);
    let shared = web::Data::new(Shared {
        api,
        flags,
        meters: compat::Meters::default(),
        rates: RateLimits::new(&options.keys, options.requests_per_second),
        request_timeout: options.request_timeout,
        keys: options.keys,
        body_limit: options.body_limit,
        importing: tokio::sync::Mutex::default(),
        streams: Arc::new(Semaphore::new(options.max_streams.min(Semaphore::MAX_PERMITS))),
        request_prefix: uuid::Uuid::new_v4().simple().to_string(),
        request_number: AtomicU64::new(0),
    });
    let workers = options.workers.max(1);
    let connections_a_worker = affordable_connections(options.max_connections).div_ceil(workers);
    let write_timeout = options.write_timeout;
    let server =
        HttpServer::new(move || App::new().app_data(shared.clone()).wrap(Front(shared.clone())).configure(register).default_service(web::to(no_route)))
            .workers(workers)
            .max_connections(connections_a_worker)
            .client_request_timeout(options.request_timeout)
            .on_connect(move |connection, _| limit_writing(connection, write_timeout))
            .disable_signals()
            .shutdown_timeout(options.shutdown_timeout_s)
            .bind(&options.listen)
            .map_err(|error| {
                std::io::Error::new(error.kind(), format!("cannot listen on {}: {error}; choose another --listen address or stop who uses it", options.listen))
            })?;
    let address = server.addrs().first().copied().ok_or_else(|| std::io::Error::other(format!("no address to listen on in {}", options.listen)))?;
    Ok((server.run(), address))
}

/// The routes by path, in the order of the table.
fn by_path() -> Vec<&'static [&'static Route]> {
    static GROUPS: std::sync::OnceLock<Vec<Vec<&'static Route>>> = std::sync::OnceLock::new();
    let groups = GROUPS.get_or_init(|| {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut groups: Vec<Vec<&Route>> = Vec::new();
        for route in routes() {
            let place = *places.entry(route.path).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[place].push(route);
        }
        groups
    });
    groups.iter().map(Vec::as_slice).collect()
}

fn register(config: &mut ServiceConfig) {
    for routes in by_path() {
        let mut resource = web::resource(routes[0].patterns());
        for route in routes {
            resource = resource.route(handler(route));
        }
        config.service(resource.wrap(from_fn(move |request, next| guard::guard(routes, request, next))));
    }
}

fn handler(route: &Route) -> actix_web::Route {
    let served = match route.method {
        "POST" => web::post(),
        "DELETE" => web::delete(),
        "PUT" => web::put(),
        _ => web::route().guard(method_guard::Any(method_guard::Get()).or(method_guard::Head())),
    };
    match route.operation {
        Operation::Publish => served.to(events::publish),
        Operation::SearchEvents => served.to(events::search),
        Operation::StreamEvents => served.to(stream::follow),
        Operation::Event => served.to(events::one),
        Operation::Trace => served.to(events::trace),
        Operation::Timeline => served.to(events::timeline),
        Operation::Projections => served.to(projections::all),
        Operation::Rows => served.to(projections::rows),
        Operation::Digest => served.to(projections::digest),
        Operation::StartRebuild => served.to(projections::start_rebuild),
        Operation::RebuildStatus => served.to(projections::rebuild_status),
        Operation::CancelRebuild => served.to(projections::cancel_rebuild),
        Operation::Row => served.to(projections::row),
        Operation::Systems => served.to(control::systems),
        Operation::System => served.to(control::system),
        Operation::SystemQuery => served.to(control::query),
        Operation::PauseSystem => served.to(control::pause),
        Operation::ResumeSystem => served.to(control::resume),
        Operation::RestartSystem => served.to(control::restart),
        Operation::DeadLetters => served.to(control::dead_letters),
        Operation::RedriveAll => served.to(control::redrive_all),
        Operation::RedriveStatus => served.to(control::redrive_status),
        Operation::Redrive => served.to(control::redrive),
        Operation::Discard => served.to(control::discard),
        Operation::Flags => served.to(flags::all),
        Operation::ImportFlags => served.to(flags::import),
        Operation::ExportFlags => served.to(flags::export),
        Operation::EvaluateFlags => served.to(flags::evaluate),
        Operation::Flag => served.to(flags::one),
        Operation::ChangeFlag => served.to(flags::change),
        Operation::ArchiveFlag => served.to(flags::archive),
        Operation::FlagHistory => served.to(flags::history),
        Operation::KillFlag => served.to(flags::kill),
        Operation::RestoreFlag => served.to(flags::restore),
        Operation::ScheduleFlag => served.to(flags::schedule),
        Operation::Rollout => served.to(flags::rollout),
        Operation::StartRollout => served.to(flags::start_rollout),
        Operation::StopRollout => served.to(flags::stop_rollout),
        Operation::Experiments => served.to(flags::experiments::of_flag),
        Operation::StartExperiment => served.to(flags::experiments::start),
        Operation::Experiment => served.to(flags::experiments::one),
        Operation::ConcludeExperiment => served.to(flags::experiments::conclude),
        Operation::RecordExposures => served.to(flags::exposures::record),
        Operation::FlagExperiments => served.to(flags::experiments::all),
        Operation::FlagEnvironments => served.to(flags::sets::all),
        Operation::ChangeShared => served.to(flags::sets::change),
        Operation::StopState => served.to(control::stop_state),
        Operation::Stop => served.to(control::stop),
        Operation::Release => served.to(control::release),
        Operation::Live => served.to(node::live),
        Operation::Ready => served.to(node::ready),
        Operation::Metrics => served.to(node::metrics),
        Operation::Version => served.to(node::version),
        Operation::Peer => served.to(node::peer),
        Operation::OpenApi => served.to(node::openapi),
        Operation::Docs => served.to(node::docs),
        Operation::ProblemPage => served.to(node::problem_page),
        Operation::DocsFile => served.to(node::docs_file),
        Operation::Schema => served.to(node::schema),
    }
}

async fn no_route(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::new(Kind::NotFound, format!("there is nothing at {}; GET /openapi.json lists what is served, /docs shows it", request.path())))
}
