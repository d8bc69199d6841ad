//! Opens ports of systems: a protocol at the root, or raw TCP. A port opens only where a setting gives an address, and without API keys on loopback
//! only. The node accepts connections, limits their number, and ends them.

use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{ServerHandle, Service, ServiceRequest, ServiceResponse, Transform, fn_service};
use actix_web::{App, Error, HttpServer};
use futures_util::future::LocalBoxFuture;
use tokio::sync::{Semaphore, watch};
use tol_plug::mounted::{Accepted, Mounted};
use tol_plug::{Kind, Problem};

use super::front::After;
use super::limits::limit_writing;
use super::protocols::{self, Answer, Protocol};
use super::server::{HttpOptions, Listening, State};

/// Connections to one raw port at a time.
const MAX_CONNECTIONS: usize = 10_000;
/// How long connections may take to end once the node stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A port that a system wants opened.
pub(crate) struct Port {
    /// The system.
    pub(crate) system: &'static str,
    /// The setting below `listen`.
    pub(crate) name: &'static str,
    /// Number of the listener in the system's table.
    pub(crate) number: usize,
    /// Name of the protocol of HTTP that is spoken; raw TCP without it.
    pub(crate) protocol: Option<&'static str>,
    /// Where to listen.
    pub(crate) address: String,
    /// What serves it.
    pub(crate) mounted: Arc<dyn Mounted>,
}

/// A port that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("systems.{system}.settings.listen.{name} = {address}: {problem}")]
pub struct PortError {
    system: &'static str,
    name: &'static str,
    address: String,
    problem: String,
}

/// The ports that are open.
pub(crate) struct Ports {
    servers: Vec<ServerHandle>,
    stopping: watch::Sender<bool>,
    ended: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    /// Where each listens, in the order in which they were asked for.
    pub(crate) addresses: Vec<(&'static str, SocketAddr)>,
}

/// Opens all ports, or none.
///
/// # Errors
/// The first that cannot be opened.
pub(crate) fn open(listening: &Listening, options: &HttpOptions, wanted: &[Port]) -> Result<Ports, PortError> {
    let state = &listening.state;
    let mut bound = Vec::new();
    for port in wanted {
        let refused = |problem: String| PortError { system: port.system, name: port.name, address: port.address.clone(), problem };
        let socket = TcpListener::bind(&port.address).map_err(|error| refused(format!("{error}; choose another address or stop the program that uses it")))?;
        let address = socket.local_addr().map_err(|error| refused(error.to_string()))?;
        if state.keys.is_empty() && !is_loopback(address.ip()) {
            return Err(refused("a node without API keys listens on loopback only; configure a key (tol keys new), or listen on 127.0.0.1".to_owned()));
        }
        bound.push((port, socket, address));
    }
    let (stopping, stop) = watch::channel(false);
    let mut ports = Ports { servers: Vec::new(), stopping, ended: Arc::default(), threads: Vec::new(), addresses: Vec::new() };
    for (port, socket, address) in bound {
        let refused = |problem: String| PortError { system: port.system, name: port.name, address: port.address.clone(), problem };
        match port.protocol {
            Some(name) => {
                let protocol = state.protocols.get(name).ok_or_else(|| refused(format!("there is no protocol {name}")))?;
                let server = serve_http(state, protocol, options, socket).map_err(|error| refused(error.to_string()))?;
                ports.servers.push(server.handle());
                actix_rt::spawn(server);
            }
            None => {
                let accepting =
                    Accepting { state: state.clone(), mounted: port.mounted.clone(), number: port.number, stop: stop.clone(), ended: ports.ended.clone() };
                let thread = accepting.start(port.name, socket).map_err(|error| refused(error.to_string()))?;
                ports.threads.push(thread);
            }
        }
        tracing::info!(system = port.system, port = port.name, %address, "listening");
        ports.addresses.push((port.name, address));
    }
    Ok(ports)
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

impl Ports {
    /// Accepts nothing more, tells connections to end, and waits for them, but not for long.
    pub(crate) fn close(self) {
        self.stopping.send_replace(true);
        self.ended.store(true, Ordering::Release);
        for server in self.servers {
            // Begun when it is called; what it answers is when all have ended.
            drop(server.stop(true));
        }
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// A protocol's paths at the root of a port.
fn serve_http(state: &State, protocol: &Arc<Protocol>, options: &HttpOptions, socket: TcpListener) -> std::io::Result<actix_web::dev::Server> {
    let (state, protocol) = (state.clone(), protocol.clone());
    let write_timeout = options.write_timeout;
    let server = HttpServer::new(move || {
        let nothing = fn_service(|request: ServiceRequest| async move {
            let problem = Problem::new(Kind::NOT_FOUND, format!("there is nothing at {} on this port", request.path()));
            Ok(request.into_response(problem.to_response()))
        });
        App::new().wrap(AtRoot { state: state.clone(), protocol: protocol.clone() }).default_service(nothing)
    })
    .workers(1)
    .client_request_timeout(options.request_timeout)
    .on_connect(move |connection, _| limit_writing(connection, write_timeout))
    .disable_signals()
    .shutdown_timeout(options.shutdown_timeout_s)
    .listen(socket)?;
    Ok(server.run())
}

/// The layer that answers all requests to such a port.
struct AtRoot {
    state: State,
    protocol: Arc<Protocol>,
}

struct AtRootService<S> {
    nothing: S,
    state: State,
    protocol: Arc<Protocol>,
}

impl<S> Transform<S, ServiceRequest> for AtRoot
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error>,
    S::Future: 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type InitError = ();
    type Transform = AtRootService<S>;
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, nothing: S) -> Self::Future {
        ready(Ok(AtRootService { nothing, state: self.state.clone(), protocol: self.protocol.clone() }))
    }
}

impl<S> Service<ServiceRequest> for AtRootService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error>,
    S::Future: 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    actix_web::dev::forward_ready!(nothing);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let after = After::of(&mut request, &self.state);
        match protocols::answer_at_root(&self.state, &self.protocol, request) {
            Answer::Now(response) => Box::pin(ready(Ok(after.finish(response)))),
            Answer::Later(response) => Box::pin(async move { Ok(after.finish(response.await)) }),
            Answer::Elsewhere(request) => {
                let response = self.nothing.call(request);
                Box::pin(async move { Ok(after.finish(response.await?)) })
            }
        }
    }
}

/// What accepts connections to a raw port, on a thread of its own.
struct Accepting {
    state: State,
    mounted: Arc<dyn Mounted>,
    number: usize,
    stop: watch::Receiver<bool>,
    ended: Arc<AtomicBool>,
}

impl Accepting {
    fn start(self, name: &'static str, socket: TcpListener) -> std::io::Result<std::thread::JoinHandle<()>> {
        socket.set_nonblocking(true)?;
        std::thread::Builder::new().name(format!("port-{name}")).spawn(move || {
            actix_rt::System::new().block_on(self.run(name, socket));
        })
    }

    async fn run(mut self, name: &'static str, socket: TcpListener) {
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(%error, port = name, "a port does not accept"),
        };
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        while !self.ended.load(Ordering::Acquire) {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = self.stop.changed() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, mostly: it passes, and accepting at once again would only burn the processor.
                    tracing::warn!(%error, port = name, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            // Over the limit the connection is closed at once: its client sees that, and nothing is queued.
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let _ = stream.set_nodelay(true);
            let keys = self.state.keys.clone();
            let accepted = Accepted { platform: self.state.platform.clone(), stream, peer, stopping: self.stop.clone(), keys };
            let served = self.mounted.connection(self.number, accepted);
            actix_rt::spawn(async move {
                if let Err(error) = served.await {
                    tracing::debug!(%error, %peer, port = name, "a connection ended");
                }
                drop(place);
            });
        }
        let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
        if tokio::time::timeout(DRAIN, places.acquire_many(all)).await.is_err() {
            tracing::warn!(port = name, "connections that did not end in time are cut");
        }
    }
}
