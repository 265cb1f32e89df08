//! One message on its way: from status to status, with the reports about it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::clock::now;
use super::exchange::{Exchange, received};
use super::faults::{Lost, Outcome};
use super::message::{Message, ReceivedKind, Status};
use super::pace::Full;
use super::store::Change;
use super::webhook::Call;

/// One message on its way. Statuses keep to their times whatever becomes of the callbacks, which follow each
/// other so that an orderly message is reported in order.
pub(super) struct Journey {
    exchange: Arc<Exchange>,
    message: Message,
    /// When it leaves its sender's queue, once it is there.
    leaves: Option<Instant>,
    reports: Vec<Message>,
    last: Option<JoinHandle<()>>,
}

impl Journey {
    pub(super) fn new(exchange: Arc<Exchange>, message: Message, leaves: Option<Instant>) -> Self {
        Self { exchange, message, leaves, reports: Vec::new(), last: None }
    }

    pub(super) async fn run(mut self) {
        let delays = self.exchange.config.delays;
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
            if !self.leave_pool() {
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

    /// Gives a Messaging Service's message its sender: the one this handset last spoke with, else the first.
    fn leave_pool(&mut self) -> bool {
        let config = &self.exchange.config;
        let service = self.message.messaging_service_sid.as_deref().and_then(|sid| config.service(sid));
        let Some(service) = service else { return self.step(Status::Queued, None) };
        let senders = config.senders(service);
        let (handset, scope) = (self.message.to.clone(), service.sid.clone());
        let (sender, stopped) = {
            let store = self.exchange.store();
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
        match self.exchange.queue(&self.message) {
            Ok(leaves) => self.leaves = Some(leaves),
            Err(Full) => {
                self.step(Status::Failed, Some(30001));
                return false;
            }
        }
        self.step(Status::Queued, None)
    }

    /// Moves on, unless the message has been canceled, deleted or erased meanwhile. What is sent is on the
    /// handset in the same instant.
    fn step(&mut self, status: Status, code: Option<u32>) -> bool {
        let (expected, from, at) = (self.message.status, self.message.from.clone(), now());
        let arrives = status == Status::Sent && !matches!(self.message.plan.outcome, Outcome::Undelivered(_));
        let moved = {
            let mut store = self.exchange.store();
            let moved = store.update(&self.message.sid, |message| {
                let ours = message.status == expected;
                if ours {
                    message.from = from;
                    message.advance(status, code, at);
                }
                ours
            });
            if let Some(message) = moved.as_ref().filter(|_| arrives) {
                store.record(Change::Received(received(message, ReceivedKind::Message)));
            }
            moved
        };
        let Some(message) = moved else { return false };
        self.message = message.clone();
        self.exchange.publish_message(&message);
        if status != Status::Accepted {
            self.report(message);
        }
        true
    }

    /// Reports a status by callback, or keeps it for later when the order is to be turned round.
    pub(super) fn report(&mut self, message: Message) {
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
        let exchange = Arc::clone(&self.exchange);
        let before = self.last.take();
        self.last = Some(self.exchange.spawn(async move {
            let plan = &message.plan.callbacks;
            tokio::time::sleep(Duration::from_millis(plan.late_ms)).await;
            if let Some(before) = before {
                // It ends with the simulator at the latest, and cannot panic.
                let _ = before.await;
            }
            let form = message.status_form(&exchange.config.account_sid);
            for _ in 0..plan.copies {
                let (url, form) = (url.clone(), form.clone());
                exchange.call(Call { url, fallback: None, form, token: exchange.fresh_token() }).await;
            }
        }));
    }

    pub(super) async fn finish(&mut self) {
        for message in std::mem::take(&mut self.reports).into_iter().rev() {
            self.post(message);
        }
        if let Some(last) = self.last.take() {
            // As above.
            let _ = last.await;
        }
    }
}
