//! The configuration of quiet hours.

use crate::config::Env;
use crate::domain::quiet_hours::{QuietHours, Table};

/// Reads `QUIET_HOURS` (none; see [`Table`]) and `QUIET_HOURS_DEFAULT_TIME_ZONE` (America/New_York), for numbers
/// without a known time zone.
pub fn quiet_hours(env: &mut Env<'_>) -> Option<Option<QuietHours>> {
    let text = env.optional_text("QUIET_HOURS")?;
    let zone = env.parse_or("QUIET_HOURS_DEFAULT_TIME_ZONE", "America/New_York".to_owned())?;
    let table: Table = match text.map(|text| text.parse()) {
        None => return Some(None),
        Some(Ok(table)) => table,
        Some(Err(error)) => {
            env.problem(format!("QUIET_HOURS is invalid ({error})"));
            return None;
        }
    };
    let quiet = QuietHours::new(table, &zone);
    if quiet.is_none() {
        env.problem("QUIET_HOURS_DEFAULT_TIME_ZONE is not a time zone");
    }
    quiet.map(Some)
}
