//! A page of Twilio's list against what we have.

use crate::{App, Reconciled};
use common::clock;
use common::db::inbound::{self, NewInbound};
use common::db::{DbError, reconciliation, sends};
use common::domain::message::Status;
use common::twilio::{InboundSms, Message};
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
    let mut missing = Vec::new();
    for message in listed.iter().filter(|message| !known.contains(&message.sid)) {
        if let Some(new) = read(app, message).await {
            missing.push(new);
        }
    }
    let mut recovered = 0;
    for batch in missing.chunks(BATCH) {
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

/// Makes a message to be stored. One whose files can't be listed now is left to the next run.
async fn read(app: &App, message: &Message) -> Option<NewInbound> {
    let media = match message.num_media {
        0 => Vec::new(),
        _ => match app.twilio.media_of(&message.sid).await {
            Ok(media) => media,
            Err(error) => {
                let error = common::error::chain(&error);
                tracing::warn!(twilio_sid = message.sid, error, "the files of a message can't be listed");
                return None;
            }
        },
    };
    // A wish to opt out counts from when it was written, not from when it was found.
    let received_at = message.created_at.or(message.sent_at).unwrap_or_else(clock::now);
    let sms = InboundSms::from_list(message, media);
    let nul_removed = message.json.to_string().contains("\\u0000");
    Some(new_inbound(sms, lookup::marked(&message.json), nul_removed, REQUEST_ID, received_at))
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
        for status in lookup.record(batch, clock::now()).await? {
            recovered += 1;
            tracing::info!(twilio_sid = status.twilio_sid, "filled in a status whose callback never came");
        }
    }
    Ok(recovered)
}
