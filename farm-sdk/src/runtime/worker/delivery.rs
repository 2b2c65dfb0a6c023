//! One delivery, read off its NATS message: of one task, or of a chunk of them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::AckKind;
use async_nats::{Client, HeaderMap, HeaderValue, Message, Subject};
use bytes::Bytes;
use farm_core::chunk::{self, ChunkId, ChunkRange};
use farm_core::envelope::{Ending, OutcomeLine};
use farm_core::topology::Topology;
use farm_core::{Codec, JobId, TaskId, envelope};
use tokio::sync::mpsc;

use crate::clock;
use crate::codec;
use crate::runtime::place::Place;
use crate::runtime::task_name;

/// What holds for every task of a delivery.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// Which attempt this is, counting every delivery so far.
    pub attempt: u64,
    pub submitted_seconds: f64,
    pub deadline: Option<Duration>,
    /// How often the task came back from the dead letters.
    pub replay: u64,
    pub codec: Codec,
    pub traceparent: Option<String>,
}

impl Terms {
    /// What there is to say of an outcome under these terms.
    pub fn outcome<'a>(&self, ending: Ending, replica: &'a str) -> OutcomeLine<'a> {
        OutcomeLine {
            submitted_seconds: Some(self.submitted_seconds),
            deadline_seconds: self.deadline.map(|deadline| deadline.as_secs_f64()),
            attempt: self.attempt,
            replay: self.replay,
            ..OutcomeLine::new(ending, replica)
        }
    }

    /// When the result is due.
    pub fn due(&self) -> Option<SystemTime> {
        clock::at_seconds(self.submitted_seconds)?.checked_add(self.deadline?)
    }
}

/// What a delivery brings.
#[derive(Debug)]
pub(crate) enum Load {
    Task(TaskId),
    Chunk {
        id: ChunkId,
        tasks: Vec<Bytes>,
        /// Why none of its tasks can be computed.
        defect: Option<String>,
    },
    /// No task of this farm, and why; named so that it can be kept as a dead letter.
    Defective {
        task: TaskId,
        defect: String,
    },
}

/// As it is called in logs, and where its past is written down.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Load::Task(task) | Load::Defective { task, .. } => task.fmt(f),
            Load::Chunk { id, .. } => id.fmt(f),
        }
    }
}

/// A message in this replica's hands.
pub(crate) struct Delivery {
    message: Message,
    pub load: Load,
    pub terms: Terms,
    /// Deliveries of this message so far, this one included.
    pub delivered: u64,
    /// Numbers deliveries of the farm; unique also when one message is delivered twice to us.
    pub delivery_sequence: u64,
    /// Messages that still waited when this one was delivered.
    pub pending: u64,
    /// Attempts that failed before this message was queued.
    pub failed_before: u64,
    /// How long after it was queued it may be computed.
    pub delay: Option<Duration>,
    /// Whether a worker queued it out of a chunk.
    out_of_chunk: bool,
    /// Who hears, instead of the server, what became of tasks that no message could be made of.
    completing: Option<mpsc::UnboundedSender<AckKind>>,
}

impl Delivery {
    /// Reads the envelope. A message that is no delivery at all is an error; a delivery whose
    /// envelope makes no sense is a task with a defect, so that it can be kept as a dead letter.
    pub fn read(
        message: Message,
        topology: &Topology,
        default_deadline: Option<Duration>,
    ) -> Result<Self, String> {
        let Some(place) = Place::read(message.reply.as_deref()) else {
            return Err(format!("no JetStream delivery, on {}", message.subject));
        };
        let fields = message
            .headers
            .as_ref()
            .map_or_else(Fields::default, Fields::read);
        let load = load(&message, &fields, topology, place.stream_sequence)?;
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
        let failed_before = number(fields.failed).map_or(0, u64::from);
        let delay = fields
            .delay
            .and_then(envelope::parse_duration_seconds)
            .filter(|delay| !delay.is_zero());
        let delivered = place.delivered;
        Ok(Self {
            terms: Terms {
                codec: codec::named(fields.codec).unwrap_or(Codec::Raw),
                attempt: failed_before + delivered.saturating_sub(u64::from(delay.is_some())),
                submitted_seconds: fields
                    .submitted
                    .and_then(envelope::parse_seconds)
                    .unwrap_or(place.stored_seconds()),
                deadline: fields
                    .deadline
                    .and_then(envelope::parse_duration_seconds)
                    .or(default_deadline),
                replay: number(fields.replay).map_or(0, u64::from),
                traceparent: fields.traceparent.map(str::to_owned),
            },
            load,
            delivered,
            delivery_sequence: place.consumer_sequence,
            pending: place.pending,
            failed_before,
            delay,
            out_of_chunk: fields.failed.is_some(),
            completing: None,
            message,
        })
    }

    /// Tasks out of this chunk, as if they had been queued and were delivered to this replica at once.
    pub fn part(
        &self,
        load: Load,
        headers: HeaderMap,
        payload: Bytes,
        failed: u64,
        completing: mpsc::UnboundedSender<AckKind>,
    ) -> Self {
        /// Counts down, where the server counts up.
        static LAST: AtomicU64 = AtomicU64::new(u64::MAX);
        Self {
            terms: Terms {
                attempt: failed + 1,
                ..self.terms.clone()
            },
            load,
            delivered: 1,
            delivery_sequence: LAST.fetch_sub(1, Ordering::Relaxed),
            pending: self.pending,
            failed_before: failed,
            delay: None,
            out_of_chunk: true,
            completing: Some(completing),
            message: Message {
                subject: self.message.subject.clone(),
                reply: None,
                length: payload.len(),
                payload,
                headers: Some(headers),
                status: None,
                description: None,
            },
        }
    }

    /// Whether the server knows it only as a part of something larger.
    pub fn is_part(&self) -> bool {
        self.completing.is_some()
    }

    /// The job of what a worker queued out of a chunk.
    pub fn out_of_chunk(&self) -> Option<&JobId> {
        self.out_of_chunk.then_some(match &self.load {
            Load::Task(task) | Load::Defective { task, .. } => &task.job,
            Load::Chunk { id, .. } => &id.job,
        })
    }

    /// One of the tasks of this chunk, as a load of its own.
    pub fn alone(&self, task: TaskId) -> Load {
        match self.defect() {
            None => Load::Task(task),
            Some(defect) => Load::Defective { task, defect },
        }
    }

    /// Some of the tasks of this chunk.
    pub fn smaller(&self, id: ChunkId, tasks: Vec<Bytes>) -> Load {
        let defect = self.defect();
        Load::Chunk { id, tasks, defect }
    }

    fn defect(&self) -> Option<String> {
        match &self.load {
            Load::Chunk { defect, .. } => defect.clone(),
            Load::Task(_) | Load::Defective { .. } => None,
        }
    }

    /// Whether it comes for the first time and asks for nothing out of the ordinary.
    pub fn is_plain(&self) -> bool {
        let defective = matches!(self.load, Load::Defective { .. });
        let first = self.delivered == 1 && self.failed_before == 0 && self.terms.replay == 0;
        first && self.delay.is_none() && !defective
    }

    /// The delay it came with, if this is the delivery that has to wait for it.
    pub fn delay_to_keep(&self) -> Option<Duration> {
        self.delay.filter(|_| self.delivered == 1)
    }

    /// Deliveries that ended in some way: all but the one that only served to wait.
    pub fn counted(&self) -> u64 {
        self.delivered
            .saturating_sub(u64::from(self.delay.is_some()))
    }

    pub fn body(&self) -> Bytes {
        self.message.payload.clone()
    }

    pub fn body_bytes(&self) -> usize {
        self.message.payload.len()
    }

    /// Where the server hears of it.
    pub fn reply(&self) -> Option<&Subject> {
        self.message.reply.as_ref()
    }

    /// The word for how the body is encoded, if the task has one.
    pub fn codec_word(&self) -> Option<&str> {
        codec::word(self.message.headers.as_ref())
    }

    pub fn traceparent(&self) -> Option<&str> {
        self.terms.traceparent.as_deref()
    }

    /// A header as it came.
    pub fn header(&self, name: &str) -> Option<&str> {
        text(self.message.headers.as_ref(), name)
    }

    /// Gives the message back to the queue, to be delivered again at once or after `delay`.
    ///
    /// A lost hand-back is no loss: the server delivers again after the ack wait.
    pub async fn hand_back(&self, client: &Client, delay: Option<Duration>) {
        self.tell(client, AckKind::Nak(delay)).await;
    }

    /// Removes the message from the queue.
    ///
    /// A lost acknowledgement is no loss either: the outcome is stored, and a further attempt
    /// finds it. So nobody waits for the server to confirm it.
    pub async fn remove(&self, client: &Client, kind: AckKind) {
        self.tell(client, kind).await;
    }

    async fn tell(&self, client: &Client, kind: AckKind) {
        if let Some(completing) = &self.completing {
            // Nobody listens when the replica ends.
            let _ = completing.send(kind);
            return;
        }
        let Some(reply) = self.reply().cloned() else {
            return;
        };
        if let Err(error) = client.publish(reply, kind.into()).await {
            tracing::debug!(task = %self.load, %error, "NATS could not be told what became of a task");
        }
    }
}

/// Headers of a task. They are gone through once: to look each of them up is dearer by far.
#[derive(Default)]
struct Fields<'a> {
    task: Option<&'a str>,
    message_id: Option<&'a str>,
    chunk: Option<&'a str>,
    codec: Option<&'a str>,
    submitted: Option<&'a str>,
    deadline: Option<&'a str>,
    delay: Option<&'a str>,
    failed: Option<&'a str>,
    replay: Option<&'a str>,
    traceparent: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, values) in headers.iter() {
            let field = match name.as_ref() {
                envelope::TASK => &mut fields.task,
                envelope::MESSAGE_ID => &mut fields.message_id,
                envelope::CHUNK => &mut fields.chunk,
                envelope::CODEC => &mut fields.codec,
                envelope::SUBMITTED_SECONDS => &mut fields.submitted,
                envelope::DEADLINE_SECONDS => &mut fields.deadline,
                envelope::DELAY_SECONDS => &mut fields.delay,
                envelope::FAILED => &mut fields.failed,
                envelope::REPLAY => &mut fields.replay,
                envelope::TRACEPARENT => &mut fields.traceparent,
                _ => continue,
            };
            *field = values.first().map(HeaderValue::as_str);
        }
        fields
    }
}

fn load(
    message: &Message,
    fields: &Fields<'_>,
    topology: &Topology,
    stream_sequence: u64,
) -> Result<Load, String> {
    let unknown = codec::named(fields.codec)
        .err()
        .map(|error| error.to_string());
    let Some(range) = fields.chunk else {
        let said = task_name::Said {
            task: fields.task,
            message_id: fields.message_id,
        };
        let (task, defect) = task_name::of(&message.subject, said, topology, stream_sequence)?;
        return Ok(match defect.or(unknown) {
            None => Load::Task(task),
            Some(defect) => Load::Defective { task, defect },
        });
    };
    let tasks = |range: ChunkRange| chunk::read_tasks(range.count(), message.payload.clone());
    let read = ChunkRange::parse(range).and_then(|range| Ok((range, tasks(range)?)));
    match (topology.job_of_task_subject(&message.subject), read) {
        (Some(job), Ok((range, tasks))) => Ok(Load::Chunk {
            id: ChunkId { job, range },
            tasks,
            defect: unknown,
        }),
        (_, read) => {
            let said = task_name::Said::default();
            let (task, defect) = task_name::of(&message.subject, said, topology, stream_sequence)?;
            let broken = read.err().map(|error| format!("a broken chunk: {error}"));
            let defect = defect.or(broken).unwrap_or_default();
            Ok(Load::Defective { task, defect })
        }
    }
}

fn text<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers?.get(name).map(async_nats::HeaderValue::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farm_core::FarmName;
    use farm_core::chunk::ChunkWriter;

    /// A delivery of two tasks, or of the task they make up if no header says so.
    fn delivered(times: u64, said: &[(&'static str, &str)]) -> Delivery {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.insert(*name, *value);
        }
        let mut writer = ChunkWriter::default();
        writer.push(b"1");
        writer.push(b"2");
        let payload = writer.take().1;
        let reply = format!("$JS.ACK.farm-f-tasks.workers.{times}.2.3.1700000000000000000.4");
        let message = Message {
            subject: "farm.f.task.job".into(),
            reply: Some(reply.into()),
            length: payload.len(),
            payload,
            headers: Some(headers),
            status: None,
            description: None,
        };
        let topology = Topology::new(FarmName::new("f").unwrap());
        Delivery::read(message, &topology, None).unwrap()
    }

    #[test]
    fn a_chunk_in_an_unknown_codec_is_a_chunk_still() {
        let chunk = delivered(1, &[(envelope::CHUNK, "7-2"), (envelope::CODEC, "morse")]);
        let Load::Chunk { id, tasks, defect } = &chunk.load else {
            panic!("{:?}", chunk.load);
        };
        assert_eq!((id.to_string(), tasks.len()), ("job.=7-2".to_owned(), 2));
        assert!(defect.as_ref().unwrap().contains("morse"), "{defect:?}");
        let alone = chunk.alone(id.task(1));
        assert!(matches!(alone, Load::Defective { .. }), "{alone:?}");
    }

    #[test]
    fn the_delivery_that_only_serves_to_wait_counts_as_none() {
        let delay = (envelope::DELAY_SECONDS, "2.5");
        let first = delivered(1, &[delay, (envelope::FAILED, "1")]);
        assert_eq!(first.delay_to_keep(), Some(Duration::from_millis(2500)));
        assert_eq!((first.counted(), first.is_plain()), (0, false));
        let second = delivered(2, &[delay, (envelope::FAILED, "1")]);
        assert_eq!((second.delay_to_keep(), second.counted()), (None, 1));
        assert_eq!(second.terms.attempt, 2);
    }

    #[test]
    fn a_part_is_as_if_it_had_been_queued_and_delivered() {
        let chunk = delivered(5, &[(envelope::CHUNK, "7-2")]);
        assert_eq!(chunk.out_of_chunk(), None);
        let part = |failed| {
            let (tell, _told) = mpsc::unbounded_channel();
            let load = chunk.alone("job.8".parse().unwrap());
            chunk.part(load, HeaderMap::new(), Bytes::from("2"), failed, tell)
        };
        let (fresh, failed) = (part(0), part(2));
        assert!(fresh.is_part() && fresh.is_plain() && !failed.is_plain());
        assert_eq!((fresh.terms.attempt, failed.terms.attempt), (1, 3));
        assert_eq!(fresh.out_of_chunk().unwrap().as_str(), "job");
        assert_ne!(fresh.delivery_sequence, failed.delivery_sequence);
        assert_eq!(fresh.reply(), None, "the server does not know it");
    }
}
