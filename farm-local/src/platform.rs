//! The platform as a whole: what is started, in which order, and how it ends.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::build::{BuildError, Builder};
use crate::context::{BuildContext, ContextError};
use crate::event::{Event, Reporter};
use crate::gateway::{self, Gateway};
use crate::nats::{Nats, NatsError, NatsOptions};
use crate::process::Spawner;
use crate::program::{Program, ReadyMade};
use crate::provider::{self, Provider, Refused, Surroundings};
use crate::run_folder::RunFolder;
use crate::secrets::Secrets;
use crate::stack::{Stack, StackError, StackFunction};

/// The port an OpenFaaS gateway usually has.
const USUAL_PORT: u16 = 8080;
/// How long functions may take to become healthy at the start.
const HEALTHY_WITHIN: Duration = Duration::from_secs(45);
/// Lines of a function that failed to start which are shown.
const LAST_LINES: usize = 5;

/// What to run and how.
#[derive(Debug)]
pub struct Options {
    /// The functions.
    pub stack: Stack,
    /// Which of them; all if empty. `*` stands for any text.
    pub filter: Vec<String>,
    /// What to run for images that are made elsewhere.
    pub ready_made: ReadyMade,
    /// Address of the gateway.
    pub bind: IpAddr,
    /// Port of the gateway; `None` for the usual one, or another if that is taken.
    pub port: Option<u16>,
    /// The NATS server.
    pub nats: NatsOptions,
    /// The `farm-sdk` crate that takes the place of the published one.
    pub sdk: Option<PathBuf>,
    /// Where Cargo keeps what it compiles; `None` for a folder beside the stack file.
    pub target_folder: Option<PathBuf>,
    /// Password of the user `admin`; `None` leaves the gateway open.
    pub password: Option<String>,
    /// Whether the limits and probes of OpenFaaS CE hold.
    pub ce: bool,
    /// Whether Cargo's progress goes to the standard error of this process.
    pub show_progress: bool,
    /// Who wants to know what happens.
    pub events: Option<mpsc::Sender<Event>>,
}

impl Options {
    /// All functions of `stack`, on a gateway at the usual place without a password.
    pub fn new(stack: Stack) -> Self {
        Self {
            stack,
            filter: Vec::new(),
            ready_made: ReadyMade::new(),
            bind: IpAddr::from([127, 0, 0, 1]),
            port: None,
            nats: NatsOptions::default(),
            sdk: None,
            target_folder: None,
            password: None,
            ce: false,
            show_progress: false,
            events: None,
        }
    }
}

/// Why the platform does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// The stack file cannot be used.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// A build context could not be written.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A crate could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There is no NATS server.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// The gateway's port is taken.
    #[error("the gateway cannot listen on {address}: {source}; choose another port with --port")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A function could not be deployed.
    #[error("{0}")]
    Deploy(String),
    /// A function does not answer its health probe.
    #[error(
        "function {function} did not become healthy{}",
        after_colon(last_lines)
    )]
    Unhealthy {
        /// The function.
        function: String,
        /// What it wrote last.
        last_lines: Vec<String>,
    },
    /// A folder could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn after_colon(lines: &[String]) -> String {
    match lines {
        [] => ": it wrote nothing".to_owned(),
        lines => format!(": {}", lines.join(" | ")),
    }
}

/// A running platform. Stop it with [`Platform::stop`].
pub struct Platform {
    provider: Arc<Provider>,
    nats: Option<Nats>,
    address: SocketAddr,
    serving: JoinHandle<()>,
    closing: CancellationToken,
    kill: CancellationToken,
    // Removed when dropped.
    _run_folder: RunFolder,
}

impl Platform {
    /// Builds and starts everything; returns when every function is healthy.
    ///
    /// # Errors
    /// [`PlatformError`]; what had been started by then is stopped.
    pub async fn start(options: Options) -> Result<Self, PlatformError> {
        // One TLS provider for the process; an application that chose one keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reporter = Reporter::new(options.events.clone());
        for warning in &options.stack.warnings {
            reporter.report(Event::Warning(warning.clone()));
        }
        let names = options.stack.select(&options.filter)?;
        options.stack.check(&names, &options.ready_made)?;
        let temporary = std::env::temp_dir();
        let run_folder =
            RunFolder::create(&temporary).map_err(|source| io_error(&temporary, source))?;
        let spawner = Spawner::start().map_err(|source| io_error(run_folder.path(), source))?;
        let secrets_folder = options.stack.folder.join(".secrets");
        let secrets = Secrets::load(&secrets_folder, options.password.as_deref())
            .map_err(|source| io_error(&secrets_folder, source))?;
        // Before anything is built: that may take minutes.
        for function in names
            .iter()
            .filter_map(|name| options.stack.functions.get(name))
        {
            provider::check(&function.deployment(), &secrets, options.ce).map_err(deploy_error)?;
        }
        let listener = listen(&options, &reporter).await?;
        let address = listener
            .local_addr()
            .map_err(|source| io_error(run_folder.path(), source))?;
        let nats = Nats::start(
            &options.nats,
            options.sdk.as_deref(),
            run_folder.path(),
            &spawner,
            &reporter,
        )
        .await?;
        let programs = match programs(&options, &names, &run_folder, &spawner, &reporter).await {
            Ok(programs) => programs,
            Err(error) => {
                nats.stop().await;
                return Err(error);
            }
        };
        let kill = CancellationToken::new();
        let surroundings = Surroundings {
            spawner,
            reporter,
            client: probes()?,
            nats_url: nats.url().to_owned(),
            gateway_url: reachable_url(address),
            run_folder: run_folder.path().to_owned(),
            ce: options.ce,
            kill: kill.clone(),
        };
        let provider = Arc::new(Provider::new(surroundings, secrets, programs));
        let closing = CancellationToken::new();
        let gateway = Gateway::new(
            Arc::clone(&provider),
            options.password.as_deref(),
            closing.clone(),
        );
        let platform = Self {
            serving: tokio::spawn(gateway::serve(gateway, listener, closing.clone())),
            provider,
            nats: Some(nats),
            address,
            closing,
            kill,
            _run_folder: run_folder,
        };
        match platform.deploy(&options.stack, &names).await {
            Ok(()) => Ok(platform),
            Err(error) => {
                platform.kill.cancel();
                platform.stop().await;
                Err(error)
            }
        }
    }

    async fn deploy(&self, stack: &Stack, names: &[String]) -> Result<(), PlatformError> {
        for function in names.iter().filter_map(|name| stack.functions.get(name)) {
            self.provider
                .create(function.deployment())
                .map_err(deploy_error)?;
        }
        let deadline = tokio::time::Instant::now() + HEALTHY_WITHIN;
        for function in self.provider.functions() {
            let settled = tokio::time::timeout_at(deadline, function.settled());
            if !settled.await.unwrap_or(false) {
                return Err(PlatformError::Unhealthy {
                    function: function.name.clone(),
                    last_lines: function.logs.last(LAST_LINES),
                });
            }
        }
        Ok(())
    }

    /// Where the gateway listens, as this machine reaches it.
    pub fn gateway_url(&self) -> String {
        reachable_url(self.address)
    }

    /// Where NATS listens.
    pub fn nats_url(&self) -> &str {
        self.nats.as_ref().map_or("", Nats::url)
    }

    /// The functions that run: name and replicas.
    pub fn functions(&self) -> Vec<(String, u64)> {
        let functions = self.provider.functions();
        functions
            .iter()
            .map(|function| (function.name.clone(), function.replicas()))
            .collect()
    }

    /// A token that, cancelled while [`stop`](Self::stop) drains, kills what still runs.
    pub fn hurry(&self) -> CancellationToken {
        self.kill.clone()
    }

    /// Drains every function, then ends the gateway and the NATS server.
    pub async fn stop(mut self) {
        self.provider.stop().await;
        self.closing.cancel();
        let _ = (&mut self.serving).await;
        if let Some(nats) = self.nats.take() {
            nats.stop().await;
        }
    }
}

impl Drop for Platform {
    /// Whoever drops a platform without stopping it wants it gone at once.
    fn drop(&mut self) {
        self.kill.cancel();
        self.provider.leave();
        self.closing.cancel();
    }
}

/// The URL of a server that listens at `address`, as this machine reaches it.
fn reachable_url(address: SocketAddr) -> String {
    let loopback: IpAddr = match address.ip() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    match address.ip().is_unspecified() {
        true => format!("http://{}", SocketAddr::new(loopback, address.port())),
        false => format!("http://{address}"),
    }
}

/// Probes go to this machine, each over a connection of its own.
fn probes() -> Result<reqwest::Client, PlatformError> {
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|error| PlatformError::Deploy(format!("no probe can be made: {error}")))
}

fn deploy_error(refused: Refused) -> PlatformError {
    PlatformError::Deploy(refused.to_string())
}

fn io_error(path: &Path, source: io::Error) -> PlatformError {
    PlatformError::Io {
        path: path.to_owned(),
        source,
    }
}

async fn listen(options: &Options, reporter: &Reporter) -> Result<TcpListener, PlatformError> {
    let wanted = SocketAddr::new(options.bind, options.port.unwrap_or(USUAL_PORT));
    let source = match TcpListener::bind(wanted).await {
        Ok(listener) => return Ok(listener),
        Err(source) => source,
    };
    let refused = |address, source| PlatformError::Listen { address, source };
    if options.port.is_some() || source.kind() != io::ErrorKind::AddrInUse {
        return Err(refused(wanted, source));
    }
    let any = SocketAddr::new(options.bind, 0);
    let listener = TcpListener::bind(any)
        .await
        .map_err(|source| refused(any, source))?;
    reporter.report(Event::Warning(format!(
        "port {USUAL_PORT} is taken: the gateway uses another"
    )));
    Ok(listener)
}

/// Builds each crate once and gives every function its program.
async fn programs(
    options: &Options,
    names: &[String],
    run_folder: &RunFolder,
    spawner: &Spawner,
    reporter: &Reporter,
) -> Result<BTreeMap<String, Program>, PlatformError> {
    let stack = &options.stack;
    let builder = Builder {
        spawner: spawner.clone(),
        sdk: options.sdk.clone(),
        target_folder: target_folder(options),
        show_progress: options.show_progress,
    };
    let mut programs = BTreeMap::new();
    // Functions with one source, by that source.
    let mut sources: BTreeMap<&str, (&StackFunction, Vec<String>)> = BTreeMap::new();
    for function in names.iter().filter_map(|name| stack.functions.get(name)) {
        if let Some(program) = stack.stand_in(function, &options.ready_made) {
            programs.insert(function.name.clone(), program.clone());
            continue;
        }
        let source = stack.source_of(function);
        let entry = sources.entry(&source.name).or_insert((source, Vec::new()));
        entry.1.push(function.name.clone());
    }
    for (source, functions) in sources.into_values() {
        reporter.report(Event::Building {
            functions: functions.clone(),
        });
        let context = BuildContext::write(stack, source, &stack.template_of(source)?)?;
        let executable = run_folder.path().join(format!("{}.bin", source.name));
        let built = builder.build(&source.name, &context, executable).await?;
        for function in &functions {
            programs.insert(function.clone(), built.executable.clone().into());
        }
        reporter.report(Event::Built {
            functions,
            took: built.took,
        });
    }
    Ok(programs)
}

/// The SDK checkout's own `target` for a stack inside it, so that nothing is compiled twice.
fn target_folder(options: &Options) -> PathBuf {
    if let Some(folder) = &options.target_folder {
        return folder.clone();
    }
    let checkout = options.sdk.as_deref().and_then(Path::parent);
    match checkout {
        Some(checkout) if options.stack.folder.starts_with(checkout) => checkout.join("target"),
        _ => options.stack.folder.join(".farm").join("target"),
    }
}
