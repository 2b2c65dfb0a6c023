//! Accepts connections and serves each of them inside its bounds.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::crowd::Crowd;
use crate::stall::Stalling;

/// Pause after the system refused a connection: it has no file descriptors left, most likely.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// What the smallest read buffer of a connection holds, in bytes.
const LEAST_BUFFER_BYTES: usize = 8 << 10;
const MOST_BUFFER_BYTES: usize = 256 << 10;

/// What one client, and all of them together, may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections that are fully served at once. A few more are served as [`Overflow`].
    pub connections: usize,
    /// Request line and headers of one request, in bytes. More is answered 431.
    pub header_bytes: usize,
    /// Headers of one request. More is answered 431.
    pub headers: usize,
    /// From the end of one request, or from the connection, to the last header of the next.
    /// The connection is closed then.
    pub header_timeout: Duration,
    /// How long a client may take no byte of an answer before its connection is closed.
    pub stall_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_bytes: 32 << 10,
            headers: 100,
            header_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
        }
    }
}

/// An extension of every request: whether its connection is one too many. Such a request is to be
/// refused unless it is a probe; its connection is closed after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow(pub bool);

/// Serves `router` until `closing`, then until every request that has begun is answered.
///
/// Handlers find the client's address as `ConnectInfo<SocketAddr>` and [`Overflow`] among the
/// extensions of a request.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    closing: impl Future<Output = ()>,
) {
    let server = Server {
        bounds,
        room: Arc::new(Semaphore::new(
            bounds.connections.min(Semaphore::MAX_PERMITS),
        )),
        router,
        closing: CancellationToken::new(),
        connections: TaskTracker::new(),
    };
    let mut crowd = Crowd::default();
    tokio::pin!(closing);
    loop {
        let accepted = tokio::select! {
            () = &mut closing => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => server.take(stream, client, &mut crowd),
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
    drop(listener);
    server.closing.cancel();
    server.connections.close();
    server.connections.wait().await;
}

struct Server {
    bounds: Bounds,
    room: Arc<Semaphore>,
    router: Router,
    closing: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    fn take(&self, stream: TcpStream, client: SocketAddr, crowd: &mut Crowd) {
        // An answer of a few bytes is not to wait for more.
        let _ = stream.set_nodelay(true);
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => {
                self.connections
                    .spawn(self.connection(stream, client, Some(room)));
            }
            Err(_) => {
                let spare = self
                    .connections
                    .spawn(self.connection(stream, client, None));
                crowd.add(spare.abort_handle());
            }
        }
    }

    /// One connection; without `room` it is one too many.
    fn connection(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        room: Option<OwnedSemaphorePermit>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let bounds = self.bounds;
        let router = self
            .router
            .clone()
            .layer(Extension(Overflow(room.is_none())))
            .layer(Extension(ConnectInfo(client)));
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.header_timeout)
            .max_headers(bounds.headers)
            .max_header_size(bounds.header_bytes)
            .max_buf_size(
                bounds
                    .header_bytes
                    .next_multiple_of(LEAST_BUFFER_BYTES)
                    .clamp(LEAST_BUFFER_BYTES, MOST_BUFFER_BYTES),
            )
            .keep_alive(room.is_some());
        let io = TokioIo::new(Stalling::new(stream, bounds.stall_timeout));
        let serving = builder.serve_connection(io, TowerToHyperService::new(router));
        let closing = self.closing.clone();
        async move {
            let _room = room;
            let mut serving = std::pin::pin!(serving);
            let served = tokio::select! {
                served = &mut serving => served,
                () = closing.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            };
            if let Err(error) = served {
                // Clients leave, or are shown the door: nothing an operator can mend.
                tracing::debug!(%client, %error, "a connection ended early");
            }
        }
    }
}
