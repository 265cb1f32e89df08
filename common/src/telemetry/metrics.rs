//! Metrics in CloudWatch's embedded metric format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//!
//! The local stack reads the same lines and exports them in Prometheus format.

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

/// The maximum number of values of one metric in one line, according to the specification.
const MAX_VALUES: usize = 100;

/// The tracing target of metric events.
pub(super) const TARGET: &str = "metric";

macro_rules! metrics {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $unit:ident;)*) => {
        /// All metrics.
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

            /// Returns the metric's unit in CloudWatch.
            #[must_use]
            pub fn unit(self) -> &'static str {
                match self { $(Self::$variant => stringify!($unit),)* }
            }
        }
    };
}

metrics! {
    /// Webhooks with a 2xx response. The webhook is stored in SQS or Postgres.
    WebhooksAccepted = "webhooks_accepted", Count;
    /// Webhooks with a 4xx response.
    WebhooksRefused = "webhooks_refused", Count;
    /// Inbound messages sent to the status callback URL, or the reverse. Fix the URLs at Twilio.
    WebhooksMisrouted = "webhooks_misrouted", Count;
    /// Webhooks that SQS did not accept in time and that were stored in the spool in Postgres.
    WebhooksSpooled = "webhooks_spooled", Count;
    /// Webhooks with a 503 response because neither SQS nor Postgres accepted them.
    WebhooksUnavailable = "webhooks_unavailable", Count;
    /// Webhooks moved from the spool to their queue.
    SpoolDrained = "spool_drained", Count;
    /// Webhooks left in the spool after a sweep.
    SpoolBacklog = "spool_backlog", None;
    /// Inbound messages stored, without duplicates.
    MessagesStored = "messages_stored", Count;
    /// Records that were already stored and had no effect.
    Duplicates = "duplicates", Count;
    /// Records that failed and become visible on their queue again.
    RecordsFailed = "records_failed", Count;
    /// Status callbacks stored, without duplicates.
    StatusesStored = "statuses_stored", Count;
    /// Sends accepted by the API.
    SendsRequested = "sends_requested", Count;
    /// Messages accepted by Twilio.
    SendsAccepted = "sends_accepted", Count;
    /// Messages that failed permanently.
    SendsFailed = "sends_failed", Count;
    /// Sends deferred to a later attempt.
    SendsDeferred = "sends_deferred", Count;
    /// Sends with an ambiguous outcome: Twilio may have accepted the message.
    SendsUnknown = "sends_unknown", Count;
    /// Sends that were already at Twilio, for example after restoring an older backup.
    SendsFound = "sends_found", Count;
    /// Ambiguous sends whose outcome was resolved.
    SendsResolved = "sends_resolved", Count;
    /// Ambiguous sends that could not be resolved. An operator must decide.
    SendsParked = "sends_parked", Count;
    /// Inbound messages found in Twilio's list whose webhooks were not received. Investigate.
    InboundRecovered = "inbound_recovered", Count;
    /// Statuses found in Twilio's list whose callbacks were not received.
    StatusesRecovered = "statuses_recovered", Count;
    /// Sends that failed because of our configuration. An operator must act.
    SendsMisconfigured = "sends_misconfigured", Count;
    /// Senders with due messages that a sweep put on the queue.
    SendersWoken = "senders_woken", Count;
    /// Chains of wake-ups that ended at their limit. The next sweep wakes the sender again.
    WakeUpsLimited = "wake_ups_limited", Count;
    /// Senders held because Twilio rejects or limits their messages.
    SendersHeld = "senders_held", Count;
    /// Messages that Twilio accepted, could not deliver, and that are created again.
    SendsRenewed = "sends_renewed", Count;
    /// Automatic replies.
    AutoReplies = "auto_replies", Count;
    /// Conversations assigned to a tenant, or to another tenant.
    TenantsIdentified = "tenants_identified", Count;
    /// Numbers that belong to several tenants. An operator must decide.
    TenantsAmbiguous = "tenants_ambiguous", Count;
    /// Numbers whose lookup at the Monitor failed.
    TenantLookupsFailed = "tenant_lookups_failed", Count;
    /// Tenants whose language was stored in their profile.
    ProfilesUpdated = "profiles_updated", Count;
    /// Tenants whose language could not be stored in their profile. The schedule retries.
    ProfilePushesFailed = "profile_pushes_failed", Count;
    /// Inbound messages that opted a handset out.
    OptOuts = "opt_outs", Count;
    /// Inbound messages that may be an opt-out. Messages continue; a person should check.
    OptOutsUnsure = "opt_outs_unsure", Count;
    /// API keys rejected by the authorizer: malformed, unknown, revoked or expired.
    KeysRefused = "keys_refused", Count;
    /// API requests with a 5xx response.
    ApiFailures = "api_failures", Count;
    /// For how many months after this one every partitioned table has a partition. Fewer than two raise an alarm.
    PartitionsReady = "partitions_ready", None;
    /// Rows in default partitions: their ids come from a wrong clock, or a partition was missing.
    RowsInDefaultPartitions = "rows_in_default_partitions", None;
    /// Months of a table dropped because of their age.
    OldMonthsDropped = "old_months_dropped", Count;
    /// Messages emptied and rows deleted because of their age, without those of dropped months.
    OldRowsRemoved = "old_rows_removed", Count;
    /// Size of data removed because of its age. Dropped months count with their indexes.
    OldBytesRemoved = "old_bytes_removed", Bytes;
    /// Latency of create requests to Twilio.
    CreateLatency = "twilio_create_latency", Milliseconds;
}

impl Metric {
    fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.name() == name)
    }
}

/// Adds `by` to a counter.
pub fn count(metric: Metric, by: usize) {
    if by > 0 {
        record(metric, by as f64);
    }
}

/// Records a value. Within an invocation, counts are added up; other units keep each value.
pub fn record(metric: Metric, value: f64) {
    tracing::info!(target: TARGET, metric = metric.name(), value);
}

/// Collects metric events and writes them when the invocation span closes.
pub(super) struct EmbeddedMetrics {
    service: &'static str,
    /// The stack's name, so that two stacks in one account have separate metrics.
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

/// The members of a line in the embedded metric format. The dimension `service` is a field of the log line to which
/// they are appended.
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
