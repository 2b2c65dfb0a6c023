//! A deployed function: as many replicas as were asked for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farm_core::gateway::{FunctionDeployment, FunctionStatus, NAMESPACE, SCALE_MIN_LABEL};
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;

use crate::logs::{LogBook, rfc3339};
use crate::replica::{Launch, Replica};

/// A function that is deployed.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) logs: Arc<LogBook>,
    created_at: OffsetDateTime,
    invocations: AtomicU64,
    turn: AtomicUsize,
    /// Numbers replicas for as long as the platform runs, so that no name is used twice.
    started: Arc<AtomicU64>,
    state: Mutex<State>,
    /// Replicas that are draining.
    drains: TaskTracker,
}

struct State {
    deployment: FunctionDeployment,
    launch: Arc<Launch>,
    replicas: Vec<Arc<Replica>>,
    /// Replicas of older deployments, oldest first, that serve until newer ones do.
    outdated: Vec<Arc<Replica>>,
    removed: bool,
}

impl Function {
    pub(crate) fn new(
        deployment: FunctionDeployment,
        launch: Arc<Launch>,
        started: Arc<AtomicU64>,
        drains: TaskTracker,
    ) -> Self {
        Self {
            name: deployment.service.clone(),
            logs: Arc::clone(&launch.logs),
            created_at: OffsetDateTime::now_utc(),
            invocations: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            started,
            state: Mutex::new(State {
                deployment,
                launch,
                replicas: Vec::new(),
                outdated: Vec::new(),
                removed: false,
            }),
            drains,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replicas asked for.
    pub(crate) fn replicas(&self) -> u64 {
        self.state().replicas.len() as u64
    }

    /// Starts replicas, or drains the newest ones, until there are `wanted`.
    pub(crate) fn scale(&self, wanted: u64) {
        let mut state = self.state();
        if state.removed {
            return;
        }
        while (state.replicas.len() as u64) < wanted {
            self.start(&mut state);
        }
        while state.replicas.len() as u64 > wanted {
            if let Some(newest) = state.replicas.pop() {
                self.drain(newest);
            }
        }
    }

    /// Starts the first replicas of a function that has none; tells how many.
    pub(crate) fn wake(&self) -> Option<u64> {
        let mut state = self.state();
        if state.removed || !state.replicas.is_empty() {
            return None;
        }
        let first = first_replicas(&state.deployment);
        for _ in 0..first {
            self.start(&mut state);
        }
        Some(first)
    }

    fn drain(&self, replica: Arc<Replica>) {
        replica.leave();
        self.drains.spawn(async move { replica.stop().await });
    }

    /// Runs another deployment: new replicas first; for each that is healthy an old one drains.
    pub(crate) fn roll(self: &Arc<Self>, deployment: FunctionDeployment, launch: Arc<Launch>) {
        let mut state = self.state();
        if state.removed {
            return;
        }
        // Without the label an update leaves the number of replicas alone, as faas-netes does.
        let wanted = least_replicas(&deployment).unwrap_or(state.replicas.len() as u64);
        let former = std::mem::take(&mut state.replicas);
        state.outdated.extend(former);
        state.deployment = deployment;
        state.launch = Arc::clone(&launch);
        while (state.replicas.len() as u64) < wanted {
            self.start(&mut state);
        }
        let new = state.replicas.clone();
        let function = Arc::clone(self);
        self.drains.spawn(async move {
            for replica in new {
                if replica.healthy().await {
                    function.retire(&launch, 1);
                }
            }
            function.retire(&launch, usize::MAX);
        });
    }

    /// Drains up to `most` outdated replicas, unless there is a newer deployment than `launch`.
    fn retire(&self, launch: &Arc<Launch>, most: usize) {
        let mut state = self.state();
        if Arc::ptr_eq(&state.launch, launch) {
            let retired = most.min(state.outdated.len());
            for replica in state.outdated.drain(..retired) {
                self.drain(replica);
            }
        }
    }

    /// Drains every replica; none is started again.
    pub(crate) fn remove(&self) {
        let mut state = self.state();
        state.removed = true;
        let State {
            outdated, replicas, ..
        } = &mut *state;
        for replica in outdated.drain(..).chain(replicas.drain(..)) {
            self.drain(replica);
        }
    }

    fn start(&self, state: &mut State) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let instance = format!("{}-{number}", self.name);
        let replica = Replica::start(instance, Arc::clone(&state.launch));
        state.replicas.push(Arc::new(replica));
    }

    /// What runs now: an update changes it.
    pub(crate) fn launch(&self) -> Arc<Launch> {
        Arc::clone(&self.state().launch)
    }

    /// Waits until every replica that is asked for is healthy (true), or one of them fails again
    /// and again (false). One that is told to leave meanwhile is not missed.
    pub(crate) async fn settled(&self) -> bool {
        let replicas = self.state().replicas.clone();
        for replica in replicas {
            if !replica.settled().await && !replica.is_leaving() {
                return false;
            }
        }
        true
    }

    /// Waits until the replica that leaves last is healthy, or there is no hope that it will be.
    pub(crate) async fn oldest_settled(&self) {
        let oldest = self.state().replicas.first().cloned();
        if let Some(oldest) = oldest {
            oldest.settled().await;
        }
    }

    /// The next healthy replica in turn, and the others after it.
    pub(crate) fn in_turn(&self) -> Vec<Arc<Replica>> {
        let state = self.state();
        let mut healthy: Vec<_> = state.healthy().cloned().collect();
        if !healthy.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % healthy.len();
            healthy.rotate_left(turn);
        }
        healthy
    }

    pub(crate) fn count_invocation(&self) {
        self.invocations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> FunctionStatus {
        let state = self.state();
        let deployment = state.deployment.clone();
        FunctionStatus {
            name: self.name.clone(),
            image: deployment.image,
            namespace: NAMESPACE.to_owned(),
            env_process: deployment.env_process,
            secrets: deployment.secrets,
            labels: Some(deployment.labels.unwrap_or_default()),
            annotations: Some(deployment.annotations.unwrap_or_default()),
            limits: deployment.limits,
            requests: deployment.requests,
            read_only_root_filesystem: deployment.read_only_root_filesystem,
            invocation_count: self.invocations.load(Ordering::Relaxed) as f64,
            replicas: state.replicas.len() as u64,
            available_replicas: state.healthy().count() as u64,
            created_at: Some(rfc3339(self.created_at)),
            ..FunctionStatus::default()
        }
    }
}

impl State {
    fn healthy(&self) -> impl Iterator<Item = &Arc<Replica>> {
        let all = self.outdated.iter().chain(&self.replicas);
        all.filter(|replica| replica.is_healthy())
    }
}

/// Replicas a deployment starts with: its minimum, else one.
pub(crate) fn first_replicas(deployment: &FunctionDeployment) -> u64 {
    least_replicas(deployment).unwrap_or(1)
}

/// The minimum a deployment asks for; what is no positive number is ignored, as faas-netes does.
fn least_replicas(deployment: &FunctionDeployment) -> Option<u64> {
    let label = deployment.labels.as_ref()?.get(SCALE_MIN_LABEL)?;
    label.parse().ok().filter(|least| *least > 0)
}
