//! The state that all requests and deliveries share.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::{Random, now};
use crate::config::{Credentials, SimulatorConfig};
use crate::delivery::webhook::{self, Call, Poster};
use crate::faults::armed::{Faults, Met};
use crate::state::message::Message;
use crate::state::segments;
use crate::state::sender_queues::{Full, Queues};
use crate::state::store::Store;

/// The number of webhook requests in the log.
const CALLS_KEPT: usize = 50_000;
/// The number of create requests in the log.
const CREATES_KEPT: usize = 200_000;
/// The number of refused requests in the log.
const REFUSALS_KEPT: usize = 50_000;
/// The number of requests for media in the log.
const MEDIA_REQUESTS_KEPT: usize = 50_000;
/// The number of events buffered for a slow subscriber.
const EVENTS_KEPT: usize = 4_096;

/// The state of one simulator.
pub(crate) struct Engine {
    pub(crate) config: SimulatorConfig,
    pub(crate) origins: Origins,
    pub(crate) poster: Poster,
    credentials: Arc<RwLock<Credentials>>,
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    random: Mutex<Random>,
    calls: Mutex<VecDeque<CallRecord>>,
    creates: Mutex<VecDeque<CreateRecord>>,
    refusals: Mutex<VecDeque<Refusal>>,
    media_requests: Mutex<VecDeque<MediaRequest>>,
    deactivations: Mutex<BTreeMap<Date, Arc<[String]>>>,
    queues: Mutex<Queues>,
    smart_encoding: AtomicBool,
    events: broadcast::Sender<Arc<str>>,
    outages: broadcast::Sender<Duration>,
    stop: watch::Sender<bool>,
}

/// The base URLs of the two listeners, without a trailing slash.
pub(crate) struct Origins {
    /// The REST API, the control API and the page.
    pub(crate) api: String,
    /// The host to which the REST API redirects requests for media files.
    pub(crate) media: String,
}

/// A webhook request in the log.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CallRecord {
    at: jiff::Timestamp,
    form: Vec<(String, String)>,
    #[serde(flatten)]
    outcome: webhook::Outcome,
}

/// A create request in the log, whether or not it was accepted.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CreateRecord {
    /// When the request headers arrived.
    pub(crate) at: jiff::Timestamp,
    pub(crate) to: String,
    pub(crate) from: String,
    pub(crate) body: String,
    /// The fault that the request met.
    pub(crate) fault: Option<Met>,
}

/// A request that was refused because of its credentials.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Refusal {
    at: jiff::Timestamp,
    /// The user name: an account SID or the SID of an API key.
    user: String,
}

/// A request for a media file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MediaRequest {
    pub(crate) at: jiff::Timestamp,
    /// `api` or `media`.
    pub(crate) host: &'static str,
    pub(crate) method: String,
    pub(crate) media_sid: String,
    /// Whether the request had an `Authorization` header.
    pub(crate) authorization: bool,
}

impl Engine {
    pub(crate) fn new(config: SimulatorConfig, origins: Origins, store: Store) -> Arc<Self> {
        let credentials = Arc::new(RwLock::new(Credentials::of(&config)));
        Arc::new(Self {
            poster: Poster::new(Arc::clone(&credentials)),
            credentials,
            store: Mutex::new(store),
            faults: Mutex::default(),
            random: Mutex::new(Random::new(config.seed)),
            calls: Mutex::default(),
            creates: Mutex::default(),
            refusals: Mutex::default(),
            media_requests: Mutex::default(),
            deactivations: Mutex::default(),
            queues: Mutex::new(Queues::new(config.sender_queue)),
            smart_encoding: AtomicBool::new(config.smart_encoding),
            events: broadcast::Sender::new(EVENTS_KEPT),
            outages: broadcast::Sender::new(4),
            stop: watch::Sender::new(false),
            config,
            origins,
        })
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the accepted credentials.
    pub(crate) fn credentials(&self) -> RwLockReadGuard<'_, Credentials> {
        self.credentials.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the accepted credentials.
    pub(crate) fn set_credentials(&self, credentials: Credentials) {
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    pub(crate) fn log_refusal(&self, user: String) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() == REFUSALS_KEPT {
            refusals.pop_front();
        }
        refusals.push_back(Refusal { at: now(), user });
    }

    /// Returns the latest refused requests, oldest first.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn log_media_request(&self, request: MediaRequest) {
        let mut requests = self.media_requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() == MEDIA_REQUESTS_KEPT {
            requests.pop_front();
        }
        requests.push_back(request);
    }

    /// Returns the latest requests for media files, oldest first.
    pub(crate) fn media_requests(&self) -> Vec<MediaRequest> {
        self.media_requests.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Returns the list of the numbers that were deactivated on a day.
    pub(crate) fn deactivations(&self, day: Date) -> Option<Arc<[String]>> {
        self.deactivations.lock().unwrap_or_else(PoisonError::into_inner).get(&day).cloned()
    }

    /// Sets the list of a day.
    pub(crate) fn set_deactivations(&self, day: Date, numbers: Vec<String>) {
        let mut lists = self.deactivations.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert(day, numbers.into());
    }

    /// Returns whether Smart Encoding is enabled.
    pub(crate) fn smart_encoding(&self) -> bool {
        self.smart_encoding.load(Ordering::Relaxed)
    }

    pub(crate) fn set_smart_encoding(&self, is_on: bool) {
        self.smart_encoding.store(is_on, Ordering::Relaxed);
    }

    /// Returns an unused SID.
    pub(crate) fn fresh_sid(&self, prefix: &str) -> String {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let sid = random.sid(prefix);
            if self.store().get(&sid).is_none() {
                return sid;
            }
        }
    }

    pub(crate) fn fresh_token(&self) -> String {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).uuid()
    }

    /// Subscribes to events from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.events.subscribe()
    }

    fn publish(&self, event: &Value) {
        if self.events.receiver_count() > 0 {
            // Fails only if the last subscriber has just disconnected.
            let _ = self.events.send(event.to_string().into());
        }
    }

    pub(crate) fn publish_message(&self, message: &Message) {
        if self.events.receiver_count() > 0 {
            let handset = message.handset();
            self.publish(&json!({ "event": "message", "handset": handset, "message": self.shown(message) }));
        }
    }

    /// Publishes that several messages have changed.
    pub(crate) fn publish_change(&self) {
        self.publish(&json!({ "event": "changed" }));
    }

    pub(crate) fn resource(&self, message: &Message) -> Value {
        message.resource(&self.config.account_sid)
    }

    /// Returns a message as the control API shows it: the resource, and the media with URLs that need no credentials.
    pub(crate) fn shown(&self, message: &Message) -> Value {
        let mut shown = self.resource(message);
        let media = message.media.iter().map(|media| {
            let own = format!("/simulator/media/{}", media.sid);
            let url = if media.is_stored { own.as_str() } else { media.url.as_str() };
            json!({ "sid": media.sid, "content_type": media.content_type, "url": url })
        });
        shown["media"] = media.collect();
        shown
    }

    /// Subscribes the listener to outages.
    pub(crate) fn outages(&self) -> broadcast::Receiver<Duration> {
        self.outages.subscribe()
    }

    /// Closes the listener for `length`.
    pub(crate) fn outage(&self, length: Duration) {
        // Fails only if the listener task has ended.
        let _ = self.outages.send(length);
    }

    /// Completes when the simulator stops.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // An error means that the engine was dropped, which is a stop.
            let _ = stop.wait_for(|stopped| *stopped).await;
        }
    }

    /// Stops all background tasks.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Runs `work` in the background until it completes or the simulator stops.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let stopped = self.stopped();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                () = stopped => {}
            }
        })
    }

    /// Sends a webhook request and logs it.
    pub(crate) async fn call(&self, call: Call) -> webhook::Outcome {
        let outcome = self.poster.post(&call).await;
        if !outcome.delivered {
            tracing::warn!(attempts = ?outcome.attempts, "webhook failed");
        }
        let record = CallRecord { at: now(), form: call.form, outcome: outcome.clone() };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == CALLS_KEPT {
            calls.pop_front();
        }
        calls.push_back(record);
        outcome
    }

    /// Returns the latest webhook requests, oldest first.
    pub(crate) fn calls(&self) -> Vec<CallRecord> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn log_create(&self, record: CreateRecord) {
        let mut creates = self.creates.lock().unwrap_or_else(PoisonError::into_inner);
        if creates.len() == CREATES_KEPT {
            creates.pop_front();
        }
        creates.push_back(record);
    }

    /// Returns the latest create requests, oldest first.
    pub(crate) fn creates(&self) -> Vec<CreateRecord> {
        self.creates.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Adds a message to its sender's queue and returns the time at which it is sent. The message must have a sender.
    pub(crate) fn queue(&self, message: &Message) -> Result<Instant, Full> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let segments = segments::count(&message.body);
        queues.join(message.from.as_deref().unwrap_or_default(), segments, Instant::now())
    }
}
