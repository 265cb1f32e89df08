//! Outbound messages: status changes and status callbacks.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::now;
use crate::delivery::engine::Engine;
use crate::delivery::webhook::Call;
use crate::state::change::Change;
use crate::state::message::{Message, Received, ReceivedKind};
use crate::state::plan::{Lost, Outcome};
use crate::state::sender_queues::Full;
use crate::state::status::Status;

/// Stores a message and starts its delivery. The task ends after the last status callback.
///
/// # Errors
/// [`Full`] when the sender's queue has no room. Nothing is stored.
pub(crate) fn accept(engine: &Arc<Engine>, message: Message) -> Result<JoinHandle<()>, Full> {
    let leaves = match message.status {
        Status::Queued => Some(engine.queue(&message)?),
        _ => None,
    };
    engine.store().record(Change::Message(Box::new(message.clone())));
    engine.publish_message(&message);
    Ok(carry(engine, message, leaves))
}

/// Resumes deliveries that a restart has interrupted.
pub(crate) fn resume(engine: &Arc<Engine>) {
    let unfinished = engine.store().unfinished();
    for message in unfinished {
        let leaves = engine.queue(&message).ok().filter(|_| message.status == Status::Queued);
        carry(engine, message, leaves);
    }
}

fn carry(engine: &Arc<Engine>, message: Message, leaves: Option<Instant>) -> JoinHandle<()> {
    let delivery = Delivery::new(Arc::clone(engine), message, leaves);
    engine.spawn(async move { delivery.run().await })
}

/// Cancels a scheduled message and sends its status callback. Returns `None` if the message is not scheduled.
pub(crate) fn cancel(engine: &Arc<Engine>, sid: &str) -> Option<Message> {
    let canceled = engine.store().update(sid, |message| {
        let cancelable = message.status == Status::Scheduled;
        if cancelable {
            message.advance(Status::Canceled, None, now());
        }
        cancelable
    })?;
    engine.publish_message(&canceled);
    let (mut delivery, report) =
        (Delivery::new(Arc::clone(engine), canceled.clone(), None), canceled.clone());
    engine.spawn(async move {
        delivery.report(report);
        delivery.finish().await;
    });
    Some(canceled)
}

/// The delivery of one message. Slow callbacks do not delay status changes; callbacks are sent one after the other, so
/// that they arrive in order unless a fault says otherwise.
struct Delivery {
    engine: Arc<Engine>,
    message: Message,
    /// When the sender's queue sends the message; `None` before it is queued.
    leaves: Option<Instant>,
    reports: Vec<Message>,
    last: Option<JoinHandle<()>>,
}

impl Delivery {
    fn new(engine: Arc<Engine>, message: Message, leaves: Option<Instant>) -> Self {
        Self { engine, message, leaves, reports: Vec::new(), last: None }
    }

    async fn run(mut self) {
        let delays = self.engine.config.delays;
        let at_once = self.message.plan.callbacks.early;
        let pause = |delay: Duration| if at_once { Duration::ZERO } else { delay };
        if let Some(send_at) = self.message.send_at.filter(|_| self.message.status == Status::Scheduled) {
            tokio::time::sleep(send_at.duration_since(now()).try_into().unwrap_or_default()).await;
            if !self.step(Status::Accepted, None) {
                return;
            }
        }
        if self.message.status == Status::Accepted {
            tokio::time::sleep(pause(delays.queued)).await;
            if !self.select_sender() {
                return self.finish().await;
            }
        }
        if self.message.status == Status::Queued {
            tokio::time::sleep(pause(delays.sent)).await;
            if let Some(leaves) = self.leaves.filter(|_| !at_once) {
                tokio::time::sleep_until(leaves).await;
            }
            let (next, code) = match self.message.plan.outcome {
                Outcome::Failed(code) => (Status::Failed, Some(code)),
                _ if self.expired() => (Status::Failed, Some(30036)),
                _ => (Status::Sent, None),
            };
            if !self.step(next, code) {
                return;
            }
        }
        if self.message.status == Status::Sent {
            tokio::time::sleep(pause(delays.delivered)).await;
            match self.message.plan.outcome {
                Outcome::SentOnly => {}
                Outcome::Undelivered(code) => _ = self.step(Status::Undelivered, Some(code)),
                Outcome::Delivered | Outcome::Failed(_) => _ = self.step(Status::Delivered, None),
            }
        }
        self.finish().await;
    }

    fn expired(&self) -> bool {
        let queued_for = now().duration_since(self.message.send_at.unwrap_or(self.message.created));
        queued_for.as_secs() >= i64::from(self.message.validity_seconds)
    }

    /// Selects the sender of a messaging service's message: the one last used with this handset, otherwise the first.
    fn select_sender(&mut self) -> bool {
        let config = &self.engine.config;
        let service = self.message.messaging_service_sid.as_deref().and_then(|sid| config.service(sid));
        let Some(service) = service else { return self.step(Status::Queued, None) };
        let senders = config.senders(service);
        let (handset, scope) = (self.message.to.clone(), service.sid.clone());
        let (sender, stopped) = {
            let store = self.engine.store();
            let last = store.last_sender(&handset, &senders);
            (last.or_else(|| senders.first().cloned()), store.opted_out(&handset, &scope))
        };
        if stopped {
            self.step(Status::Failed, Some(21610));
            return false;
        }
        if self.message.from.is_none() {
            self.message.from = sender;
        }
        match self.engine.queue(&self.message) {
            Ok(leaves) => self.leaves = Some(leaves),
            Err(Full) => {
                self.step(Status::Failed, Some(30001));
                return false;
            }
        }
        self.step(Status::Queued, None)
    }

    /// Sets the next status, unless the message was canceled or deleted in the meantime. The handset receives the
    /// message when the status becomes `sent`.
    fn step(&mut self, status: Status, code: Option<u32>) -> bool {
        let (expected, from, at) = (self.message.status, self.message.from.clone(), now());
        let arrives = status == Status::Sent && !matches!(self.message.plan.outcome, Outcome::Undelivered(_));
        let moved = {
            let mut store = self.engine.store();
            let moved = store.update(&self.message.sid, |message| {
                let unchanged = message.status == expected;
                if unchanged {
                    message.from = from;
                    message.advance(status, code, at);
                }
                unchanged
            });
            if let Some(message) = moved.as_ref().filter(|_| arrives) {
                store.record(Change::Received(Received::of(message, ReceivedKind::Message)));
            }
            moved
        };
        let Some(message) = moved else { return false };
        self.message = message.clone();
        self.engine.publish_message(&message);
        if status != Status::Accepted {
            self.report(message);
        }
        true
    }

    /// Sends a status callback, or keeps it until the end if callbacks are sent in reverse order.
    fn report(&mut self, message: Message) {
        let lost = match &message.plan.callbacks.lost {
            Lost::None => false,
            Lost::All => true,
            Lost::These(statuses) => statuses.contains(&message.status),
        };
        if lost || message.status_callback.is_none() {
            return;
        }
        if message.plan.callbacks.reordered {
            self.reports.push(message);
        } else {
            self.post(message);
        }
    }

    fn post(&mut self, message: Message) {
        let Some(url) = message.status_callback.clone() else { return };
        let engine = Arc::clone(&self.engine);
        let before = self.last.take();
        self.last = Some(self.engine.spawn(async move {
            let plan = &message.plan.callbacks;
            tokio::time::sleep(Duration::from_millis(plan.late_ms)).await;
            if let Some(before) = before {
                // The task ends with the simulator at the latest, and it does not panic.
                let _ = before.await;
            }
            let form = message.status_form(&engine.config.account_sid);
            for _ in 0..plan.copies {
                let (url, form) = (url.clone(), form.clone());
                engine.call(Call { url, fallback: None, form, token: engine.fresh_token() }).await;
            }
        }));
    }

    async fn finish(&mut self) {
        for message in std::mem::take(&mut self.reports).into_iter().rev() {
            self.post(message);
        }
        if let Some(last) = self.last.take() {
            // See `post`.
            let _ = last.await;
        }
    }
}
