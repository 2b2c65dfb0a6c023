//! A farm as NATS has it: what a test believes only when it has seen it there.

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::kv;
use farm_core::topology::Topology;
use futures_util::TryStreamExt;

use crate::function::Function;
use crate::nats_server::NatsServer;

/// Messages in each stream of a farm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Tasks nobody has finished.
    pub tasks: u64,
    /// Outcomes.
    pub results: u64,
    /// Dead letters.
    pub dead: u64,
}

/// A connection beside the farm's own.
pub struct FarmOnNats {
    /// Where things are.
    pub topology: Topology,
    /// The connection.
    pub client: async_nats::Client,
    /// Its JetStream.
    pub jetstream: jetstream::Context,
}

impl FarmOnNats {
    /// Connects to look at the farm of `function`.
    pub async fn connect(nats: &NatsServer, function: &Function) -> Self {
        let client = nats.client().await;
        Self {
            topology: function.topology(),
            jetstream: jetstream::new(client.clone()),
            client,
        }
    }

    async fn state(&self, stream: String) -> jetstream::stream::State {
        let stream = self.jetstream.get_stream(stream).await;
        stream
            .expect("the stream exists")
            .cached_info()
            .state
            .clone()
    }

    /// Counts the messages of every stream.
    pub async fn counts(&self) -> Counts {
        Counts {
            tasks: self.state(self.topology.tasks_stream()).await.messages,
            results: self.state(self.topology.results_stream()).await.messages,
            dead: self.state(self.topology.dead_stream()).await.messages,
        }
    }

    /// Counts the tasks that have an outcome, one subject each, in a farm without chunks: the outcome
    /// of a chunk is one subject, too.
    pub async fn tasks_with_outcome(&self) -> u64 {
        let state = self.state(self.topology.results_stream()).await;
        state.subjects_count
    }

    /// How often a task was delivered to a worker so far, redeliveries included.
    pub async fn deliveries(&self) -> u64 {
        let stream = self.topology.tasks_stream();
        let consumer = self
            .jetstream
            .get_consumer_from_stream::<pull::Config, _, _>(Topology::WORKERS_CONSUMER, stream)
            .await;
        let info = consumer.expect("the consumer exists").cached_info().clone();
        info.delivered.consumer_sequence
    }

    /// Consumers of all streams: the workers' own, and whoever reads just now.
    pub async fn consumers(&self) -> usize {
        let (tasks, results) = (self.topology.tasks_stream(), self.topology.results_stream());
        let dead = self.topology.dead_stream();
        let jobs = format!("KV_{}", self.topology.jobs_bucket());
        let mut count = 0;
        for stream in [tasks, results, dead, jobs] {
            count += self.state(stream).await.consumer_count;
        }
        count
    }

    /// The jobs bucket.
    pub async fn jobs(&self) -> kv::Store {
        let bucket = self.topology.jobs_bucket();
        let jobs = self.jetstream.get_key_value(bucket).await;
        jobs.expect("the jobs bucket exists")
    }

    /// Keys of the jobs bucket, the collector's own left out.
    pub async fn job_keys(&self) -> Vec<String> {
        let keys = self.jobs().await.keys().await.expect("keys can be listed");
        let keys: Vec<String> = keys.try_collect().await.expect("keys can be listed");
        keys.into_iter()
            .filter(|key| !key.starts_with("collector."))
            .collect()
    }

    /// The replica whose collector leads, if one does.
    pub async fn leader(&self) -> Option<String> {
        let lease = self.topology.lease_bucket();
        let lease = self.jetstream.get_key_value(lease).await.ok()?;
        let holder = lease.get("collector").await.ok()??;
        let holder = String::from_utf8(holder.to_vec()).ok()?;
        let (replica, _) = holder.rsplit_once('-')?;
        Some(replica.to_owned())
    }
}
