//! The collector: what folds the results of one job into a summary.

use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Encoded};

/// Folds the results of a job, each exactly once, in the order they came.
///
/// Two functions become one by [`Farm::collector`](crate::Farm::collector).
pub trait Collector<Out>: Send + Sync + 'static {
    /// What a job's results become.
    type Summary: Serialize + Send + 'static;

    /// The summary of no results; `None` if the farm folds nothing.
    fn seed(&self) -> Option<Self::Summary>;

    /// Whether the farm folds at all.
    fn folds(&self) -> bool {
        true
    }

    /// Adds one result.
    fn fold(&self, summary: Self::Summary, result: Out) -> Self::Summary;
}

/// The collector of a farm without one: every result stands for itself.
pub struct Each;

impl<Out> Collector<Out> for Each {
    type Summary = ();
    fn seed(&self) -> Option<()> {
        None
    }
    fn folds(&self) -> bool {
        false
    }
    fn fold(&self, (): (), _: Out) {}
}

/// A seed and a fold function as a [`Collector`].
pub struct Fold<Seed, F, Summary> {
    seed: Seed,
    fold: F,
    summary: PhantomData<fn() -> Summary>,
}

impl<Seed, F, Summary> Fold<Seed, F, Summary> {
    pub(crate) fn new(seed: Seed, fold: F) -> Self {
        Self {
            seed,
            fold,
            summary: PhantomData,
        }
    }
}

impl<Seed, F, Summary, Out> Collector<Out> for Fold<Seed, F, Summary>
where
    Seed: Fn() -> Summary + Send + Sync + 'static,
    F: Fn(Summary, Out) -> Summary + Send + Sync + 'static,
    Summary: Serialize + Send + 'static,
{
    type Summary = Summary;
    fn seed(&self) -> Option<Summary> {
        Some((self.seed)())
    }
    fn fold(&self, summary: Summary, result: Out) -> Summary {
        (self.fold)(summary, result)
    }
}

/// A collector whose types are bytes: what the collector role handles.
pub(crate) trait ErasedCollector: Send + Sync {
    /// Whether the farm folds at all.
    fn folds(&self) -> bool;
    /// A fold for one job, or `None` if the farm folds nothing. Runs the user's code.
    fn start(&self) -> Option<Box<dyn Folding>>;
}

/// The fold of one job under way.
pub(crate) trait Folding: Send {
    /// Adds one encoded result.
    fn push(&mut self, result: &Encoded) -> Result<(), String>;
    /// The summary, as JSON.
    fn finish(self: Box<Self>) -> Result<Bytes, String>;
}

pub(crate) struct Typed<C, Out> {
    collector: std::sync::Arc<C>,
    output: PhantomData<fn() -> Out>,
}

impl<C, Out> Typed<C, Out> {
    pub fn new(collector: C) -> Self {
        Self {
            collector: std::sync::Arc::new(collector),
            output: PhantomData,
        }
    }
}

struct Running<C: Collector<Out>, Out> {
    collector: std::sync::Arc<C>,
    // `None` only between taking the summary out to fold it and putting it back.
    summary: Option<C::Summary>,
}

impl<Out, C> ErasedCollector for Typed<C, Out>
where
    Out: DeserializeOwned + 'static,
    C: Collector<Out>,
{
    fn folds(&self) -> bool {
        self.collector.folds()
    }

    fn start(&self) -> Option<Box<dyn Folding>> {
        let summary = self.collector.seed()?;
        Some(Box::new(Running::<C, Out> {
            collector: std::sync::Arc::clone(&self.collector),
            summary: Some(summary),
        }))
    }
}

impl<Out, C> Folding for Running<C, Out>
where
    Out: DeserializeOwned + 'static,
    C: Collector<Out>,
{
    fn push(&mut self, result: &Encoded) -> Result<(), String> {
        let result: Out = codec::decode(result)
            .map_err(|mismatch| format!("a result does not fit the collector: {mismatch}"))?;
        let summary = self
            .summary
            .take()
            .ok_or_else(|| "an earlier result made the collector panic".to_owned())?;
        self.summary = Some(self.collector.fold(summary, result));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Bytes, String> {
        let summary = self
            .summary
            .ok_or_else(|| "a result made the collector panic".to_owned())?;
        // Summaries are for clients, in JSON whatever the results were in.
        serde_json::to_vec(&summary)
            .map(Bytes::from)
            .map_err(|error| format!("the summary cannot be written as JSON: {error}"))
    }
}
