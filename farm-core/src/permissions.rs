//! What each part of a farm may do on NATS: the least that it works with.
//!
//! The lists are what `farm permissions` prints and what the tests run farms under. Three rules
//! shape them:
//!
//! - A wildcard of NATS stands for a whole token and a farm's name may hold `-`, so streams are
//!   named one by one: `farm-a-*` would also be the farm `a-b`.
//! - Who may create or change a stream can have it copy any other stream of the account. So
//!   nobody but [`Roles::SETUP`] may, which an administrator runs once.
//! - Who may listen to `_INBOX.>` hears everybody's answers. So every set of roles of every farm
//!   has inboxes of its own.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::topology::Topology;
use crate::{Role, Roles};

/// The subjects somebody may publish to and subscribe to; everything else is denied.
///
/// Replies to requests that came in (`allow_responses`) are not part of it: nobody here answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Permissions {
    /// Subjects that may be published to.
    pub publish: BTreeSet<String>,
    /// Subjects that may be subscribed to.
    pub subscribe: BTreeSet<String>,
}

/// Where the autoscaler receives answers; no farm's roles can have this prefix.
pub const AUTOSCALER_INBOX_PREFIX: &str = "_INBOX_farm_autoscaler";

/// Where replicas with `roles` of a farm receive answers.
///
/// A farm's name holds neither `.` nor `_`, so two of these are never one within the other.
///
/// ```
/// use farm_core::{FarmName, permissions::inbox_prefix, topology::Topology};
/// let topology = Topology::new(FarmName::new("thumbnails")?);
/// let prefix = inbox_prefix(&topology, "emitter,collector".parse().unwrap());
/// assert_eq!(prefix, "_INBOX_farm.thumbnails.emitter_collector");
/// # Ok::<(), farm_core::InvalidName>(())
/// ```
pub fn inbox_prefix(topology: &Topology, roles: Roles) -> String {
    let roles = roles.to_string().replace(',', "_");
    format!("_INBOX_farm.{}.{roles}", topology.farm())
}

impl Permissions {
    /// What a function with `roles` needs.
    ///
    /// ```
    /// use farm_core::{FarmName, permissions::Permissions, topology::Topology};
    /// let topology = Topology::new(FarmName::new("thumbnails")?);
    /// let worker = Permissions::of(&topology, "worker".parse().unwrap());
    /// assert!(worker.publish.contains("farm.thumbnails.result.*.*"));
    /// assert!(!worker.publish.contains("farm.thumbnails.control.slots"));
    /// # Ok::<(), farm_core::InvalidName>(())
    /// ```
    pub fn of(topology: &Topology, roles: Roles) -> Self {
        let mut list = List::new(topology);
        list.subscribe(format!("{}.>", inbox_prefix(topology, roles)));
        list.look();
        if roles.is_setup() {
            list.setup();
        }
        for role in Role::ALL.into_iter().filter(|role| roles.has(*role)) {
            match role {
                Role::Emitter => list.emitter(),
                Role::Worker => list.worker(),
                Role::Collector => list.collector(),
            }
        }
        list.permissions
    }

    /// What the autoscaler needs to scale these farms.
    ///
    /// Reports and decisions it hears of all farms of the account: their subjects hold one token
    /// where the farm's name is, and it listens once for all.
    pub fn of_autoscaler(farms: &[Topology]) -> Self {
        let mut permissions = Self::default();
        permissions.subscribe.extend([
            format!("{AUTOSCALER_INBOX_PREFIX}.>"),
            Topology::ALL_TELEMETRY.to_owned(),
            Topology::ALL_DECISIONS.to_owned(),
        ]);
        let lease = Topology::AUTOSCALER_LEASE_BUCKET;
        permissions.publish.extend([
            format!("$JS.API.STREAM.INFO.KV_{lease}"),
            format!("$JS.API.DIRECT.GET.KV_{lease}.$KV.{lease}.>"),
            format!("$KV.{lease}.>"),
        ]);
        for farm in farms {
            let (tasks, control) = (farm.tasks_stream(), farm.control_stream());
            let workers = Topology::WORKERS_CONSUMER;
            permissions.publish.extend([
                format!("$JS.API.STREAM.INFO.{tasks}"),
                format!("$JS.API.CONSUMER.INFO.{tasks}.{workers}"),
                format!("$JS.API.STREAM.MSG.GET.{control}"),
                farm.control_slots_subject(),
                farm.decision_subject(),
            ]);
        }
        permissions
    }
}

/// A list under construction.
struct List<'a> {
    topology: &'a Topology,
    permissions: Permissions,
    tasks: String,
    results: String,
    dead: String,
    control: String,
    jobs: String,
    lease: String,
    attempts: String,
    summaries: String,
}

impl<'a> List<'a> {
    fn new(topology: &'a Topology) -> Self {
        Self {
            topology,
            permissions: Permissions::default(),
            tasks: topology.tasks_stream(),
            results: topology.results_stream(),
            dead: topology.dead_stream(),
            control: topology.control_stream(),
            jobs: topology.jobs_bucket(),
            lease: topology.lease_bucket(),
            attempts: topology.attempts_bucket(),
            summaries: topology.summaries_store(),
        }
    }

    fn publish(&mut self, subject: impl Into<String>) {
        self.permissions.publish.insert(subject.into());
    }

    fn subscribe(&mut self, subject: impl Into<String>) {
        self.permissions.subscribe.insert(subject.into());
    }

    fn api(&mut self, request: &str) {
        self.publish(format!("$JS.API.{request}"));
    }

    fn streams(&self) -> [String; 8] {
        [
            self.tasks.clone(),
            self.results.clone(),
            self.dead.clone(),
            self.control.clone(),
            format!("KV_{}", self.jobs),
            format!("KV_{}", self.lease),
            format!("KV_{}", self.attempts),
            format!("OBJ_{}", self.summaries),
        ]
    }

    /// What every replica does: find the farm, and tell how long its queue is.
    fn look(&mut self) {
        self.api("INFO");
        for stream in self.streams() {
            self.api(&format!("STREAM.INFO.{stream}"));
        }
        let workers = Topology::WORKERS_CONSUMER;
        self.api(&format!("CONSUMER.INFO.{}.{workers}", self.tasks));
    }

    fn setup(&mut self) {
        let lease = format!("KV_{}", Topology::AUTOSCALER_LEASE_BUCKET);
        self.api(&format!("STREAM.INFO.{lease}"));
        for stream in self.streams().into_iter().chain([lease]) {
            self.api(&format!("STREAM.CREATE.{stream}"));
            self.api(&format!("STREAM.UPDATE.{stream}"));
        }
        let workers = Topology::WORKERS_CONSUMER;
        self.api(&format!("CONSUMER.CREATE.{}.{workers}", self.tasks));
    }

    fn worker(&mut self) {
        let (tasks, workers) = (self.tasks.clone(), Topology::WORKERS_CONSUMER);
        self.api(&format!("CONSUMER.MSG.NEXT.{tasks}.{workers}"));
        self.publish(format!("$JS.ACK.{tasks}.{workers}.>"));
        self.publish(self.topology.result_wildcard());
        self.publish(self.topology.dead_wildcard());
        self.publish(self.topology.telemetry_subject());
        self.get(&self.results.clone(), &self.topology.result_wildcard());
        self.get(&self.dead.clone(), &self.topology.dead_wildcard());
        let slots = self.topology.control_slots_subject();
        self.get(&self.control.clone(), &slots);
        self.subscribe(slots);
        let attempts = self.attempts.clone();
        self.publish(format!("$KV.{attempts}.>"));
        self.get_key(&attempts, ">");
        // A task of a chunk that is to be tried again is queued alone, unless its job is cancelled.
        self.publish(self.topology.task_wildcard());
        let jobs = self.jobs.clone();
        self.get_key(&jobs, "*.cancel");
    }

    fn emitter(&mut self) {
        let (results, dead) = (self.results.clone(), self.dead.clone());
        self.publish(self.topology.task_wildcard());
        // Cancelling takes what is queued of a job away.
        self.api(&format!("STREAM.PURGE.{}", self.tasks));
        let jobs = self.jobs.clone();
        for key in ["*.spec", "*.cancel", "idempotency.*"] {
            self.publish(format!("$KV.{jobs}.{key}"));
        }
        // A job refused by a full queue leaves no trace.
        self.api(&format!("STREAM.PURGE.KV_{jobs}"));
        self.read_jobs();
        // How long tasks take says how many of them go into one message.
        self.subscribe(self.topology.telemetry_subject());
        // Hearing a change costs the server no consumer.
        self.subscribe(format!("$KV.{jobs}.*.*"));
        self.read_results();
        self.read_through(&dead, &format!("farm.{}.dead.>", self.topology.farm()));
        for stream in [&results, &dead] {
            self.api(&format!("STREAM.MSG.DELETE.{stream}"));
        }
        self.api(&format!("STREAM.PURGE.{dead}"));
        // A replay asks the leaders: what another server has not heard of yet must not be lost.
        for stream in [&results, &dead] {
            self.api(&format!("STREAM.MSG.GET.{stream}"));
        }
        self.read_summaries();
    }

    fn collector(&mut self) {
        let (jobs, lease) = (self.jobs.clone(), self.lease.clone());
        self.publish(format!("$KV.{lease}.collector"));
        self.get_key(&lease, "collector");
        for key in ["*.progress", "collector.checkpoint"] {
            self.publish(format!("$KV.{jobs}.{key}"));
        }
        self.read_jobs();
        self.read_through(&format!("KV_{jobs}"), &format!("$KV.{jobs}.>"));
        self.read_results();
        // Tasks of which the server has lost sight are queued anew.
        let tasks = self.tasks.clone();
        for request in ["STREAM.MSG.GET", "STREAM.MSG.DELETE"] {
            self.api(&format!("{request}.{tasks}"));
        }
        self.api(&format!("STREAM.MSG.GET.{}", self.results));
        self.publish(self.topology.task_wildcard());
        // How many tasks came in a message says how many are queued.
        self.subscribe(self.topology.telemetry_subject());
        // The outcome it counted last, by its sequence.
        let results = self.results.clone();
        self.api(&format!("DIRECT.GET.{results}"));
        let summaries = self.summaries.clone();
        self.publish(format!("$O.{summaries}.>"));
        // A summary that is folded again replaces the one before.
        self.api(&format!("STREAM.PURGE.OBJ_{summaries}"));
        self.read_summaries();
    }

    fn read_jobs(&mut self) {
        let jobs = self.jobs.clone();
        self.get_key(&jobs, ">");
        // From the stream's leader: another server of a cluster may lag behind.
        self.api(&format!("STREAM.MSG.GET.KV_{jobs}"));
    }

    fn read_summaries(&mut self) {
        let summaries = self.summaries.clone();
        let stream = format!("OBJ_{summaries}");
        self.get(&stream, &format!("$O.{summaries}.M.*"));
        self.watch(&stream);
    }

    /// The last message of a subject.
    fn get(&mut self, stream: &str, subject: &str) {
        self.api(&format!("DIRECT.GET.{stream}.{subject}"));
    }

    fn get_key(&mut self, bucket: &str, key: &str) {
        self.get(&format!("KV_{bucket}"), &format!("$KV.{bucket}.{key}"));
    }

    fn read_results(&mut self) {
        let subjects = format!("farm.{}.result.>", self.topology.farm());
        self.read_through(&self.results.clone(), &subjects);
    }

    /// A consumer of one's own that pulls; the server holds it to its subjects.
    fn read_through(&mut self, stream: &str, subjects: &str) {
        self.api(&format!("CONSUMER.CREATE.{stream}.*.{subjects}"));
        self.api(&format!("CONSUMER.MSG.NEXT.{stream}.*"));
        self.api(&format!("CONSUMER.DELETE.{stream}.*"));
    }

    /// A consumer without a name that the server pushes to, as the client reads objects.
    fn watch(&mut self, stream: &str) {
        self.api(&format!("CONSUMER.CREATE.{stream}"));
        self.api(&format!("CONSUMER.DELETE.{stream}.*"));
        self.publish(format!("$JS.FC.{stream}.>"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FarmName;

    fn topology(farm: &str) -> Topology {
        Topology::new(FarmName::new(farm).unwrap())
    }

    fn all(permissions: &Permissions) -> impl Iterator<Item = &String> {
        permissions.publish.iter().chain(&permissions.subscribe)
    }

    fn of(farm: &str, roles: &str) -> Permissions {
        Permissions::of(&topology(farm), roles.parse().unwrap())
    }

    /// Whether some subject fits both patterns.
    fn overlap(one: &str, other: &str) -> bool {
        let (mut one, mut other) = (one.split('.'), other.split('.'));
        loop {
            match (one.next(), other.next()) {
                (None, None) => return true,
                (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
                _ => return false,
            }
        }
    }

    #[test]
    fn farms_share_nothing_but_the_look_at_the_account() {
        let every = ["emitter", "worker", "collector", "emitter,worker,collector"];
        for name in ["a-b", "a-tasks", "b"] {
            for (mine, yours) in every.iter().flat_map(|m| every.map(|y| (*m, y))) {
                let (mine, yours) = (of("a", mine), of(name, yours));
                for one in mine.publish.iter().filter(|s| *s != "$JS.API.INFO") {
                    assert!(
                        !all(&yours).any(|s| overlap(s, one)),
                        "{one} of a is {name}'s"
                    );
                }
                for one in &mine.subscribe {
                    assert!(
                        !all(&yours).any(|s| overlap(s, one)),
                        "{one} of a is {name}'s"
                    );
                }
            }
        }
    }

    #[test]
    fn only_setup_makes_streams() {
        for roles in ["emitter", "worker", "collector", "emitter,worker,collector"] {
            let permissions = of("a", roles);
            let mut makes = permissions.publish.iter();
            assert!(!makes.any(|s| s.contains("STREAM.CREATE") || s.contains("STREAM.UPDATE")));
        }
        let setup = of("a", "setup");
        assert!(setup.publish.contains("$JS.API.STREAM.CREATE.farm-a-tasks"));
        assert!(!setup.publish.iter().any(|s| s.contains("STREAM.DELETE")));
    }

    #[test]
    fn a_worker_neither_makes_consumers_nor_removes_anything() {
        for subject in &of("a", "worker").publish {
            for forbidden in ["CONSUMER.CREATE", "DELETE", "PURGE", ".spec", ".progress"] {
                assert!(!subject.contains(forbidden), "{subject}");
            }
            let of_jobs = subject.contains("KV_farm-a-jobs.");
            assert!(!of_jobs || subject.ends_with(".cancel"), "{subject}");
        }
    }

    #[test]
    fn several_roles_may_what_each_may() {
        let together = of("a", "emitter,collector");
        for role in ["emitter", "collector"] {
            assert!(together.publish.is_superset(&of("a", role).publish));
        }
        assert!(
            together
                .subscribe
                .contains("_INBOX_farm.a.emitter_collector.>")
        );
    }

    #[test]
    fn inboxes_are_apart_even_if_a_farm_is_called_like_a_role() {
        let one = inbox_prefix(&topology("a-emitter"), "collector".parse().unwrap());
        let other = inbox_prefix(&topology("a"), "emitter,collector".parse().unwrap());
        assert_ne!(one, other);
        let scaler = inbox_prefix(&topology("autoscaler-1"), "worker".parse().unwrap());
        assert!(!overlap(
            &format!("{scaler}.x"),
            &format!("{AUTOSCALER_INBOX_PREFIX}.>")
        ));
    }
}
