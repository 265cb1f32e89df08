//! Quiet hours: postpones messages that are due in the quiet hours of their recipients, before messages are claimed.

use crate::App;
use common::clock;
use common::db::DbError;
use common::db::sends::{self, ClaimRequest};
use common::telemetry::{self, Metric};

/// How many messages of a sender and priority are checked at a time.
const PAGE: i64 = 100;

/// The maximum number of pages for one batch. Later wake-ups postpone the rest.
const PAGES: usize = 20;

/// Postpones messages that are in quiet hours now and limits `request` to the other messages.
///
/// # Errors
///
/// [`DbError`]. No message must be claimed without this check.
pub(crate) async fn postpone(app: &App, request: &mut ClaimRequest) -> Result<(), DbError> {
    let Some(quiet) = &app.config.quiet else { return Ok(()) };
    let mut postponed = 0;
    for _ in 0..PAGES {
        let now = clock::now();
        let mut quiet_now = Vec::new();
        let mut allowed = Vec::new();
        for candidate in sends::candidates(&app.db, request, now, PAGE).await? {
            let until = if candidate.is_urgent {
                None
            } else {
                quiet.until(&candidate.to, candidate.time_zone.as_deref(), candidate.purpose, now)
            };
            match until {
                Some(until) => quiet_now.push((candidate, until)),
                None => allowed.push(candidate.message_id),
            }
        }
        request.allowed = Some(allowed);
        if quiet_now.is_empty() {
            break;
        }
        sends::postpone(&app.db, &quiet_now).await?;
        postponed += quiet_now.len();
    }
    if postponed > 0 {
        telemetry::count(Metric::SendsDeferred, postponed);
        tracing::info!(messages = postponed, "postponed messages until the end of quiet hours");
    }
    Ok(())
}
