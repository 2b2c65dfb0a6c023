//! A TCP proxy that can cut what goes through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Passes them on.
    Whole,
    /// Resets connections, those that exist and those that come.
    Reset,
    /// Swallows them, both ways, while connections stay open.
    BlackHole,
}

/// A running proxy. Dropping it ends it and its connections.
pub struct Proxy {
    port: u16,
    link: watch::Sender<Link>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy before the servers that listen on `targets`: each connection goes to the next
    /// one that answers.
    pub async fn start(targets: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (link, state) = watch::channel(Link::Whole);
        let serving = tokio::spawn(serve(listener, Arc::new(targets), state));
        Self {
            port,
            link,
            serving,
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what it does from now on.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, targets: Arc<Vec<u16>>, link: watch::Receiver<Link>) {
    let next = Arc::new(AtomicUsize::new(0));
    // Ends every connection with the proxy.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((inner, _)) = listener.accept().await {
        let (targets, next, link) = (Arc::clone(&targets), Arc::clone(&next), link.clone());
        connections.spawn(async move {
            if let Some(outer) = connect(&targets, &next).await {
                carry(inner, outer, link).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(targets: &[u16], next: &AtomicUsize) -> Option<TcpStream> {
    for _ in targets {
        let index = next.fetch_add(1, Ordering::Relaxed) % targets.len();
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", targets[index])).await {
            return Some(stream);
        }
    }
    None
}

async fn carry(inner: TcpStream, outer: TcpStream, mut link: watch::Receiver<Link>) {
    let _ = (inner.set_nodelay(true), outer.set_nodelay(true));
    // What is closed then is reset, not ended.
    let _ = (inner.set_zero_linger(), outer.set_zero_linger());
    let (inner_read, inner_write) = inner.into_split();
    let (outer_read, outer_write) = outer.into_split();
    tokio::select! {
        () = pump(inner_read, outer_write, link.clone()) => {}
        () = pump(outer_read, inner_write, link.clone()) => {}
        _ = link.wait_for(|link| *link == Link::Reset) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: watch::Receiver<Link>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        // A stream that lost bytes is of no use any more: it stays swallowed until it is closed.
        if *link.borrow() == Link::BlackHole {
            swallow(from, link).await;
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn swallow(mut from: OwnedReadHalf, mut link: watch::Receiver<Link>) {
    let mut buffer = vec![0; 64 << 10];
    let swallowing = async { while !matches!(from.read(&mut buffer).await, Ok(0) | Err(_)) {} };
    tokio::select! {
        () = swallowing => {}
        _ = link.wait_for(|link| *link != Link::BlackHole) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        port
    }

    async fn connection(proxy: &Proxy) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap();
        stream.write_all(b"a").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        stream
    }

    #[tokio::test]
    async fn a_reset_ends_connections() {
        let proxy = Proxy::start(vec![echo().await]).await;
        let mut stream = connection(&proxy).await;
        proxy.set(Link::Reset);
        assert!(stream.read_u8().await.is_err());
        proxy.set(Link::Whole);
        connection(&proxy).await;
    }

    #[tokio::test]
    async fn a_black_hole_keeps_connections_open_and_passes_nothing_on() {
        let proxy = Proxy::start(vec![echo().await]).await;
        let mut stream = connection(&proxy).await;
        proxy.set(Link::BlackHole);
        stream.write_all(b"b").await.unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await;
        assert!(silence.is_err(), "{silence:?}");
        proxy.set(Link::Whole);
        assert!(stream.read_u8().await.is_err(), "what lost bytes is closed");
    }
}
