//! Accepts connections and serves each of them inside its bounds.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::crowd::Crowd;
use crate::head::{BytesRead, HeadTimer};
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
    /// From the first byte of a request, or from the connection if it is the first, to its last
    /// header. The connection is closed then.
    pub header_timeout: Duration,
    /// From the end of one request to the first byte of the next. The connection is closed then:
    /// a proxy that keeps connections must give them up earlier.
    pub idle_timeout: Duration,
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
            idle_timeout: Duration::from_secs(75),
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
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        client: SocketAddr,
        room: Option<OwnedSemaphorePermit>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let bounds = self.bounds;
        let router = self
            .router
            .clone()
            .layer(Extension(Overflow(room.is_none())))
            .layer(Extension(ConnectInfo(client)));
        let read = BytesRead::default();
        let mut builder = http1::Builder::new();
        builder
            .timer(HeadTimer::new(read.clone(), bounds.header_timeout))
            .header_read_timeout(bounds.idle_timeout)
            .max_headers(bounds.headers)
            .max_header_size(bounds.header_bytes)
            .max_buf_size(
                bounds
                    .header_bytes
                    .next_multiple_of(LEAST_BUFFER_BYTES)
                    .clamp(LEAST_BUFFER_BYTES, MOST_BUFFER_BYTES),
            )
            .keep_alive(room.is_some());
        let io = TokioIo::new(Stalling::new(stream, bounds.stall_timeout, read));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
    const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    fn connect() -> DuplexStream {
        let server = Server {
            bounds: Bounds::default(),
            room: Arc::new(Semaphore::new(1)),
            router: Router::new().route("/", get(|| async { "OK" })),
            closing: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        let (ours, theirs) = duplex(4096);
        let room = Arc::clone(&server.room).try_acquire_owned().ok();
        let client = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = server.connection(theirs, client, room);
        tokio::spawn(async move {
            connection.await;
            drop(server);
        });
        ours
    }

    async fn is_answered(connection: &mut DuplexStream) {
        connection.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nOK") {
            assert_ne!(connection.read_buf(&mut answer).await.unwrap(), 0, "closed");
        }
    }

    async fn closes_after(connection: &mut DuplexStream) -> Duration {
        let started = Instant::now();
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).await.unwrap();
        // Timers are as fine as a millisecond.
        Duration::from_secs(started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_used_may_be_idle_for_longer_than_a_head_may_take() {
        let mut connection = connect();
        for _ in 0..3 {
            is_answered(&mut connection).await;
            tokio::time::sleep(IDLE_TIMEOUT - Duration::from_secs(1)).await;
        }
        is_answered(&mut connection).await;
        assert_eq!(closes_after(&mut connection).await, IDLE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_is_waited_for_no_longer_than_the_first() {
        let mut fresh = connect();
        assert_eq!(closes_after(&mut fresh).await, HEADER_TIMEOUT);
        let mut fresh = connect();
        fresh.write_all(&REQUEST[..9]).await.unwrap();
        assert_eq!(closes_after(&mut fresh).await, HEADER_TIMEOUT);

        let mut used = connect();
        is_answered(&mut used).await;
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        used.write_all(&REQUEST[..1]).await.unwrap();
        tokio::time::sleep(HEADER_TIMEOUT / 2).await;
        used.write_all(&REQUEST[1..9]).await.unwrap();
        assert_eq!(closes_after(&mut used).await, HEADER_TIMEOUT / 2);
    }
}
