//! Many tasks in one message: a *chunk*, for tasks so short that a message each would cost more than
//! computing them.
//!
//! A chunk holds consecutive tasks of one job. Its header [`envelope::CHUNK`] says which:
//! `<first>-<count>`; its body is, for each of them, a length and the bytes. The outcome of a chunk is
//! one message on [`Topology::chunk_subject`]: a result for each task that is done, and for every other
//! task a note of where its own outcome is to come from ([`Apart`]). All numbers are little-endian.
//!
//! | a task in a chunk | the same in its outcome |
//! |---|---|
//! | `u32` length, body | `0`, `f32` seconds of service, `u32` length, output |
//! | | `1`, `u64` milliseconds of delay, `u32` length, cause: to be tried again |
//! | | `2`, `u32` length, cause: failed for good |
//! | | `3`: finished apart by the worker that had begun it |
//! | | `4`, `u32` count: this many tasks from here on were queued again, as one chunk |
//!
//! [`envelope::CHUNK`]: crate::envelope::CHUNK
//! [`Topology::chunk_subject`]: crate::topology::Topology::chunk_subject

use std::fmt;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{JobId, TaskId, TaskKey};

/// Tasks in a chunk at most.
pub const MOST_TASKS: u32 = 4096;
/// Begins the name of a chunk: no task's name can.
const MARK: char = '=';

/// A chunk, or the outcome of one, that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The header is not `<first>-<count>` with 1 to 4096 tasks.
    #[error("the header is not <first>-<count> with a count of 1 to {MOST_TASKS}")]
    Header,
    /// The body ends inside a task.
    #[error("the body ends too early, in task {0} of it")]
    Short(u32),
    /// The body goes on after the last task.
    #[error("the body goes on after its last task")]
    Long,
    /// An entry is of no kind there is.
    #[error("entry {0} is of no known kind")]
    Kind(u32),
}

/// Which tasks of a job a chunk holds.
///
/// ```
/// use farm_core::chunk::ChunkRange;
/// let range = ChunkRange::parse("512-3")?;
/// assert_eq!((range.first(), range.count()), (512, 3));
/// assert_eq!(range.keys().map(|key| key.to_string()).collect::<Vec<_>>(), ["512", "513", "514"]);
/// # Ok::<(), farm_core::chunk::ChunkError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkRange {
    first: u64,
    count: u32,
}

impl ChunkRange {
    /// The `count` tasks of a job from its task `first` on.
    ///
    /// # Errors
    /// [`ChunkError::Header`] if there are none, more than [`MOST_TASKS`], or past the last number.
    pub fn new(first: u64, count: u32) -> Result<Self, ChunkError> {
        let in_bounds = (1..=MOST_TASKS).contains(&count);
        let ends = first.checked_add(u64::from(count)).is_some();
        (in_bounds && ends)
            .then_some(Self { first, count })
            .ok_or(ChunkError::Header)
    }

    /// Reads `<first>-<count>`.
    ///
    /// # Errors
    /// [`ChunkError::Header`] if it is written otherwise.
    pub fn parse(text: &str) -> Result<Self, ChunkError> {
        let digits = |text: &str| {
            let plain = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
            plain.then(|| text.parse::<u64>().ok()).flatten()
        };
        let parts = text.split_once('-').ok_or(ChunkError::Header)?;
        let first = digits(parts.0).ok_or(ChunkError::Header)?;
        let count = digits(parts.1).and_then(|count| u32::try_from(count).ok());
        Self::new(first, count.ok_or(ChunkError::Header)?)
    }

    /// Number in the job of its first task, from 0.
    pub fn first(self) -> u64 {
        self.first
    }

    /// How many tasks there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The name of task `index` of the chunk.
    pub fn key(self, index: u32) -> TaskKey {
        TaskKey::from_sequence(self.first + u64::from(index))
    }

    /// The names of its tasks.
    pub fn keys(self) -> impl Iterator<Item = TaskKey> {
        (0..self.count).map(move |index| self.key(index))
    }

    /// `count` of its tasks from its task `index` on.
    ///
    /// # Errors
    /// [`ChunkError::Header`] if they are not all in it, or none.
    pub fn part(self, index: u32, count: u32) -> Result<Self, ChunkError> {
        match index.checked_add(count) {
            Some(end) if end <= self.count => Self::new(self.first + u64::from(index), count),
            _ => Err(ChunkError::Header),
        }
    }
}

/// As in the header; [`ChunkId`] puts it into a name.
impl fmt::Display for ChunkRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.count)
    }
}

/// The farm-wide name of a chunk, written `<job>.=<first>-<count>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChunkId {
    /// The job its tasks belong to.
    pub job: JobId,
    /// Which tasks of the job.
    pub range: ChunkRange,
}

impl ChunkId {
    /// The name of task `index` of the chunk.
    pub fn task(&self, index: u32) -> TaskId {
        TaskId::new(self.job.clone(), self.range.key(index))
    }

    /// Reads `<job>.=<first>-<count>`; `None` for what is no chunk's name.
    pub fn parse(name: &str) -> Option<Self> {
        let (job, token) = name.split_once('.')?;
        Some(Self {
            job: JobId::new(job).ok()?,
            range: ChunkRange::parse(token.strip_prefix(MARK)?).ok()?,
        })
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{MARK}{}", self.job, self.range)
    }
}

/// Puts tasks into a chunk.
///
/// ```
/// use farm_core::chunk::{ChunkWriter, read_tasks};
/// let mut writer = ChunkWriter::default();
/// writer.push(b"1");
/// writer.push(b"22");
/// let (count, body) = writer.take();
/// let tasks = read_tasks(count, body)?;
/// assert_eq!(tasks, ["1", "22"]);
/// # Ok::<(), farm_core::chunk::ChunkError>(())
/// ```
#[derive(Debug, Default)]
pub struct ChunkWriter {
    body: BytesMut,
    count: u32,
}

impl ChunkWriter {
    /// Bytes that a task of `length_bytes` takes up in a chunk.
    pub fn cost_bytes(length_bytes: usize) -> usize {
        length_bytes.saturating_add(4)
    }

    /// Adds a task.
    pub fn push(&mut self, task: &[u8]) {
        put(&mut self.body, task);
        self.count += 1;
    }

    /// Tasks so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Length of the body so far.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// How many tasks there are, and the body; the writer begins anew.
    pub fn take(&mut self) -> (u32, Bytes) {
        (std::mem::take(&mut self.count), self.body.split().freeze())
    }
}

/// The bodies of the `count` tasks of a chunk; they share its memory.
///
/// # Errors
/// [`ChunkError`] if the body holds fewer or more than those.
pub fn read_tasks(count: u32, mut body: Bytes) -> Result<Vec<Bytes>, ChunkError> {
    // A length takes 4 bytes: a count that the body cannot hold asks for no memory.
    let mut tasks = Vec::with_capacity((count as usize).min(body.len() / 4));
    for index in 0..count {
        tasks.push(take(&mut body).ok_or(ChunkError::Short(index))?);
    }
    match body.is_empty() {
        true => Ok(tasks),
        false => Err(ChunkError::Long),
    }
}

/// What the outcome of a chunk says of a task, or of several in a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// The task is done.
    Done {
        /// Time the worker function took, in seconds.
        service_seconds: f32,
        /// The encoded result.
        output: Bytes,
    },
    /// Its outcome is another message.
    Apart(Apart),
}

/// Why the outcome of a task is not in that of its chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Apart {
    /// It failed and is tried again, alone.
    Retry {
        /// How long from the failure to the next attempt; whole milliseconds are kept.
        delay: Duration,
        /// What went wrong.
        cause: String,
    },
    /// It failed for good: its outcome is a failure, and it is a dead letter.
    Failed {
        /// What went wrong.
        cause: String,
    },
    /// It was being computed when the others were settled; its worker stores its outcome alone.
    Kept,
    /// This many tasks, this one the first, were queued again as one message.
    Requeued {
        /// How many.
        count: u32,
    },
}

impl Entry {
    /// Tasks it speaks of.
    pub fn tasks(&self) -> u32 {
        match self {
            Entry::Apart(Apart::Requeued { count }) => *count,
            _ => 1,
        }
    }
}

/// Puts entries into the outcome of a chunk.
#[derive(Debug, Default)]
pub struct OutcomeWriter {
    body: BytesMut,
    done: u32,
    apart: u32,
}

impl OutcomeWriter {
    /// Bytes that an output of `length_bytes` takes up.
    pub fn cost_bytes(length_bytes: usize) -> usize {
        length_bytes.saturating_add(9)
    }

    /// Adds the result of the next task.
    pub fn push_done(&mut self, service_seconds: f32, output: &[u8]) {
        self.body.put_u8(0);
        self.body.put_f32_le(service_seconds);
        put(&mut self.body, output);
        self.done += 1;
    }

    /// Notes that the next task has its outcome elsewhere.
    pub fn push_apart(&mut self, apart: &Apart) {
        match apart {
            Apart::Retry { delay, cause } => {
                self.body.put_u8(1);
                let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                self.body.put_u64_le(milliseconds);
                put(&mut self.body, cause.as_bytes());
            }
            Apart::Failed { cause } => {
                self.body.put_u8(2);
                put(&mut self.body, cause.as_bytes());
            }
            Apart::Kept => self.body.put_u8(3),
            Apart::Requeued { count } => {
                self.body.put_u8(4);
                self.body.put_u32_le(*count);
                self.apart += count - 1;
            }
        }
        self.apart += 1;
    }

    /// Results so far.
    pub fn done(&self) -> u32 {
        self.done
    }

    /// Tasks so far whose outcome is elsewhere.
    pub fn apart(&self) -> u32 {
        self.apart
    }

    /// Length of the body so far.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// The body.
    pub fn finish(self) -> Bytes {
        self.body.freeze()
    }
}

/// The entries of a chunk's outcome, in the order of its tasks.
///
/// # Errors
/// [`ChunkError`] if they are not for exactly `count` tasks.
pub fn read_outcome(count: u32, mut body: Bytes) -> Result<Vec<Entry>, ChunkError> {
    let mut entries = Vec::with_capacity((count as usize).min(body.len()));
    let mut index = 0;
    while index < count {
        let entry = read_entry(&mut body, index)?;
        index = match entry.tasks() {
            0 => return Err(ChunkError::Kind(index)),
            tasks => index.checked_add(tasks).ok_or(ChunkError::Long)?,
        };
        entries.push(entry);
    }
    match index == count && body.is_empty() {
        true => Ok(entries),
        false => Err(ChunkError::Long),
    }
}

fn read_entry(body: &mut Bytes, index: u32) -> Result<Entry, ChunkError> {
    let short = ChunkError::Short(index);
    let text = |body: &mut Bytes| {
        let bytes = take(body).ok_or(short)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match body.try_get_u8().map_err(|_| short)? {
        0 => Ok(Entry::Done {
            service_seconds: body.try_get_f32_le().map_err(|_| short)?,
            output: take(body).ok_or(short)?,
        }),
        1 => Ok(Entry::Apart(Apart::Retry {
            delay: Duration::from_millis(body.try_get_u64_le().map_err(|_| short)?),
            cause: text(body)?,
        })),
        2 => Ok(Entry::Apart(Apart::Failed { cause: text(body)? })),
        3 => Ok(Entry::Apart(Apart::Kept)),
        4 => Ok(Entry::Apart(Apart::Requeued {
            count: body.try_get_u32_le().map_err(|_| short)?,
        })),
        _ => Err(ChunkError::Kind(index)),
    }
}

/// What is longer than 4 GiB fits no message.
fn put(body: &mut BytesMut, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    body.put_u32_le(length);
    body.extend_from_slice(bytes);
}

fn take(body: &mut Bytes) -> Option<Bytes> {
    let length = body.try_get_u32_le().ok()? as usize;
    (length <= body.len()).then(|| body.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let cause = "\\PC{0,20}";
        prop_oneof![
            (0f32..1e6, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(s, output)| {
                Entry::Done {
                    service_seconds: s,
                    output: output.into(),
                }
            }),
            (any::<u32>(), cause).prop_map(|(delay, cause)| Entry::Apart(Apart::Retry {
                delay: Duration::from_millis(delay.into()),
                cause
            })),
            cause.prop_map(|cause| Entry::Apart(Apart::Failed { cause })),
            Just(Entry::Apart(Apart::Kept)),
            (1u32..9).prop_map(|count| Entry::Apart(Apart::Requeued { count })),
        ]
    }

    #[test]
    fn the_name_of_a_chunk_is_no_tasks_and_leads_back() {
        let id = ChunkId::parse("album.=7-12").unwrap();
        assert_eq!(id.to_string(), "album.=7-12");
        assert_eq!(id.task(2).to_string(), "album.9");
        assert!(id.to_string().parse::<TaskId>().is_err());
        for bad in [
            "album",
            "album.7-12",
            "album.=7",
            "album.=7-0",
            "a.=7-4097",
            "a.=+7-1",
        ] {
            assert_eq!(ChunkId::parse(bad), None, "{bad}");
        }
        assert!(ChunkRange::new(u64::MAX, 1).is_err());
    }

    #[test]
    fn a_part_lies_within_the_whole() {
        let whole = ChunkRange::new(10, 5).unwrap();
        assert_eq!(whole.part(2, 3), ChunkRange::new(12, 3));
        for (index, count) in [(2, 4), (5, 1), (0, 0), (u32::MAX, 2)] {
            assert!(whole.part(index, count).is_err(), "{index} {count}");
        }
    }

    #[test]
    fn a_body_that_does_not_fit_its_header_is_refused() {
        let body = |bytes: &'static [u8]| Bytes::from_static(bytes);
        assert_eq!(read_tasks(1, body(b"")), Err(ChunkError::Short(0)));
        assert_eq!(
            read_tasks(u32::MAX, body(b"\0\0\0\0")),
            Err(ChunkError::Short(1))
        );
        assert_eq!(
            read_tasks(1, body(b"\x09\0\0\0x")),
            Err(ChunkError::Short(0))
        );
        assert_eq!(read_tasks(1, body(b"\x01\0\0\0xy")), Err(ChunkError::Long));
        assert_eq!(read_outcome(1, body(b"\x09")), Err(ChunkError::Kind(0)));
        assert_eq!(
            read_outcome(2, body(b"\x04\0\0\0\0")),
            Err(ChunkError::Kind(0))
        );
        assert_eq!(
            read_outcome(2, body(b"\x04\x03\0\0\0")),
            Err(ChunkError::Long)
        );
    }

    proptest! {
        #[test]
        fn tasks_survive_the_wire(
            tasks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..40)
        ) {
            let mut writer = ChunkWriter::default();
            for task in &tasks {
                writer.push(task);
            }
            let (count, body) = writer.take();
            prop_assert_eq!(read_tasks(count, body).unwrap(), tasks);
            prop_assert_eq!(writer.count(), 0);
        }

        #[test]
        fn outcomes_survive_the_wire(entries in proptest::collection::vec(entry(), 1..40)) {
            let mut writer = OutcomeWriter::default();
            for entry in &entries {
                match entry {
                    Entry::Done { service_seconds, output } => writer.push_done(*service_seconds, output),
                    Entry::Apart(apart) => writer.push_apart(apart),
                }
            }
            let count: u32 = entries.iter().map(Entry::tasks).sum();
            prop_assert_eq!(writer.done() + writer.apart(), count);
            prop_assert_eq!(read_outcome(count, writer.finish()).unwrap(), entries);
        }

        #[test]
        fn no_bytes_make_a_reader_panic(count in any::<u32>(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let body = Bytes::from(bytes);
            let _ = read_tasks(count, body.clone());
            let _ = read_outcome(count.min(MOST_TASKS), body);
        }
    }
}
