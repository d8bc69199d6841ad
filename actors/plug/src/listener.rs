//! Ports of a system's own, for clients that take no path prefix or speak no HTTP. A port opens only where the setting `listen.<name>` gives an
//! address. The node owns accepting, limits and draining; without API keys it listens on loopback only.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::platform::Platform;
use crate::protocol::Protocol;

/// A port of a system's own, and what is spoken there.
pub struct Listener<S: 'static> {
    /// The setting's name below `listen`: `faktory` for `systems.<name>.settings.listen.faktory`.
    pub name: &'static str,
    /// The protocol of the port.
    pub serve: Serve<S>,
}

/// What a port speaks.
pub enum Serve<S: 'static> {
    /// An HTTP protocol, whose paths begin at the root of the port.
    Protocol(&'static Protocol<S>),
    /// A protocol on TCP. The function is called once for each connection, on a worker: it must not block.
    Connection(fn(Connection<S>) -> LocalBoxFuture<'static, std::io::Result<()>>),
}

/// An accepted TCP connection. Dropping it closes the connection.
pub struct Connection<S> {
    /// The system's serving side.
    pub serving: Arc<S>,
    /// The node.
    pub platform: Arc<dyn Platform>,
    /// The TCP stream.
    pub stream: TcpStream,
    /// The address of the client.
    pub peer: SocketAddr,
    /// Becomes true when the node stops: finish what is under way and return.
    pub stopping: watch::Receiver<bool>,
    /// Finds the API key whose secret a client presents as a password of the protocol.
    pub keys: Arc<dyn Keys>,
}

/// Looks up the node's API keys, for protocols without HTTP.
pub trait Keys: Send + Sync + 'static {
    /// Tells whether the node has any key. Without one it listens on loopback only and lets every client in.
    fn any(&self) -> bool;
    /// Finds the caller that presents this secret; `None` where no key has the secret and the scope.
    fn caller(&self, secret: &str, scope: crate::route::Scope) -> Option<crate::request::Caller>;
}
