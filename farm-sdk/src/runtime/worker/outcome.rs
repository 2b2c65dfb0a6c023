//! What the loop hears of the slots and of the server: verdicts, and outcomes that are stored.

use super::*;

use farm_core::envelope::{Ending, Outcome, OutcomeLine};

use crate::runtime::broker::Refusal;

/// Things heard before the loop looks elsewhere.
const AT_ONCE: usize = 256;

impl Loop {
    pub(super) async fn hear_all(&mut self, first: Told) {
        self.hear(first).await;
        for _ in 1..AT_ONCE {
            match self.told.try_recv() {
                Ok(told) => self.hear(told).await,
                Err(_) => break,
            }
        }
        self.hand_back_surplus().await;
    }

    async fn hear(&mut self, told: Told) {
        match told {
            Told::Verdict(computed) => self.judge(computed).await,
            Told::Bundle(ready) => {
                let sequence = ready.delivery.delivery_sequence;
                // One that was cut is settled already.
                if self.bundles.remove(&sequence).is_some() {
                    self.send_bundle(ready).await;
                }
            }
            Told::Recalled(ready, _recall) => self.take_recalled(ready),
            Told::Lived(service) => {
                if let Some(service) = service {
                    self.pace.observe(service, 1, 0);
                }
                self.quarantine.running = false;
            }
            Told::Closed => {}
        }
    }

    /// Sends what is done on its way; anything else has a life of its own.
    async fn judge(&mut self, computed: Box<Computed>) {
        let delivery = &computed.ready.delivery;
        let (Verdict::Done(output), Load::Task(task)) = (&computed.verdict, &delivery.load) else {
            return self.settle_slowly(computed);
        };
        let bytes = delivery.body_bytes();
        self.pace.observe(computed.service, 1, bytes);
        let role = Arc::clone(&self.role);
        let subject = role.broker.topology.result_subject(task);
        let ending = Ending::Task(Outcome::Done);
        let line = OutcomeLine {
            service_seconds: Some(computed.service.as_secs_f64()),
            ..delivery.terms.outcome(ending, &role.config.replica)
        };
        let traceparent = computed.span.traceparent();
        let headers = settle::headers(&line, output.codec, traceparent.as_deref());
        let output = output.bytes.clone();
        let sent = Sent::Task(computed);
        if let Some(sent) = self.window.send(subject, headers, output, sent).await {
            self.send_again(sent);
        }
    }

    fn settle_slowly(&self, computed: Box<Computed>) {
        let role = Arc::clone(&self.role);
        self.tasks.spawn(async move {
            let Computed {
                ready,
                verdict,
                service,
                span,
            } = *computed;
            let Load::Task(task) = &ready.delivery.load else {
                return;
            };
            let failure = verdict.failure().map(str::to_owned);
            let settling = life::settling(&role, &ready.delivery, task, &span, service);
            let settled = life::carry_out(&settling, &ready.delivery, ready.past, verdict).await;
            life::note(&role, &ready.delivery, settled, service, 1);
            span.end(failure.as_deref());
        });
    }

    async fn send_bundle(&mut self, ready: Ready) {
        let delivery = Arc::clone(&ready.delivery);
        let (Load::Chunk { id, .. }, Some(bundle)) = (&delivery.load, &ready.bundle) else {
            return;
        };
        let settled = bundle.settle();
        let seconds: f32 = settled.services_seconds.iter().sum();
        let tasks = settled.services_seconds.len();
        // Failures say nothing of how long tasks take.
        if tasks > 0 {
            let service = Duration::from_secs_f32(seconds.max(0.0));
            self.pace.observe(service, tasks, delivery.body_bytes());
        }
        let subject = self.role.broker.topology.chunk_subject(id);
        let headers = apart::headers(&self.role, &delivery, id, &settled);
        let body = settled.body.clone();
        let sent = Sent::Bundle(ready, settled);
        if let Some(sent) = self.window.send(subject, headers, body, sent).await {
            self.send_again(sent);
        }
    }

    /// Settles what of a chunk that takes longer than `limit` is done; others may have its rest.
    pub(super) async fn cut_long(&mut self, limit: Duration) {
        let Some(at) = Instant::now().checked_sub(limit) else {
            return;
        };
        let long: Vec<u64> = self
            .bundles
            .iter()
            .filter(|(_, ready)| ready.bundle.as_ref().is_some_and(|bundle| bundle.cut(at)))
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in long {
            if let Some(ready) = self.bundles.remove(&sequence) {
                self.send_bundle(ready).await;
            }
        }
    }

    pub(super) async fn note_answers(&mut self, sent: Sent, answer: Result<(), Refusal>) {
        self.note_answer(sent, answer).await;
        for _ in 1..AT_ONCE {
            match self.window.next().now_or_never() {
                Some(Some((sent, answer))) => self.note_answer(sent, answer).await,
                Some(None) | None => break,
            }
        }
    }

    async fn note_answer(&mut self, sent: Sent, answer: Result<(), Refusal>) {
        if answer.is_err() {
            return self.send_again(sent);
        }
        match sent {
            Sent::Task(computed) => {
                let Computed {
                    ready,
                    service,
                    span,
                    ..
                } = *computed;
                self.acknowledge(&ready.delivery).await;
                life::note(
                    &self.role,
                    &ready.delivery,
                    settle::Settled::Done,
                    service,
                    1,
                );
                span.end(None);
            }
            Sent::Bundle(ready, settled) => {
                life::note_chunk(&self.role, &ready.delivery, &settled);
                if settled.apart.is_empty() {
                    return self.acknowledge(&ready.delivery).await;
                }
                let beside = self.beside();
                self.tasks.spawn(async move {
                    if let Some(bundle) = &ready.bundle {
                        let kept = Kept::Here(bundle);
                        apart::complete(&beside, &ready, &settled.apart, kept).await;
                    }
                });
            }
        }
    }

    async fn acknowledge(&self, delivery: &Delivery) {
        delivery
            .remove(&self.role.broker.client, AckKind::Ack)
            .await;
    }

    /// Settles again, beside the loop, what the server refused or did not answer.
    fn send_again(&self, sent: Sent) {
        match sent {
            Sent::Task(computed) => self.settle_slowly(computed),
            Sent::Bundle(ready, settled) => {
                let beside = self.beside();
                self.tasks.spawn(async move {
                    let Some(bundle) = &ready.bundle else {
                        return;
                    };
                    apart::store(&beside, &ready, settled, Kept::Here(bundle)).await;
                });
            }
        }
    }

    pub(super) fn note_overdue(&mut self) {
        while let Some(sent) = self.window.overdue() {
            self.send_again(sent);
        }
    }
}
