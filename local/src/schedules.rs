//! EventBridge Scheduler, and EventBridge's scheduled rules: functions invoked by the clock.

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

/// The first pause before an invocation is tried again; it doubles, as the next tick is never far.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A schedule that was read.
#[derive(Debug)]
pub(crate) struct Schedule {
    spec: ScheduleSpec,
    every: Every,
    /// How often Lambda tries an asynchronous invocation again after an error, and after how long it gives up.
    async_retries: u32,
    async_max_age: Duration,
    region: String,
}

#[derive(Debug)]
enum Every {
    Period(Duration),
    Cron(Box<Cron>, TimeZone),
}

/// An expression that is none of EventBridge's.
#[derive(Debug, thiserror::Error)]
#[error("schedule {name}: {expression} is not understood: {reason}")]
pub struct ScheduleError {
    name: String,
    expression: String,
    reason: String,
}

impl Schedule {
    /// Reads a schedule. `tick` replaces its expression.
    ///
    /// # Errors
    ///
    /// When the expression or its time zone is not understood.
    pub(crate) fn new(
        spec: ScheduleSpec,
        tick: Option<Duration>,
        function: Option<&FunctionSpec>,
        region: &str,
    ) -> Result<Self, ScheduleError> {
        let every = read(&spec.expression, &spec.timezone).map_err(|reason| ScheduleError {
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

    /// Ticks until it is dropped. A tick does not wait for the one before, as in AWS.
    pub(crate) async fn run(self, functions: Arc<Functions>) {
        let schedule = Arc::new(self);
        let mut last = clock::now();
        while let Some(next) = schedule.every.after(last) {
            let wait = Duration::try_from(next.duration_since(clock::now())).unwrap_or_default();
            tokio::time::sleep(wait).await;
            // A machine that slept through ticks gets one, not all of them.
            last = next.max(clock::now());
            tokio::spawn(schedule.clone().fire(functions.clone(), next));
        }
    }

    async fn fire(self: Arc<Self>, functions: Arc<Functions>, at: Timestamp) {
        let begun = Instant::now();
        let (mut errors, mut attempt, mut pause) = (0, 1, RETRY_PAUSE);
        loop {
            let event = self.event(at, attempt);
            let outcome = functions.invoke(&self.spec.function, event.into(), WhenBusy::Throttle).await;
            let again = match outcome {
                Ok(_) | Err(InvokeError::NotFound(_)) => return,
                // Lambda's own retries of an asynchronous invocation.
                Err(InvokeError::Function(_)) => {
                    errors += 1;
                    errors <= self.async_retries
                }
                // EventBridge Scheduler has handed the event over by then: its own RetryPolicy is over.
                Err(InvokeError::Throttled) => true,
            };
            if !again || begun.elapsed() > self.async_max_age {
                let _ = writeln!(std::io::stderr(), "[{}] given up after {attempt} attempts", self.spec.name);
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

/// Reads `rate(5 minutes)` or `cron(0 12 * * ? *)`.
fn read(expression: &str, timezone: &str) -> Result<Every, String> {
    let inner = |kind: &str| expression.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(rate) = inner("rate") {
        let (count, unit) = rate.trim().split_once(' ').ok_or("rate() wants a number and a unit")?;
        let count =
            u64::from_str(count).ok().filter(|count| *count > 0).ok_or("the number is no positive one")?;
        let seconds = match unit.trim().trim_end_matches('s') {
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            _ => return Err("the unit is minutes, hours or days".to_owned()),
        };
        return Ok(Every::Period(Duration::from_secs(count.saturating_mul(seconds))));
    }
    let cron = inner("cron").ok_or("the local stack knows rate() and cron()")?;
    let fields: Vec<String> =
        cron.split_whitespace().zip(LAST).map(|(field, last)| stepped(field, last)).collect();
    if cron.split_whitespace().count() != LAST.len() {
        return Err("cron() has six fields: minutes hours day-of-month month day-of-week year".to_owned());
    }
    // AWS counts weekdays as Quartz does, from Sunday = 1, and has no seconds.
    let parser =
        CronParser::builder().seconds(Seconds::Required).year(Year::Required).alternative_weekdays(true);
    let cron = parser.build().parse(&format!("0 {}", fields.join(" "))).map_err(|error| error.to_string())?;
    let zone = TimeZone::get(timezone).map_err(|error| error.to_string())?;
    Ok(Every::Cron(Box::new(cron), zone))
}

/// The last value of each of the six fields.
const LAST: [u16; 6] = [59, 23, 31, 12, 7, 2199];

/// AWS's `5/15` (from 5, every 15) as the library takes it: `5-59/15`.
fn stepped(field: &str, last: u16) -> String {
    let parts = field.split(',').map(|part| match part.split_once('/') {
        Some((from, step)) if from.parse::<u16>().is_ok() => format!("{from}-{last}/{step}"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, timezone: &str, after: &str) -> String {
        let every = read(expression, timezone).unwrap();
        every.after(after.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn expressions_tick_when_eventbridge_says() {
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
    fn a_wrong_expression_is_refused_with_its_reason() {
        for expression in
            ["rate(0 minutes)", "rate(5 parsecs)", "cron(* * * * *)", "every day", "cron(61 * * * ? *)"]
        {
            assert!(read(expression, "UTC").is_err(), "{expression}");
        }
        assert!(read("cron(0 9 * * ? *)", "Mars/Olympus").is_err());
    }
}
