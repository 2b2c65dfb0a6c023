//! The builder: a worker, and around it an emitter and a collector if the farm has them.

use std::future::Future;
use std::sync::Arc;

use crate::collector::{self, Collector, Each, ErasedCollector, Fold};
use crate::emitter::{self, Direct, Emitter, ErasedEmitter, Split};
use crate::error::Error;
use crate::memory::{self, Faults, InMemory};
use crate::runtime;
use crate::task_error::BoxError;
use crate::worker::{Bound, ErasedWorker, IntoWorker, Worker};

/// A task farm: a worker replicated as often as the load asks, fed by an emitter, gathered by a
/// collector.
///
/// ```
/// use farm_sdk::{Farm, TaskContext, TaskError};
///
/// async fn square(number: u64, _: TaskContext<()>) -> Result<u64, TaskError> {
///     Ok(number * number)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let farm = Farm::new(square)
///     .emitter(|up_to: u64| 1..=up_to)
///     .collector(|| 0, |sum: u64, square: u64| sum + square);
/// let run = farm.run_in_memory((), [3, 4]).await;
/// assert_eq!(run.summaries, [1 + 4 + 9, 1 + 4 + 9 + 16]);
/// # });
/// ```
///
/// The types chain: the emitter must yield what the worker takes, the collector must accept what
/// it returns.
///
/// ```compile_fail
/// # use farm_sdk::{Farm, TaskContext, TaskError};
/// # async fn square(number: u64, _: TaskContext<()>) -> Result<u64, TaskError> { Ok(number) }
/// let farm = Farm::new(square).emitter(|words: String| vec![words]); // expected `u64`
/// ```
pub struct Farm<W, E = Direct, C = Each> {
    worker: W,
    emitter: E,
    collector: C,
}

impl<W: Worker> Farm<W> {
    /// A farm in which the job is the task and every result stands for itself.
    pub fn new<Marker>(worker: impl IntoWorker<Marker, Worker = W>) -> Self {
        Farm {
            worker: worker.into_worker(),
            emitter: Direct,
            collector: Each,
        }
    }
}

/// A farm after [`Farm::emitter`].
type WithEmitter<W, F, Job, Tasks, C> = Farm<W, Split<F, fn(Job) -> Tasks>, C>;

impl<W: Worker, E, C> Farm<W, E, C> {
    /// Lets `split` turn each submitted job into tasks, lazily.
    #[must_use]
    pub fn emitter<F, Job, Tasks>(self, split: F) -> WithEmitter<W, F, Job, Tasks, C>
    where
        F: Fn(Job) -> Tasks,
        Tasks: IntoIterator<Item = W::Input>,
    {
        Farm {
            worker: self.worker,
            emitter: Split::new(split),
            collector: self.collector,
        }
    }

    /// Lets `fold` add each result of a job to a summary that starts as `seed()`.
    #[must_use]
    pub fn collector<Seed, F, Summary>(
        self,
        seed: Seed,
        fold: F,
    ) -> Farm<W, E, Fold<Seed, F, Summary>>
    where
        Seed: Fn() -> Summary,
        F: Fn(Summary, W::Output) -> Summary,
    {
        Farm {
            worker: self.worker,
            emitter: self.emitter,
            collector: Fold::new(seed, fold),
        }
    }
}

impl<W, E, C> Farm<W, E, C>
where
    W: Worker,
    E: Emitter<W::Input>,
    C: Collector<W::Output>,
{
    /// Plays the roles of `FARM_ROLE` until the platform asks this replica to stop.
    ///
    /// `init` builds the worker's state, once, before the replica reports ready; only replicas
    /// with the worker role run it. Configuration comes from the environment: see
    /// `docs/operations.md`.
    ///
    /// # Errors
    /// Whatever keeps the replica from starting, in one line that says what to do: bad
    /// configuration (every bad key at once), NATS absent, too old, without JetStream or with
    /// other credentials, a stream that another farm set up differently, a port in use, or the
    /// error of `init`.
    pub async fn run<Init, Starting>(self, init: Init) -> Result<(), Error>
    where
        Init: FnOnce() -> Starting,
        Starting: Future<Output = Result<W::State, BoxError>>,
    {
        let worker = Arc::new(self.worker);
        let parts = Parts {
            emitter: Arc::new(emitter::Typed::new(self.emitter)),
            collector: Arc::new(collector::Typed::new(self.collector)),
        };
        let init = async move {
            let state = Arc::new(init().await?);
            Ok(Arc::new(Bound { worker, state }) as Arc<dyn ErasedWorker>)
        };
        runtime::run(parts, init).await
    }

    /// Runs `jobs` through the whole farm inside this process: for unit tests and examples.
    ///
    /// Every value takes the way through JSON, and [`Raw`](crate::Raw) bytes the way around it, that it
    /// takes in production, and every failure the
    /// way of the verdict table, without waiting between attempts.
    pub async fn run_in_memory(
        self,
        state: W::State,
        jobs: impl IntoIterator<Item = E::Job>,
    ) -> InMemory<W::Output, C::Summary> {
        self.run_in_memory_with(state, jobs, Faults::default())
            .await
    }

    /// [`run_in_memory`](Self::run_in_memory) with failures injected.
    pub async fn run_in_memory_with(
        self,
        state: W::State,
        jobs: impl IntoIterator<Item = E::Job>,
        faults: Faults,
    ) -> InMemory<W::Output, C::Summary> {
        let bound = Bound {
            worker: Arc::new(self.worker),
            state: Arc::new(state),
        };
        memory::run(&bound, &self.emitter, &self.collector, jobs, faults).await
    }
}

/// The parts of a farm that need no state.
pub(crate) struct Parts {
    pub emitter: Arc<dyn ErasedEmitter>,
    pub collector: Arc<dyn ErasedCollector>,
}

/// The `init` of a farm whose worker keeps no state: `Farm::new(work).run(no_state)`.
///
/// # Errors
/// None.
pub async fn no_state() -> Result<(), BoxError> {
    Ok(())
}
