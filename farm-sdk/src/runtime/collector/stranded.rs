//! Takes tasks up again of which NATS has lost sight.
//!
//! A server that is killed may come back with tasks in its stream that its record of the workers'
//! consumer counts as acknowledged: the two are written at different times. Such a message is neither
//! waiting nor in flight, is never delivered again, and takes up its place in the queue for ever. Of
//! most the outcome is stored, and only their removal was lost. The others are queued anew.

use std::fmt;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::RawMessageErrorKind;
use farm_core::chunk::{ChunkId, ChunkRange};
use farm_core::envelope::Ending;
use farm_core::topology::Topology;
use farm_core::{JobId, TaskId, envelope};

use crate::clock;
use crate::runtime::broker::Broker;
use crate::runtime::jobs::Jobs;
use crate::runtime::outcomes;
use crate::runtime::task_name;
use crate::task_error::chain;

/// How often to look. What is stranded was so at two looks: an acknowledgement is on its way to the
/// stream for a moment.
const LOOK: Duration = Duration::from_secs(5);
/// Tasks taken up at a look.
const MOST: usize = 1000;

/// What became of the tasks that were stranded.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct TakenUp {
    removed: usize,
    queued: usize,
}

/// Looks for as long as it is awaited.
pub(crate) async fn keep_looking(broker: &Broker) {
    let mut acknowledged = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        match look(broker, acknowledged).await {
            Ok((up_to, taken_up)) => {
                acknowledged = up_to;
                if taken_up != TakenUp::default() {
                    let TakenUp { removed, queued } = taken_up;
                    tracing::warn!(
                        removed,
                        queued,
                        "NATS had lost sight of tasks: those with an outcome are removed, the others queued anew"
                    );
                }
            }
            Err(cause) => tracing::debug!(cause, "stranded tasks could not be looked for"),
        }
    }
}

/// Takes up what is still in the stream at or below `acknowledged`; gives back up to where
/// everything is acknowledged now.
async fn look(broker: &Broker, acknowledged: u64) -> Result<(u64, TakenUp), String> {
    let mut workers = broker.workers.clone();
    let workers = workers.info().await.map_err(|error| chain(&error))?;
    let up_to = workers.ack_floor.stream_sequence;
    let tasks = broker.tasks.get_info().await.map_err(|e| chain(&e))?.state;
    let mut taken_up = TakenUp::default();
    let mut sequence = tasks.first_sequence;
    while tasks.messages > 0 && sequence <= acknowledged && taken_up.count() < MOST {
        let Some(task) = next_from(broker, sequence).await? else {
            break;
        };
        if task.sequence > acknowledged {
            break;
        }
        sequence = task.sequence + 1;
        taken_up.add(take_up(broker, &task).await?);
    }
    Ok((up_to, taken_up))
}

impl TakenUp {
    fn count(self) -> usize {
        self.removed + self.queued
    }

    fn add(&mut self, queued: bool) {
        match queued {
            true => self.queued += 1,
            false => self.removed += 1,
        }
    }
}

async fn next_from(broker: &Broker, sequence: u64) -> Result<Option<StreamMessage>, String> {
    let subjects = broker.topology.task_wildcard();
    let next = broker
        .tasks
        .get_first_raw_message_by_subject(subjects, sequence);
    match next.await {
        Ok(task) => Ok(Some(task)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(chain(&error)),
    }
}

/// What a stranded message holds.
enum Held {
    Task(TaskId),
    Chunk(ChunkId),
}

/// How often a queued task had come back from the dead letters.
fn replay_of(message: &StreamMessage) -> u64 {
    let replay = message.headers.get(envelope::REPLAY);
    replay
        .and_then(|replay| replay.as_str().parse().ok())
        .unwrap_or(0)
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => task.fmt(f),
            Self::Chunk(chunk) => chunk.fmt(f),
        }
    }
}

impl Held {
    /// A message whose chunk cannot be read is one task: a worker will say what is wrong with it.
    fn read(message: &StreamMessage, topology: &Topology) -> Result<Self, String> {
        let range = message.headers.get(envelope::CHUNK);
        let range = range.and_then(|range| ChunkRange::parse(range.as_str()).ok());
        if let (Some(range), Some(job)) = (range, topology.job_of_task_subject(&message.subject)) {
            return Ok(Self::Chunk(ChunkId { job, range }));
        }
        let headers = Some(&message.headers);
        let named = task_name::of(&message.subject, headers, topology, message.sequence);
        named.map(|(task, _)| Self::Task(task))
    }

    fn job(&self) -> &JobId {
        match self {
            Self::Task(task) => &task.job,
            Self::Chunk(chunk) => &chunk.job,
        }
    }

    /// Whether nothing is left to be done for it: of a chunk, that every task is done in its outcome.
    /// What is to become of the others only a worker tells.
    async fn is_settled(&self, broker: &Broker, replay: u64) -> Result<bool, String> {
        let subject = match self {
            Self::Task(task) => broker.topology.result_subject(task),
            Self::Chunk(chunk) => broker.topology.chunk_subject(chunk),
        };
        let stored = outcomes::latest(&broker.results, &subject).await?;
        Ok(stored.is_some_and(|stored| match self {
            Self::Task(_) => outcomes::replay_of(&stored) >= replay,
            Self::Chunk(_) => outcomes::line(&stored)
                .is_some_and(|line| matches!(line.ending, Ending::Chunk { apart: 0, .. })),
        }))
    }
}

/// Removes a message whose outcome is stored, or whose job was cancelled; queues any other again, then
/// removes it. Says whether it was queued.
async fn take_up(broker: &Broker, message: &StreamMessage) -> Result<bool, String> {
    let held = Held::read(message, &broker.topology)?;
    let is_settled = held.is_settled(broker, replay_of(message)).await?;
    let cancelled = Jobs::new(broker).is_cancelled(held.job()).await;
    let is_over = is_settled || cancelled.map_err(|error| error.to_string())?;
    if !is_over {
        queue_again(broker, message, &held).await?;
    }
    let removed = broker.tasks.delete_message(message.sequence).await;
    removed.map_err(|error| chain(&error))?;
    Ok(!is_over)
}

async fn queue_again(broker: &Broker, message: &StreamMessage, held: &Held) -> Result<(), String> {
    let mut headers: HeaderMap = message.headers.clone();
    if let Held::Task(task) = held
        && headers.get(envelope::TASK).is_none()
    {
        headers.insert(envelope::TASK, task.key.as_str());
    }
    if headers.get(envelope::SUBMITTED_SECONDS).is_none() {
        let submitted = clock::seconds(message.time.into());
        headers.insert(
            envelope::SUBMITTED_SECONDS,
            envelope::format_seconds(submitted),
        );
    }
    // Of its own, lest it be taken for the one it replaces; the same if this is done twice.
    let again = PublishMessage::build()
        .payload(message.payload.clone())
        .headers(headers)
        .message_id(format!("{held}.s{}", message.sequence));
    let sent = broker
        .jetstream
        .send_publish(message.subject.clone(), again);
    let stored = sent.await.map_err(|error| chain(&error))?;
    stored.await.map_err(|error| chain(&error))?;
    Ok(())
}
