//! Compares a page of Twilio's list with our messages.

use crate::{App, Reconciled};
use common::clock;
use common::db::inbound::{self, NewInbound};
use common::db::{DbError, reconciliation, sends};
use common::domain::message::Status;
use common::domain::sids::MessageSid;
use common::service::batches;
use common::service::inbound::new_inbound;
use common::service::lookup::{Lookup, marked};
use common::twilio::{InboundSms, Media, Message};

/// The maximum number of rows that one statement writes.
const BATCH: usize = 100;

/// The request id of messages that did not arrive by webhook.
const REQUEST_ID: &str = "reconcile-twilio";

/// Stores the page's inbound messages and statuses that are missing.
///
/// # Errors
///
/// [`DbError`]. Rows that were stored stay stored.
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
    let sids: Vec<&MessageSid> = listed.iter().map(|message| &message.sid).collect();
    let known = sends::claimed_sids(&app.db, &sids).await?;
    let missing = listed.iter().filter(|message| !known.contains(&message.sid));
    let (texts, with_media): (Vec<&Message>, Vec<&Message>) =
        missing.partition(|message| message.num_media == 0);
    let with_media: Vec<_> = with_media.iter().map(|message| (&message.sid, &message.json)).collect();
    if !with_media.is_empty() {
        reconciliation::await_media(&app.db, &with_media).await?;
    }
    let texts: Vec<NewInbound> = texts.into_iter().map(|message| new(app, message, Vec::new())).collect();
    store(app, &texts).await
}

/// Stores inbound messages and returns how many are new.
///
/// # Errors
///
/// [`DbError`]. Messages that were stored stay stored.
pub(crate) async fn store(app: &App, messages: &[NewInbound]) -> Result<usize, DbError> {
    let mut recovered = 0;
    for batch in messages.chunks(BATCH) {
        let written = batches::write(batch, async |batch| inbound::store(&app.db, batch).await).await;
        recovered += written.rows.len();
        for stored in &written.rows {
            let twilio_sid = &stored.twilio_sid;
            tracing::warn!(%twilio_sid, "stored a missing inbound message");
        }
        for (position, error) in written.into_rejected()? {
            log_rejected(&batch[position].twilio_sid, &error);
        }
    }
    Ok(recovered)
}

/// Logs a row that Postgres rejected because of its data.
fn log_rejected(twilio_sid: &MessageSid, error: &DbError) {
    tracing::error!(%twilio_sid, error = common::error::chain(error), "could not store a listed message");
}

/// Builds the row of a listed message.
pub(crate) fn new(app: &App, message: &Message, media: Vec<Media>) -> NewInbound {
    // An opt-out is dated by when it was sent, not by when it was found.
    let received_at = message.created_at.or(message.sent_at).unwrap_or_else(clock::now);
    let sms = InboundSms::from_list(message, media);
    let nul_removed = message.json.to_string().contains("\\u0000");
    let account_sid = app.config.twilio.account_sid();
    new_inbound(sms, account_sid, marked(&message.json), nul_removed, REQUEST_ID, received_at)
}

/// Stores the statuses that move a message forward. The others have arrived as callbacks.
async fn recover_statuses(app: &App, listed: &[&Message]) -> Result<usize, DbError> {
    let sids: Vec<&MessageSid> = listed.iter().map(|message| &message.sid).collect();
    let held = reconciliation::on_their_way(&app.db, &sids).await?;
    let moved: Vec<&Message> = listed
        .iter()
        .copied()
        .filter(|message| {
            let held = held.iter().find(|held| held.twilio_sid == message.sid);
            let held = held.map(|held| held.delivery_status);
            let next = Status::from_twilio(&message.status);
            held.zip(next).is_some_and(|(held, next)| held.may_become(next))
        })
        .collect();
    let lookup = Lookup { db: &app.db, twilio: &app.twilio, renewals: &app.config.renewals };
    let mut recovered = 0;
    for batch in moved.chunks(BATCH) {
        let written = batches::write(batch, async |batch| lookup.record(batch, clock::now()).await).await;
        recovered += written.rows.len();
        for status in &written.rows {
            let twilio_sid = &status.twilio_sid;
            tracing::info!(%twilio_sid, "stored a missing status");
        }
        for (position, error) in written.into_rejected()? {
            log_rejected(&batch[position].sid, &error);
        }
    }
    Ok(recovered)
}
