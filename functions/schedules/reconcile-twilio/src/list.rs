//! Reads Twilio's list of a window, page by page.

use crate::{Keep, ReconcileError, Run, concerns_all, page};
use common::db::reconciliation::{self, Cursor, Window};
use common::twilio::{MessageFilter, SendError};
use std::time::Instant;

/// The number of failures after which a window is abandoned: about a day of runs.
const MAX_FAILURES: i32 = 24;

/// Compares at least one page of a window, and more until the given time. Returns whether the window is complete.
///
/// # Errors
///
/// [`ReconcileError`]. The cursor is saved as `keep` says, until the window has failed too often.
pub(crate) async fn read(
    run: &mut Run<'_>,
    mut cursor: Cursor,
    keep: Keep,
    until: Instant,
) -> Result<bool, ReconcileError> {
    let app = run.app;
    let mut is_restarted = false;
    loop {
        let listed = match &cursor.position {
            None => app.twilio.list_messages(&filter(cursor.window)).await,
            Some(next) => app.twilio.list_next(next).await,
        };
        let page = match listed {
            Ok(page) => page,
            Err(error) => {
                let can_restart = cursor.position.is_some()
                    && matches!(error, SendError::Refused { status: 400 | 404, .. })
                    && !is_restarted;
                failed(run, &mut cursor, keep, &error, can_restart).await?;
                if !can_restart {
                    return Err(error.into());
                }
                is_restarted = true;
                continue;
            }
        };
        page::compare(app, &page.messages, &mut run.reconciled).await?;
        let Some(next) = page.next else {
            reconciliation::finished(&app.db, &cursor).await?;
            return Ok(true);
        };
        cursor.position = Some(next);
        keep.save(&app.db, &cursor).await?;
        if Instant::now() >= until {
            return Ok(false);
        }
    }
}

/// Saves a cursor after a failure. If Twilio rejects the address of the next page, the window starts again.
async fn failed(
    run: &Run<'_>,
    cursor: &mut Cursor,
    keep: Keep,
    error: &SendError,
    can_restart: bool,
) -> Result<(), ReconcileError> {
    let Window { since, until } = cursor.window;
    let chain = common::error::chain(error);
    if !concerns_all(error) {
        cursor.failures += 1;
    }
    if can_restart {
        tracing::warn!(%since, %until, error = chain, "restarting a reconciliation window");
        cursor.position = None;
    } else if cursor.failures >= MAX_FAILURES {
        tracing::error!(%since, %until, error = chain, "reconciliation window abandoned");
        return Ok(reconciliation::finished(&run.app.db, cursor).await?);
    }
    Ok(keep.save(&run.app.db, cursor).await?)
}

fn filter(window: Window) -> MessageFilter {
    MessageFilter {
        sent_since: Some(window.since),
        sent_until: Some(window.until),
        ..MessageFilter::default()
    }
}
