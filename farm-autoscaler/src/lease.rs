//! One autoscaler replica leads: it holds a key on NATS that expires unless renewed.
//!
//! A leader counts its lease on a monotonic clock from before each renewal was asked for, and
//! stops acting [`MARGIN`] before the server can let the key expire. So there may be a moment
//! without a leader, and none with two while that clock runs. On a machine that was paused it
//! stands still: a wall clock that has gone on without it ends acting until the next renewal. What
//! neither clock shows, one request of an old leader may still do; it sets an absolute number,
//! which the new one corrects with its next look.

use std::time::Duration;

use async_nats::jetstream::kv::{self, CreateErrorKind, Store, UpdateErrorKind};
use async_nats::jetstream::stream;
use bytes::Bytes;
use farm_core::topology::Topology;
use farm_nats::is_absent;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError};
use crate::clock::wall_seconds;
use crate::error::chain;

/// How long the key lives without being renewed.
const LEASE: Duration = Topology::AUTOSCALER_LEASE;
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How often a follower looks whether the key is free; also the pause after a failed renewal.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time between the end of acting and the end of the lease.
const MARGIN: Duration = Duration::from_secs(1);
/// How far the two clocks may drift apart between two renewals.
const MOST_DRIFT_SECONDS: f64 = 2.0;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const BUCKET: &str = Topology::AUTOSCALER_LEASE_BUCKET;

/// Who leads, as far as this replica knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Standing {
    /// This replica, until then: by the clock that never goes back, and by the wall's.
    Leading {
        until: Instant,
        until_wall_seconds: f64,
    },
    /// Another one.
    Following { leader: String },
    /// NATS does not say.
    Unknown { cause: String },
}

impl Standing {
    /// How long this replica may still act, or why it may not.
    pub fn rest(&self) -> Result<Duration, &'static str> {
        self.rest_at(Instant::now(), wall_seconds())
    }

    fn rest_at(&self, now: Instant, now_wall_seconds: f64) -> Result<Duration, &'static str> {
        const LEADS_NO_MORE: &str = "this replica no longer leads";
        let Self::Leading {
            until,
            until_wall_seconds,
        } = self
        else {
            return Err(LEADS_NO_MORE);
        };
        let rest = until.checked_duration_since(now).ok_or(LEADS_NO_MORE)?;
        let drift = until_wall_seconds - now_wall_seconds - rest.as_secs_f64();
        match drift.abs() <= MOST_DRIFT_SECONDS {
            true => Ok(rest),
            false => Err(
                "the clocks of this machine disagree, as if it had been paused: nothing is changed until the lease is renewed",
            ),
        }
    }
}

/// Keeps, or tries to get, the lease of one namespace until `stopping`; then gives it back.
pub(crate) async fn keep(
    broker: Broker,
    namespace: String,
    replica: String,
    standing: watch::Sender<Standing>,
    stopping: CancellationToken,
) {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let mut candidate = Candidate {
        broker,
        key: format!("{namespace}/leader"),
        // Pod names are unique, names on a developer's machine may not be.
        holder: Bytes::from(format!("{replica} {nonce}")),
        store: None,
        held: None,
        complaint: String::new(),
    };
    loop {
        let (now, pause) = candidate.step().await;
        standing.send_if_modified(|before| {
            tell(before, &now);
            std::mem::replace(before, now.clone()) != now
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled() => break,
        }
    }
    candidate.give_back().await;
}

fn tell(before: &Standing, now: &Standing) {
    match (before, now) {
        (Standing::Leading { .. }, Standing::Leading { .. }) => {}
        (_, Standing::Leading { .. }) => tracing::info!("this replica leads"),
        (Standing::Leading { .. }, Standing::Unknown { cause }) => {
            tracing::warn!(
                cause,
                "the lease cannot be renewed: nothing is changed any more"
            );
        }
        (before, Standing::Following { leader }) if before != now => {
            tracing::info!(leader, "another replica leads");
        }
        _ => {}
    }
}

struct Held {
    revision: u64,
    until: Instant,
    until_wall_seconds: f64,
}

impl Held {
    fn standing(&self) -> Standing {
        Standing::Leading {
            until: self.until,
            until_wall_seconds: self.until_wall_seconds,
        }
    }
}

struct Candidate {
    broker: Broker,
    key: String,
    holder: Bytes,
    store: Option<Store>,
    held: Option<Held>,
    /// Why there was no bucket last, so that it is said once.
    complaint: String,
}

impl Candidate {
    /// Renews the lease or tries to get it; tells the standing, and when to come back.
    async fn step(&mut self) -> (Standing, Duration) {
        if let Err(error) = self.broker.check() {
            return self.unknown(error.to_string());
        }
        // Counted from before the request: the server's count begins later.
        let (asked, asked_wall_seconds) = (Instant::now(), wall_seconds());
        let tried = match &self.held {
            Some(held) => self.renew(held.revision).await,
            None => self.acquire().await,
        };
        match tried {
            Ok(Ok(revision)) => {
                let acts_for = LEASE - MARGIN;
                let held = Held {
                    revision,
                    until: asked + acts_for,
                    until_wall_seconds: asked_wall_seconds + acts_for.as_secs_f64(),
                };
                let standing = held.standing();
                self.held = Some(held);
                (standing, RENEW_EVERY)
            }
            Ok(Err(leader)) => {
                self.held = None;
                (Standing::Following { leader }, LOOK_EVERY)
            }
            Err(cause) => self.unknown(cause),
        }
    }

    fn unknown(&mut self, cause: String) -> (Standing, Duration) {
        // The bucket may have gone with a server that kept nothing.
        self.store = None;
        match &self.held {
            Some(held) if Instant::now() < held.until => (held.standing(), LOOK_EVERY),
            _ => {
                self.held = None;
                (Standing::Unknown { cause }, LOOK_EVERY)
            }
        }
    }

    /// The new revision, or else who leads.
    async fn acquire(&mut self) -> Result<Result<u64, String>, String> {
        let store = self.store().await?;
        let created = store.create(&self.key, self.holder.clone());
        let created = self.limited(created, &self.subject()).await?;
        match created {
            Ok(revision) => Ok(Ok(revision)),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => self.look().await,
            Err(error) => Err(chain(&error)),
        }
    }

    async fn renew(&mut self, revision: u64) -> Result<Result<u64, String>, String> {
        let store = self.store().await?;
        let updated = store.update(&self.key, self.holder.clone(), revision);
        let updated = self.limited(updated, &self.subject()).await?;
        match updated {
            Ok(revision) => Ok(Ok(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => self.look().await,
            Err(error) => Err(chain(&error)),
        }
    }

    /// Who holds the key: perhaps we do, by a request whose answer was lost.
    async fn look(&mut self) -> Result<Result<u64, String>, String> {
        let store = self.store().await?;
        let asked = format!("$JS.API.DIRECT.GET.KV_{BUCKET}.{}", self.subject());
        let entry = self.limited(store.entry(&self.key), &asked).await?;
        let Some(entry) = entry.map_err(|error| chain(&error))? else {
            return Err("the lease is changing hands".to_owned());
        };
        if entry.value == self.holder && entry.operation == kv::Operation::Put {
            let renewed = store.update(&self.key, self.holder.clone(), entry.revision);
            return match self.limited(renewed, &self.subject()).await? {
                Ok(revision) => Ok(Ok(revision)),
                Err(error) => Err(chain(&error)),
            };
        }
        let holder = String::from_utf8_lossy(&entry.value);
        let leader = holder.split(' ').next().unwrap_or_default();
        Ok(Err(leader.chars().take(253).collect()))
    }

    async fn store(&mut self) -> Result<Store, String> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        match self.open().await {
            Ok(store) => {
                self.complaint.clear();
                self.store = Some(store.clone());
                Ok(store)
            }
            Err(cause) => {
                if self.complaint != cause {
                    tracing::warn!(cause, "this replica cannot try to lead");
                    self.complaint.clone_from(&cause);
                }
                Err(cause)
            }
        }
    }

    async fn open(&self) -> Result<Store, String> {
        let jetstream = &self.broker.jetstream;
        let failed = |cause: String| format!("bucket {BUCKET}: {cause}");
        let looked_up = format!("$JS.API.STREAM.INFO.KV_{BUCKET}");
        let found = jetstream.get_stream(format!("KV_{BUCKET}"));
        match self.limited(found, &looked_up).await? {
            Ok(_) => {}
            Err(error) if is_absent(&error) => self.make_bucket().await.map_err(failed)?,
            Err(error) => return Err(failed(chain(&error))),
        }
        let opened = jetstream.get_key_value(BUCKET);
        let opened = self.limited(opened, &looked_up).await?;
        opened.map_err(|error| failed(chain(&error)))
    }

    async fn make_bucket(&self) -> Result<(), String> {
        let wanted = stream::Config {
            description: Some("Which autoscaler replica leads".to_owned()),
            ..farm_nats::bucket(BUCKET, LEASE)
        };
        let subject = format!("$JS.API.STREAM.CREATE.{}", wanted.name);
        let made = self.broker.jetstream.create_stream(wanted);
        let made = self.limited(made, &subject).await.map_err(|cause| {
            let advice = "run the image of a farm's function once with FARM_ROLE=setup";
            format!("it does not exist, and {cause}; {advice}")
        })?;
        made.map(drop).map_err(|error| chain(&error))
    }

    /// Lets another replica lead at once.
    async fn give_back(mut self) {
        let Some(held) = self.held.take() else { return };
        let Ok(store) = self.store().await else {
            return;
        };
        let deleted = store.delete_expect_revision(&self.key, Some(held.revision));
        if let Ok(Ok(())) = self.limited(deleted, &self.subject()).await {
            tracing::debug!("gave the lease back");
        }
    }

    /// Where the key is written.
    fn subject(&self) -> String {
        format!("$KV.{BUCKET}.{}", self.key)
    }

    /// Awaits `request` for a while, or until NATS denies it: something on `subject`.
    async fn limited<T>(
        &self,
        request: impl Future<Output = T>,
        subject: &str,
    ) -> Result<T, String> {
        let denied = self.broker.denied(|denial| denial.subject == subject);
        tokio::select! {
            biased;
            answer = tokio::time::timeout(REQUEST_TIMEOUT, request) => {
                answer.map_err(|_| "NATS did not answer in time".to_owned())
            }
            denial = denied => {
                let denial = denial.to_string();
                Err(BrokerError::Denied { denial }.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_was_paused_does_not_act() {
        let now = Instant::now();
        let standing = Standing::Leading {
            until: now + Duration::from_secs(5),
            until_wall_seconds: 1_005.0,
        };
        assert_eq!(standing.rest_at(now, 1_000.5), Ok(Duration::from_secs(5)));
        // The wall's clock went on for 20 s, the other one stood still.
        assert!(standing.rest_at(now, 1_020.0).is_err());
        // It was set back: which of them is right, nobody knows.
        assert!(standing.rest_at(now, 900.0).is_err());
        let later = now + Duration::from_secs(6);
        let refused = standing.rest_at(later, 1_006.0).unwrap_err();
        assert!(refused.contains("no longer leads"));
    }
}
