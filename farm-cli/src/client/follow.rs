//! Every outcome of a job, once, across cut connections and restarts of the gateway.

use std::pin::Pin;
use std::time::{Duration, Instant};

use farm_core::JobId;
use farm_core::http::{JobState, JobStatus, TaskOutcome};
use futures_util::stream::ReadyChunks;
use futures_util::{Stream, StreamExt};

use super::{Error, FarmClient};

const PAUSE: Duration = Duration::from_millis(200);
/// A farm sends an empty line now and then: a connection silent for this long is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// A stream that lived this long before it broke was in order: gateways cut long streams.
const SETTLED: Duration = Duration::from_secs(5);
const BATCH_LINES: usize = 1024;

type Lines = ReadyChunks<Pin<Box<dyn Stream<Item = Result<String, Error>> + Send>>>;

/// One outcome, and the line it came in.
pub struct Line {
    /// The line as the function wrote it.
    pub text: String,
    /// The line, read.
    pub outcome: TaskOutcome,
}

/// Follows the results of a job until it has ended and all of them are here.
pub struct Follow<'a> {
    client: &'a FarmClient,
    job: &'a JobId,
    cursor: u64,
    received: u64,
    /// How long to bear with a function that cannot be reached.
    patience: Duration,
    trouble_since: Option<Instant>,
    opened: Instant,
    lines: Option<Lines>,
    /// Whether `lines` was opened after the job was known to have ended: then its end is the end.
    opened_after_end: bool,
    ended: Option<JobStatus>,
}

impl<'a> Follow<'a> {
    /// Follows `job` from a cursor on; 0 is its beginning.
    pub fn new(client: &'a FarmClient, job: &'a JobId, after: u64, patience: Duration) -> Self {
        Self {
            client,
            job,
            cursor: after,
            received: 0,
            patience,
            trouble_since: None,
            opened: Instant::now(),
            lines: None,
            opened_after_end: false,
            ended: None,
        }
    }

    /// The next outcomes: at least one, and as many as are there. `None` when the job has ended
    /// and all its outcomes were given out.
    ///
    /// # Errors
    /// The job is unknown, or the function was out of reach for longer than the patience.
    pub async fn next(&mut self) -> Result<Option<Vec<Line>>, Error> {
        loop {
            match self.step().await {
                Ok(Step::Outcomes(lines)) => return Ok(Some(lines)),
                Ok(Step::Ended) => return Ok(None),
                Ok(Step::Again) => {}
                Err(error) => self.bear(error).await?,
            }
        }
    }

    /// The account of the job, once [`Follow::next`] has said that it ended.
    pub fn ended(&self) -> Option<&JobStatus> {
        self.ended.as_ref()
    }

    /// The cursor to go on from.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    async fn step(&mut self) -> Result<Step, Error> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => {
                let lines = self.client.results(self.job, self.cursor).await?;
                self.opened_after_end = self.ended.is_some();
                self.opened = Instant::now();
                let lines: Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(lines);
                self.lines.insert(lines.ready_chunks(BATCH_LINES))
            }
        };
        match tokio::time::timeout(SILENCE, lines.next()).await {
            Ok(Some(batch)) => self.take(batch),
            Ok(None) => self.at_end_of_stream().await,
            Err(_silent) => {
                self.lines = None;
                Ok(Step::Again)
            }
        }
    }

    fn take(&mut self, batch: Vec<Result<String, Error>>) -> Result<Step, Error> {
        let mut outcomes = Vec::with_capacity(batch.len());
        // An empty line only says that the connection is alive.
        let spoken = batch
            .into_iter()
            .filter(|line| !matches!(line, Ok(text) if text.is_empty()));
        for line in spoken {
            // What came before a cut is kept; the cut shows again when the stream is reopened.
            match line.and_then(|text| self.read(text)) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) if outcomes.is_empty() => return Err(error),
                Err(_) => {
                    self.lines = None;
                    break;
                }
            }
        }
        self.trouble_since = None;
        match outcomes.is_empty() {
            true => Ok(Step::Again),
            false => Ok(Step::Outcomes(outcomes)),
        }
    }

    fn read(&mut self, text: String) -> Result<Line, Error> {
        let outcome: TaskOutcome = serde_json::from_str(&text)
            .map_err(|e| self.client.cut(&format!("a result line is broken: {e}")))?;
        self.cursor = self.cursor.max(outcome.cursor);
        self.received += 1;
        Ok(Line { text, outcome })
    }

    /// A stream ends because the job did, or because something between cut it without a word.
    async fn at_end_of_stream(&mut self) -> Result<Step, Error> {
        self.lines = None;
        if self.opened_after_end {
            return Ok(Step::Ended);
        }
        let status = self.client.job(self.job).await?;
        self.trouble_since = None;
        if !matches!(status.state, JobState::Done | JobState::Cancelled) {
            tokio::time::sleep(PAUSE).await;
            return Ok(Step::Again);
        }
        let complete = self.received >= status.done + status.failed && status.in_flight == 0;
        self.ended = Some(status);
        Ok(if complete { Step::Ended } else { Step::Again })
    }

    async fn bear(&mut self, error: Error) -> Result<(), Error> {
        let Some(pause) = error.retry_after() else {
            return Err(error);
        };
        let was_settled = self.lines.take().is_some() && self.opened.elapsed() > SETTLED;
        if was_settled {
            self.trouble_since = None;
        }
        let trouble = self.trouble_since.get_or_insert_with(Instant::now);
        if trouble.elapsed() + pause > self.patience {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

enum Step {
    Outcomes(Vec<Line>),
    Again,
    Ended,
}
