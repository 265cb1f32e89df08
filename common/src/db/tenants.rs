//! Whose number a conversation is with, when to ask again, and what a tenant's language is.
//!
//! Decided in `common/docs/decisions/0011-whose-number-it-is.md`.

mod checks;
mod languages;
mod pushes;
mod record;

pub use checks::{Checked, claim, give_back, release, take_due};
pub use languages::{Carried, settle_languages, unsettled};
pub use pushes::{Push, claim_pushes, told};
pub use record::{CheckedNumber, Finding, Pace, Recorded, record};

use std::time::Duration;

/// The longest wait after failures.
const MAX_BACKOFF: Duration = Duration::from_secs(3_600);
