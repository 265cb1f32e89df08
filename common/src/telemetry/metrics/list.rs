//! The list of all metrics. CloudWatch, Prometheus, both dashboards, the alarms and `common/docs/metrics.md` use it.
//!
//! A deployed function that emits a metric, or an outcome, which the list does not have for it fails a flow test.

/// How the values of a metric are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Values are added up.
    Counter,
    /// The last value counts.
    Gauge,
    /// Each value is kept, for percentiles.
    Distribution,
}

/// A unit of CloudWatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of events.
    Count,
    /// A number of things at one time.
    None,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// Returns the unit's name in CloudWatch.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::None => "None",
            Self::Bytes => "Bytes",
            Self::Milliseconds => "Milliseconds",
            Self::Seconds => "Seconds",
        }
    }

    /// Returns the base unit of Prometheus, which ends the name of a metric, and the factor that converts to it.
    #[must_use]
    pub fn base(self) -> (Option<&'static str>, f64) {
        match self {
            Self::Count | Self::None => (None, 1.0),
            Self::Bytes => (Some("bytes"), 1.0),
            Self::Milliseconds => (Some("seconds"), 0.001),
            Self::Seconds => (Some("seconds"), 1.0),
        }
    }
}

/// The namespace of all metrics in CloudWatch.
pub const NAMESPACE: &str = "SmsFoundation";

/// The prefix of all names in Prometheus.
const PROMETHEUS_PREFIX: &str = "sms_foundation";

/// The outcome that replaces one which is not on the list, so that no input can add dimensions.
pub const OTHER: &str = "other";

/// All functions.
pub const FUNCTIONS: &[&str] = &[
    "authorize",
    "cancel-batch",
    "cancel-message",
    "create-partitions",
    "create-stream-token",
    "create-subscription",
    "create-template",
    "deactivations",
    "delete-subscription",
    "delete-template",
    "deliver-event",
    "delivery-status",
    "enable-subscription",
    "erase-conversation",
    "get-batch",
    "get-conversation",
    "get-media",
    "get-message",
    "get-subscription",
    "get-template",
    "health",
    "identify-tenant",
    "import-consent",
    "inbound-sms",
    "list-consent",
    "list-conversations",
    "list-deliveries",
    "list-events",
    "list-subscriptions",
    "list-templates",
    "manage-archives",
    "manage-keys",
    "manage-sends",
    "migrate",
    "openapi",
    "pause-batch",
    "reconcile-tenants",
    "reconcile-twilio",
    "record-consent",
    "record-inbound",
    "record-status",
    "remove-old-data",
    "replay-events",
    "resolve-unknown",
    "resume-batch",
    "retry-events",
    "retry-sends",
    "rotate-secret",
    "send-bulk",
    "send-outbound",
    "send-sms",
    "store-media",
    "stream-events",
    "test-subscription",
    "update-conversation",
    "update-subscription",
    "update-template",
];

/// Functions with a database.
const DATABASE: &[&str] = &[
    "authorize",
    "cancel-batch",
    "cancel-message",
    "create-partitions",
    "create-stream-token",
    "create-subscription",
    "create-template",
    "deactivations",
    "delete-subscription",
    "delete-template",
    "deliver-event",
    "delivery-status",
    "enable-subscription",
    "erase-conversation",
    "get-batch",
    "get-conversation",
    "get-media",
    "get-message",
    "get-subscription",
    "get-template",
    "health",
    "identify-tenant",
    "import-consent",
    "inbound-sms",
    "list-consent",
    "list-conversations",
    "list-deliveries",
    "list-events",
    "list-subscriptions",
    "list-templates",
    "manage-archives",
    "manage-keys",
    "manage-sends",
    "migrate",
    "pause-batch",
    "reconcile-tenants",
    "reconcile-twilio",
    "record-consent",
    "record-inbound",
    "record-status",
    "remove-old-data",
    "replay-events",
    "resolve-unknown",
    "resume-batch",
    "retry-events",
    "retry-sends",
    "rotate-secret",
    "send-bulk",
    "send-outbound",
    "send-sms",
    "store-media",
    "stream-events",
    "test-subscription",
    "update-conversation",
    "update-subscription",
    "update-template",
];

/// Functions that answer HTTP requests.
const HTTP: &[&str] = &[
    "authorize",
    "cancel-batch",
    "cancel-message",
    "create-stream-token",
    "create-subscription",
    "create-template",
    "delete-subscription",
    "delete-template",
    "delivery-status",
    "enable-subscription",
    "erase-conversation",
    "get-batch",
    "get-conversation",
    "get-media",
    "get-message",
    "get-subscription",
    "get-template",
    "health",
    "import-consent",
    "inbound-sms",
    "list-consent",
    "list-conversations",
    "list-deliveries",
    "list-events",
    "list-subscriptions",
    "list-templates",
    "openapi",
    "pause-batch",
    "record-consent",
    "replay-events",
    "resume-batch",
    "rotate-secret",
    "send-bulk",
    "send-sms",
    "stream-events",
    "test-subscription",
    "update-conversation",
    "update-subscription",
    "update-template",
];

const WEBHOOKS: &[&str] = &["delivery-status", "inbound-sms"];
const WORKERS: &[&str] =
    &["deliver-event", "identify-tenant", "record-inbound", "record-status", "send-outbound", "store-media"];
const LOOKUPS: &[&str] = &["identify-tenant", "reconcile-tenants"];

/// The languages of inbound messages.
const LANGUAGES: &[&str] = &["en", "es", "pt", "unknown"];

/// Why files of inbound messages were not stored.
const MEDIA_FAILURES: &[&str] = &[
    "gone",
    "not_found",
    "redirect_not_allowed",
    "retries_exhausted",
    "too_large",
    "unsupported_type",
    "url_not_allowed",
];

/// The kinds of errors: codes of the API without `sms.`, then those of queues, invocations and peers.
const ERRORS: &[&str] = &[
    "conflict",
    "forbidden",
    "idempotency_conflict",
    "internal",
    "invalid_signature",
    "method_not_allowed",
    "not_found",
    "payload_too_large",
    "rate_limited",
    "recipient_opted_out",
    "unauthorized",
    "unavailable",
    "validation_error",
    "record_failed",
    "record_poison",
    "invocation_failed",
    "part_failed",
    "monitor_failed",
    "profile_failed",
    "sqs_failed",
    "twilio_failed",
    "twilio_limited",
    "twilio_no_response",
    "twilio_refused",
    "twilio_unauthorized",
    "twilio_unreachable",
];

macro_rules! metrics {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $kind:ident in $unit:ident, from $services:expr
        $(, by outcome $outcomes:expr)?;)*) => {
        /// All metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric { $($(#[doc = $doc])* $variant,)* }

        impl Metric {
            /// Every metric, in the order of the enum.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the metric's name in CloudWatch.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns how its values are combined.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// Returns its unit in CloudWatch.
            #[must_use]
            pub fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit,)* }
            }

            /// Returns the functions that emit it, which are the values of the dimension `service`.
            #[must_use]
            pub fn services(self) -> &'static [&'static str] {
                match self { $(Self::$variant => $services,)* }
            }

            /// Returns the values of the dimension `outcome`; empty for a metric without that dimension.
            #[must_use]
            pub fn outcomes(self) -> &'static [&'static str] {
                match self { $($(Self::$variant => $outcomes,)?)* _ => &[] }
            }

            /// Returns its description.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

metrics! {
    /// Webhooks with a 2xx response. The webhook is stored in SQS or Postgres.
    WebhooksAccepted = "webhooks_accepted", Counter in Count, from WEBHOOKS;
    /// Webhooks with a 4xx response.
    WebhooksRefused = "webhooks_refused", Counter in Count, from WEBHOOKS;
    /// Inbound messages sent to the status callback URL, or the reverse. Fix the URLs at Twilio.
    WebhooksMisrouted = "webhooks_misrouted", Counter in Count, from WEBHOOKS;
    /// Webhooks that SQS did not accept in time and that were stored in the spool in Postgres.
    WebhooksSpooled = "webhooks_spooled", Counter in Count, from WEBHOOKS;
    /// Webhooks with a 503 response because neither SQS nor Postgres accepted them.
    WebhooksUnavailable = "webhooks_unavailable", Counter in Count, from WEBHOOKS;
    /// Webhooks moved from the spool to their queue.
    SpoolDrained = "spool_drained", Counter in Count, from &["retry-sends"];
    /// Webhooks left in the spool after a sweep.
    SpoolBacklog = "spool_backlog", Gauge in None, from &["retry-sends"];
    /// Inbound messages stored, without duplicates.
    MessagesStored = "messages_stored", Counter in Count, from &["record-inbound"];
    /// Records that were already stored and had no effect.
    Duplicates = "duplicates", Counter in Count, from &["record-inbound", "record-status", "send-outbound"];
    /// Records that failed and become visible on their queue again.
    RecordsFailed = "records_failed", Counter in Count, from WORKERS;
    /// Status callbacks stored, without duplicates.
    StatusesStored = "statuses_stored", Counter in Count, from &["record-status"];
    /// Sends accepted by the API.
    SendsRequested = "sends_requested", Counter in Count, from &["send-bulk", "send-sms"];
    /// Messages accepted by Twilio.
    SendsAccepted = "sends_accepted", Counter in Count, from &["send-outbound"];
    /// Messages that failed permanently.
    SendsFailed = "sends_failed", Counter in Count, from &["retry-sends", "send-outbound"];
    /// Sends deferred to a later attempt.
    SendsDeferred = "sends_deferred", Counter in Count, from &["send-outbound"];
    /// Sends with an ambiguous outcome: Twilio may have accepted the message.
    SendsUnknown = "sends_unknown", Counter in Count, from &["retry-sends", "send-outbound"];
    /// Sends that were already at Twilio, for example after restoring an older backup.
    SendsFound = "sends_found", Counter in Count, from &["send-outbound"];
    /// Ambiguous sends whose outcome was resolved.
    SendsResolved = "sends_resolved", Counter in Count, from &["resolve-unknown"];
    /// Ambiguous sends that could not be resolved. An operator must decide.
    SendsParked = "sends_parked", Counter in Count, from &["resolve-unknown", "send-outbound"];
    /// Inbound messages found in Twilio's list whose webhooks were not received. Investigate.
    InboundRecovered = "inbound_recovered", Counter in Count, from &["reconcile-twilio"];
    /// Statuses found in Twilio's list whose callbacks were not received.
    StatusesRecovered = "statuses_recovered", Counter in Count, from &["reconcile-twilio"];
    /// Sends that failed because of our configuration. An operator must act.
    SendsMisconfigured = "sends_misconfigured", Counter in Count, from &["record-status", "send-outbound"];
    /// Senders with due messages that a sweep put on the queue.
    SendersWoken = "senders_woken", Counter in Count, from &["retry-sends"];
    /// Chains of wake-ups that ended at their limit. The next sweep wakes the sender again.
    WakeUpsLimited = "wake_ups_limited", Counter in Count, from &["send-outbound"];
    /// Senders held because Twilio rejects or limits their messages.
    SendersHeld = "senders_held", Counter in Count, from &["send-outbound"];
    /// Senders that used up their daily limit, so that messages wait for the next day.
    DailyLimitsReached = "daily_limits_reached", Counter in Count, from &["send-outbound"];
    /// Messages that Twilio accepted, could not deliver, and that are created again.
    SendsRenewed = "sends_renewed", Counter in Count, from &["record-status"];
    /// Automatic replies.
    AutoReplies = "auto_replies", Counter in Count, from &["record-inbound"];
    /// Conversations assigned to a tenant, or to another tenant.
    TenantsIdentified = "tenants_identified", Counter in Count, from LOOKUPS;
    /// Numbers that belong to several tenants. An operator must decide.
    TenantsAmbiguous = "tenants_ambiguous", Counter in Count, from LOOKUPS;
    /// Numbers whose lookup at the Monitor failed.
    TenantLookupsFailed = "tenant_lookups_failed", Counter in Count, from LOOKUPS;
    /// Tenants whose language was stored in their profile.
    ProfilesUpdated = "profiles_updated", Counter in Count, from LOOKUPS;
    /// Tenants whose language could not be stored in their profile. The schedule retries.
    ProfilePushesFailed = "profile_pushes_failed", Counter in Count, from LOOKUPS;
    /// Inbound messages that opted a handset out.
    OptOuts = "opt_outs", Counter in Count, from &["record-inbound"];
    /// Inbound messages that may be an opt-out. Messages continue; a person should check.
    OptOutsUnsure = "opt_outs_unsure", Counter in Count, from &["record-inbound"];
    /// Files of inbound messages copied to object storage.
    MediaStored = "media_stored", Counter in Count, from &["store-media"];
    /// Files of inbound messages that could not be copied and are not attempted again, by reason.
    MediaFailed = "media_failed", Counter in Count, from &["store-media"], by outcome MEDIA_FAILURES;
    /// Attempts to copy or delete a file that failed and are repeated.
    MediaRetried = "media_retried", Counter in Count, from &["store-media"];
    /// Copies of files that were deleted because their content was erased or too old.
    MediaRemoved = "media_removed", Counter in Count, from &["store-media"];
    /// Conversations whose numbers Twilio lists as deactivated.
    NumbersDeactivated = "numbers_deactivated", Counter in Count, from &["deactivations"];
    /// API keys rejected by the authorizer: malformed, unknown, revoked or expired.
    KeysRefused = "keys_refused", Counter in Count, from &["authorize"];
    /// API requests with a 5xx response.
    ApiFailures = "api_failures", Counter in Count, from HTTP;
    /// For how many months after this one every partitioned table has a partition. Fewer than two raise an alarm.
    PartitionsReady = "partitions_ready", Gauge in None, from &["create-partitions"];
    /// Rows in default partitions: their ids come from a wrong clock, or a partition was missing.
    RowsInDefaultPartitions = "rows_in_default_partitions", Gauge in None, from &["create-partitions"];
    /// Months of a table dropped because of their age.
    OldMonthsDropped = "old_months_dropped", Counter in Count, from &["remove-old-data"];
    /// Messages emptied and rows deleted because of their age, without those of dropped months.
    OldRowsRemoved = "old_rows_removed", Counter in Count, from &["remove-old-data"];
    /// Size of data removed because of its age. Dropped months count with their indexes.
    OldBytesRemoved = "old_data_removed", Counter in Bytes, from &["remove-old-data"];
    /// Latency of create requests to Twilio.
    CreateLatency = "twilio_create_latency", Distribution in Milliseconds, from &["send-outbound"];
    /// Segments of the texts that Twilio accepted, as counted here.
    SegmentsSent = "segments_sent", Counter in Count, from &["send-outbound"];
    /// Time from the request, or from `send_at`, until Twilio accepted the message.
    HandoverLatency = "handover_latency", Distribution in Seconds, from &["send-outbound"];
    /// Time from the request, or from `send_at`, until the callback with the status `delivered` arrived.
    DeliveryLatency = "delivery_latency", Distribution in Seconds, from &["record-status"];
    /// Stored inbound messages by the language of their text.
    LanguagesDetected = "languages_detected", Counter in Count, from &["record-inbound"], by outcome LANGUAGES;
    /// Lookups of numbers that found no tenant. Unknown numbers are looked up again, less and less often.
    UnknownNumbers = "unknown_numbers", Counter in Count, from LOOKUPS;
    /// Events that subscribers accepted.
    EventsDelivered = "events_delivered", Counter in Count, from &["deliver-event"];
    /// Attempts to deliver an event that failed. They are repeated, except the last of an event.
    DeliveriesFailed = "deliveries_failed", Counter in Count, from &["deliver-event"];
    /// Attempts that took longer than a fast worker waits, and were left to the workers of slow receivers.
    DeliveriesReleased = "deliveries_released", Counter in Count, from &["deliver-event"];
    /// Events that were given up for a subscription after the last attempt. They can be replayed.
    EventsGivenUp = "events_given_up", Counter in Count, from &["deliver-event"];
    /// Time from an event until a subscriber accepted it at the first attempt, without replays.
    EventLatency = "event_latency", Distribution in Seconds, from &["deliver-event"];
    /// Streams with due events whose hint was lost, and that a sweep put on their queue.
    StreamsHinted = "streams_hinted", Counter in Count, from &["retry-events"];
    /// Events in flight, waiting for another attempt, or held back by an earlier event of their conversation.
    EventsUndelivered = "events_undelivered", Gauge in None, from &["retry-events"];
    /// Warnings about subscriptions that have failed for half or 90 percent of the time after which they are disabled.
    SubscriptionsWarned = "subscriptions_warned", Counter in Count, from &["retry-events"];
    /// Subscriptions that were disabled because they failed for too long, or because their receiver answered 410.
    SubscriptionsDisabled = "subscriptions_disabled", Counter in Count, from &["deliver-event", "retry-events"];
    /// Age of a record when a function receives it: since it was sent, or since a wake-up was due.
    QueueAge = "queue_age", Distribution in Seconds, from WORKERS;
    /// Time of a statement in Postgres, with waiting for a connection.
    DatabaseLatency = "database_latency", Distribution in Milliseconds, from DATABASE;
    /// Statements repeated on a new connection, because the first was dead or there was a deadlock.
    DatabaseRetries = "database_retries", Counter in Count, from DATABASE;
    /// Processes started: the first invocation of each counts.
    ColdStarts = "cold_starts", Counter in Count, from FUNCTIONS;
    /// Errors of requests, records, invocations and calls to peers.
    Errors = "errors", Counter in Count, from FUNCTIONS, by outcome ERRORS;
}

impl Metric {
    /// Returns the metric with a name of CloudWatch.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.name() == name)
    }

    /// Returns the outcome as it is on the list, or [`OTHER`].
    pub(super) fn outcome(self, outcome: &str) -> &'static str {
        self.outcomes().iter().copied().find(|known| *known == outcome).unwrap_or(OTHER)
    }

    /// Returns the name of the metric's family in Prometheus. The samples of a counter end in `_total`.
    #[must_use]
    pub fn prometheus_family(self) -> String {
        let suffix = self.unit().base().0.map_or_else(String::new, |unit| format!("_{unit}"));
        format!("{PROMETHEUS_PREFIX}_{}{suffix}", self.name())
    }

    /// Returns the name of its samples in Prometheus; a histogram has `_bucket`, `_sum` and `_count` of this.
    #[must_use]
    pub fn prometheus_name(self) -> String {
        let total = if self.kind() == Kind::Counter { "_total" } else { "" };
        self.prometheus_family() + total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn is_snake_case(name: &str) -> bool {
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    }

    #[test]
    fn names_are_unique_and_have_no_unit() {
        let names: BTreeSet<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        let with_unit = ["total", "seconds", "milliseconds", "bytes"];
        assert!(
            names
                .iter()
                .all(|name| is_snake_case(name) && !with_unit.iter().any(|unit| name.ends_with(unit)))
        );
        for metric in Metric::ALL {
            assert_eq!(Metric::by_name(metric.name()), Some(*metric));
            assert!(metric.description().ends_with('.'), "{metric:?}");
        }
    }

    #[test]
    fn a_metric_has_at_most_a_few_dozen_series_per_function() {
        for metric in Metric::ALL {
            let (services, outcomes) = (metric.services(), metric.outcomes());
            assert!(!services.is_empty() && services.is_sorted() && outcomes.len() <= 30, "{metric:?}");
            assert!(services.iter().all(|service| FUNCTIONS.contains(service)), "{metric:?}");
            assert!(outcomes.iter().all(|outcome| is_snake_case(outcome)), "{metric:?}");
        }
        assert_eq!(Metric::Errors.outcome("+12035550100"), OTHER);
    }

    #[test]
    fn prometheus_names_have_base_units_and_total() {
        let name = Metric::prometheus_name;
        assert_eq!(name(Metric::WebhooksAccepted), "sms_foundation_webhooks_accepted_total");
        assert_eq!(name(Metric::CreateLatency), "sms_foundation_twilio_create_latency_seconds");
        assert_eq!(name(Metric::QueueAge), "sms_foundation_queue_age_seconds");
        assert_eq!(name(Metric::OldBytesRemoved), "sms_foundation_old_data_removed_bytes_total");
        assert_eq!(name(Metric::SpoolBacklog), "sms_foundation_spool_backlog");
    }

    #[test]
    fn the_unit_fits_the_kind() {
        for metric in Metric::ALL {
            let fits = match metric.kind() {
                Kind::Counter => matches!(metric.unit(), Unit::Count | Unit::Bytes),
                Kind::Gauge => metric.unit() == Unit::None,
                Kind::Distribution => matches!(metric.unit(), Unit::Milliseconds | Unit::Seconds),
            };
            assert!(fits, "{metric:?}");
        }
    }
}
