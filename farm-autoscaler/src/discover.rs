//! Finds the farms: asks the gateway for its functions, reads their annotations, and keeps one
//! controller running for each farm.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use farm_core::FarmName;
use farm_core::gateway::FunctionStatus;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::annotations::{self, Declared, Settings};
use crate::board::{Card, ShownSettings};
use crate::clock::{time_of_day, wall_seconds};
use crate::controller::Controller;
use crate::decide::Replicas;
use crate::gateway::GatewayError;
use crate::models::ModelFiles;
use crate::shared::{Listing, Shared};

/// Farms that one autoscaler scales; a gateway with more needs a second namespace.
const MAX_FARMS: usize = 1_000;
/// What runs the functions is asked for again after this time: a platform can be replaced.
const PROVIDER_HOLDS: Duration = Duration::from_secs(60);

/// Discovers until `stopping`; controllers are run by `controllers`.
pub(crate) async fn run(
    shared: Arc<Shared>,
    listing: watch::Sender<Listing>,
    controllers: TaskTracker,
    stopping: CancellationToken,
) {
    let mut discovery = Discovery {
        models: ModelFiles::new(&shared.config.model_dir),
        shared,
        listing,
        controllers,
        running: HashMap::new(),
        told: BTreeMap::new(),
        provider_asked: None,
        stopping: stopping.clone(),
    };
    let mut ticks = tokio::time::interval(discovery.shared.config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = discovery.look() => {}
        }
    }
}

struct Discovery {
    shared: Arc<Shared>,
    models: ModelFiles,
    listing: watch::Sender<Listing>,
    controllers: TaskTracker,
    /// By function.
    running: HashMap<String, Running>,
    /// Problems and warnings that were logged, by function.
    told: BTreeMap<String, Vec<String>>,
    provider_asked: Option<Instant>,
    stopping: CancellationToken,
}

struct Running {
    declared: Declared,
    stop: CancellationToken,
}

/// A function that wants to be scaled.
struct Candidate {
    function: String,
    declared: Declared,
    farm: String,
    settings: Result<Settings, Vec<String>>,
    warnings: Vec<String>,
}

impl Discovery {
    async fn look(&mut self) {
        let asked_at = Instant::now();
        match self.shared.gateway.functions().await {
            Err(error) => self.failed(&error),
            Ok(functions) => {
                self.ask_provider().await;
                self.answered(asked_at, &functions);
                let candidates = self.candidates(&functions);
                self.tell(&candidates);
                self.reconcile(candidates);
            }
        }
    }

    fn failed(&self, error: &GatewayError) {
        self.listing.send_if_modified(|listing| {
            let is_first = listing.failing.is_none();
            if is_first {
                let since = time_of_day(wall_seconds());
                tracing::warn!(%error, "no list of functions: all farms are held as they are");
                // Stays the same while it lasts, so that it is said once.
                listing.failing = Some(format!("{error} (since {since})"));
            }
            is_first
        });
    }

    fn answered(&self, asked_at: Instant, functions: &[FunctionStatus]) {
        let replicas: HashMap<_, _> = functions
            .iter()
            .filter(|function| annotations::declared(function).is_some())
            .map(|function| (function.name.clone(), Replicas::from(function)))
            .collect();
        self.listing.send_modify(|listing| {
            if listing.failing.take().is_some() {
                tracing::info!("the gateway lists its functions again");
            }
            listing.asked_at = Some(asked_at);
            listing.replicas = Arc::new(replicas);
        });
    }

    async fn ask_provider(&mut self) {
        if self
            .provider_asked
            .is_some_and(|at| at.elapsed() < PROVIDER_HOLDS)
        {
            return;
        }
        // Without an answer limits are learnt by running into them.
        if let Ok(info) = self.shared.gateway.info().await {
            self.provider_asked = Some(Instant::now());
            let provider = info.provider.map(|provider| provider.name);
            self.listing
                .send_modify(|listing| listing.provider = provider);
        }
    }

    fn candidates(&self, functions: &[FunctionStatus]) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = functions
            .iter()
            .filter_map(|function| {
                let declared = annotations::declared(function)?;
                let interval = self.shared.config.interval;
                let (name, models) = (&function.name, &self.models);
                let reading = annotations::read(name, &declared, interval, models);
                Some(Candidate {
                    function: function.name.clone(),
                    declared,
                    farm: reading.farm,
                    settings: reading.settings,
                    warnings: reading.warnings,
                })
            })
            .collect();
        candidates.sort_by(|a, b| a.function.cmp(&b.function));
        refuse_shared_farms(&mut candidates);
        refuse_excess(&mut candidates);
        candidates
    }

    /// Logs problems and warnings once, until they change.
    fn tell(&mut self, candidates: &[Candidate]) {
        let mut told = BTreeMap::new();
        for candidate in candidates {
            let problems = candidate.settings.as_ref().err();
            let mut texts: Vec<String> = problems.into_iter().flatten().cloned().collect();
            texts.extend(candidate.warnings.iter().cloned());
            let before = self.told.get(&candidate.function);
            if !texts.is_empty() && before != Some(&texts) {
                let (farm, function) = (&candidate.farm, &candidate.function);
                if let Some(problems) = problems {
                    let problems = problems.join("; ");
                    tracing::error!(
                        farm,
                        function,
                        problems,
                        "the annotations cannot be used: the farm is left alone"
                    );
                }
                if !candidate.warnings.is_empty() {
                    let warnings = candidate.warnings.join("; ");
                    tracing::warn!(
                        farm,
                        function,
                        warnings,
                        "annotations that mean nothing: misspelt?"
                    );
                }
            }
            told.insert(candidate.function.clone(), texts);
        }
        self.told = told;
    }

    fn reconcile(&mut self, candidates: Vec<Candidate>) {
        let namespace = &self.shared.config.namespace;
        let cards = candidates
            .iter()
            .map(|candidate| card(candidate, namespace));
        self.shared.board.show(cards.collect());

        let scaled: Vec<(Declared, Settings)> = candidates
            .into_iter()
            .filter_map(|candidate| Some((candidate.declared, candidate.settings.ok()?)))
            .collect();
        let farms: Vec<FarmName> = scaled.iter().map(|(_, s)| s.farm.clone()).collect();
        self.shared.reports.keep(&farms);
        self.shared.metrics.farms(farms.len());

        let mut before = std::mem::take(&mut self.running);
        let mut starting = Vec::new();
        for (declared, settings) in scaled {
            match before.remove(&settings.function) {
                Some(running) if running.declared == declared => {
                    self.running.insert(settings.function, running);
                }
                old => {
                    if let Some(old) = old {
                        old.stop.cancel();
                    }
                    starting.push((declared, settings));
                }
            }
        }
        for (function, gone) in before {
            tracing::info!(function, "is no longer scaled");
            gone.stop.cancel();
        }
        for (declared, settings) in starting {
            self.start(declared, settings);
        }
    }

    fn start(&mut self, declared: Declared, settings: Settings) {
        tracing::info!(
            farm = %settings.farm,
            function = settings.function,
            policy = settings.policy.name(),
            min = settings.limits.min,
            max = settings.limits.max,
            "scales a farm"
        );
        let function = settings.function.clone();
        let stop = self.stopping.child_token();
        let controller = Controller::new(Arc::clone(&self.shared), settings);
        self.controllers
            .spawn(controller.run(phase(&function), stop.clone()));
        self.running.insert(function, Running { declared, stop });
    }
}

/// Two hands on one wheel steer nowhere.
fn refuse_shared_farms(candidates: &mut [Candidate]) {
    let mut functions: HashMap<String, Vec<String>> = HashMap::new();
    for candidate in candidates.iter() {
        let claimants = functions.entry(candidate.farm.clone()).or_default();
        claimants.push(candidate.function.clone());
    }
    for candidate in candidates {
        let claimants = &functions[&candidate.farm];
        if claimants.len() < 2 {
            continue;
        }
        let problem = format!(
            "farm.policy: {} scale the same farm {}: leave it on one of them",
            claimants.join(" and "),
            candidate.farm
        );
        refuse(candidate, problem);
    }
}

fn refuse_excess(candidates: &mut [Candidate]) {
    for candidate in candidates.iter_mut().skip(MAX_FARMS) {
        let problem = format!("farm.policy: one autoscaler scales at most {MAX_FARMS} farms");
        refuse(candidate, problem);
    }
}

fn refuse(candidate: &mut Candidate, problem: String) {
    match &mut candidate.settings {
        Ok(_) => candidate.settings = Err(vec![problem]),
        Err(problems) => problems.push(problem),
    }
}

fn card(candidate: &Candidate, namespace: &str) -> Card {
    let settings = candidate.settings.as_ref();
    Card {
        farm: candidate.farm.clone(),
        function: candidate.function.clone(),
        namespace: namespace.to_owned(),
        policy: match &settings {
            Ok(settings) => settings.policy.name().to_owned(),
            Err(_) => candidate
                .declared
                .get("farm.policy")
                .cloned()
                .unwrap_or_default(),
        },
        settings: settings.map(ShownSettings::from).unwrap_or_default(),
        problem: settings.err().map(|problems| problems.join("; ")),
        warnings: candidate.warnings.clone(),
    }
}

/// Where in its interval a farm looks, from 0 to 1: the same whenever it is found.
fn phase(function: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    function.hash(&mut hasher);
    (hasher.finish() % 1_000) as f64 / 1_000.0
}
