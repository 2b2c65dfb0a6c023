//! What the gateway acts on: the functions that can run here, and those that do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use farm_core::gateway::{FunctionDeployment, FunctionStatus, SCALE_MAX_LABEL, SCALE_MIN_LABEL};
use farm_core::quantity::parse_duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::event::{Event, Reporter};
use crate::function::{Function, first_replicas};
use crate::logs::LogBook;
use crate::process::Spawner;
use crate::program::Program;
use crate::replica::{Launch, Replica};
use crate::secrets::{GATEWAY_SECRET, SecretError, Secrets};

/// Replicas of one function, and functions, that OpenFaaS CE allows.
const CE_REPLICAS: u64 = 5;
const CE_FUNCTIONS: usize = 15;
/// Replicas of one function on this machine.
const MOST_REPLICAS: u64 = 1_000;
/// Time to drain unless the function says otherwise: what Kubernetes leaves below its 30 s.
const GRACE: Duration = Duration::from_secs(25);
/// Where a function finds the gateway.
const GATEWAY_URL: &str = "FARM_GATEWAY_URL";
/// How long a request waits for a replica that starts: what OpenFaaS's chart gives it in all.
const WAKES_WITHIN: Duration = Duration::from_secs(60);
/// Wait before the first probe on OpenFaaS CE.
const CE_INITIAL_DELAY: Duration = Duration::from_secs(2);

/// Why the provider does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0}")]
    Invalid(String),
    #[error("there is no function {0}")]
    Unknown(String),
    #[error("function {0} exists already")]
    Exists(String),
    #[error("{0}")]
    Failed(String),
}

/// What every replica is started with.
pub(crate) struct Surroundings {
    pub(crate) spawner: Spawner,
    pub(crate) reporter: Reporter,
    pub(crate) client: reqwest::Client,
    pub(crate) nats_url: String,
    pub(crate) gateway_url: String,
    pub(crate) run_folder: PathBuf,
    /// Whether OpenFaaS CE's limits hold.
    pub(crate) ce: bool,
    /// Cancelled when nothing is to be waited for any more.
    pub(crate) kill: CancellationToken,
}

/// A function of the stack, whether it is deployed or not.
struct Deployable {
    program: Program,
    /// Replicas started so far, in all its deployments.
    started: Arc<AtomicU64>,
}

/// The functions of the platform.
pub(crate) struct Provider {
    pub(crate) surroundings: Surroundings,
    pub(crate) secrets: Secrets,
    /// What can be deployed, by function.
    deployables: BTreeMap<String, Deployable>,
    /// Folders of secrets given so far: each deployment has its own.
    secret_folders: AtomicU64,
    functions: RwLock<BTreeMap<String, Arc<Function>>>,
    drains: TaskTracker,
}

impl Provider {
    pub(crate) fn new(
        surroundings: Surroundings,
        secrets: Secrets,
        programs: BTreeMap<String, Program>,
    ) -> Self {
        let deployable = |program| Deployable {
            program,
            started: Arc::default(),
        };
        Self {
            surroundings,
            secrets,
            deployables: programs
                .into_iter()
                .map(|(name, program)| (name, deployable(program)))
                .collect(),
            secret_folders: AtomicU64::new(0),
            functions: RwLock::default(),
            drains: TaskTracker::new(),
        }
    }

    pub(crate) fn function(&self, name: &str) -> Option<Arc<Function>> {
        let functions = self
            .functions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        functions.get(name).cloned()
    }

    pub(crate) fn functions(&self) -> Vec<Arc<Function>> {
        let functions = self
            .functions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        functions.values().cloned().collect()
    }

    pub(crate) fn statuses(&self) -> Vec<FunctionStatus> {
        self.functions()
            .iter()
            .map(|function| function.status())
            .collect()
    }

    /// Deploys a function that is not there yet.
    pub(crate) fn create(&self, deployment: FunctionDeployment) -> Result<(), Refused> {
        let name = deployment.service.clone();
        let started = Arc::clone(&self.deployable(&name)?.started);
        let launch = self.launch(&deployment, None)?;
        let mut functions = self
            .functions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if functions.contains_key(&name) {
            return Err(Refused::Exists(name));
        }
        if self.surroundings.ce && functions.len() >= CE_FUNCTIONS {
            return Err(Refused::Invalid(format!(
                "OpenFaaS CE runs at most {CE_FUNCTIONS} functions"
            )));
        }
        let wanted = first_replicas(&deployment);
        let function = Arc::new(Function::new(
            deployment,
            launch,
            started,
            self.drains.clone(),
        ));
        function.scale(wanted);
        functions.insert(name.clone(), function);
        self.surroundings
            .reporter
            .report(Event::Deployed { function: name });
        Ok(())
    }

    /// Deploys another version of a function that is there.
    pub(crate) fn update(&self, deployment: FunctionDeployment) -> Result<(), Refused> {
        let name = deployment.service.clone();
        let function = self
            .function(&name)
            .ok_or_else(|| Refused::Unknown(name.clone()))?;
        let launch = self.launch(&deployment, Some(Arc::clone(&function.logs)))?;
        function.roll(deployment, launch);
        self.surroundings
            .reporter
            .report(Event::Deployed { function: name });
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), Refused> {
        let mut functions = self
            .functions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let function = functions
            .remove(name)
            .ok_or_else(|| Refused::Unknown(name.to_owned()))?;
        function.remove();
        self.surroundings.reporter.report(Event::Removed {
            function: name.to_owned(),
        });
        Ok(())
    }

    /// Sets the replicas of a function, within what OpenFaaS would allow.
    pub(crate) fn scale(&self, name: &str, replicas: u64) -> Result<(), Refused> {
        // faas-netes answers 500 for a function it does not know.
        let function = self.function(name).ok_or_else(|| {
            Refused::Failed(format!("unable to lookup function deployment {name}"))
        })?;
        let wanted = if self.surroundings.ce {
            replicas.clamp(1, CE_REPLICAS)
        } else {
            replicas
        };
        if wanted > MOST_REPLICAS {
            return Err(Refused::Invalid(format!(
                "{wanted} replicas are more than the {MOST_REPLICAS} this platform starts"
            )));
        }
        let from = function.replicas();
        function.scale(wanted);
        if from != wanted {
            let function = name.to_owned();
            self.surroundings.reporter.report(Event::Scaled {
                function,
                from,
                to: wanted,
            });
        }
        Ok(())
    }

    /// Replicas of a function that take requests, the next in turn first. Where there are none
    /// they are started and waited for, as OpenFaaS scales from zero; OpenFaaS CE does not.
    pub(crate) async fn endpoints(&self, function: &Function) -> Vec<Arc<Replica>> {
        let healthy = function.in_turn();
        if !healthy.is_empty() || self.surroundings.ce {
            return healthy;
        }
        if let Some(to) = function.wake() {
            let function = function.name.clone();
            let woken = Event::Scaled {
                function,
                from: 0,
                to,
            };
            self.surroundings.reporter.report(woken);
        }
        let _ = tokio::time::timeout(WAKES_WITHIN, function.oldest_settled()).await;
        function.in_turn()
    }

    /// Lets everything drain.
    pub(crate) fn leave(&self) {
        for function in self.functions() {
            function.remove();
        }
    }

    /// Drains everything; returns when the last process has ended.
    pub(crate) async fn stop(&self) {
        self.leave();
        self.drains.close();
        self.drains.wait().await;
    }

    fn deployable(&self, name: &str) -> Result<&Deployable, Refused> {
        self.deployables.get(name).ok_or_else(|| {
            let known: Vec<_> = self.deployables.keys().map(String::as_str).collect();
            Refused::Invalid(format!(
                "this platform runs the functions of its stack file ({}), which {name} is not: images need Docker or a cluster",
                known.join(", ")
            ))
        })
    }

    /// Replaces the value of a secret, also for the functions that have been given it.
    pub(crate) fn update_secret(&self, name: &str, value: Vec<u8>) -> Result<(), SecretError> {
        self.secrets.update(name, value)?;
        for function in self.functions() {
            let launch = function.launch();
            if function.status().secrets.iter().any(|used| used == name) {
                self.secrets.mount(&[name.to_owned()], &launch.secrets)?;
            }
        }
        Ok(())
    }

    fn launch(
        &self,
        deployment: &FunctionDeployment,
        logs: Option<Arc<LogBook>>,
    ) -> Result<Arc<Launch>, Refused> {
        let name = &deployment.service;
        let program = &self.deployable(name)?.program;
        check(deployment, &self.secrets, self.surroundings.ce)?;
        let failed = |error: std::io::Error| Refused::Failed(format!("function {name}: {error}"));
        let folder = self.surroundings.run_folder.join(name);
        let number = self.secret_folders.fetch_add(1, Ordering::Relaxed);
        let secrets = self
            .secrets
            .mount(
                &deployment.secrets,
                &folder.join(format!("secrets-{number}")),
            )
            .map_err(failed)?;
        let grace = deployment
            .env_vars
            .get("FARM_GRACE_PERIOD")
            .and_then(|text| parse_duration(text).ok())
            .unwrap_or(GRACE);
        let reporter = self.surroundings.reporter.clone();
        Ok(Arc::new(Launch {
            spawner: self.surroundings.spawner.clone(),
            logs: logs.unwrap_or_else(|| Arc::new(LogBook::new(name, reporter.clone()))),
            reporter,
            client: self.surroundings.client.clone(),
            program: program.clone(),
            environment: self.environment(deployment, &secrets.to_string_lossy()),
            secrets,
            folder,
            // The function drains in its own time; the platform waits a little longer.
            grace: grace + Duration::from_secs(2),
            initial_delay: if self.surroundings.ce {
                CE_INITIAL_DELAY
            } else {
                Duration::ZERO
            },
            kill: self.surroundings.kill.clone(),
        }))
    }

    fn environment(
        &self,
        deployment: &FunctionDeployment,
        secrets: &str,
    ) -> BTreeMap<String, String> {
        let inherited = ["PATH", "LANG", "LC_ALL", "TZ"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), std::env::var(key).ok()?)));
        let ours = [
            ("HOME", "/"),
            ("OPENFAAS_NAME", deployment.service.as_str()),
            ("OPENFAAS_NAMESPACE", farm_core::gateway::NAMESPACE),
            ("FARM_SECRETS_DIR", secrets),
            // Only the gateway, on this machine, is to reach a replica.
            ("FARM_BIND_ADDRESS", "127.0.0.1"),
        ];
        let mut environment: BTreeMap<_, _> = inherited.collect();
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        environment.extend(ours.map(own));
        environment.extend(deployment.env_vars.clone());
        if !deployment.env_process.is_empty() {
            environment.insert("fprocess".to_owned(), deployment.env_process.clone());
        }
        // What is elsewhere in a cluster.
        let mut local = |key: &str, url: &str| environment.insert(key.to_owned(), url.to_owned());
        local("FARM_NATS_URL", &self.surroundings.nats_url);
        if speaks_to_gateway(deployment) {
            local(GATEWAY_URL, &self.surroundings.gateway_url);
        }
        environment
    }
}

/// Whether a function wants to know where the gateway is.
fn speaks_to_gateway(deployment: &FunctionDeployment) -> bool {
    deployment.env_vars.contains_key(GATEWAY_URL)
        || deployment.secrets.iter().any(|name| name == GATEWAY_SECRET)
}

/// Checks what a deployment asks for, whether or not its executable is there yet.
pub(crate) fn check(
    deployment: &FunctionDeployment,
    secrets: &Secrets,
    ce: bool,
) -> Result<(), Refused> {
    if ce {
        check_ce_labels(deployment)?;
    }
    let missing = deployment.secrets.iter().find(|name| !secrets.has(name));
    missing.map_or(Ok(()), |missing| {
        Err(Refused::Invalid(format!(
            "function {}: there is no secret {missing}: put its value into the file .secrets/{missing} beside the stack file, or use `faas-cli secret create {missing}` while farm up runs",
            deployment.service
        )))
    })
}

/// What OpenFaaS CE answers with 400.
fn check_ce_labels(deployment: &FunctionDeployment) -> Result<(), Refused> {
    const PRO: [&str; 3] = [
        "com.openfaas.scale.target",
        "com.openfaas.scale.type",
        "com.openfaas.scale.zero-duration",
    ];
    const ZERO: &str = "com.openfaas.scale.zero";
    let labels = deployment.labels.clone().unwrap_or_default();
    let zero = labels.get(ZERO).filter(|text| *text == "true");
    let pro = PRO.into_iter().find(|label| labels.contains_key(*label));
    if let Some(label) = pro.or(zero.map(|_| ZERO)) {
        return Err(Refused::Invalid(format!(
            "label {label} needs OpenFaaS Pro"
        )));
    }
    for label in [SCALE_MIN_LABEL, SCALE_MAX_LABEL] {
        let too_many = |text: &String| text.parse().is_ok_and(|n: u64| n > CE_REPLICAS);
        if labels.get(label).is_some_and(too_many) {
            return Err(Refused::Invalid(format!(
                "label {label}: OpenFaaS CE allows at most {CE_REPLICAS}"
            )));
        }
    }
    let foreign = |key: &&String| key.contains("amazonaws.com") || key.contains("gke.io");
    let annotations = deployment.annotations.clone().unwrap_or_default();
    match annotations.keys().find(foreign) {
        Some(key) => Err(Refused::Invalid(format!(
            "annotation {key} needs OpenFaaS Pro"
        ))),
        None => Ok(()),
    }
}
