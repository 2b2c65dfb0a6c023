//! The worker: the function that computes one task.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::codec::{self, Encoded};
use crate::context::{TaskContext, TaskFacts, Threads};
use crate::task_error::TaskError;

/// Computes one task.
///
/// Functions are workers already (see [`IntoWorker`]); implement this by hand only where a
/// struct reads better.
///
/// ```
/// use farm_sdk::{Farm, TaskContext, TaskError, Worker};
///
/// struct Doubler;
/// impl Worker for Doubler {
///     type State = ();
///     type Input = u64;
///     type Output = u64;
///     async fn process(&self, number: u64, _: TaskContext<()>) -> Result<u64, TaskError> {
///         Ok(number * 2)
///     }
/// }
/// let farm = Farm::new(Doubler);
/// # let _ = farm;
/// ```
pub trait Worker: Send + Sync + 'static {
    /// What `init` builds once per replica.
    type State: Send + Sync + 'static;
    /// One task.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// The result of one task.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// Whether [`process`](Self::process) may keep its thread until it is done: it then gets one of
    /// its own. Made true by [`blocking`].
    #[doc(hidden)]
    const BLOCKS: bool = false;

    /// Computes `input`. It may run twice for one task if a replica is lost, though only one
    /// result counts: key side effects by [`TaskContext::task_id`].
    fn process(
        &self,
        input: Self::Input,
        context: TaskContext<Self::State>,
    ) -> impl Future<Output = Result<Self::Output, TaskError>> + Send;
}

/// Whatever [`crate::Farm::new`] takes: a [`Worker`] or an async function.
///
/// `Marker` only tells the two apart; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the worker of a farm",
    label = "not a worker",
    note = "write `async fn work(input: In, context: TaskContext<State>) -> Result<Out, TaskError>`",
    note = "or, for CPU-bound work, `blocking(work)` with `fn work(input: In, context: &TaskContext<State>) -> Result<Out, TaskError>`",
    note = "In and Out derive serde's Serialize and Deserialize"
)]
pub trait IntoWorker<Marker> {
    /// The worker it becomes.
    type Worker: Worker;

    /// Becomes that worker.
    fn into_worker(self) -> Self::Worker;
}

impl<W: Worker> IntoWorker<()> for W {
    type Worker = W;
    fn into_worker(self) -> W {
        self
    }
}

/// An async function as a [`Worker`].
pub struct AsyncFn<F, Signature> {
    function: F,
    signature: PhantomData<fn() -> Signature>,
}

impl<F, In, S, Fut, Out> IntoWorker<fn(In, TaskContext<S>) -> Fut> for F
where
    F: Fn(In, TaskContext<S>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, TaskError>> + Send + 'static,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: Serialize + DeserializeOwned + Send + 'static,
    S: Send + Sync + 'static,
{
    type Worker = AsyncFn<F, fn(In, TaskContext<S>) -> Fut>;
    fn into_worker(self) -> Self::Worker {
        AsyncFn {
            function: self,
            signature: PhantomData,
        }
    }
}

impl<F, In, S, Fut, Out> Worker for AsyncFn<F, fn(In, TaskContext<S>) -> Fut>
where
    F: Fn(In, TaskContext<S>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, TaskError>> + Send + 'static,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: Serialize + DeserializeOwned + Send + 'static,
    S: Send + Sync + 'static,
{
    type State = S;
    type Input = In;
    type Output = Out;
    fn process(
        &self,
        input: In,
        context: TaskContext<S>,
    ) -> impl Future<Output = Result<Out, TaskError>> + Send {
        (self.function)(input, context)
    }
}

/// A plain function as a [`Worker`], run on a thread of its own. Made by [`blocking`].
pub struct Blocking<F, Signature> {
    function: Arc<F>,
    signature: PhantomData<fn() -> Signature>,
}

/// Makes a worker of a plain function that computes or blocks.
///
/// It runs on a thread of its own, so that nothing else in the replica waits for it: there are as
/// many threads as slots that compute. Inside it `tokio::runtime::Handle::current()` is the
/// runtime that [`Farm::run`](crate::Farm::run) was called on.
///
/// ```
/// use farm_sdk::{Farm, TaskContext, TaskError, blocking};
///
/// fn factorise(number: u64, _: &TaskContext<()>) -> Result<Vec<u64>, TaskError> {
///     Ok((2..=number).filter(|divisor| number % divisor == 0).collect())
/// }
/// let farm = Farm::new(blocking(factorise));
/// # let _ = farm;
/// ```
pub fn blocking<F, In, S, Out>(function: F) -> Blocking<F, fn(In, S) -> Out>
where
    F: Fn(In, &TaskContext<S>) -> Result<Out, TaskError> + Send + Sync + 'static,
{
    Blocking {
        function: Arc::new(function),
        signature: PhantomData,
    }
}

impl<F, In, S, Out> Worker for Blocking<F, fn(In, S) -> Out>
where
    F: Fn(In, &TaskContext<S>) -> Result<Out, TaskError> + Send + Sync + 'static,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: Serialize + DeserializeOwned + Send + 'static,
    S: Send + Sync + 'static,
{
    type State = S;
    type Input = In;
    type Output = Out;
    const BLOCKS: bool = true;
    async fn process(&self, input: In, context: TaskContext<S>) -> Result<Out, TaskError> {
        let function = Arc::clone(&self.function);
        let current = Handle::current();
        let threads = match context.threads() {
            Threads::Here => return function(input, &context),
            Threads::Current => current.clone(),
            Threads::Of(threads) => threads.clone(),
        };
        let computing = threads.spawn_blocking(move || {
            // What the function does with tokio, it does with the runtime of its caller.
            let _entered = current.enter();
            function(input, &context)
        });
        match computing.await {
            Ok(result) => result,
            Err(stopped) => match stopped.try_into_panic() {
                // Let it unwind here as it would have there: the caller catches it.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(TaskError::transient("the replica is shutting down")),
            },
        }
    }
}

/// A worker whose types are bytes: what the roles handle.
pub(crate) trait ErasedWorker: Send + Sync {
    /// Whether a call may keep its thread until it is done.
    fn blocks(&self) -> bool;
    /// Decodes `task`, computes it, encodes the result in the same codec; in JSON if the task is raw
    /// bytes and the result is not.
    fn call(
        &self,
        task: Encoded,
        facts: TaskFacts,
    ) -> BoxFuture<'static, Result<Encoded, TaskError>>;
}

/// A worker together with the state that `init` built.
pub(crate) struct Bound<W: Worker> {
    pub worker: Arc<W>,
    pub state: Arc<W::State>,
}

impl<W: Worker> ErasedWorker for Bound<W> {
    fn blocks(&self) -> bool {
        W::BLOCKS
    }

    fn call(
        &self,
        task: Encoded,
        facts: TaskFacts,
    ) -> BoxFuture<'static, Result<Encoded, TaskError>> {
        let worker = Arc::clone(&self.worker);
        let context = TaskContext::new(Arc::clone(&self.state), facts);
        Box::pin(async move {
            let input: W::Input = codec::decode(&task).map_err(|mismatch| {
                TaskError::permanent(format!("the task does not fit the worker: {mismatch}"))
            })?;
            let codec = task.codec;
            drop(task);
            let output = worker.process(input, context).await?;
            codec::encode(&output, codec)
                .map_err(|error| TaskError::permanent(format!("the result {error}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use bytes::Bytes;
    use farm_core::Codec;
    use futures_util::future::join_all;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::Raw;

    fn runtime(threads: usize) -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.max_blocking_threads(threads).build().unwrap()
    }

    fn facts() -> TaskFacts {
        TaskFacts {
            task: "j.0".parse().unwrap(),
            attempt: 1,
            deadline: None,
            draining: CancellationToken::new(),
            threads: Threads::Current,
        }
    }

    /// What a worker makes of a task in `codec`.
    async fn called<M, W>(worker: impl IntoWorker<M, Worker = W>, task: Encoded) -> Encoded
    where
        W: Worker<State = ()>,
    {
        let bound = Bound {
            worker: Arc::new(worker.into_worker()),
            state: Arc::new(()),
        };
        bound.call(task, facts()).await.unwrap()
    }

    #[tokio::test]
    async fn a_result_is_in_the_codec_of_its_task_unless_one_of_them_is_raw() {
        async fn double(number: u8, _: TaskContext<()>) -> Result<u8, TaskError> {
            Ok(number * 2)
        }
        async fn spell(number: u8, _: TaskContext<()>) -> Result<Raw, TaskError> {
            Ok(vec![number; 2].into())
        }
        async fn length(bytes: Raw, _: TaskContext<()>) -> Result<usize, TaskError> {
            Ok(bytes.len())
        }
        for codec in [Codec::Json, Codec::MessagePack] {
            let seven = codec::encode(&7_u8, codec).unwrap();
            let fourteen = codec::encode(&14_u8, codec).unwrap();
            assert_eq!(called(double, seven.clone()).await, fourteen);
            let raw = codec::encode(&Raw::from(vec![7, 7]), codec).unwrap();
            assert_eq!(called(spell, seven).await, raw);
            assert_eq!(called(length, raw).await, Encoded::json(&b"2"[..]));
        }
    }

    #[tokio::test]
    async fn a_task_in_the_wrong_codec_does_not_fit() {
        async fn double(number: u8, _: TaskContext<()>) -> Result<u8, TaskError> {
            Ok(number * 2)
        }
        let bound = Bound {
            worker: Arc::new(double.into_worker()),
            state: Arc::new(()),
        };
        for codec in [Codec::MessagePack, Codec::Raw] {
            let bytes = Bytes::from_static(b"[7]");
            let error = bound.call(Encoded { codec, bytes }, facts()).await;
            let cause = error.unwrap_err().to_string();
            assert!(
                cause.starts_with("the task does not fit the worker: "),
                "{cause}"
            );
        }
    }

    #[test]
    fn as_many_plain_functions_run_at_once_as_the_farm_has_threads() {
        const TASKS: usize = 8;
        let (user, farm) = (runtime(1), runtime(TASKS));
        let all_run = Arc::new(Barrier::new(TASKS));
        let callers = user.handle().id();
        let work = blocking(move |number: usize, _: &TaskContext<()>| {
            // Returns only once all tasks are in here.
            all_run.wait();
            assert_eq!(Handle::current().id(), callers);
            Ok(number)
        });
        let facts = TaskFacts {
            threads: Threads::Of(farm.handle().clone()),
            ..facts()
        };
        let tasks = (0..TASKS).map(|number| {
            let context = TaskContext::new(Arc::new(()), facts.clone());
            work.process(number, context)
        });
        let outputs = user.block_on(join_all(tasks));
        for (number, output) in outputs.into_iter().enumerate() {
            assert_eq!(output.unwrap(), number);
        }
    }
}
