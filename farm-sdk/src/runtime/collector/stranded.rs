//! Takes tasks up again of which NATS has lost sight.
//!
//! A server that is killed may come back with tasks in its stream that its record of the workers'
//! consumer counts as acknowledged: the two are written at different times. Such a task is neither
//! waiting nor in flight, is never delivered again, and takes up its place in the queue for ever. Of
//! most the outcome is stored, and only their removal was lost. The others are queued anew.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::RawMessageErrorKind;
use farm_core::envelope;

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

/// Removes a task that has its outcome, or whose job was cancelled; queues any other again, then
/// removes it. Says whether it was queued.
async fn take_up(broker: &Broker, task: &StreamMessage) -> Result<bool, String> {
    let (name, _) = task_name::of(
        &task.subject,
        Some(&task.headers),
        &broker.topology,
        task.sequence,
    )?;
    let subject = broker.topology.result_subject(&name);
    let replay = outcomes::replay_of(task);
    let has_outcome = outcomes::latest(&broker.results, &subject)
        .await?
        .is_some_and(|stored| outcomes::replay_of(&stored) >= replay);
    let cancelled = Jobs::new(broker).is_cancelled(&name.job).await;
    let is_over = has_outcome || cancelled.map_err(|error| error.to_string())?;
    if !is_over {
        let mut headers: HeaderMap = task.headers.clone();
        if headers.get(envelope::TASK).is_none() {
            headers.insert(envelope::TASK, name.key.as_str());
        }
        if headers.get(envelope::SUBMITTED_SECONDS).is_none() {
            let submitted = clock::seconds(task.time.into());
            headers.insert(
                envelope::SUBMITTED_SECONDS,
                envelope::format_seconds(submitted),
            );
        }
        // Of its own, lest it be taken for the one it replaces; the same if this is done twice.
        let again = PublishMessage::build()
            .payload(task.payload.clone())
            .headers(headers)
            .message_id(format!("{name}.s{}", task.sequence));
        let sent = broker.jetstream.send_publish(task.subject.clone(), again);
        let stored = sent.await.map_err(|error| chain(&error))?;
        stored.await.map_err(|error| chain(&error))?;
    }
    let removed = broker.tasks.delete_message(task.sequence).await;
    removed.map_err(|error| chain(&error))?;
    Ok(!is_over)
}
