//! Recording what came of calls: each outcome as soon as it is known, and in one statement all that became known while the
//! last one ran. A transaction for each would cost Postgres more than anything else about a send.

use crate::{App, plan};
use common::clock;
use common::db::sends::{self, Claimed, Outcome};
use common::db::{DbError, statuses};
use common::telemetry::{self, Metric};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// How often an outcome is tried to be recorded: the call is done, and only this keeps its result.
const TRIES: u32 = 5;
/// How many outcomes one statement takes: all of an invocation's.
const BATCH: usize = 64;

/// What came of a call.
pub(crate) type Ended<'a> = (&'a Claimed, Outcome);

/// Where outcomes go to be recorded.
pub(crate) struct Outcomes<'a>(UnboundedSender<Ended<'a>>);

impl<'a> Outcomes<'a> {
    pub(crate) fn channel() -> (Self, UnboundedReceiver<Ended<'a>>) {
        let (outcomes, ended) = mpsc::unbounded_channel();
        (Self(outcomes), ended)
    }

    /// Has an outcome recorded.
    pub(crate) fn tell(&self, claim: &'a Claimed, outcome: Outcome) {
        // Whoever records listens until the last one who tells is gone.
        let _ = self.0.send((claim, outcome));
    }
}

/// Records outcomes until nobody is left to tell any.
pub(crate) async fn as_they_come(app: &App, mut ended: UnboundedReceiver<Ended<'_>>) {
    let mut batch = Vec::new();
    while ended.recv_many(&mut batch, BATCH).await > 0 {
        now(app, &batch).await;
        batch.clear();
    }
}

/// Records outcomes together, or one by one when it is the data of one of them that Postgres refuses.
pub(crate) async fn now(app: &App, ended: &[Ended<'_>]) {
    let Err(error) = try_hard(app, ended).await else { return };
    if ended.len() > 1 && error.is_about_the_data() {
        for one in ended {
            let _ = try_hard(app, std::slice::from_ref(one)).await;
        }
    }
}

/// Records outcomes, trying for as long as the invocation reasonably can. If Postgres stays away, the claims stay,
/// and the sweep makes the messages `unknown`; the callbacks that carry our ids then tell what became of them.
async fn try_hard(app: &App, ended: &[Ended<'_>]) -> Result<(), DbError> {
    let outcomes: Vec<_> = ended.iter().map(|(claim, outcome)| (*claim, outcome)).collect();
    let mut attempt = 1;
    let finished = loop {
        let error = match sends::finish(&app.db, &outcomes, clock::now()).await {
            Ok(finished) => break finished,
            Err(error) => error,
        };
        log(ended, attempt, &error);
        if attempt == TRIES || (ended.len() > 1 && error.is_about_the_data()) {
            return Err(error);
        }
        tokio::time::sleep(plan::jitter(attempt)).await;
        attempt += 1;
    };
    telemetry::count(Metric::SendsParked, finished.parked.len());
    for (claim, outcome) in ended.iter().filter(|(claim, _)| finished.parked.contains(&claim.message_id)) {
        telemetry::request(&claim.request_id).in_scope(|| {
            tracing::error!(message_id = %claim.message_id, ?outcome, "parked: an operator must decide whether Twilio took the message");
        });
    }
    for twilio_sid in finished.early {
        let joined = statuses::join_orphans(&app.db, Some(&twilio_sid), &app.renewals, clock::now()).await;
        if let Err(error) = joined {
            let error = common::error::chain(&error);
            tracing::warn!(twilio_sid, error, "early callbacks wait for the next sweep");
        }
    }
    Ok(())
}

fn log(ended: &[Ended<'_>], attempt: u32, error: &DbError) {
    let error = common::error::chain(error);
    for (claim, outcome) in ended {
        telemetry::request(&claim.request_id).in_scope(|| {
            tracing::error!(message_id = %claim.message_id, attempt, ?outcome, error, "the outcome is not recorded");
        });
    }
}
