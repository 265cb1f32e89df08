//! Emulates EventBridge Scheduler and EventBridge's scheduled rules.

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::clock;
use crate::lambda::{Functions, InvokeError, WhenBusy};
use crate::template::{ACCOUNT_ID, FunctionSpec, ScheduleSpec};

/// The delay before the first retry of a failed invocation. It doubles with each retry.
///
/// Much shorter than Lambda's delays, so that a developer sees the retries.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A parsed schedule.
#[derive(Debug)]
pub(crate) struct Schedule {
    spec: ScheduleSpec,
    every: Every,
    /// Lambda's limits for retries of a failed asynchronous invocation.
    async_retries: u32,
    async_max_age: Duration,
    region: String,
}

#[derive(Debug)]
enum Every {
    Period(Duration),
    Cron(Box<Cron>, TimeZone),
}

/// An invalid schedule expression.
#[derive(Debug, thiserror::Error)]
#[error("schedule {name}: invalid expression {expression}: {reason}")]
pub struct ScheduleError {
    name: String,
    expression: String,
    reason: String,
}

impl Schedule {
    /// Parses a schedule. `tick` replaces its expression.
    ///
    /// # Errors
    ///
    /// If the expression or its time zone is invalid; correct it in the template.
    pub(crate) fn new(
        spec: ScheduleSpec,
        tick: Option<Duration>,
        function: Option<&FunctionSpec>,
        region: &str,
    ) -> Result<Self, ScheduleError> {
        let every = parse(&spec.expression, &spec.timezone).map_err(|reason| ScheduleError {
            name: spec.name.clone(),
            expression: spec.expression.clone(),
            reason,
        })?;
        Ok(Self {
            spec,
            every: tick.map_or(every, Every::Period),
            async_retries: function.map_or(0, |function| function.async_retries),
            async_max_age: function.map_or(Duration::ZERO, |function| function.async_max_age),
            region: region.to_owned(),
        })
    }

    /// Invokes the function on schedule until the task is dropped. As in AWS, invocations may overlap.
    pub(crate) async fn run(self, functions: Arc<Functions>) {
        let schedule = Arc::new(self);
        let mut last = clock::now();
        while let Some(next) = schedule.every.after(last) {
            let wait = Duration::try_from(next.duration_since(clock::now())).unwrap_or_default();
            tokio::time::sleep(wait).await;
            // After the machine was suspended, invoke once instead of once for each missed time.
            last = next.max(clock::now());
            tokio::spawn(schedule.clone().fire(functions.clone(), next));
        }
    }

    async fn fire(self: Arc<Self>, functions: Arc<Functions>, at: Timestamp) {
        let begun = Instant::now();
        let (mut errors, mut attempt, mut pause) = (0, 1, RETRY_DELAY);
        loop {
            let event = self.event(at, attempt);
            let outcome = functions.invoke(&self.spec.function, event.into(), WhenBusy::Throttle).await;
            let is_retried = match outcome {
                Ok(_) | Err(InvokeError::NotFound(_)) => return,
                // Lambda's own retries of an asynchronous invocation.
                Err(InvokeError::Function(_)) => {
                    errors += 1;
                    errors <= self.async_retries
                }
                // Lambda retries throttled asynchronous invocations. EventBridge Scheduler's RetryPolicy does not
                // apply.
                Err(InvokeError::Throttled) => true,
            };
            if !is_retried || begun.elapsed() > self.async_max_age {
                let _ = writeln!(std::io::stderr(), "[{}] failed after {attempt} attempts", self.spec.name);
                return;
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(Duration::from_secs(60));
        }
    }

    fn event(&self, at: Timestamp, attempt: u32) -> String {
        let at = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let name = &self.spec.name;
        let (source, arn, detail) = if self.spec.is_rule {
            ("aws.events", format!("arn:aws:events:{}:{ACCOUNT_ID}:rule/{name}", self.region), json!({}))
        } else {
            let arn = format!("arn:aws:scheduler:{}:{ACCOUNT_ID}:schedule/default/{name}", self.region);
            ("aws.scheduler", arn, json!("{}"))
        };
        if let Some(input) = &self.spec.input {
            return input
                .replace("<aws.scheduler.schedule-arn>", &arn)
                .replace("<aws.scheduler.scheduled-time>", &at)
                .replace("<aws.scheduler.execution-id>", &clock::request_id())
                .replace("<aws.scheduler.attempt-number>", &attempt.to_string());
        }
        json!({
            "version": "0",
            "id": clock::request_id(),
            "detail-type": "Scheduled Event",
            "source": source,
            "account": ACCOUNT_ID,
            "time": at,
            "region": self.region,
            "resources": [arn],
            "detail": detail,
        })
        .to_string()
    }
}

impl Every {
    fn after(&self, last: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Period(period) => last.checked_add(*period).ok(),
            Self::Cron(cron, zone) => {
                let next = cron.find_next_occurrence(&last.to_zoned(zone.clone()), false).ok()?;
                Some(next.timestamp())
            }
        }
    }
}

/// Parses `rate(5 minutes)` or `cron(0 12 * * ? *)`.
fn parse(expression: &str, timezone: &str) -> Result<Every, String> {
    let inner = |kind: &str| expression.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(rate) = inner("rate") {
        let (count, unit) = rate.trim().split_once(' ').ok_or("rate() needs a number and a unit")?;
        let count =
            u64::from_str(count).ok().filter(|count| *count > 0).ok_or("the number must be positive")?;
        let seconds = match unit.trim().trim_end_matches('s') {
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            _ => return Err("the unit must be minutes, hours or days".to_owned()),
        };
        return Ok(Every::Period(Duration::from_secs(count.saturating_mul(seconds))));
    }
    let cron = inner("cron").ok_or("only rate() and cron() are supported")?;
    let fields: Vec<String> =
        cron.split_whitespace().zip(MAX_VALUES).map(|(field, max)| step_range(field, max)).collect();
    if cron.split_whitespace().count() != MAX_VALUES.len() {
        return Err("cron() has six fields: minutes hours day-of-month month day-of-week year".to_owned());
    }
    // AWS expressions have no seconds and number weekdays from Sunday = 1, as Quartz does.
    let parser =
        CronParser::builder().seconds(Seconds::Required).year(Year::Required).alternative_weekdays(true);
    let cron = parser.build().parse(&format!("0 {}", fields.join(" "))).map_err(|error| error.to_string())?;
    let zone = TimeZone::get(timezone).map_err(|error| error.to_string())?;
    Ok(Every::Cron(Box::new(cron), zone))
}

/// The maximum value of each of the six fields.
const MAX_VALUES: [u16; 6] = [59, 23, 31, 12, 7, 2199];

/// Converts AWS's `5/15` (from 5, every 15) to the library's `5-59/15`.
fn step_range(field: &str, max: u16) -> String {
    let parts = field.split(',').map(|part| match part.split_once('/') {
        Some((from, step)) if from.parse::<u16>().is_ok() => format!("{from}-{max}/{step}"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, timezone: &str, after: &str) -> String {
        let every = parse(expression, timezone).unwrap();
        every.after(after.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn schedules_run_at_the_times_that_eventbridge_documents() {
        let cases = [
            ("rate(1 minute)", "UTC", "2026-11-23T13:00:30Z", "2026-11-23T13:01:30Z"),
            ("rate(2 hours)", "UTC", "2026-11-23T13:00:30Z", "2026-11-23T15:00:30Z"),
            ("cron(0 12 * * ? *)", "UTC", "2026-11-23T13:00:00Z", "2026-11-24T12:00:00Z"),
            ("cron(15 10 ? * 6L 2026-2027)", "UTC", "2026-11-23T13:00:00Z", "2026-11-27T10:15:00Z"),
            ("cron(0 8 ? * MON-FRI *)", "UTC", "2026-11-27T09:00:00Z", "2026-11-30T08:00:00Z"),
            ("cron(0 8 ? * 2-6 *)", "UTC", "2026-11-27T09:00:00Z", "2026-11-30T08:00:00Z"),
            ("cron(0/15 * * * ? *)", "UTC", "2026-11-23T13:16:00Z", "2026-11-23T13:30:00Z"),
            ("cron(0 9 * * ? *)", "America/New_York", "2026-11-23T13:00:00Z", "2026-11-23T14:00:00Z"),
        ];
        for (expression, timezone, after, expected) in cases {
            assert_eq!(next(expression, timezone, after), expected, "{expression}");
        }
    }

    #[test]
    fn an_invalid_expression_or_time_zone_is_rejected() {
        for expression in
            ["rate(0 minutes)", "rate(5 parsecs)", "cron(* * * * *)", "every day", "cron(61 * * * ? *)"]
        {
            assert!(parse(expression, "UTC").is_err(), "{expression}");
        }
        assert!(parse("cron(0 9 * * ? *)", "Mars/Olympus").is_err());
    }
}
