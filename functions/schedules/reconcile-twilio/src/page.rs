//! A page of Twilio's list against what we have.

use crate::{App, Reconciled};
use common::clock;
use common::db::inbound::{self, NewInbound};
use common::db::statuses::RecordedStatus;
use common::db::{DbError, reconciliation, sends};
use common::domain::message::Status;
use common::twilio::{InboundSms, Media, Message};
use lookup::Lookup;
use record_inbound::new_inbound;

/// How many rows one statement writes at most.
const BATCH: usize = 100;

/// The request id of what no request brought.
const REQUEST_ID: &str = "reconcile-twilio";

/// Records what the page has and we have not.
///
/// # Errors
///
/// [`DbError`]; what was recorded by then stays so.
pub(crate) async fn compare(
    app: &App,
    listed: &[Message],
    reconciled: &mut Reconciled,
) -> Result<(), DbError> {
    reconciled.listed += listed.len();
    let (inbound, outbound): (Vec<&Message>, Vec<&Message>) =
        listed.iter().partition(|message| message.direction == "inbound");
    reconciled.inbound_recovered += recover_inbound(app, &inbound).await?;
    reconciled.statuses_recovered += recover_statuses(app, &outbound).await?;
    Ok(())
}

async fn recover_inbound(app: &App, listed: &[&Message]) -> Result<usize, DbError> {
    let sids: Vec<&str> = listed.iter().map(|message| message.sid.as_str()).collect();
    let known = sends::claimed_sids(&app.db, &sids).await?;
    let missing = listed.iter().filter(|message| !known.contains(&message.sid));
    let (texts, with_media): (Vec<&Message>, Vec<&Message>) =
        missing.partition(|message| message.num_media == 0);
    let with_media: Vec<_> = with_media.iter().map(|message| (message.sid.as_str(), &message.json)).collect();
    if !with_media.is_empty() {
        reconciliation::await_media(&app.db, &with_media).await?;
    }
    let texts: Vec<NewInbound> = texts.into_iter().map(|message| new(message, Vec::new())).collect();
    store(app, &texts).await
}

/// Stores inbound messages, and returns how many were not stored before.
///
/// # Errors
///
/// [`DbError`]; what was stored by then stays so.
pub(crate) async fn store(app: &App, messages: &[NewInbound]) -> Result<usize, DbError> {
    let mut recovered = 0;
    for batch in messages.chunks(BATCH) {
        recovered += match inbound::store(&app.db, batch).await {
            Ok(stored) => report(&stored.iter().map(|s| s.twilio_sid.as_str()).collect::<Vec<_>>()),
            Err(error) if error.is_about_the_data() => store_one_by_one(app, batch).await?,
            Err(error) => return Err(error),
        };
    }
    Ok(recovered)
}

/// What Postgres refuses for what it holds is told, and keeps nothing else from being stored.
async fn store_one_by_one(app: &App, batch: &[NewInbound]) -> Result<usize, DbError> {
    let mut recovered = 0;
    for message in batch {
        match inbound::store(&app.db, std::slice::from_ref(message)).await {
            Ok(stored) => {
                recovered += report(&stored.iter().map(|s| s.twilio_sid.as_str()).collect::<Vec<_>>());
            }
            Err(error) if error.is_about_the_data() => {
                let error = common::error::chain(&error);
                tracing::error!(twilio_sid = message.twilio_sid, error, "an inbound message can't be stored");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(recovered)
}

fn report(stored: &[&str]) -> usize {
    for twilio_sid in stored {
        tracing::warn!(twilio_sid, "stored an inbound message whose webhook never came");
    }
    stored.len()
}

/// Makes a message to be stored.
pub(crate) fn new(message: &Message, media: Vec<Media>) -> NewInbound {
    // A wish to opt out counts from when it was written, not from when it was found.
    let received_at = message.created_at.or(message.sent_at).unwrap_or_else(clock::now);
    let sms = InboundSms::from_list(message, media);
    let nul_removed = message.json.to_string().contains("\\u0000");
    new_inbound(sms, lookup::marked(&message.json), nul_removed, REQUEST_ID, received_at)
}

/// Only what moves a message forward is recorded: the rest its callbacks have told.
async fn recover_statuses(app: &App, listed: &[&Message]) -> Result<usize, DbError> {
    let sids: Vec<&str> = listed.iter().map(|message| message.sid.as_str()).collect();
    let held = reconciliation::on_their_way(&app.db, &sids).await?;
    let moved: Vec<&Message> = listed
        .iter()
        .copied()
        .filter(|message| {
            let held = held
                .iter()
                .find(|(sid, _)| *sid == message.sid)
                .and_then(|(_, held)| held.parse::<Status>().ok());
            let next = Status::from_twilio(&message.status);
            held.zip(next).is_some_and(|(held, next)| held.may_become(next))
        })
        .collect();
    let lookup = Lookup { db: &app.db, twilio: &app.twilio, renewals: &app.renewals };
    let mut recovered = 0;
    for batch in moved.chunks(BATCH) {
        let outcome = lookup.record(batch, clock::now()).await;
        let recorded = match outcome {
            Err(error) if error.is_about_the_data() => record_one_by_one(&lookup, batch).await?,
            outcome => outcome?,
        };
        for status in recorded {
            recovered += 1;
            tracing::info!(twilio_sid = status.twilio_sid, "filled in a status whose callback never came");
        }
    }
    Ok(recovered)
}

/// A status that Postgres refuses because of its data does not keep others from being recorded.
async fn record_one_by_one(lookup: &Lookup<'_>, batch: &[&Message]) -> Result<Vec<RecordedStatus>, DbError> {
    let mut recorded = Vec::new();
    for message in batch {
        match lookup.record(&[message], clock::now()).await {
            Ok(status) => recorded.extend(status),
            Err(error) if error.is_about_the_data() => {
                let error = common::error::chain(&error);
                tracing::error!(twilio_sid = message.sid, error, "a status can't be recorded");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(recorded)
}
