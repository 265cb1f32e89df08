//! Metrics: recorded once in code, written in CloudWatch's embedded metric format.
//!
//! Format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//! The local stack reads the same lines and serves them as Prometheus text.

use super::Output;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::Id;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// CloudWatch keeps at most this many values of one metric in one line (the specification's limit).
const MAX_VALUES: usize = 100;

/// The target that tells a metric event from a log event.
pub(super) const TARGET: &str = "metric";

macro_rules! metrics {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $unit:ident;)*) => {
        /// Everything that is measured, by the name it has in CloudWatch and Prometheus.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric { $($(#[$doc])* $variant,)* }

        impl Metric {
            /// Every metric, for documentation and for lookups by name.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the metric's name in CloudWatch and Prometheus.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns CloudWatch's name of the metric's unit.
            #[must_use]
            pub fn unit(self) -> &'static str {
                match self { $(Self::$variant => stringify!($unit),)* }
            }
        }
    };
}

metrics! {
    /// Webhooks answered 2xx: the request is durable.
    WebhooksAccepted = "webhooks_accepted", Count;
    /// Webhooks refused with a 4xx.
    WebhooksRefused = "webhooks_refused", Count;
    /// Inbound messages and status callbacks that came to each other's URL: somebody must fix the URL at Twilio.
    WebhooksMisrouted = "webhooks_misrouted", Count;
    /// Webhooks that SQS did not take in time and that went to the spool in Postgres.
    WebhooksSpooled = "webhooks_spooled", Count;
    /// Webhooks answered 503 because nothing durable took them.
    WebhooksUnavailable = "webhooks_unavailable", Count;
    /// Spooled webhooks put on their queue by the sweep.
    SpoolDrained = "spool_drained", Count;
    /// Webhooks that wait in the spool after a sweep.
    SpoolBacklog = "spool_backlog", None;
    /// Inbound messages stored for the first time.
    MessagesStored = "messages_stored", Count;
    /// Records that were already stored: free of effect.
    Duplicates = "duplicates", Count;
    /// Records left on their queue for another try.
    RecordsFailed = "records_failed", Count;
    /// Status callbacks appended to the history for the first time.
    StatusesStored = "statuses_stored", Count;
    /// Sends accepted by the API.
    SendsRequested = "sends_requested", Count;
    /// Messages that Twilio took.
    SendsAccepted = "sends_accepted", Count;
    /// Messages that failed for good.
    SendsFailed = "sends_failed", Count;
    /// Sends put off to a later try.
    SendsDeferred = "sends_deferred", Count;
    /// Sends of which it is not known whether Twilio took them.
    SendsUnknown = "sends_unknown", Count;
    /// Late sends that Twilio had already, as after a restore of older data.
    SendsFound = "sends_found", Count;
    /// Unknown sends of which it was found out whether Twilio took them.
    SendsResolved = "sends_resolved", Count;
    /// Unknown sends that are left to a person: somebody must decide.
    SendsParked = "sends_parked", Count;
    /// Inbound messages found in Twilio's list, whose webhooks never came: somebody must look why.
    InboundRecovered = "inbound_recovered", Count;
    /// Statuses found in Twilio's list, whose callbacks never came.
    StatusesRecovered = "statuses_recovered", Count;
    /// Sends that our own configuration made fail: somebody must act.
    SendsMisconfigured = "sends_misconfigured", Count;
    /// Senders that a sweep put on the queue since they had something to do.
    SendersWoken = "senders_woken", Count;
    /// Chains of wake-ups that were ended at their limit; the next sweep wakes the sender again.
    WakeUpsLimited = "wake_ups_limited", Count;
    /// Senders held, since Twilio refuses or limits what they send.
    SendersHeld = "senders_held", Count;
    /// Messages that Twilio took, could not deliver, and that are created anew.
    SendsRenewed = "sends_renewed", Count;
    /// Replies that this service owed by itself.
    AutoReplies = "auto_replies", Count;
    /// Conversations that became a tenant's, or another tenant's.
    TenantsIdentified = "tenants_identified", Count;
    /// Numbers that several tenants claim: somebody must decide.
    TenantsAmbiguous = "tenants_ambiguous", Count;
    /// Numbers about which the Monitor gave no answer.
    TenantLookupsFailed = "tenant_lookups_failed", Count;
    /// Tenants whose profile was told their language.
    ProfilesTold = "profiles_told", Count;
    /// Tenants whose profile could not be told their language; the schedule tries again.
    ProfilePushesFailed = "profile_pushes_failed", Count;
    /// Inbound messages that opted a handset out.
    OptOuts = "opt_outs", Count;
    /// Inbound messages that may be a refusal: messages continue, a person may want to ask.
    OptOutsUnsure = "opt_outs_unsure", Count;
    /// API keys refused by the authorizer: malformed, unknown, revoked or expired.
    KeysRefused = "keys_refused", Count;
    /// API requests answered 5xx.
    ApiFailures = "api_failures", Count;
    /// How long Twilio took to answer a create.
    CreateLatency = "twilio_create_latency", Milliseconds;
}

impl Metric {
    fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.name() == name)
    }
}

/// Adds to a count.
pub fn count(metric: Metric, by: usize) {
    if by > 0 {
        record(metric, by as f64);
    }
}

/// Records one value. Counts add up within an invocation, other units keep every value.
pub fn record(metric: Metric, value: f64) {
    tracing::info!(target: TARGET, metric = metric.name(), value);
}

/// Gathers metric events, and writes them when the invocation's span closes.
pub(super) struct EmbeddedMetrics {
    service: &'static str,
    /// The stack's name, so that two stacks in one account have metrics of their own.
    stack: Option<String>,
    output: Arc<Output>,
    values: Mutex<BTreeMap<Metric, Vec<f64>>>,
}

impl EmbeddedMetrics {
    pub(super) fn new(service: &'static str, stack: Option<String>, output: Arc<Output>) -> Self {
        Self { service, stack, output, values: Mutex::default() }
    }

    fn flush(&self) {
        let values = std::mem::take(&mut *self.values.lock().unwrap_or_else(PoisonError::into_inner));
        if values.is_empty() {
            self.output.write("");
            return;
        }
        let metrics =
            values.keys().map(|metric| Declared { name: metric.name(), unit: metric.unit() }).collect();
        let dimensions: &'static [&'static str] =
            if self.stack.is_some() { &["stack", "service"] } else { &["service"] };
        let line = Line {
            aws: Metadata {
                timestamp: crate::clock::now().as_millisecond(),
                metrics: [Directive { namespace: "SmsFoundation", dimensions: [dimensions], metrics }],
            },
            stack: self.stack.as_deref(),
            values: values.iter().map(|(metric, values)| (metric.name(), Values::of(values))).collect(),
        };
        let object = serde_json::to_string(&line).unwrap_or_default();
        if let Some(members) = object.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            self.output.write_metrics(members, self.service);
        }
    }
}

/// The members of a line in the embedded metric format, with the specification's names. `service`, the dimension, is in
/// the log line that they become part of.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "_aws")]
    aws: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<&'a str>,
    #[serde(flatten)]
    values: BTreeMap<&'static str, Values<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    timestamp: i64,
    #[serde(rename = "CloudWatchMetrics")]
    metrics: [Directive; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: [&'static [&'static str]; 1],
    metrics: Vec<Declared>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Declared {
    name: &'static str,
    unit: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values<'a> {
    One(f64),
    Several(&'a [f64]),
}

impl<'a> Values<'a> {
    fn of(values: &'a [f64]) -> Self {
        if let [single] = values { Self::One(*single) } else { Self::Several(values) }
    }
}

impl<S> Layer<S> for EmbeddedMetrics
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut seen = Observation::default();
        event.record(&mut seen);
        let Some(metric) = seen.metric else { return };
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let held = values.entry(metric).or_default();
        if metric.unit() == "Count" && !held.is_empty() {
            held[0] += seen.value;
        } else if held.len() < MAX_VALUES {
            held.push(seen.value);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if context.span(&id).is_some_and(|span| span.name() == super::INVOCATION) {
            self.flush();
        }
    }
}

#[derive(Default)]
struct Observation {
    metric: Option<Metric>,
    value: f64,
}

impl Visit for Observation {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "metric" {
            self.metric = Metric::by_name(value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "value" {
            self.value = value;
        }
    }
}
