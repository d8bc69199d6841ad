//! Opens and closes a node.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tol_config::{Config, LogKind};
use tol_events::EventTime;
use tol_kafka::EventLog;
use tol_plug::Platform;
use tol_projections::index::EventIndex;
use tol_projections::{EngineOptions, ProjectionEngine, StoreOptions};
use tol_runtime::admission::{self, AdmissionOptions};
use tol_runtime::clock::{Ticker, last_tick};
use tol_runtime::effects::Effects;
use tol_runtime::owner::Options;
use tol_runtime::supervision::actor::Environment;
use tol_runtime::supervision::{Limits, Observation, Registered, Root, RootOptions, State};

use super::blobs::FileBlobs;
use super::erase::{Erasures, PurgeError};
use super::outlet::{self, NodeOutlet};
use super::peers::Peers;
use super::plugs::Plugs;
use super::presence::Presence;
use super::publish::Fact;
use super::refused::Refusals;
use super::routing::{Follower, Routing};
use super::storage::{ensure_topics, lock_folder, open_keys, open_kinds, open_log, open_store, split_topics, until_available};
use super::{Node, Open, control, effects, inbox, registry, standing};

/// Runs a node until it is told to stop (SIGINT or SIGTERM).
///
/// # Errors
/// What kept it from starting, or ended it.
pub fn run(config: Config) -> anyhow::Result<()> {
    start_tracing();
    std::fs::create_dir_all(&config.node.data)
        .with_context(|| format!("the data folder {} cannot be made; choose another with --data", config.node.data.display()))?;
    let _lock = lock_folder(&config.node.data)?;
    let registered = registry::register(&config, &[])?;
    let plugs = Plugs::start(&config, &[])?;
    let metrics = metrics_recorder()?;
    let data = config.node.data.clone();
    let listens = |url: &str, _: &Arc<Node>| {
        if let Err(problem) = Presence::write(&data, url) {
            tracing::warn!(%problem, "`tol doctor` will not know this node");
        }
        // A reader that has gone is no reason to end.
        let _ = writeln!(std::io::stdout(), "tol listens on {url} (data in {})", data.display());
    };
    let ended = actix::System::new().block_on(serve(config, metrics, plugs, registered, listens, stop_signal()));
    Presence::remove(&data);
    ended
}

/// Log lines go to standard error; `RUST_LOG` chooses which (default: `info`).
fn start_tracing() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Refused when a test set one already.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

pub(super) fn metrics_recorder() -> anyhow::Result<PrometheusHandle> {
    let seconds = [0.000_01, 0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        .install_recorder()
        .context("the metrics recorder could not be installed")
        .inspect(|_| super::metric_definitions::describe_all())
}

/// Opens a node, tells `listens` its URL once it listens, and closes it when `ended` says why.
pub(super) async fn serve(
    config: Config,
    metrics: PrometheusHandle,
    plugs: Plugs,
    registered: Vec<Registered>,
    listens: impl FnOnce(&str, &Arc<Node>),
    ended: impl Future<Output = &'static str>,
) -> anyhow::Result<()> {
    let node = Arc::new(Node::new(config.clone(), metrics, plugs));
    let options = crate::http::HttpOptions::from(&config);
    let listening = crate::http::serve(&options, node.clone(), node.plugs.entries()).with_context(|| format!("cannot listen on {}", config.http.listen))?;
    let ports = crate::http::listeners::open(&listening, &options, &node.plugs.ports()?)?;
    let (server, address) = (listening.server, listening.address);
    let url = config.node.url.clone().unwrap_or_else(|| url_of(address));
    let _ = node.url.set(url.clone());
    let handle = server.handle();
    let server = actix_rt::spawn(server);
    tracing::info!(url, "listening");
    listens(&url, &node);

    let (failed, mut failure) = tokio::sync::mpsc::channel::<anyhow::Error>(1);
    let opening = node.clone();
    let system = actix::System::current();
    let threads = std::thread::Builder::new().name("opening".to_owned()).spawn(move || {
        // Arbiters are made for the system of the thread that makes them.
        actix::System::set_current(system);
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| open(&opening, registered)));
        let error = match opened {
            Ok(Ok(threads)) => return threads,
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("opening the node panicked; the message is above"),
        };
        opening.say(format!("failed: {error:#}"));
        let _ = failed.blocking_send(error);
        Vec::new()
    })?;
    let outcome = tokio::select! {
        signal = ended => { tracing::info!(signal, "stopping"); Ok(()) }
        Some(error) = failure.recv() => Err(error),
    };
    node.say("stopping");
    // Streams have no end of their own.
    node.plugs.closing();
    ports.close();
    handle.stop(true).await;
    let _ = server.await;
    // Closing waits for threads, which an async thread must not.
    let closing = node.clone();
    let closed = std::thread::spawn(move || close(&closing, threads));
    while !closed.is_finished() {
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    outcome
}

fn url_of(address: SocketAddr) -> String {
    format!("http://{address}")
}

async fn stop_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

type Threads = Vec<std::thread::JoinHandle<()>>;

fn open(node: &Arc<Node>, mut registered: Vec<Registered>) -> anyhow::Result<Threads> {
    let config = &node.config;
    // The store first: what was last known is served while the log is away.
    node.say("opening the store");
    let store_options = StoreOptions { cache_bytes: config.projections.cache_bytes as usize, ..StoreOptions::default() };
    let store = open_store(node, &store_options)?;
    node.plugs.preload(&store);
    let looking = node.clone();
    let standing_thread = std::thread::Builder::new().name("standing".to_owned()).spawn(move || standing::look_after(&looking))?;
    node.say("opening the log");
    let log = open_log(node)?;
    let kinds = Arc::new(open_kinds(node, &log, &read_topics(&registered, &node.plugs))?);
    let split_topics = split_topics(&mut registered, &kinds);
    ensure_topics(node, log.as_ref(), &registered)?;
    store.keep();
    let keys = open_keys(node)?;
    let blobs = Arc::new(FileBlobs::open(&node.data().join("blobs"), keys.clone(), config.blobs.max_bytes)?);
    let erasures = Arc::new(Erasures::new(log.clone(), keys.clone()));
    until_available(node, || erasures.destroy_keys().map_err(Into::into))?;
    let (erasing, erased_blobs) = (Arc::downgrade(node), blobs.clone());
    erasures.on_erased(Arc::new(move |subject| {
        if let Some(node) = erasing.upgrade() {
            node.plugs.erased(subject);
        }
        let purged = erased_blobs.purge(subject).map(drop);
        purged.map_err(|error| PurgeError { of: "the blob store", subject: subject.to_owned(), problem: error.to_string() })
    }));
    let url = node.url.get().cloned().unwrap_or_default();
    let nonce = uuid::Uuid::new_v4();
    let admission_options = AdmissionOptions {
        topics: kinds.topics().into_iter().collect(),
        partitions: config.log.partitions,
        queue: 1_024,
        queue_events: 200_000,
        batch_events: 5_000,
        timeout_ms: 10_000,
        joint_appends: config.log_kind() == LogKind::Embedded,
        // The embedded log gathers by itself while it syncs; a broker is sent a request a partition each time.
        gather_ms: if config.log_kind() == LogKind::Embedded { 0 } else { 3 },
    };
    let limits = Limits {
        restarts: config.supervision.restart_limit as usize,
        window_ms: config.supervision.restart_window_s * 1_000,
        backoff_ms: config.supervision.backoff_initial_ms,
        backoff_max_ms: config.supervision.backoff_max_ms,
        hung_after_ms: config.supervision.hung_after_ms,
        max_abandoned: config.supervision.max_abandoned as usize,
        ..Limits::default()
    };
    let (admission, admission_thread) =
        admission::service::start_within(limits.clone(), log.clone(), store.clone(), &url, nonce.as_u64_pair().0, admission_options)?;
    let door = admission.clone();
    kinds.watch(move |topic| door.open_topic(topic));

    let mut engine = ProjectionEngine::new(
        log.clone(),
        store.clone(),
        EngineOptions { rebuild_bytes: config.projections.rebuild_memory_bytes as usize, ..EngineOptions::default() },
    )?;
    for projection in registry::shared_projections() {
        engine.register_erased(projection);
    }
    node.plugs.register(&mut engine)?;
    engine.start();
    let index = EventIndex::open(log.clone(), store.clone())?;
    index.start();

    let hub_hash = registry::hub_hash(config)?;
    let owners = Arc::new(OnceLock::new());
    let effects = effects::start(node, owners.clone());
    let outlet = Arc::new(NodeOutlet { log: log.clone(), effects: effects.clone(), partitions: config.log.partitions });
    let retries = registered.iter().map(|system| {
        let settings = config.system(system.description.name);
        (system.description.name.to_owned(), (settings.retry_attempts.max(1), settings.retry_backoff_initial_ms))
    });
    let retries = retries.collect();
    let environment = Environment {
        log: log.clone(),
        store: store.clone(),
        keys: keys.clone(),
        node: url.clone(),
        gate: node.gate.clone(),
        outlet: outlet.clone(),
        options: Options { partitions: config.log.partitions, split_topics, ..Options::default() },
        retries,
        started: node.started,
    };
    let (observed, observations) = outlet::observations();
    let (name, alive) = (config.node.name.clone(), last_alive(node, &*log));
    let observer = Arc::new(move |system: &str, observation| outlet::observe(&observed, outlet::observed(&name, system, observation, alive)));
    let (root, _root_arbiter) = Root::start(registered, environment, RootOptions { limits, observer });
    let _ = owners.set(root.clone());

    let line = Arc::new(control::ControlLine::new(log.clone(), node.gate.clone(), config.node.name.clone()));
    node.stops.open(&line);
    let mut ticker = Ticker::open(log.clone(), store.clone(), &url, nonce.to_string(), config.clock.tick_ms)?;
    let (control_line, started, lease_ms, metrics) = (line.clone(), node.started, config.stop.lease_ms, node.metrics.clone());
    let control_thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || control::run(&control_line, &mut ticker, started, lease_ms, &|| metrics.run_upkeep()))?;

    let waker = root.clone();
    log.watch(Arc::new(move |partition| waker.wake_readers_of(partition)));
    let routing = Arc::new(Routing::new(config.log.partitions, url, hub_hash));
    let assign = assigner(node.clone(), routing.clone(), &admission, &effects, &root, &line);
    let mut threads = vec![admission_thread, control_thread, standing_thread];
    let shared = config.log_kind() == LogKind::Kafka;
    let mut follower = Follower::new(config.log.partitions);
    if shared {
        take_up(node, log.as_ref(), &routing, &mut follower, assign.as_ref());
    }
    let platform: Arc<dyn Platform> = node.clone();
    let refusals = Refusals::new(log.clone(), store.clone(), config.log.partitions, shared);
    let opened = Arc::new(Open {
        log: log.clone(),
        store,
        engine,
        index,
        admission,
        kinds,
        root,
        effects,
        keys,
        spellings: super::spelling::Spellings::default(),
        blobs,
        erasures: erasures.clone(),
        control: line,
        redrives: super::api::Redrives::default(),
        refusals: Arc::new(refusals),
        partitions: config.log.partitions,
        name: config.node.name.clone(),
        routing: routing.clone(),
        peers: Peers::new(config.security.node_key.clone()),
        passing: Arc::new(tokio::sync::Semaphore::new(PASSING)),
        platform: Arc::downgrade(&platform),
    });
    let _ = node.open.set(opened.clone());
    standing::look(node);
    node.plugs.opened(&platform);
    let (by_group, grouped) = (assign.clone(), routing.clone());
    log.join(
        config.log.partitions,
        Arc::new(move |assignment| {
            grouped.assign(assignment.partitions.clone());
            by_group(assignment.partitions);
        }),
    );
    let mut start = |name: &str, run: Box<dyn FnOnce() + Send>| -> std::io::Result<()> {
        threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run)?);
        Ok(())
    };
    let (observing, observed) = (node.clone(), opened.clone());
    start("observations", Box::new(move || outlet::publish_observations(&observing, &observed, &observations)))?;
    let erasing = node.clone();
    start("erasures", Box::new(move || erasures.run(&|| erasing.closing.load(Ordering::Acquire))))?;
    let (measuring, measured) = (node.clone(), opened.clone());
    start("gauges", Box::new(move || measure(&measuring, &measured)))?;
    if shared {
        let (reading, following) = (node.clone(), node.clone());
        start("inbox", Box::new(move || inbox::run(&reading, &opened)))?;
        start("claims", Box::new(move || follower.run(log.as_ref(), &routing, &|left| assign(left), &|| following.closing.load(Ordering::Acquire))))?;
    }
    node.say("running");
    Ok(threads)
}

/// Lists the topics that a system or a projection reads.
fn read_topics(registered: &[Registered], plugs: &Plugs) -> BTreeSet<&'static str> {
    let systems = registered.iter().flat_map(|system| &system.description.inputs).map(|input| input.topic);
    systems.chain(["facts.customer", "facts.service"]).chain(plugs.projection_topics()).collect()
}

/// How often gauges are measured: more often than Prometheus asks for them.
const MEASURED_EVERY: Duration = Duration::from_secs(2);

/// Measures what `/metrics` shows, until the node closes.
fn measure(node: &Node, open: &Open) {
    let mut next = Instant::now();
    while !node.closing.load(Ordering::Acquire) {
        if Instant::now() >= next {
            super::api::measure(open);
            super::process::measure(&node.data(), node.started);
            next = Instant::now() + MEASURED_EVERY;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Requests that may be passed on to other nodes at a time, each on a thread that waits.
const PASSING: usize = 128;

type Assign = Arc<dyn Fn(BTreeSet<u32>) + Send + Sync>;

/// Tells everybody which partitions are this node's.
fn assigner(
    node: Arc<Node>,
    routing: Arc<Routing>,
    admission: &admission::AdmissionHandle,
    effects: &Effects,
    root: &tol_runtime::supervision::RootHandle,
    line: &Arc<control::ControlLine>,
) -> Assign {
    let (admission, effects, root, line) = (admission.clone(), effects.clone(), root.clone(), line.clone());
    let one_at_a_time = Mutex::new(());
    Arc::new(move |partitions| {
        let _turn = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        // What the group said in between is newer than what the caller was told.
        let now = routing.own();
        tracing::info!(partitions = ?now, said = ?partitions, "assigned");
        line.owns_clock.store(now.contains(&0), Ordering::Release);
        node.plugs.owns(&now);
        admission.assign(now.clone());
        // Before the owners learn of it: what an owner that is about to lose its partition still asks for is not taken.
        effects.assign(now.clone());
        root.assign(now);
    })
}

/// Reads the claims, and takes up what this node owned last.
fn take_up(node: &Node, log: &dyn EventLog, routing: &Routing, follower: &mut Follower, assign: &(dyn Fn(BTreeSet<u32>) + Send + Sync)) {
    node.say("reading the claims");
    match follower.read_all(log, routing) {
        Ok(()) => {
            let own = routing.take_up();
            if !own.is_empty() {
                assign(own);
            }
        }
        Err(problem) => tracing::warn!(problem, "the claims cannot be read yet; partitions wait for the group"),
    }
}

/// When the installation was last seen alive, if it fell silent since. On Kafka other nodes may be alive: only a clock that has missed
/// more than a takeover takes says that there are none.
fn last_alive(node: &Node, log: &dyn EventLog) -> Option<EventTime> {
    let silence = if node.config.log_kind() == LogKind::Kafka { 15_000 + 3 * node.config.clock.tick_ms } else { 0 };
    last_tick(log).filter(|tick| EventTime::from(chrono::Utc::now()).micros_since(*tick) > silence as i64 * 1_000)
}

/// How long the end of a node waits for effects that run.
const EFFECTS_END: Duration = Duration::from_secs(2);

/// Records that what runs ends as planned, so that the time until the next start counts as such. On Kafka other nodes go on with it.
fn observe_stops(node: &Node, open: &Open) {
    let running = open.root.statuses().into_iter().filter(|status| matches!(status.state, State::Running | State::Probing));
    let name = &node.config.node.name;
    let stops = running.filter_map(|status| outlet::observed(name, status.description.name, Observation::Stopped, None));
    if let Err(problem) = open.settle(stops.map(Fact::own).collect(), Duration::from_secs(2)) {
        tracing::warn!(%problem, "the end of the systems was not recorded in time; their ledgers take it for a crash");
    }
}

/// Ends everything in an order in which nothing acknowledged depends on what is gone.
fn close(node: &Node, opening: std::thread::JoinHandle<Threads>) {
    node.closing.store(true, Ordering::Release);
    let Some(open) = node.open.get() else { return };
    open.effects.close(EFFECTS_END);
    if node.config.log_kind() == LogKind::Embedded {
        observe_stops(node, open);
    }
    open.admission.stop();
    open.control.stopping.store(true, Ordering::Release);
    open.engine.stop();
    open.index.stop();
    open.store.stop_keeping();
    if let Ok(threads) = opening.join() {
        for thread in threads {
            let _ = thread.join();
        }
    }
    open.log.close();
}
