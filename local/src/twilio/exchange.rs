//! The simulated account at work: accepts messages, carries them to handsets and reports on the way.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::clock::{Random, now};
use super::config::SimulatorConfig;
use super::faults::{Faults, Met};
use super::journey::Journey;
use super::message::{Direction, Message, Received, ReceivedKind, Status};
use super::pace::{Full, Queues};
use super::store::{Change, Store};
use super::webhook::{self, Call, Poster};

/// How many calls to webhooks the log keeps.
const CALLS_KEPT: usize = 50_000;
/// How many create calls the log keeps.
const CREATES_KEPT: usize = 200_000;
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
    creates: Mutex<VecDeque<CreateRecord>>,
    queues: Mutex<Queues>,
    smart_encoding: AtomicBool,
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

/// A create call that was read, as the log shows it, whatever became of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CreateRecord {
    /// When its head arrived.
    pub(super) at: jiff::Timestamp,
    pub(super) to: String,
    pub(super) from: String,
    pub(super) body: String,
    /// The fault that it met.
    pub(super) fault: Option<Met>,
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
            creates: Mutex::default(),
            queues: Mutex::new(Queues::new(config.sender_queue)),
            smart_encoding: AtomicBool::new(config.smart_encoding),
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

    /// Whether Smart Encoding is on.
    pub(super) fn smart_encoding(&self) -> bool {
        self.smart_encoding.load(Ordering::Relaxed)
    }

    pub(super) fn set_smart_encoding(&self, is_on: bool) {
        self.smart_encoding.store(is_on, Ordering::Relaxed);
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

    pub(super) fn log_create(&self, record: CreateRecord) {
        let mut creates = self.creates.lock().unwrap_or_else(PoisonError::into_inner);
        if creates.len() == CREATES_KEPT {
            creates.pop_front();
        }
        creates.push_back(record);
    }

    /// The latest create calls, in the order in which they were read.
    pub(super) fn creates(&self) -> Vec<CreateRecord> {
        self.creates.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// A place in the queue of a message's sender, which must be known: when it leaves.
    pub(super) fn queue(&self, message: &Message) -> Result<Instant, Full> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let segments = super::segments::count(&message.body);
        queues.join(message.from.as_deref().unwrap_or_default(), segments, Instant::now())
    }

    /// Takes a message in and sends it on its way. The handle ends when its last callback has been posted.
    ///
    /// # Errors
    /// [`Full`] when its sender's queue does not take it; nothing has changed then.
    pub(super) fn accept(self: &Arc<Self>, message: Message) -> Result<JoinHandle<()>, Full> {
        let leaves = match message.status {
            Status::Queued => Some(self.queue(&message)?),
            _ => None,
        };
        self.store().record(Change::Message(Box::new(message.clone())));
        self.publish_message(&message);
        Ok(self.carry(message, leaves))
    }

    /// Continues what a restart has interrupted.
    pub(super) fn resume(self: &Arc<Self>) {
        let unfinished = self.store().unfinished();
        for message in unfinished {
            let leaves = self.queue(&message).ok().filter(|_| message.status == Status::Queued);
            self.carry(message, leaves);
        }
    }

    fn carry(self: &Arc<Self>, message: Message, leaves: Option<Instant>) -> JoinHandle<()> {
        let exchange = Arc::clone(self);
        let journey = Journey::new(exchange, message, leaves);
        self.spawn(async move { journey.run().await })
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
        let (mut journey, report) =
            (Journey::new(Arc::clone(self), canceled.clone(), None), canceled.clone());
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

pub(super) fn received(message: &Message, kind: ReceivedKind) -> Received {
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
