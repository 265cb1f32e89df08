//! Copies tenants' languages to their other numbers and pushes them to the profile service.

use super::Identifier;
use crate::clock;
use crate::db::DbError;
use crate::db::tenants::{self, Push};
use crate::monitor::{LanguageUpdate, PREFERENCE_CONFIDENCE, ProfileClient};
use crate::telemetry::{self, Metric};
use futures::StreamExt;

/// How many profiles are updated concurrently.
const CONCURRENCY: usize = 10;

impl Identifier {
    /// Copies the tenants' languages to those of their numbers with weaker evidence, and stores which profiles to
    /// update.
    ///
    /// # Errors
    ///
    /// [`DbError`]. Nothing is changed: the tenants stay marked as unsettled, and `reconcile-tenants` retries them.
    pub async fn settle_languages(&self, tenant_ids: &[String]) -> Result<(), DbError> {
        if tenant_ids.is_empty() {
            return Ok(());
        }
        let carried =
            tenants::settle_languages(&self.db, tenant_ids, clock::now(), PREFERENCE_CONFIDENCE).await?;
        for carried in carried {
            tracing::info!(
                conversation_id = %carried.conversation_id,
                language_previous = carried.previous.as_str(),
                language_detected = carried.chosen.as_str(),
                language_chosen = carried.chosen.as_str(),
                "copied the tenant's language to a conversation"
            );
        }
        Ok(())
    }

    /// Pushes up to `limit` due languages to the profiles of the given tenants, or of all, and returns how many were
    /// accepted. `reconcile-tenants` retries the others with exponential backoff.
    ///
    /// # Errors
    ///
    /// [`DbError`]. Accepted languages may be pushed again.
    pub async fn update_profiles(&self, tenant_ids: Option<&[String]>, limit: i64) -> Result<usize, DbError> {
        let Some(profiles) = &self.profiles else { return Ok(0) };
        if tenant_ids.is_some_and(<[String]>::is_empty) {
            return Ok(0);
        }
        let due = tenants::claim_pushes(&self.db, tenant_ids, clock::now(), self.config.retry, limit).await?;
        let calls = due.iter().map(|push| self.update_profile(profiles, push));
        let results: Vec<_> = futures::stream::iter(calls).buffer_unordered(CONCURRENCY).collect().await;
        let accepted = results.into_iter().collect::<Result<Vec<bool>, DbError>>()?;
        Ok(accepted.into_iter().filter(|is_accepted| *is_accepted).count())
    }

    async fn update_profile(&self, profiles: &ProfileClient, push: &Push) -> Result<bool, DbError> {
        let (tenant_id, language) = (push.tenant_id.as_str(), push.language.as_str());
        match profiles.set_language(tenant_id, language).await {
            Ok(told) => {
                let is_stored = told == LanguageUpdate::Stored;
                tracing::info!(tenant_id, language, is_stored, "updated a tenant profile");
                telemetry::count(Metric::ProfilesUpdated, 1);
                tenants::told(&self.db, push, clock::now(), is_stored).await?;
                Ok(true)
            }
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::warn!(tenant_id, error, "could not update a tenant profile");
                telemetry::count(Metric::ProfilePushesFailed, 1);
                telemetry::count_error("profile_failed");
                Ok(false)
            }
        }
    }
}
