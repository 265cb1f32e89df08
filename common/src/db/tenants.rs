//! Tenants of conversations, their lookups and their language.
//!
//! See `common/docs/decisions/0011-tenant-lookup-and-language.md`.

mod checks;
mod languages;
mod pushes;
mod record;

use super::Described;
pub use checks::{Checked, claim, give_back, release, take_due};
pub use languages::{Carried, settle_languages, unsettled};
pub use pushes::{Push, claim_pushes, told};
pub use record::{CheckedNumber, Identification, LookupIntervals, Recorded, record};

use std::time::Duration;

/// The maximum backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(3_600);

/// The statements of all modules.
pub(super) const STATEMENTS: &[&[Described]] =
    &[checks::STATEMENTS, languages::STATEMENTS, pushes::STATEMENTS, record::STATEMENTS];
