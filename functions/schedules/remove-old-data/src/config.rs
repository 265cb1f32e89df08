//! Configuration: how long each kind of data is kept.

use common::config::{Configuration, Env};
use common::db::DatabaseConfig;
use common::db::retention::Column;
use common::storage::StorageConfig;
use common::twilio::send_max_age;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Where a kind of data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// A table with a partition per month: whole months are archived and dropped.
    Months(&'static str),
    /// Columns of `sms_messages`, which are emptied in place.
    Columns(Column),
}

/// A kind of data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The variable with its age in days.
    variable: &'static str,
    default: Age,
    pub(crate) data: &'static [Data],
}

/// All kinds of data that have a retention. Data that is not listed is kept forever.
pub(crate) const KINDS: [Kind; 5] = [
    Kind {
        name: "raw webhooks",
        variable: "RETENTION_RAW_WEBHOOKS_DAYS",
        default: Age::Forever,
        data: &[Data::Months("sms_message_payloads"), Data::Months("sms_message_status_events")],
    },
    Kind {
        name: "bodies",
        variable: "RETENTION_BODIES_DAYS",
        default: Age::Forever,
        data: &[Data::Columns(Column::Bodies)],
    },
    Kind {
        name: "media",
        variable: "RETENTION_MEDIA_DAYS",
        default: Age::Forever,
        data: &[Data::Columns(Column::Media)],
    },
    Kind {
        name: "events",
        variable: "RETENTION_EVENTS_DAYS",
        default: Age::Days(90),
        data: &[Data::Months("sms_events")],
    },
    Kind {
        name: "responses",
        variable: "RETENTION_RESPONSES_DAYS",
        default: Age::Days(30),
        data: &[Data::Months("sms_delivery_attempts")],
    },
];

/// How long data is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Forever,
    Days(u64),
}

/// The text is not an age.
#[derive(Debug, Clone, Copy)]
struct AgeError;

impl fmt::Display for AgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a number of days from 1 to 36500, or forever")
    }
}

impl FromStr for Age {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let days = text.parse().map_err(|_| AgeError)?;
        if (1..=36_500).contains(&days) { Ok(Self::Days(days)) } else { Err(AgeError) }
    }
}

/// Configuration, read from the environment: [`DatabaseConfig`], [`StorageConfig`], and
///
/// - `RETENTION_RAW_WEBHOOKS_DAYS`, `RETENTION_BODIES_DAYS`, `RETENTION_MEDIA_DAYS` (`forever`),
///   `RETENTION_EVENTS_DAYS` (90), `RETENTION_RESPONSES_DAYS` (30, attempts to deliver events): how old each kind of
///   data may become, in days.
/// - `RECONCILE_WINDOW_SECONDS` (172 800), and `SEND_MAX_AGE_SECONDS` (86 400) with `UNKNOWN_PARK_AFTER_SECONDS`
///   (86 400): how long other functions need the data. A shorter retention is an error.
/// - `ARCHIVE_BUCKET`: where months are archived before they are dropped. Without it, they are not archived.
/// - `ARCHIVE_PART_BYTES` (8 388 608): the compressed size of a part. It is held in memory.
/// - `RETENTION_BUDGET_SECONDS` (240): how long a run may start new steps.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) database: DatabaseConfig,
    pub(crate) archive: Option<StorageConfig>,
    pub(crate) part_bytes: usize,
    pub(crate) budget: Duration,
    /// For each of [`KINDS`], how long its data is kept. `None` is forever.
    pub(crate) ages: [Option<Duration>; KINDS.len()],
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let archive = StorageConfig::optional(env, "ARCHIVE_BUCKET");
        let part_bytes = env.number("ARCHIVE_PART_BYTES", 1_024..=67_108_864, 8_388_608);
        let budget = env.seconds("RETENTION_BUDGET_SECONDS", 1..=840, 240);
        let needed = needed(env);
        let ages = KINDS.map(|kind| age(env, &kind, needed.as_ref()));
        let [raw_webhooks, bodies, media, events, responses] = ages;
        Some(Self {
            database: database?,
            archive: archive?,
            part_bytes: usize::try_from(part_bytes?).ok()?,
            budget: budget?,
            ages: [raw_webhooks?, bodies?, media?, events?, responses?],
        })
    }
}

/// The shortest possible retention, and the variables that it follows from.
struct Needed {
    age: Duration,
    because: &'static str,
}

fn needed(env: &mut Env<'_>) -> Option<Needed> {
    let window = env.seconds("RECONCILE_WINDOW_SECONDS", 1..=2_592_000, 172_800);
    let max_age = send_max_age(env);
    let park_after = env.seconds("UNKNOWN_PARK_AFTER_SECONDS", 1..=2_592_000, 86_400);
    let (window, unknown) = (window?, max_age? + park_after?);
    Some(if window >= unknown {
        Needed { age: window, because: "RECONCILE_WINDOW_SECONDS" }
    } else {
        Needed { age: unknown, because: "SEND_MAX_AGE_SECONDS plus UNKNOWN_PARK_AFTER_SECONDS" }
    })
}

/// Reads the age of a kind. The inner `Option` is `None` for forever.
fn age(env: &mut Env<'_>, kind: &Kind, needed: Option<&Needed>) -> Option<Option<Duration>> {
    let Age::Days(days) = env.parse_or(kind.variable, kind.default)? else { return Some(None) };
    let age = DAY * u32::try_from(days).ok()?;
    if let Some(needed) = needed.filter(|needed| age < needed.age) {
        let least = needed.age.as_secs().div_ceil(DAY.as_secs());
        env.problem(format!("{} must be at least {least}, because of {}", kind.variable, needed.because));
        return None;
    }
    Some(Some(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let lookup = |name: &str| match name {
            "DATABASE_URL" => Some("postgres://u@127.0.0.1/x".to_owned()),
            _ => variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
        };
        Config::from_lookup(&lookup).map_err(|error| error.problems().to_vec())
    }

    #[test]
    fn everything_is_kept_forever_by_default_except_events_and_responses() {
        assert_eq!(read(&[]).unwrap().ages, [None, None, None, Some(DAY * 90), Some(DAY * 30)]);
        let changed = [("RETENTION_EVENTS_DAYS", "forever"), ("RETENTION_BODIES_DAYS", "2")];
        assert_eq!(read(&changed).unwrap().ages, [None, Some(DAY * 2), None, None, Some(DAY * 30)]);
    }

    #[test]
    fn a_retention_shorter_than_other_functions_need_is_rejected_with_every_variable() {
        let short = [("RETENTION_RAW_WEBHOOKS_DAYS", "1"), ("RETENTION_BODIES_DAYS", "0")];
        assert_eq!(
            read(&short).unwrap_err(),
            [
                "RETENTION_RAW_WEBHOOKS_DAYS must be at least 2, because of RECONCILE_WINDOW_SECONDS",
                "RETENTION_BODIES_DAYS is invalid (must be a number of days from 1 to 36500, or forever)",
            ]
        );
        let long_window = [("RECONCILE_WINDOW_SECONDS", "1000000"), ("RETENTION_EVENTS_DAYS", "11")];
        assert_eq!(
            read(&long_window).unwrap_err(),
            ["RETENTION_EVENTS_DAYS must be at least 12, because of RECONCILE_WINDOW_SECONDS"]
        );
        let slow = [("UNKNOWN_PARK_AFTER_SECONDS", "172801"), ("RETENTION_MEDIA_DAYS", "3")];
        assert_eq!(
            read(&slow).unwrap_err(),
            ["RETENTION_MEDIA_DAYS must be at least 4, because of SEND_MAX_AGE_SECONDS plus \
              UNKNOWN_PARK_AFTER_SECONDS"]
        );
    }
}
