//! Injects failures of functions, Postgres, SQS and Twilio.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::json;

use super::random::Random;
use crate::client::{Sql, request, try_send_request};
use crate::oracle::UngatedPeriod;
use crate::services::{Database, Queues};
use crate::stack::{Stack, send_signal};

/// The maximum time between two failures.
const MAX_INTERVAL: Duration = Duration::from_millis(1_500);
/// The maximum length of an outage.
const MAX_OUTAGE: Duration = Duration::from_millis(2_500);
/// The functions that are killed or paused. The sender fails more often than the others.
const FUNCTIONS: &[&str] = &[
    "send-outbound",
    "send-outbound",
    "send-outbound",
    "record-inbound",
    "record-status",
    "inbound-sms",
    "delivery-status",
    "send-sms",
    "send-bulk",
    "resume-batch",
    "retry-sends",
    "deliver-event",
    "retry-events",
];

/// The function that calls Twilio.
const SENDER: &str = "send-outbound";

#[expect(clippy::disallowed_methods, reason = "tests do not use the service's clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The failures so far.
#[derive(Debug, Default, Clone)]
pub struct InjectedFailures {
    kills: usize,
    pauses: usize,
    cut_backends: usize,
    postgres_crashes: usize,
    postgres_silences: usize,
    sqs_outages: usize,
    sqs_silences: usize,
    twilio_outages: usize,
    /// The periods in which create calls may not have been guarded.
    pub ungated: Vec<UngatedPeriod>,
}

impl fmt::Display for InjectedFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, pauses, cut_backends, postgres_crashes, .. } = self;
        let Self { postgres_silences, sqs_outages, sqs_silences, twilio_outages, .. } = self;
        write!(
            f,
            "kills={kills} pauses={pauses} cut_backends={cut_backends} postgres_crashes={postgres_crashes} \
             postgres_silences={postgres_silences} sqs_outages={sqs_outages} sqs_silences={sqs_silences} \
             twilio_outages={twilio_outages}"
        )
    }
}

/// Injects failures into a stack and its external services.
pub struct Failures<'a> {
    pub random: Random,
    pub stack: &'a Stack,
    pub database: &'a mut Database,
    pub queues: &'a mut Queues,
    pub injected: InjectedFailures,
}

impl Failures<'_> {
    /// Waits, then injects one failure and ends it.
    pub async fn inject_next(&mut self) {
        tokio::time::sleep(self.random.up_to(MAX_INTERVAL)).await;
        let length = self.random.up_to(MAX_OUTAGE);
        match self.random.below(16) {
            0..=6 => self.kill(),
            7 | 8 => self.pause(length).await,
            9 | 10 => self.cut_backends().await,
            11 => {
                self.injected.postgres_crashes += 1;
                let from = now();
                self.database.crash().await;
                self.record_ungated("a crash of Postgres", from);
                tokio::time::sleep(length).await;
                self.database.restart().await;
            }
            12 => {
                self.injected.postgres_silences += 1;
                self.database.stall(true);
                tokio::time::sleep(length).await;
                self.database.stall(false);
            }
            13 => {
                self.injected.sqs_outages += 1;
                self.queues.disconnect().await;
                tokio::time::sleep(length).await;
                self.queues.reconnect().await;
            }
            14 => {
                self.injected.sqs_silences += 1;
                self.queues.stall(true);
                tokio::time::sleep(length).await;
                self.queues.stall(false);
            }
            _ => self.twilio_outage(length).await,
        }
    }

    fn record_ungated(&mut self, cause: &'static str, from: Timestamp) {
        self.injected.ungated.push(UngatedPeriod { cause, from, until: now() });
    }

    /// Kills one or all processes of a function.
    fn kill(&mut self) {
        let function = *self.random.pick(FUNCTIONS);
        let pids = self.stack.pids(function);
        let all = self.random.chance(50);
        let count = if all { pids.len() } else { 1 };
        let from = now();
        for pid in pids.into_iter().take(count) {
            self.injected.kills += 1;
            send_signal(pid, Signal::KILL);
        }
        if function == SENDER {
            self.record_ungated("a kill of the sender", from);
        }
    }

    /// Pauses a function, as a busy machine does.
    async fn pause(&mut self, length: Duration) {
        let function = *self.random.pick(FUNCTIONS);
        let pids = self.stack.pids(function);
        self.injected.pauses += pids.len();
        let from = now();
        pids.iter().for_each(|pid| send_signal(*pid, Signal::STOP));
        tokio::time::sleep(length).await;
        pids.iter().for_each(|pid| send_signal(*pid, Signal::CONT));
        if function == SENDER {
            self.record_ungated("a pause of the sender", from);
        }
    }

    /// Terminates all connections to Postgres, as a failover does.
    async fn cut_backends(&mut self) {
        let sql = Sql::connect(&self.stack.info.database_url).await;
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where backend_type = 'client backend' and pid <> pg_backend_pid()";
        let from = now();
        self.injected.cut_backends += usize::try_from(sql.count(cut, &[]).await).unwrap();
        self.record_ungated("a cut of all connections to Postgres", from);
    }

    async fn twilio_outage(&mut self, length: Duration) {
        self.injected.twilio_outages += 1;
        let url = format!("{}/simulator/outage", self.stack.info.twilio_api_url);
        let outage = request("POST", &url).json(&json!({ "seconds": length.as_secs_f64() }));
        // The simulator may already be unavailable.
        let _ = try_send_request(outage).await;
        tokio::time::sleep(length).await;
    }
}
