//! What breaks around the functions, and the functions themselves.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::json;

use super::dice::Dice;
use crate::client::{Sql, request, try_exchange};
use crate::door::{Database, Queues};
use crate::oracle::Loose;
use crate::stack::{Stack, send_signal};

/// The fair weather between two storms, at most.
const FAIR: Duration = Duration::from_millis(1_500);
/// How long something is away, at most.
const AWAY: Duration = Duration::from_millis(2_500);
/// Whom it hits; the sender more often than the others.
const FUNCTIONS: &[&str] = &[
    "send-outbound",
    "send-outbound",
    "send-outbound",
    "record-inbound",
    "record-status",
    "inbound-sms",
    "delivery-status",
    "send-sms",
    "retry-sends",
];

/// The function that calls Twilio.
const SENDER: &str = "send-outbound";

#[expect(clippy::disallowed_methods, reason = "a test needs no clock of the service's")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// What has happened so far.
#[derive(Debug, Default, Clone)]
pub struct Damage {
    kills: usize,
    pauses: usize,
    cut_backends: usize,
    postgres_crashes: usize,
    postgres_silences: usize,
    sqs_outages: usize,
    sqs_silences: usize,
    twilio_outages: usize,
    /// When calls may have been cut loose from their gates.
    pub loose: Vec<Loose>,
}

impl fmt::Display for Damage {
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

/// The parts that can be taken away.
pub struct Weather<'a> {
    pub dice: Dice,
    pub stack: &'a Stack,
    pub database: &'a mut Database,
    pub queues: &'a mut Queues,
    pub damage: Damage,
}

impl Weather<'_> {
    /// Fair for a while, then one thing breaks and is mended again.
    pub async fn turn(&mut self) {
        tokio::time::sleep(self.dice.within(FAIR)).await;
        let away = self.dice.within(AWAY);
        match self.dice.below(16) {
            0..=6 => self.kill(),
            7 | 8 => self.pause(away).await,
            9 | 10 => self.cut_backends().await,
            11 => {
                self.damage.postgres_crashes += 1;
                let from = now();
                self.database.crash().await;
                self.cut_loose("a crash of Postgres", from);
                tokio::time::sleep(away).await;
                self.database.come_back().await;
            }
            12 => {
                self.damage.postgres_silences += 1;
                self.database.stall(true);
                tokio::time::sleep(away).await;
                self.database.stall(false);
            }
            13 => {
                self.damage.sqs_outages += 1;
                self.queues.go_down().await;
                tokio::time::sleep(away).await;
                self.queues.come_back().await;
            }
            14 => {
                self.damage.sqs_silences += 1;
                self.queues.stall(true);
                tokio::time::sleep(away).await;
                self.queues.stall(false);
            }
            _ => self.twilio_away(away).await,
        }
    }

    fn cut_loose(&mut self, what: &'static str, from: Timestamp) {
        self.damage.loose.push(Loose { what, from, until: now() });
    }

    /// `kill -9` of one of a function's processes, or of all.
    fn kill(&mut self) {
        let function = *self.dice.pick(FUNCTIONS);
        let pids = self.stack.pids(function);
        let all = self.dice.chance(50);
        let hit = if all { pids.len() } else { 1 };
        let from = now();
        for pid in pids.into_iter().take(hit) {
            self.damage.kills += 1;
            send_signal(pid, Signal::KILL);
        }
        if function == SENDER {
            self.cut_loose("a kill of the sender", from);
        }
    }

    /// The machine under a function is busy with something else.
    async fn pause(&mut self, length: Duration) {
        let function = *self.dice.pick(FUNCTIONS);
        let pids = self.stack.pids(function);
        self.damage.pauses += pids.len();
        let from = now();
        pids.iter().for_each(|pid| send_signal(*pid, Signal::STOP));
        tokio::time::sleep(length).await;
        pids.iter().for_each(|pid| send_signal(*pid, Signal::CONT));
        if function == SENDER {
            self.cut_loose("a pause of the sender", from);
        }
    }

    /// Cuts every connection to Postgres, as a failover does.
    async fn cut_backends(&mut self) {
        let sql = Sql::connect(&self.stack.info.database_url).await;
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where backend_type = 'client backend' and pid <> pg_backend_pid()";
        let from = now();
        self.damage.cut_backends += usize::try_from(sql.count(cut, &[]).await).unwrap();
        self.cut_loose("a cut of all connections to Postgres", from);
    }

    async fn twilio_away(&mut self, length: Duration) {
        self.damage.twilio_outages += 1;
        let url = format!("{}/simulator/outage", self.stack.info.twilio_api_url);
        let outage = request("POST", &url).json(&json!({ "seconds": length.as_secs_f64() }));
        // It may be away already.
        let _ = try_exchange(outage).await;
        tokio::time::sleep(length).await;
    }
}
