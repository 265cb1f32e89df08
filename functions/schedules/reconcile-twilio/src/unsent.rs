//! Fetches single messages that Twilio has not sent, as far as we know. Twilio's list filters by the time of sending,
//! which these messages do not have, for example because they failed before.

use crate::{Keep, ReconcileError, Run, concerns_all, page};
use common::db::reconciliation::{self, Cursor};
use common::twilio::SendError;
use futures::StreamExt;
use std::time::Instant;

/// How many messages are fetched before the cursor is saved.
const PAGE: usize = 20;
/// How many messages are fetched concurrently.
const CONCURRENCY: usize = 4;

/// Fetches a window's messages until the given time and returns whether all have been fetched.
///
/// # Errors
///
/// [`ReconcileError`] if the cause affects all messages. Otherwise a later run retries the message.
pub(crate) async fn fetch(
    run: &mut Run<'_>,
    mut cursor: Cursor,
    keep: Keep,
    until: Instant,
) -> Result<bool, ReconcileError> {
    let app = run.app;
    loop {
        let after = cursor.position.as_ref().and_then(|position| position.parse().ok());
        let unsent = reconciliation::not_sent_yet(&app.db, cursor.window, after, PAGE as i64).await?;
        let Some(last) = unsent.last() else { break };
        let before = cursor.clone();
        cursor.position = Some(last.id.to_string());
        // Saved before the requests, so that after a timeout the next run does not start with the same messages.
        keep.save(&app.db, &cursor).await?;
        let calls = unsent.iter().map(async |message| {
            let sid = &message.twilio_sid;
            (sid, app.twilio.fetch_message(sid).await)
        });
        let results: Vec<_> = futures::stream::iter(calls).buffer_unordered(CONCURRENCY).collect().await;
        let mut found = Vec::new();
        let mut failures = Vec::new();
        for (twilio_sid, result) in results {
            match result {
                Ok(message) => found.push(message),
                // Deleted, or of another account: there is nothing to reconcile.
                Err(SendError::Refused { status: 404, .. }) => {}
                Err(error) => {
                    let chain = common::error::chain(&error);
                    tracing::warn!(%twilio_sid, error = chain, "could not fetch a message from Twilio");
                    failures.push(error);
                }
            }
        }
        page::compare(app, &found, &mut run.reconciled).await?;
        run.reconciled.set_aside += failures.len();
        if let Some(position) = failures.iter().position(concerns_all) {
            keep.save(&app.db, &before).await?;
            return Err(failures.swap_remove(position).into());
        }
        // Twilio is down.
        if failures.len() >= CONCURRENCY && failures.len() == unsent.len() {
            return Err(failures.swap_remove(0).into());
        }
        if unsent.len() < PAGE {
            break;
        }
        if Instant::now() >= until {
            return Ok(false);
        }
    }
    reconciliation::finished(&app.db, &cursor).await?;
    Ok(true)
}
