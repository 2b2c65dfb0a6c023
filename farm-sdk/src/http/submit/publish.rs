//! Publishes the tasks of a job: as many in a message as is worth it, many messages on their way at
//! once, each acknowledged before its tasks count.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Subject;
use axum::http::StatusCode;
use bytes::Bytes;
use farm_core::chunk::read_tasks;
use farm_core::job::ChunkPlan;
use farm_core::{Codec, JobId, TaskId, TaskKey, envelope};
use futures_util::FutureExt;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::hand::{self, Hand};
use super::packing::{Next, Packing};
use super::sent::{ANSWER, Answer, Sent};
use super::{Request, Tasks};
use crate::granularity::{Granularity, MOST_BYTES};
use crate::http::Face;
use crate::http::refusal::Refusal;
use crate::runtime::broker::{self, Broker};
use crate::runtime::publishing::Publishing;

/// Messages on their way at once.
const WINDOW: usize = 1024;
/// The same in bytes.
const WINDOW_BYTES: usize = 16 << 20;
/// How long a full queue or an absent server may hold up a submit that has begun.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages on their way up to which the next leaves as it is, rather than wait for company: as many as
/// a steady ten thousand tasks a second keep there.
const EAGER: usize = 8;
/// Tasks that are sent before anything is known of how long they take, at least.
const TRIAL_TASKS: u64 = 256;
/// How long the others wait for that: tasks that take longer travel alone anyway.
const TRIAL: Duration = Duration::from_millis(100);
/// Answers that are noted before the next messages are sent.
const ANSWERS_AT_ONCE: usize = 64;
/// Room for headers in what the server takes as a message.
const HEADERS_BYTES: usize = 4 << 10;

pub(crate) struct Publisher<'a> {
    face: &'a Face,
    broker: &'a Broker,
    job: &'a JobId,
    subject: Subject,
    deadline: Option<String>,
    codec: Codec,
    traceparent: Option<&'a str>,
    packing: Packing,
    hand: Hand,
    next_sequence: u64,
    accepted: u64,
    publishing: Publishing,
    window: VecDeque<Sent>,
    window_bytes: usize,
    trouble: Option<Trouble<'a>>,
    /// How long the rest of the job waits for the service time of its first tasks.
    trial_until: Option<Instant>,
}

/// What is known of the oldest message while it is refused.
struct Trouble<'a> {
    give_up: Instant,
    pause: Duration,
    place: Option<SemaphorePermit<'a>>,
}

impl<'a> Publisher<'a> {
    /// # Errors
    /// The connection to NATS is closed.
    pub async fn open(
        face: &'a Face,
        broker: &'a Broker,
        job: &'a JobId,
        request: &'a Request,
        packing: Packing,
    ) -> Result<Self, Refusal> {
        let publishing = face.publishing.take(&broker.client).await;
        let publishing = publishing.map_err(|refusal| Refusal::unavailable(text(refusal)))?;
        Ok(Self {
            face,
            broker,
            job,
            subject: Subject::from(broker.topology.task_subject(job)),
            deadline: request
                .deadline
                .map(|d| envelope::format_seconds(d.as_secs_f64())),
            traceparent: request.traceparent.as_deref(),
            codec: request.form.tasks_in,
            packing,
            hand: Hand::default(),
            next_sequence: 0,
            accepted: 0,
            publishing,
            window: VecDeque::new(),
            window_bytes: 0,
            trouble: None,
            trial_until: None,
        })
    }

    /// Tasks that are stored.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Where the messages end, if a repeat has to know.
    pub fn plan(&self) -> Option<ChunkPlan> {
        self.packing.made()
    }

    /// What can serve another job once this one's tasks are stored.
    pub fn into_publishing(self) -> Publishing {
        self.publishing
    }

    /// Publishes `held`, then what still comes; returns when all of it is stored.
    pub async fn publish_all(
        &mut self,
        held: Vec<Bytes>,
        tasks: &mut Tasks,
    ) -> Result<(), Refusal> {
        held.into_iter().for_each(|task| self.hand.add(task));
        self.hand.ended = tasks.has_ended();
        loop {
            self.send_off().await?;
            let is_waiting = !self.window.is_empty();
            if self.hand.ended && self.hand.is_empty() && !is_waiting {
                return Ok(());
            }
            let trial = self.trial();
            let wants_more = !self.hand.ended && self.next() == Next::Wait;
            let overdue = self.window.front().map_or_else(Instant::now, Sent::overdue);
            tokio::select! {
                biased;
                answer = self.publishing.next(), if is_waiting => self.note_all(answer)?,
                more = tasks.recv_all(), if wants_more => {
                    for task in more.into_iter().flatten() {
                        self.hand.add(task.map_err(|refusal| *refusal)?);
                    }
                    self.hand.ended = tasks.has_ended();
                }
                () = tokio::time::sleep_until(overdue), if is_waiting => {}
                () = self.face.service_times.known(), if trial.is_some() => {}
                () = tokio::time::sleep_until(trial.unwrap_or(overdue)), if trial.is_some() => {}
                // The trial ended between two looks at the clock.
                else => {}
            }
            self.settle().await?;
        }
    }

    /// What becomes of the tasks in hand. While messages are on their way the next may wait for more
    /// tasks, for no longer than those take; one that comes alone leaves alone.
    fn next(&self) -> Next {
        let wish = self.face.tasks_in_next_message(self.hand.left());
        let idle = self.window.len() < EAGER;
        self.packing
            .next(&self.hand, self.next_sequence, wish, idle)
    }

    /// Until when nothing more is sent: the first tasks of a farm of which nothing is known yet are to
    /// tell how long tasks take, before a million of them have left one by one.
    fn trial(&mut self) -> Option<Instant> {
        if !self.packing.is_adaptive() || self.face.config.granularity != Granularity::Auto {
            return None;
        }
        let workers = self.face.service_times.workers();
        let enough = TRIAL_TASKS.max(2 * u64::from(workers.slots));
        // Without workers there is nobody to measure.
        if workers.service.is_some() || workers.slots == 0 || self.next_sequence < enough {
            return None;
        }
        let until = *self
            .trial_until
            .get_or_insert_with(|| Instant::now() + TRIAL);
        (Instant::now() < until).then_some(until)
    }

    /// Sends what is in hand and need not, or cannot, wait for company.
    async fn send_off(&mut self) -> Result<(), Refusal> {
        while self.window.len() < WINDOW
            && self.window_bytes < WINDOW_BYTES
            && self.trial().is_none()
        {
            match self.next() {
                Next::Wait => return Ok(()),
                Next::Send(tasks) => {
                    let body = self.hand.take(tasks);
                    self.publish(tasks, body).await;
                }
                Next::Plan(bounds) => {
                    let first = self.next_sequence;
                    let planning = self.packing.plan(self.broker, self.job, first, bounds);
                    planning.await?;
                }
            }
        }
        Ok(())
    }

    async fn publish(&mut self, tasks: usize, body: Bytes) {
        let first = self.next_sequence;
        self.next_sequence += tasks as u64;
        let span = self.face.tracer.submit(self.traceparent, || {
            TaskId::new(self.job.clone(), TaskKey::from_sequence(first))
        });
        self.window_bytes += body.len();
        self.window.push_back(Sent {
            ticket: self.publishing.ticket(),
            first,
            // A chunk holds few.
            tasks: u32::try_from(tasks).unwrap_or(u32::MAX),
            body,
            traceparent: span.traceparent(),
            when: Instant::now(),
            answer: Answer::Unsent,
        });
        self.send(self.window.len() - 1).await;
        span.end(None);
    }

    /// Sends a message of the window, for the first time or again.
    async fn send(&mut self, index: usize) {
        let Some(sent) = self.window.get_mut(index) else {
            return;
        };
        if sent.is_absent()
            && let Err(cause) = self.face.take_room(sent.tasks).await
        {
            sent.answer = Answer::Refused(broker::Refusal::Full(cause));
            return;
        }
        let headers = sent.headers(self.job, self.codec, self.deadline.as_deref());
        let (subject, body) = (self.subject.clone(), sent.body.clone());
        let refused = self.publishing.send(sent.ticket, subject, headers, body);
        sent.answer = match refused.await {
            Ok(()) => Answer::Awaited,
            Err(refusal) => Answer::Refused(refusal),
        };
        sent.when = Instant::now();
    }

    /// Notes an answer, and those that have come with it.
    fn note_all(
        &mut self,
        answer: Option<(u64, Result<(), broker::Refusal>)>,
    ) -> Result<(), Refusal> {
        self.note(answer)?;
        for _ in 0..ANSWERS_AT_ONCE {
            match self.publishing.next().now_or_never() {
                Some(answer) => self.note(answer)?,
                None => break,
            }
        }
        Ok(())
    }

    fn note(&mut self, answer: Option<(u64, Result<(), broker::Refusal>)>) -> Result<(), Refusal> {
        let Some((ticket, answer)) = answer else {
            return Err(Refusal::unavailable("the connection to NATS is closed"));
        };
        // Nearly always the first; none if it was answered before, or is of an earlier job.
        let sent = self.window.iter_mut().find(|sent| sent.ticket == ticket);
        if let Some(sent) = sent
            && !matches!(sent.answer, Answer::Stored)
        {
            sent.answer = match answer {
                Ok(()) => Answer::Stored,
                Err(refusal) => Answer::Refused(refusal),
            };
        }
        Ok(())
    }

    /// Counts what is stored from the oldest on, sending that again while it can help.
    async fn settle(&mut self) -> Result<(), Refusal> {
        while let Some(oldest) = self.window.front() {
            let refusal = match &oldest.answer {
                Answer::Stored => {
                    self.accepted += u64::from(oldest.tasks);
                    self.face.room.note_published(oldest.tasks);
                    self.window_bytes -= oldest.body.len();
                    self.window.pop_front();
                    if self.trouble.take().is_some() {
                        self.send_others().await;
                    }
                    continue;
                }
                Answer::Unsent | Answer::Awaited if Instant::now() < oldest.overdue() => {
                    return Ok(());
                }
                Answer::Unsent | Answer::Awaited => broker::Refusal::Passing(format!(
                    "no acknowledgement within {} s",
                    ANSWER.as_secs()
                )),
                Answer::Refused(refusal) => refusal.clone(),
            };
            match refusal {
                broker::Refusal::TooLarge(_)
                    if oldest.tasks > 1 && self.packing.shrink(oldest.body.len() as u64 / 2) =>
                {
                    self.split_oldest().await?;
                }
                refusal => self.try_again(refusal).await?,
            }
        }
        Ok(())
    }

    async fn try_again(&mut self, refusal: broker::Refusal) -> Result<(), Refusal> {
        let refusal = self.refusal(refusal);
        tracing::debug!(job = %self.job, error = refusal.problem.error, "a message is sent again");
        let now = Instant::now();
        let mut trouble = self.trouble.take().unwrap_or(Trouble {
            give_up: now + PATIENCE,
            pause: Duration::from_millis(20),
            place: None,
        });
        if now + trouble.pause > trouble.give_up {
            return Err(refusal);
        }
        match refusal.status {
            StatusCode::PAYLOAD_TOO_LARGE => return Err(refusal),
            StatusCode::TOO_MANY_REQUESTS => {
                let room = &self.face.room;
                room.note_full();
                trouble.place = trouble.place.or_else(|| room.wait());
                // A queue that is full from the start is for the client to wait for.
                if self.accepted == 0 || trouble.place.is_none() {
                    return Err(refusal);
                }
            }
            _ => {}
        }
        tokio::time::sleep(trouble.pause).await;
        trouble.pause = (trouble.pause * 2).min(Duration::from_secs(1));
        self.trouble = Some(trouble);
        self.send(0).await;
        Ok(())
    }

    /// What was refused, or lost, behind a message that is stored at last is sent again at once.
    async fn send_others(&mut self) {
        let now = Instant::now();
        for index in 0..self.window.len() {
            let sent = &self.window[index];
            let is_lost = match sent.answer {
                Answer::Awaited => now >= sent.overdue(),
                Answer::Refused(_) => true,
                Answer::Unsent | Answer::Stored => false,
            };
            if is_lost {
                self.send(index).await;
            }
        }
    }

    /// Sends the tasks of a message that is too large in two.
    async fn split_oldest(&mut self) -> Result<(), Refusal> {
        let Some(large) = self.window.pop_front() else {
            return Ok(());
        };
        self.window_bytes -= large.body.len();
        let tasks = read_tasks(large.tasks, large.body.clone())
            .map_err(|error| Refusal::unavailable(error.to_string()))?;
        let (front, back) = tasks.split_at(tasks.len() / 2);
        for (skipped, tasks) in [(front.len(), back), (0, front)] {
            let part = Sent {
                ticket: self.publishing.ticket(),
                first: large.first + skipped as u64,
                tasks: u32::try_from(tasks.len()).unwrap_or(u32::MAX),
                body: hand::body(tasks),
                traceparent: large.traceparent.clone(),
                when: large.when,
                answer: Answer::Awaited,
            };
            self.window_bytes += part.body.len();
            self.window.push_front(part);
        }
        self.send(0).await;
        self.send(1).await;
        Ok(())
    }

    /// Whether it is certain that no task is stored, nor on its way to be.
    pub async fn has_stored_nothing(&mut self) -> bool {
        if !self.await_answers().await {
            return false;
        }
        let refused = |sent: &Sent| {
            use broker::Refusal::{Full, TooLarge};
            matches!(sent.answer, Answer::Refused(Full(_) | TooLarge(_)))
        };
        self.accepted == 0 && self.window.iter().all(refused)
    }

    /// Tasks that are stored, those included that were on their way when the job was given up.
    pub async fn stored(&mut self) -> u64 {
        self.await_answers().await;
        let stored = self.window.iter();
        let stored = stored.filter(|sent| matches!(sent.answer, Answer::Stored));
        self.accepted + stored.map(|sent| u64::from(sent.tasks)).sum::<u64>()
    }

    /// Waits until all that was sent is answered; false if some of it will not be.
    async fn await_answers(&mut self) -> bool {
        let awaited = |sent: &&Sent| matches!(sent.answer, Answer::Awaited);
        while let Some(sent) = self.window.iter().find(awaited) {
            let answer = tokio::time::timeout_at(sent.overdue(), self.publishing.next()).await;
            if !answer.is_ok_and(|answer| self.note(answer).is_ok()) {
                return false;
            }
        }
        true
    }

    /// Why the oldest message is not stored.
    fn refusal(&self, refusal: broker::Refusal) -> Refusal {
        let tasks = self.window.front().map_or(1, |oldest| oldest.tasks);
        let first = self.accepted;
        let place = match tasks {
            1 => format!("task {first}"),
            _ => format!("tasks {first} to {}", first + u64::from(tasks) - 1),
        };
        match refusal {
            broker::Refusal::TooLarge(limit) => Refusal::too_large(format!(
                "{place} is larger than NATS takes ({limit}): raise max_payload, or send a reference to the data"
            )),
            broker::Refusal::Full(cause) => super::full(self.face, &cause),
            refusal => {
                Refusal::unavailable(format!("NATS did not store {place}: {}", text(refusal)))
            }
        }
    }
}

fn text(refusal: broker::Refusal) -> String {
    match refusal {
        broker::Refusal::TooLarge(text)
        | broker::Refusal::Full(text)
        | broker::Refusal::Passing(text) => text,
        // Tasks carry no condition on their subject.
        broker::Refusal::AlreadyThere => "it was refused".to_owned(),
    }
}

/// Bytes in the body of a message of many tasks at most: what is worth it, and what NATS takes.
pub(super) fn most_bytes(broker: &Broker) -> u64 {
    let of_stream = broker.tasks.cached_info().config.max_message_size;
    // Without a limit it is -1.
    let of_stream = usize::try_from(of_stream).ok().filter(|most| *most > 0);
    let most = broker.client.server_info().max_payload;
    let most = most.min(of_stream.unwrap_or(most));
    most.saturating_sub(HEADERS_BYTES).min(MOST_BYTES) as u64
}
