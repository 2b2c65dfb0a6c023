//! Where a NATS server is, and what it says of itself.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

use super::error::NatsError;
use super::executable::is_new_enough;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const MAX_INFO_BYTES: u64 = 64 * 1024;

/// What a server sends to whoever connects, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    pub(super) version: String,
    #[serde(default)]
    jetstream: bool,
}

/// Host and port of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl Address {
    pub(super) fn loopback(port: u16) -> Self {
        Self {
            host: "127.0.0.1".into(),
            port,
        }
    }

    /// Reads the first of the URLs in `urls`, which commas separate.
    pub(super) fn parse(urls: &str) -> Result<Self, NatsError> {
        let refused = || NatsError::Url(redacted(urls));
        let first = urls.split(',').next().unwrap_or_default().trim();
        let rest = match first.split_once("://") {
            Some(("nats" | "tls", rest)) => rest,
            Some(_) => return Err(refused()),
            None => first,
        };
        let place = rest
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .trim_end_matches('/');
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| refused())?)
            }
            _ => (place, 4222),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.is_empty() {
            true => Err(refused()),
            false => Ok(Self {
                host: host.to_owned(),
                port,
            }),
        }
    }

    /// Connects and reads what the server says of itself.
    pub(super) async fn info(&self) -> io::Result<Info> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
        tokio::time::timeout(ANSWER_WITHIN, self.read_info())
            .await
            .map_err(late)?
    }

    async fn read_info(&self) -> io::Result<Info> {
        let connection = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let mut line = String::new();
        BufReader::new(connection.take(MAX_INFO_BYTES))
            .read_line(&mut line)
            .await?;
        let other = || io::Error::new(io::ErrorKind::InvalidData, "what answers is no NATS server");
        let info = line.strip_prefix("INFO ").ok_or_else(other)?;
        serde_json::from_str(info).map_err(|_| other())
    }
}

/// Checks that the server at `urls` can be joined; its version if it can.
pub(super) async fn check_joinable(urls: &str) -> Result<String, NatsError> {
    let address = Address::parse(urls)?;
    let url = redacted(urls);
    let info = address
        .info()
        .await
        .map_err(|source| NatsError::Unreachable {
            url: url.clone(),
            source,
        })?;
    if !is_new_enough(&info.version) {
        let reason = format!("is version {}, 2.10 is the oldest that works", info.version);
        return Err(NatsError::Unsuitable { url, reason });
    }
    if !info.jetstream {
        let reason = "has no JetStream: start it with -js".to_owned();
        return Err(NatsError::Unsuitable { url, reason });
    }
    Ok(info.version)
}

/// URLs without what stands before an `@`.
pub(crate) fn redacted(urls: &str) -> String {
    let redact = |url: &str| match url.rsplit_once('@') {
        None => url.to_owned(),
        Some((before, place)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://{place}"),
            None => place.to_owned(),
        },
    };
    urls.split(',')
        .map(|url| redact(url.trim()))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_nats_clients_read_them() {
        for (url, host, port) in [
            ("nats://127.0.0.1:4333", "127.0.0.1", 4333),
            ("nats.nats", "nats.nats", 4222),
            ("tls://me:pa:ss@host/", "host", 4222),
            ("nats://a:1, nats://b:2", "a", 1),
            ("nats://[::1]:4223", "::1", 4223),
            ("nats://[::1]", "::1", 4222),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port), "{url}");
        }
        for bad in ["", "nats://", "http://x", "nats://x:port"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(
            redacted("nats://me:secret@a:1,nats://b"),
            "nats://a:1,nats://b"
        );
        let message = Address::parse("http://me:secret@a")
            .unwrap_err()
            .to_string();
        assert!(!message.contains("secret"), "{message}");
    }
}
