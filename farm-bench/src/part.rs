//! What a process of the benchmark is when the program starts itself again.

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::function;
use crate::raw;

/// A part of a run, handed over as JSON on the command line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "part")]
pub enum Part {
    /// A replica of the benchmark's own farm; its role comes from the environment, as in any other.
    Farm(function::Variant),
    /// Submits the tasks of the raw loop.
    RawEmitter(raw::Load),
    /// Computes tasks of the raw loop.
    RawWorker(raw::Load),
    /// Gathers results of the raw loop.
    RawCollector(raw::Load),
}

impl Part {
    /// The word on the command line before the part.
    pub const COMMAND: &'static str = "bench-part";

    /// Reads a part from the command line.
    ///
    /// # Errors
    /// The JSON is none of a part.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    pub(crate) fn to_json(&self) -> String {
        // A part holds numbers and text alone: it can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Plays the part until it has nothing left to do, or until standard input ends.
    ///
    /// # Errors
    /// One line that says what went wrong.
    pub async fn play(self) -> Result<(), Box<dyn std::error::Error>> {
        match self {
            Part::Farm(variant) => {
                end_with_parent();
                Ok(function::play(variant).await?)
            }
            Part::RawEmitter(load) => Ok(alone(raw::emit, load).await?),
            Part::RawWorker(load) => Ok(alone(raw::work, load).await?),
            Part::RawCollector(load) => Ok(alone(raw::collect, load).await?),
        }
    }
}

/// Runs a raw part on one thread: with nothing to share, it is faster than on many.
async fn alone<Playing>(
    play: impl FnOnce(raw::Load) -> Playing + Send + 'static,
    load: raw::Load,
) -> Result<(), Error>
where
    Playing: Future<Output = Result<(), Error>>,
{
    let playing = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(Error::io("start the runtime of a part"))?;
        let played = runtime.block_on(play(load));
        // Standard input may still be read: nobody waits for that.
        runtime.shutdown_background();
        played
    };
    let joined = tokio::task::spawn_blocking(playing).await;
    joined.map_err(|error| Error::io("play a part")(std::io::Error::other(error)))?
}

/// Ends this process when the one that started it is gone. Nothing else may read standard input.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().read(&mut rest), Ok(1..)) {}
        std::process::exit(0);
    });
}
