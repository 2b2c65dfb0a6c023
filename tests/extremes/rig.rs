//! A farm whose roles are processes of their own, and a client that keeps its connections.

use std::time::{Duration, Instant};

use farm_core::http::{JobState, JobStatus};
use farm_tests::{
    FarmOnNats, Function, NatsServer, Replica, http_client, peak_resident_bytes, resident_bytes,
};

use crate::report::Report;

const POLL: Duration = Duration::from_millis(50);

/// The farm.
pub struct Rig {
    pub nats: NatsServer,
    /// The function all roles are replicas of.
    pub function: Function,
    pub front: Replica,
    pub collector: Replica,
    pub workers: Vec<Replica>,
    pub on_nats: FarmOnNats,
    pub http: reqwest::Client,
}

impl Rig {
    /// Starts a farm of sleepers with these variables and so many workers.
    pub async fn start(variables: &[(&str, String)], workers: usize, slots: u32) -> Self {
        let nats = NatsServer::start().await;
        let mut function = Function::sleeper(&nats).set("FARM_LOG", "warn");
        for (key, value) in variables {
            function = function.set(key, value);
        }
        let front = function.clone().roles("emitter").start().await;
        let collector = function.clone().roles("collector").start().await;
        let worker = function.clone().roles("worker").set("FARM_SLOTS", slots);
        let workers = worker.start_many(workers).await;
        let on_nats = FarmOnNats::connect(&nats, &function).await;
        // Sets the process's cryptography up, which the pooled client needs too.
        drop(http_client());
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("an HTTP client");
        Self {
            nats,
            function,
            front,
            collector,
            workers,
            on_nats,
            http,
        }
    }

    /// A URL of the function's HTTP face.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.front.http.base())
    }

    /// Where a job stands, over a connection that is kept.
    pub async fn job(&self, job: &str) -> Option<JobStatus> {
        let answer = self.http.get(self.url(&format!("/jobs/{job}"))).send();
        answer.await.ok()?.json().await.ok()
    }

    /// Waits for the end of a job; `None` if it does not come within `limit`.
    pub async fn ended(&self, job: &str, limit: Duration) -> Option<JobStatus> {
        let give_up = Instant::now() + limit;
        while Instant::now() < give_up {
            let status = self.job(job).await;
            if let Some(status) = status.filter(|status| status.state == JobState::Done) {
                return Some(status);
            }
            tokio::time::sleep(POLL).await;
        }
        None
    }

    /// Waits until the queue is empty; says whether it was within `limit`.
    pub async fn drained(&self, limit: Duration) -> bool {
        let give_up = Instant::now() + limit;
        while Instant::now() < give_up {
            if self.on_nats.counts().await.tasks == 0 {
                return true;
            }
            tokio::time::sleep(POLL).await;
        }
        false
    }

    /// Notes the most memory each role ever held.
    pub fn note_peaks(&self, report: &mut Report) {
        let peak = |replica: &Replica| peak_resident_bytes(replica.process.id());
        report.megabytes("peak memory of the emitter", peak(&self.front));
        report.megabytes("peak memory of the collector", peak(&self.collector));
        let worker = self.workers.iter().map(peak).max();
        report.megabytes("peak memory of a worker", worker.unwrap_or(0));
        let server = peak_resident_bytes(self.nats.process_id());
        report.megabytes("peak memory of nats-server", server);
    }

    /// Notes what each role holds at rest.
    pub fn note_rest(&self, report: &mut Report, when: &str) {
        let held = |replica: &Replica| resident_bytes(replica.process.id());
        report.megabytes(format!("emitter {when}"), held(&self.front));
        report.megabytes(format!("collector {when}"), held(&self.collector));
        let server = resident_bytes(self.nats.process_id());
        report.megabytes(format!("nats-server {when}"), server);
        report.megabytes(format!("on disk {when}"), self.nats.stored_bytes());
    }
}
