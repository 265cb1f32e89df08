//! Messages that Twilio has not sent yet, as far as we know, one by one: its list by time of sending leaves out those that have
//! no such time, among them what failed before it was sent.

use crate::{Keep, ReconcileError, Run, concerns_all, page};
use common::db::reconciliation::{self, Cursor};
use common::twilio::SendError;
use futures::StreamExt;
use std::time::Instant;

/// How many messages are fetched between two looks at the clock.
const PAGE: usize = 20;
/// How many are fetched at a time.
const AT_ONCE: usize = 4;

/// Fetches a window's messages until a time, and returns whether all have been fetched.
///
/// # Errors
///
/// [`ReconcileError`]. A message that Twilio fails to return is no error, unless it is the same for all.
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
        let Some((last, _)) = unsent.last() else { break };
        let before = cursor.clone();
        cursor.position = Some(last.to_string());
        // Before they are fetched: if the run is stopped meanwhile, the next one does not begin with the same messages.
        keep.save(&app.db, &cursor).await?;
        let calls = unsent.iter().map(async |(_, sid)| (sid, app.twilio.fetch_message(sid).await));
        let answers: Vec<_> = futures::stream::iter(calls).buffer_unordered(AT_ONCE).collect().await;
        let mut found = Vec::new();
        let mut failures = Vec::new();
        for (twilio_sid, answer) in answers {
            match answer {
                Ok(message) => found.push(message),
                // Twilio has forgotten it, or never had it under our account: there is nothing to find out.
                Err(SendError::Refused { status: 404, .. }) => {}
                Err(error) => {
                    let chain = common::error::chain(&error);
                    tracing::warn!(twilio_sid, error = chain, "Twilio did not return a message");
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
        if failures.len() >= AT_ONCE && failures.len() == unsent.len() {
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
