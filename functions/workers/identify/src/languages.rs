//! The tenants' languages: carried over between their numbers, and told to their profiles.

use crate::Identifier;
use common::clock;
use common::db::DbError;
use common::db::tenants::{self, Push};
use common::monitor::{PREFERENCE_CONFIDENCE, ProfileClient, Told};
use common::telemetry::{self, Metric};
use futures::StreamExt;

/// So many profiles are told at once.
const CONCURRENCY: usize = 10;

impl Identifier {
    /// Carries the tenants' languages over to their numbers that know less, and notes what their profiles are to be told.
    ///
    /// # Errors
    ///
    /// [`DbError`]: nothing is changed; what is marked as unsettled stays so, and the schedule comes back to it.
    pub async fn settle_languages(&self, tenant_ids: &[String]) -> Result<(), DbError> {
        if tenant_ids.is_empty() {
            return Ok(());
        }
        let carried =
            tenants::settle_languages(&self.db, tenant_ids, clock::now(), PREFERENCE_CONFIDENCE).await?;
        for carried in carried {
            tracing::info!(
                conversation_id = %carried.conversation_id,
                language_previous = carried.previous,
                language_detected = carried.chosen,
                language_chosen = carried.chosen,
                "a conversation takes its tenant's language over"
            );
        }
        Ok(())
    }

    /// Tells profiles what is due, those of the given tenants or of all, `limit` at most, and returns how many took it. A
    /// profile that does not take it is told again by the schedule, ever more rarely.
    ///
    /// # Errors
    ///
    /// [`DbError`]; whoever was told by then may be told again.
    pub async fn tell_profiles(&self, tenant_ids: Option<&[String]>, limit: i64) -> Result<usize, DbError> {
        let Some(profiles) = &self.profiles else { return Ok(0) };
        if tenant_ids.is_some_and(<[String]>::is_empty) {
            return Ok(0);
        }
        let due = tenants::claim_pushes(&self.db, tenant_ids, clock::now(), self.retry, limit).await?;
        let told = due.iter().map(|push| self.tell(profiles, push));
        let told: Vec<_> = futures::stream::iter(told).buffer_unordered(CONCURRENCY).collect().await;
        let told = told.into_iter().collect::<Result<Vec<bool>, DbError>>()?;
        Ok(told.into_iter().filter(|is_told| *is_told).count())
    }

    async fn tell(&self, profiles: &ProfileClient, push: &Push) -> Result<bool, DbError> {
        let (tenant_id, language) = (push.tenant_id.as_str(), push.language.as_str());
        match profiles.set_language(tenant_id, language).await {
            Ok(told) => {
                let is_stored = told == Told::Stored;
                tracing::info!(tenant_id, language, is_stored, "told a tenant's profile their language");
                telemetry::count(Metric::ProfilesTold, 1);
                tenants::told(&self.db, push, clock::now(), is_stored).await?;
                Ok(true)
            }
            Err(error) => {
                let error = common::error::chain(&error);
                tracing::warn!(tenant_id, error, "a tenant's profile is told again later");
                telemetry::count(Metric::ProfilePushesFailed, 1);
                Ok(false)
            }
        }
    }
}
