//! Records outcomes as soon as they are known. All outcomes that become known while a statement runs are recorded by
//! the next one: a transaction for each would be the largest cost of a send in Postgres.

use crate::{App, plan};
use common::clock;
use common::db::sends::{self, Claimed, SendResult};
use common::db::{DbError, statuses};
use common::service::batches;
use common::telemetry::{self, Metric};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// How often recording an outcome is attempted. The request is done, and its result exists only in memory.
const ATTEMPTS: u32 = 5;
/// The maximum number of outcomes in one statement: more than an invocation has.
const BATCH: usize = 64;

/// A claim with its outcome.
pub(crate) type Ended<'a> = (&'a Claimed, SendResult);

/// The channel of outcomes to record.
pub(crate) struct Outcomes<'a>(UnboundedSender<Ended<'a>>);

impl<'a> Outcomes<'a> {
    pub(crate) fn channel() -> (Self, UnboundedReceiver<Ended<'a>>) {
        let (outcomes, ended) = mpsc::unbounded_channel();
        (Self(outcomes), ended)
    }

    /// Queues an outcome to be recorded.
    pub(crate) fn send(&self, claim: &'a Claimed, outcome: SendResult) {
        // The receiver exists until all senders are dropped.
        let _ = self.0.send((claim, outcome));
    }
}

/// Records outcomes until [`Outcomes`] is dropped.
pub(crate) async fn receive(app: &App, mut ended: UnboundedReceiver<Ended<'_>>) {
    let mut batch = Vec::new();
    while ended.recv_many(&mut batch, BATCH).await > 0 {
        record(app, &batch).await;
        batch.clear();
    }
}

/// Records outcomes. Failures are logged: the claims stay, the sweep marks the messages as `unknown`, and status
/// callbacks with our ids bring the outcome.
pub(crate) async fn record(app: &App, ended: &[Ended<'_>]) {
    let record = async |ended: &[Ended<'_>]| retry(app, ended).await.map(|()| Vec::<()>::new());
    batches::write(ended, record).await;
}

/// Records outcomes in one statement, with retries.
async fn retry(app: &App, ended: &[Ended<'_>]) -> Result<(), DbError> {
    let outcomes: Vec<_> = ended.iter().map(|(claim, outcome)| (*claim, outcome)).collect();
    let mut attempt = 1;
    let finished = loop {
        let error = match sends::finish(&app.db, &outcomes, clock::now()).await {
            Ok(finished) => break finished,
            Err(error) => error,
        };
        log(ended, attempt, &error);
        if attempt == ATTEMPTS || (ended.len() > 1 && error.is_about_the_data()) {
            return Err(error);
        }
        tokio::time::sleep(plan::jitter(attempt)).await;
        attempt += 1;
    };
    telemetry::count(Metric::SendsParked, finished.parked.len());
    for (claim, outcome) in ended.iter().filter(|(claim, _)| finished.parked.contains(&claim.message_id)) {
        telemetry::request(&claim.request_id).in_scope(|| {
            let message_id = claim.message_id;
            tracing::error!(%message_id, ?outcome, "message parked for an operator");
        });
    }
    for twilio_sid in finished.early {
        let joined =
            statuses::join_orphans(&app.db, Some(&twilio_sid), &app.config.renewals, clock::now()).await;
        if let Err(error) = joined {
            let error = common::error::chain(&error);
            tracing::warn!(%twilio_sid, error, "could not join early status callbacks");
        }
    }
    Ok(())
}

fn log(ended: &[Ended<'_>], attempt: u32, error: &DbError) {
    let error = common::error::chain(error);
    for (claim, outcome) in ended {
        telemetry::request(&claim.request_id).in_scope(|| {
            tracing::error!(message_id = %claim.message_id, attempt, ?outcome, error, "could not record an outcome");
        });
    }
}
