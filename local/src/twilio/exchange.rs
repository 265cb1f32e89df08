//! The simulated account at work: accepts messages, carries them to handsets and reports on the way.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::clock::{Random, now};
use super::config::SimulatorConfig;
use super::faults::{Faults, Lost, Outcome};
use super::message::{Direction, Message, Received, ReceivedKind, Status};
use super::store::{Change, Store};
use super::webhook::{self, Call, Poster};

/// How many calls to webhooks the log keeps.
const CALLS_KEPT: usize = 1_000;
/// How many live events a slow page may fall behind.
const EVENTS_KEPT: usize = 4_096;

/// What all requests, handsets and callbacks share.
pub(super) struct Exchange {
    pub(super) config: SimulatorConfig,
    pub(super) poster: Poster,
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    random: Mutex<Random>,
    calls: Mutex<VecDeque<CallRecord>>,
    events: broadcast::Sender<Arc<str>>,
    outages: broadcast::Sender<Duration>,
    stop: watch::Sender<bool>,
}

/// A call to a webhook, as the log shows it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CallRecord {
    at: jiff::Timestamp,
    form: Vec<(String, String)>,
    #[serde(flatten)]
    outcome: webhook::Outcome,
}

impl Exchange {
    pub(super) fn new(config: SimulatorConfig, store: Store) -> Arc<Self> {
        let token = config.auth_tokens.first().cloned().unwrap_or_default();
        Arc::new(Self {
            poster: Poster::new(token),
            store: Mutex::new(store),
            faults: Mutex::default(),
            random: Mutex::new(Random::new(config.seed)),
            calls: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_KEPT),
            outages: broadcast::Sender::new(4),
            stop: watch::Sender::new(false),
            config,
        })
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A SID that no message has.
    pub(super) fn fresh_sid(&self, prefix: &str) -> String {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let sid = random.sid(prefix);
            if self.store().get(&sid).is_none() {
                return sid;
            }
        }
    }

    pub(super) fn fresh_token(&self) -> String {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).uuid()
    }

    /// The live events, from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.events.subscribe()
    }

    fn publish(&self, event: &Value) {
        if self.events.receiver_count() > 0 {
            // No receiver is left when the last page has just gone.
            let _ = self.events.send(event.to_string().into());
        }
    }

    pub(super) fn publish_message(&self, message: &Message) {
        if self.events.receiver_count() > 0 {
            let handset = message.handset();
            self.publish(
                &json!({ "event": "message", "handset": handset, "message": self.resource(message) }),
            );
        }
    }

    /// Tells pages that more than one message has changed.
    pub(super) fn publish_change(&self) {
        self.publish(&json!({ "event": "changed" }));
    }

    pub(super) fn resource(&self, message: &Message) -> Value {
        message.resource(&self.config.account_sid)
    }

    /// The outages that the listener is to take.
    pub(super) fn outages(&self) -> broadcast::Receiver<Duration> {
        self.outages.subscribe()
    }

    /// Closes the listener for a while.
    pub(super) fn outage(&self, length: Duration) {
        // Without a listener there is nothing to close.
        let _ = self.outages.send(length);
    }

    /// Ends when the simulator does.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // A simulator that is gone has stopped, too.
            let _ = stop.wait_for(|stopped| *stopped).await;
        }
    }

    /// Ends all that runs in the background.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Runs `work` in the background until it ends or the simulator does.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let stopped = self.stopped();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                () = stopped => {}
            }
        })
    }

    /// Posts a call and logs it.
    pub(super) async fn call(&self, call: Call) -> webhook::Outcome {
        let outcome = self.poster.post(&call).await;
        if !outcome.delivered {
            tracing::warn!(attempts = ?outcome.attempts, "a webhook failed");
        }
        let record = CallRecord { at: now(), form: call.form, outcome: outcome.clone() };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == CALLS_KEPT {
            calls.pop_front();
        }
        calls.push_back(record);
        outcome
    }

    /// The latest calls, oldest first.
    pub(super) fn calls(&self) -> Vec<CallRecord> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Takes a message in and sends it on its way. The handle ends when its last callback has been posted.
    pub(super) fn accept(self: &Arc<Self>, message: Message) -> JoinHandle<()> {
        self.store().record(Change::Message(Box::new(message.clone())));
        self.publish_message(&message);
        self.carry(message)
    }

    /// Continues what a restart has interrupted.
    pub(super) fn resume(self: &Arc<Self>) {
        let unfinished = self.store().unfinished();
        for message in unfinished {
            self.carry(message);
        }
    }

    fn carry(self: &Arc<Self>, message: Message) -> JoinHandle<()> {
        let exchange = Arc::clone(self);
        self.spawn(async move { Journey::new(exchange, message).run().await })
    }

    /// Cancels a scheduled message and reports it.
    pub(super) fn cancel(self: &Arc<Self>, sid: &str) -> Option<Message> {
        let canceled = self.store().update(sid, |message| {
            let cancelable = message.status == Status::Scheduled;
            if cancelable {
                message.advance(Status::Canceled, None, now());
            }
            cancelable
        })?;
        self.publish_message(&canceled);
        let (mut journey, report) = (Journey::new(Arc::clone(self), canceled.clone()), canceled.clone());
        self.spawn(async move {
            journey.report(report);
            journey.finish().await;
        });
        Some(canceled)
    }

    /// Puts Twilio's own answer to an opt-out word, or a TwiML reply, on a handset.
    pub(super) fn reply(self: &Arc<Self>, from: &str, handset: &str, body: &str, kind: ReceivedKind) {
        let at = now();
        let message = Message {
            sid: self.fresh_sid("SM"),
            direction: Direction::OutboundReply,
            from: Some(from.to_owned()),
            to: handset.to_owned(),
            body: body.to_owned(),
            media: Vec::new(),
            messaging_service_sid: None,
            status: Status::Delivered,
            error_code: None,
            created: at,
            updated: at,
            sent: Some(at),
            send_at: None,
            validity_seconds: super::create::MAX_VALIDITY_SECONDS,
            status_callback: None,
            plan: super::faults::Plan::default(),
        };
        {
            let mut store = self.store();
            store.record(Change::Received(received(&message, kind)));
            store.record(Change::Message(Box::new(message.clone())));
        }
        self.publish_message(&message);
    }
}

fn received(message: &Message, kind: ReceivedKind) -> Received {
    Received {
        message_sid: message.sid.clone(),
        handset: message.to.clone(),
        from: message.from.clone().unwrap_or_default(),
        body: message.body.clone(),
        media_urls: message.media.iter().map(|media| media.url.clone()).collect(),
        kind,
        at: message.updated,
    }
}

/// One message on its way. Statuses keep to their times whatever becomes of the callbacks, which follow each
/// other so that an orderly message is reported in order.
struct Journey {
    exchange: Arc<Exchange>,
    message: Message,
    reports: Vec<Message>,
    last: Option<JoinHandle<()>>,
}

impl Journey {
    fn new(exchange: Arc<Exchange>, message: Message) -> Self {
        Self { exchange, message, reports: Vec::new(), last: None }
    }

    async fn run(mut self) {
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

    async fn finish(&mut self) {
        for message in std::mem::take(&mut self.reports).into_iter().rev() {
            self.post(message);
        }
        if let Some(last) = self.last.take() {
            // As above.
            let _ = last.await;
        }
    }
}
