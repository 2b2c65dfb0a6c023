//! The emitter: what turns one job into tasks.

use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Mismatch};

/// Splits a job into tasks of type `In`.
///
/// Functions `fn(Job) -> impl IntoIterator<Item = In>` become one by
/// [`Farm::emitter`](crate::Farm::emitter).
pub trait Emitter<In>: Send + Sync + 'static {
    /// What is submitted.
    type Job: Serialize + DeserializeOwned + 'static;

    /// The tasks of `job`, in order; drawn lazily, so a job may have more than fit in memory.
    fn split(&self, job: Self::Job) -> impl Iterator<Item = In> + 'static;
}

/// The emitter of a farm without one: the job is the task.
pub struct Direct;

impl<In: Serialize + DeserializeOwned + 'static> Emitter<In> for Direct {
    type Job = In;
    fn split(&self, job: In) -> impl Iterator<Item = In> + 'static {
        std::iter::once(job)
    }
}

/// A function as an [`Emitter`].
pub struct Split<F, Signature> {
    function: F,
    signature: PhantomData<fn() -> Signature>,
}

impl<F, Signature> Split<F, Signature> {
    pub(crate) fn new(function: F) -> Self {
        Self {
            function,
            signature: PhantomData,
        }
    }
}

impl<F, Job, Tasks, In> Emitter<In> for Split<F, fn(Job) -> Tasks>
where
    F: Fn(Job) -> Tasks + Send + Sync + 'static,
    Job: Serialize + DeserializeOwned + 'static,
    Tasks: IntoIterator<Item = In> + 'static,
    Tasks::IntoIter: 'static,
{
    type Job = Job;
    fn split(&self, job: Job) -> impl Iterator<Item = In> + 'static {
        (self.function)(job).into_iter()
    }
}

/// Why a submitted value gave no tasks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SplitError {
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("task {sequence} of the job cannot be written as JSON: {message}")]
    Encode { sequence: u64, message: String },
}

/// An emitter whose types are bytes: what the HTTP face handles.
pub(crate) trait ErasedEmitter: Send + Sync {
    /// Decodes `value` and gives the body of each of its tasks to `sink` until that says stop.
    fn split(&self, value: Bytes, sink: &mut dyn FnMut(Bytes) -> bool) -> Result<(), SplitError>;
}

pub(crate) struct Typed<E, In> {
    emitter: E,
    input: PhantomData<fn() -> In>,
}

impl<E, In> Typed<E, In> {
    pub fn new(emitter: E) -> Self {
        Self {
            emitter,
            input: PhantomData,
        }
    }
}

impl<In, E> ErasedEmitter for Typed<E, In>
where
    In: Serialize + 'static,
    E: Emitter<In>,
{
    fn split(&self, value: Bytes, sink: &mut dyn FnMut(Bytes) -> bool) -> Result<(), SplitError> {
        let job: E::Job = codec::decode(&value)?;
        for (sequence, task) in (0..).zip(self.emitter.split(job)) {
            let body = codec::encode(&task).map_err(|error| SplitError::Encode {
                sequence,
                message: error.to_string(),
            })?;
            if !sink(body) {
                break;
            }
        }
        Ok(())
    }
}
