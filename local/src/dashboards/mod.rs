//! The dashboards: one list of rows and panels, written for CloudWatch (`template.yaml`) and for Grafana
//! (`common/docs/grafana-dashboard.json`), and the table of metrics (`common/docs/metrics.md`).
//!
//! `UPDATE_DASHBOARDS=1 cargo test -p local --test it dashboards` writes all three.

mod cloudwatch;
mod grafana;
mod page;

pub use self::cloudwatch::{body, template_block};
pub use self::grafana::dashboard;
pub use self::page::page;

use common::telemetry::Metric;

/// Panels with a heading.
#[derive(Debug)]
pub struct Row {
    /// The heading.
    pub title: &'static str,
    /// The panels, from left to right.
    pub panels: Vec<Panel>,
}

/// A diagram.
#[derive(Debug)]
pub struct Panel {
    /// The title.
    pub title: &'static str,
    /// The lines.
    pub source: Source,
}

/// Where the lines of a panel come from.
#[derive(Debug)]
pub enum Source {
    /// Metrics of the list.
    Listed(&'static [Metric]),
    /// A metric of AWS for each function, queue, dead-letter queue, or for the API.
    Aws {
        /// The things that have the metric.
        of: Of,
        /// The names in CloudWatch.
        names: &'static [&'static str],
        /// The statistic.
        statistic: &'static str,
        /// The query in Grafana for the local stack, with `{}` for its labels; none if the local stack has no such
        /// metric.
        query: Option<&'static str>,
    },
}

/// Things with metrics of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Each function.
    Functions,
    /// Each queue that a function consumes.
    Queues,
    /// Each queue that an operator empties: dead letters and failed schedules.
    DeadLetters,
    /// The HTTP API.
    Api,
}

const fn listed(title: &'static str, metrics: &'static [Metric]) -> Panel {
    Panel { title, source: Source::Listed(metrics) }
}

const fn aws(
    title: &'static str,
    of: Of,
    names: &'static [&'static str],
    statistic: &'static str,
    query: Option<&'static str>,
) -> Panel {
    Panel { title, source: Source::Aws { of, names, statistic, query } }
}

/// Returns all rows.
#[must_use]
pub fn rows() -> Vec<Row> {
    use Metric as M;
    vec![
        Row {
            title: "Traffic in",
            panels: vec![
                listed("Webhooks", &[M::WebhooksAccepted, M::WebhooksRefused, M::WebhooksMisrouted]),
                listed("Stored", &[M::MessagesStored, M::StatusesStored, M::Duplicates]),
                listed("Languages of inbound messages", &[M::LanguagesDetected]),
                listed(
                    "Opt-outs, deactivated numbers, automatic replies",
                    &[M::OptOuts, M::OptOutsUnsure, M::NumbersDeactivated, M::AutoReplies],
                ),
                listed(
                    "Tenants",
                    &[M::TenantsIdentified, M::UnknownNumbers, M::TenantsAmbiguous, M::ProfilesUpdated],
                ),
                listed("Files", &[M::MediaStored, M::MediaRetried, M::MediaRemoved]),
                listed("Files that were not stored", &[M::MediaFailed]),
                listed("Recovered from Twilio's lists", &[M::InboundRecovered, M::StatusesRecovered]),
            ],
        },
        Row {
            title: "Traffic out",
            panels: vec![
                listed("Sends", &[M::SendsRequested, M::SendsAccepted, M::SegmentsSent]),
                listed("Not sent yet, or failed", &[M::SendsDeferred, M::SendsFailed, M::SendsRenewed]),
                listed("Sent before, resolved, woken", &[M::SendsFound, M::SendsResolved, M::SendersWoken]),
                aws("API requests", Of::Api, &["Count", "4xx", "5xx"], "Sum", None),
            ],
        },
        Row {
            title: "Events",
            panels: vec![
                listed("Deliveries", &[M::EventsDelivered, M::DeliveriesFailed, M::DeliveriesReleased]),
                listed("Event to receipt", &[M::EventLatency]),
                listed("Undelivered or given up", &[M::EventsUndelivered, M::EventsGivenUp]),
                listed("Failing subscriptions", &[M::SubscriptionsWarned, M::SubscriptionsDisabled]),
                listed("Lost hints", &[M::StreamsHinted]),
            ],
        },
        Row {
            title: "Latency",
            panels: vec![
                listed("Request to Twilio", &[M::HandoverLatency]),
                listed("Request to delivered", &[M::DeliveryLatency]),
                listed("Twilio's response to a create", &[M::CreateLatency]),
            ],
        },
        Row {
            title: "Errors and holds",
            panels: vec![
                listed("Errors by service and outcome", &[M::Errors]),
                listed("Requests", &[M::ApiFailures, M::KeysRefused]),
                listed(
                    "Sends that need attention",
                    &[M::SendsUnknown, M::SendsParked, M::SendsMisconfigured],
                ),
                listed("Holds", &[M::SendersHeld, M::DailyLimitsReached, M::WakeUpsLimited]),
                listed("Monitor and profiles", &[M::TenantLookupsFailed, M::ProfilePushesFailed]),
                listed("Records that failed", &[M::RecordsFailed]),
            ],
        },
        Row {
            title: "Queues and dead letters",
            panels: vec![
                listed("Age of received records", &[M::QueueAge]),
                aws(
                    "Messages waiting",
                    Of::Queues,
                    &["ApproximateNumberOfMessagesVisible"],
                    "Maximum",
                    Some("max by (queue) (sqs_messages{queue!~\".*DeadLetter.*|FailedSchedules.*\"})"),
                ),
                aws(
                    "Age of the oldest message",
                    Of::Queues,
                    &["ApproximateAgeOfOldestMessage"],
                    "Maximum",
                    Some(
                        "max by (queue) (sqs_oldest_message_age_seconds{queue!~\".*DeadLetter.*|FailedSchedules.*\"})",
                    ),
                ),
                aws(
                    "Dead letters and failed schedules",
                    Of::DeadLetters,
                    &["ApproximateNumberOfMessagesVisible"],
                    "Maximum",
                    Some("max by (queue) (sqs_messages{queue=~\".*DeadLetter.*|FailedSchedules.*\"})"),
                ),
                aws(
                    "Age of the oldest dead letter",
                    Of::DeadLetters,
                    &["ApproximateAgeOfOldestMessage"],
                    "Maximum",
                    Some(
                        "max by (queue) (sqs_oldest_message_age_seconds{queue=~\".*DeadLetter.*|FailedSchedules.*\"})",
                    ),
                ),
                listed(
                    "Spool",
                    &[M::WebhooksSpooled, M::SpoolDrained, M::SpoolBacklog, M::WebhooksUnavailable],
                ),
            ],
        },
        Row {
            title: "Functions",
            panels: vec![
                aws(
                    "Invocations",
                    Of::Functions,
                    &["Invocations"],
                    "Sum",
                    Some("sum by (function) (increase(lambda_invocations_total[$__rate_interval]))"),
                ),
                aws(
                    "Failed invocations",
                    Of::Functions,
                    &["Errors"],
                    "Sum",
                    Some("sum by (function) (increase(lambda_errors_total[$__rate_interval]))"),
                ),
                aws(
                    "Throttles",
                    Of::Functions,
                    &["Throttles"],
                    "Sum",
                    Some("sum by (function) (increase(lambda_throttles_total[$__rate_interval]))"),
                ),
                aws(
                    "Duration, 95th percentile",
                    Of::Functions,
                    &["Duration"],
                    "p95",
                    Some(
                        "histogram_quantile(0.95, sum by (le, function) \
                         (rate(lambda_duration_seconds_bucket[$__rate_interval])))",
                    ),
                ),
                aws("Concurrent executions", Of::Functions, &["ConcurrentExecutions"], "Maximum", None),
                listed("Cold starts", &[M::ColdStarts]),
            ],
        },
        Row {
            title: "Database",
            panels: vec![
                listed("Statements", &[M::DatabaseLatency]),
                listed("Repeated statements", &[M::DatabaseRetries]),
                listed("Partitions", &[M::PartitionsReady, M::RowsInDefaultPartitions]),
                listed("Removed rows and months", &[M::OldRowsRemoved, M::OldMonthsDropped]),
                listed("Removed data", &[M::OldBytesRemoved]),
            ],
        },
    ]
}

/// Returns the position of a row's panels on a grid of 24 columns: x and width. Three panels fill a line.
fn columns(panels: usize) -> impl Iterator<Item = (usize, usize)> {
    const WIDTH: usize = 8;
    (0..panels).map(|panel| (panel % 3 * WIDTH, WIDTH))
}

/// The height of a panel in CloudWatch and in Grafana.
const HEIGHT: usize = 6;
