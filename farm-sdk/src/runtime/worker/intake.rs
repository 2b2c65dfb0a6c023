//! What the loop fetches: as much as the slots can take, and what becomes of it on arrival.

use super::*;

/// Messages taken in before the loop looks elsewhere.
const AT_ONCE: usize = 256;
/// Room in an outcome's message for its headers.
const HEADROOM_BYTES: usize = 16 << 10;
/// Results of one chunk at most: what reads them holds that much.
const MOST_OUTCOME_BYTES: usize = 512 << 10;

impl Loop {
    /// Asks for what the free slots can take, and for short tasks some more to have ready.
    pub(super) async fn ask(&mut self) {
        if self.quarantine.is_occupied() {
            return;
        }
        let recalls = Arc::strong_count(&self.recalls) - 1;
        let (busy, ready) = (self.queue.busy(), self.queue.ready() + recalls);
        if self.quarantine.wary {
            if busy + ready == 0 {
                self.intake.ask(1, false).await;
            }
            return;
        }
        let free = self.slots().saturating_sub(busy + ready);
        let waiting = self.pending > 0;
        let prefetch = self.pace.prefetch(self.slots());
        let ahead = if waiting {
            let known = usize::try_from(self.pending).unwrap_or(usize::MAX);
            prefetch.saturating_sub(ready).min(known)
        } else {
            self.pace.eager(self.slots()).saturating_sub(ready)
        };
        // Asking for each slot as it frees would cost a request a task.
        let enough = if waiting { prefetch / 2 } else { 1 };
        let worthwhile = free > 0 || (ahead > 0 && ahead >= enough);
        if worthwhile && !self.is_behind() {
            self.intake.ask(free + ahead, waiting).await;
        }
    }

    /// Takes in what has come.
    pub(super) async fn take_all(&mut self, first: Message) {
        self.take(first).await;
        for _ in 1..AT_ONCE {
            match self.intake.next().now_or_never() {
                Some(Arrival::Message(message)) => self.take(message).await,
                Some(Arrival::Nothing) => {}
                Some(Arrival::Refused) => tracing::warn!("NATS gives no tasks at the moment"),
                Some(Arrival::Closed) | None => break,
            }
        }
        self.hand_back_surplus().await;
    }

    async fn take(&mut self, message: Message) {
        let Some(ready) = self.read(message, self.role.config.deadline).await else {
            return;
        };
        self.pending = ready.delivery.pending;
        if ready.delivery.delay_to_keep().is_some() {
            return ready.give_back(&self.role.broker, None).await;
        }
        if self.quarantine.is_occupied() {
            return self.give_back(ready, None);
        }
        let is_chunk = matches!(ready.delivery.load, Load::Chunk { .. });
        if is_chunk && ready.delivery.delivered > 1 {
            return self.recall(ready);
        }
        if ready.is_suspect() {
            return self.isolate(ready).await;
        }
        if ready.delivery.out_of_chunk().is_some() {
            return self.recall(ready);
        }
        self.quarantine.wary = false;
        self.admit(ready);
    }

    /// Looks beside the loop whether a message is to be computed still.
    fn recall(&self, ready: Ready) {
        let (beside, recall) = (self.beside(), Arc::clone(&self.recalls));
        self.tasks.spawn(async move {
            if let Some((ready, recall)) = apart::recall(&beside, ready, recall).await {
                let _ = beside.tell.send(Told::Recalled(ready, recall));
            }
        });
    }

    /// Lets a chunk wait for a slot, unless something has happened since it was taken in.
    pub(super) fn take_recalled(&mut self, ready: Ready) {
        match self.role.draining.is_cancelled() || self.quarantine.is_occupied() {
            true => self.give_back(ready, None),
            false => self.admit(ready),
        }
    }

    /// Lets a message wait for a slot.
    pub(super) fn admit(&mut self, mut ready: Ready) {
        if let Load::Chunk { tasks, .. } = &ready.delivery.load {
            let most_bytes = self.role.broker.client.server_info().max_payload;
            let room_bytes = most_bytes.saturating_sub(HEADROOM_BYTES);
            let tasks = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
            let bundle = Bundle::new(tasks, room_bytes.min(MOST_OUTCOME_BYTES));
            ready.bundle = Some(Arc::new(bundle));
            self.bundles
                .insert(ready.delivery.delivery_sequence, ready.clone());
        }
        self.queue.push(ready);
    }

    pub(super) async fn read(
        &mut self,
        message: Message,
        default_deadline: Option<Duration>,
    ) -> Option<Ready> {
        let broker = &self.role.broker;
        let read = Delivery::read(message, &broker.topology, default_deadline);
        let delivery = match read {
            Ok(delivery) => Arc::new(delivery),
            Err(error) => {
                tracing::warn!(error, "ignored a message");
                return None;
            }
        };
        let hold = Arc::new(self.held.hold(&delivery));
        let past = match delivery.delivered {
            // Of no suspect yet: whoever needs to know will read it.
            2 => None,
            0 | 1 => Some(Past::default()),
            _ if Instant::now() < self.past_after => None,
            _ => {
                let past = Past::read(broker, &delivery).await;
                if past.is_none() {
                    self.past_after = Instant::now() + PAST_REST;
                }
                past
            }
        };
        Some(Ready {
            delivery,
            past,
            hold,
            bundle: None,
        })
    }

    /// Makes room for a suspect: what has started may finish, and nothing else is in hand.
    async fn isolate(&mut self, suspect: Ready) {
        tracing::warn!(
            task = %suspect.delivery.load,
            delivered = suspect.delivery.delivered,
            "replicas were lost with this task: it runs alone"
        );
        self.quarantine.waiting = Some((suspect, Instant::now()));
        self.quarantine.wary = true;
        for ready in self.queue.take_all() {
            self.give_back(ready, None);
        }
        for message in self.intake.take_back().await {
            if let Some(ready) = self.read(message, None).await {
                self.give_back(ready, None);
            }
        }
    }

    /// Gives a message back beside the loop, which has others to attend to.
    pub(super) fn give_back(&mut self, ready: Ready, delay: Option<Duration>) {
        self.bundles.remove(&ready.delivery.delivery_sequence);
        let role = Arc::clone(&self.role);
        self.tasks
            .spawn(async move { ready.give_back(&role.broker, delay).await });
    }

    /// A suspect does not hold up the other slots of a replica whose tasks are long.
    fn give_up_waiting(&mut self) {
        let waits_too_long = |(_, since): &mut (Ready, Instant)| since.elapsed() > SUSPECT_WAITS;
        if let Some((suspect, _)) = self.quarantine.waiting.take_if(waits_too_long) {
            self.quarantine.wary = false;
            self.give_back(suspect, Some(SUSPECT_WAITS / 2));
        }
    }

    /// More slots fill by themselves. With fewer, tasks that were asked for may find no place.
    pub(super) async fn note_slots(&mut self) {
        self.queue.set_slots(self.slots());
        let free = self
            .slots()
            .saturating_sub(self.queue.busy() + self.queue.ready());
        if self.intake.outstanding() > free {
            for message in self.intake.take_back().await {
                self.take(message).await;
            }
        }
        self.hand_back_surplus().await;
    }

    /// Tasks that turn out longer than those before are not what this was asked to keep ready:
    /// lets others have them.
    pub(super) async fn hand_back_surplus(&mut self) {
        let free = self.slots().saturating_sub(self.queue.busy());
        let most = free + self.pace.most_ready(self.slots());
        // Once: every hand-back counts as an attempt at the server.
        let first = |ready: &Ready| ready.delivery.delivered == 1 && !ready.delivery.is_part();
        while let Some(surplus) = self.queue.take_surplus(most, first) {
            self.bundles.remove(&surplus.delivery.delivery_sequence);
            surplus
                .delivery
                .hand_back(&self.role.broker.client, None)
                .await;
        }
    }

    /// A task that is not finished yet is long already.
    pub(super) async fn note_time(&mut self) {
        self.intake.forget_overdue();
        self.give_up_waiting();
        self.note_overdue();
        let running = self.queue.full_since().map(|since| since.elapsed());
        if let Some(running) = running.filter(|running| *running >= TICK) {
            self.pace.observe(running, 1, 0);
            self.hand_back_surplus().await;
        }
    }
}
