//! Ports of a system's own, for clients that take no path prefix or speak no HTTP. A port opens only where the setting `listen.<name>` gives an
//! address. The node owns accepting, limits and draining; without API keys it listens on loopback only.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::platform::Platform;
use crate::protocol::Protocol;

/// A port of a system's own.
pub struct Listener<S: 'static> {
    /// The setting's name below `listen`: `faktory` for `systems.<name>.settings.listen.faktory`.
    pub name: &'static str,
    /// What is spoken there.
    pub serve: Serve<S>,
}

/// What a port speaks.
pub enum Serve<S: 'static> {
    /// A protocol of HTTP, at the root.
    Protocol(&'static Protocol<S>),
    /// A protocol on TCP: called once a connection, on a worker.
    Connection(fn(Connection<S>) -> LocalBoxFuture<'static, std::io::Result<()>>),
}

/// An accepted TCP connection. It is closed when it is dropped.
pub struct Connection<S> {
    /// What answers from memory.
    pub serving: Arc<S>,
    /// The node.
    pub platform: Arc<dyn Platform>,
    /// The connection.
    pub stream: TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// Becomes true when the node stops: finish what is under way and return.
    pub stopping: watch::Receiver<bool>,
    /// Finds the API key whose secret a client presents, for protocols with a password of their own.
    pub keys: Arc<dyn Keys>,
}

/// The node's API keys, as a protocol without HTTP may ask for them.
pub trait Keys: Send + Sync + 'static {
    /// Whether the node has any key.
    fn any(&self) -> bool;
    /// Who presents this secret, if it is a key with that scope.
    fn caller(&self, secret: &str, scope: crate::route::Scope) -> Option<crate::request::Caller>;
}
