//! Quiet hours: what is due while its recipient is not to be disturbed is put off before anything is claimed.

use crate::App;
use common::clock;
use common::config::Env;
use common::db::DbError;
use common::db::sends::{self, Asked};
use common::domain::quiet_hours::{QuietHours, Window};
use common::telemetry::{self, Metric};

/// How many messages of a sender and priority are looked at together.
const PAGE: i64 = 100;

/// How often at most for one batch: at night a bulk is put off page by page, and the rest by the wake-ups that follow.
const PAGES: usize = 20;

/// Reads `QUIET_HOURS` (none; `21:00-08:00`, on the recipient's clock) and `QUIET_HOURS_DEFAULT_TIME_ZONE` (America/New_York), for
/// numbers that don't tell where they are.
pub(crate) fn from_env(env: &mut Env<'_>) -> Option<Option<QuietHours>> {
    let text = env.optional_text("QUIET_HOURS")?;
    let zone = env.parse_or("QUIET_HOURS_DEFAULT_TIME_ZONE", "America/New_York".to_owned())?;
    let window: Window = match text.map(|text| text.parse()) {
        None => return Some(None),
        Some(Ok(window)) => window,
        Some(Err(error)) => {
            env.problem(format!("QUIET_HOURS is not usable ({error})"));
            return None;
        }
    };
    let quiet = QuietHours::new(window, &zone);
    if quiet.is_none() {
        env.problem("QUIET_HOURS_DEFAULT_TIME_ZONE is not a time zone");
    }
    quiet.map(Some)
}

/// Puts off what must not disturb its recipient now, and leaves in `asked` what may: only that is claimed then.
///
/// # Errors
///
/// [`DbError`]: nothing must be claimed before this is known.
pub(crate) async fn respect(app: &App, asked: &mut Asked) -> Result<(), DbError> {
    let Some(quiet) = &app.quiet else { return Ok(()) };
    let mut put_off = 0;
    for _ in 0..PAGES {
        let now = clock::now();
        let mut disturbing = Vec::new();
        let mut allowed = Vec::new();
        for candidate in sends::candidates(&app.db, asked, now, PAGE).await? {
            let until = if candidate.is_urgent {
                None
            } else {
                quiet.until(&candidate.to, candidate.time_zone.as_deref(), now)
            };
            match until {
                Some(until) => disturbing.push((candidate, until)),
                None => allowed.push(candidate.message_id),
            }
        }
        asked.allowed = Some(allowed);
        if disturbing.is_empty() {
            break;
        }
        sends::postpone(&app.db, &disturbing).await?;
        put_off += disturbing.len();
    }
    if put_off > 0 {
        telemetry::count(Metric::SendsDeferred, put_off);
        tracing::info!(messages = put_off, "put off until the end of their recipients' quiet hours");
    }
    Ok(())
}
