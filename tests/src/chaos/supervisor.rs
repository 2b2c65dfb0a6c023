//! One process of the fleet: started again whenever it ends, as a platform does.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::function::{Function, Replica};
use crate::port::free_port;
use crate::process::Signal;
use crate::skew::Clock;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long a platform takes to notice that a process ended and to start another.
const RESTART: Duration = Duration::from_millis(200);

/// A process with a name and a port of its own, however often it is started.
pub struct Unit {
    /// Its name, also in results.
    pub name: String,
    /// Its HTTP face.
    pub base: String,
    /// Its clock, if that can be moved.
    pub clock: Option<Clock>,
    function: Function,
    replica: Mutex<Replica>,
    starts: AtomicUsize,
    keep: Option<PathBuf>,
}

impl Unit {
    /// Starts it; what each of its processes printed goes to the folder `keep`.
    pub fn start(
        name: &str,
        function: Function,
        clock: Option<Clock>,
        keep: Option<PathBuf>,
    ) -> Arc<Self> {
        let port = free_port();
        let function = function
            .set("HOSTNAME", name)
            .set("FARM_HTTP_PORT", port)
            .set("FARM_METRICS_PORT", free_port());
        Arc::new(Self {
            name: name.to_owned(),
            base: format!("http://127.0.0.1:{port}"),
            clock,
            replica: Mutex::new(function.spawn()),
            function,
            starts: AtomicUsize::new(1),
            keep,
        })
    }

    fn replica(&self) -> MutexGuard<'_, Replica> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: Signal) {
        self.replica().process.signal(signal);
    }

    /// How often it was started.
    pub fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    /// Starts it again whenever it ends, for ever.
    pub async fn supervise(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            if self.replica().process.ended().is_none() {
                continue;
            }
            tokio::time::sleep(RESTART).await;
            self.keep_output();
            let next = self.function.spawn();
            *self.replica() = next;
            self.starts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps what the process that runs, or ended, has printed.
    pub fn keep_output(&self) {
        if let Some(folder) = &self.keep {
            let file = folder.join(format!("{}.{}.log", self.name, self.starts()));
            std::fs::write(file, self.replica().process.output()).expect("a log can be kept");
        }
    }
}
