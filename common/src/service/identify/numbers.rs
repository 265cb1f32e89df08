//! Looks numbers up in the Monitor and stores the results.

use super::Identifier;
use crate::clock;
use crate::db::DbError;
use crate::db::tenants::{self, Checked, CheckedNumber, Identification, Recorded};
use crate::domain::ids::ConversationId;
use crate::domain::phone::InboundSender;
use crate::monitor::{LookupMode, Match, MonitorClient, RequestError, TenantLookup};
use crate::telemetry::{self, Metric};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many numbers are looked up concurrently.
const CONCURRENCY: usize = 10;

/// A conversation whose number is to be looked up.
#[derive(Clone)]
pub struct NumberToCheck {
    /// The id of the conversation.
    pub conversation_id: ConversationId,
    /// The other party of the conversation.
    pub canonical: InboundSender,
    /// The number as it was received.
    pub as_received: String,
    /// Whether a tenant is known already.
    pub is_known: bool,
    /// The known tenant and the spelling that matched, if the remaining spellings have not been looked up yet.
    pub found: Option<(String, String)>,
    /// The id of the request that caused the lookup.
    pub request_id: String,
}

impl NumberToCheck {
    /// Creates one from a claimed check.
    #[must_use]
    pub fn new(checked: &Checked, as_received: &str, request_id: &str) -> Self {
        Self {
            conversation_id: checked.conversation_id,
            canonical: checked.phone_number_canonical.clone(),
            as_received: as_received.to_owned(),
            is_known: checked.is_known,
            found: checked.tenant_id.clone().zip(checked.found_by.clone()),
            request_id: request_id.to_owned(),
        }
    }
}

impl std::fmt::Debug for NumberToCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NumberToCheck({}, …{})", self.conversation_id, self.canonical.last_four())
    }
}

/// The results of looking numbers up.
#[derive(Debug, Default)]
pub struct LookupResults {
    /// The conversations whose number was looked up, with the result.
    pub found: Vec<CheckedNumber>,
    /// The numbers whose lookup failed.
    pub failed: Vec<(NumberToCheck, Arc<RequestError>)>,
    /// The numbers that were not looked up because the circuit breaker is open.
    pub skipped: Vec<NumberToCheck>,
}

impl Identifier {
    /// Looks each distinct number up once.
    ///
    /// Known numbers are looked up in every spelling, so that a number that now belongs to another tenant is noticed.
    /// For the others the first match is enough; the remaining spellings are looked up a few seconds later.
    pub async fn look_up(&self, monitor: &MonitorClient, numbers: Vec<NumberToCheck>) -> LookupResults {
        let mut by_number: BTreeMap<InboundSender, Vec<NumberToCheck>> = BTreeMap::new();
        for number in numbers {
            by_number.entry(number.canonical.clone()).or_default().push(number);
        }
        let lookups =
            by_number.into_values().map(async |group| (look_up_group(monitor, &group).await, group));
        let outcomes: Vec<_> = futures::stream::iter(lookups).buffer_unordered(CONCURRENCY).collect().await;
        let mut results = LookupResults::default();
        for (outcome, group) in outcomes {
            match outcome {
                Ok(finding) => {
                    results.found.extend(group.into_iter().map(|number| CheckedNumber {
                        conversation_id: number.conversation_id,
                        result: finding.clone(),
                        request_id: number.request_id,
                    }));
                }
                Err(RequestError::BreakerOpen) => results.skipped.extend(group),
                Err(error) => {
                    telemetry::count(Metric::TenantLookupsFailed, 1);
                    telemetry::count_error("monitor_failed");
                    let error = Arc::new(error);
                    results.failed.extend(group.into_iter().map(|number| (number, Arc::clone(&error))));
                }
            }
        }
        results
    }

    /// Stores the results and returns each conversation's new state.
    ///
    /// # Errors
    ///
    /// [`DbError`]. Nothing is stored: the checks are due again after [`LEASE`](super::LEASE).
    pub async fn store(&self, found: &[CheckedNumber]) -> Result<Vec<Recorded>, DbError> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let recorded = tenants::record(&self.db, found, clock::now(), &self.config.intervals).await?;
        for outcome in &recorded {
            report(outcome, found);
        }
        Ok(recorded)
    }
}

async fn look_up_group(
    monitor: &MonitorClient,
    group: &[NumberToCheck],
) -> Result<Identification, RequestError> {
    let Some(number) = group.first() else { return Ok(Identification::NotFound) };
    // No tenant has a short code or a name.
    let Some(e164) = number.canonical.number() else { return Ok(Identification::NotFound) };
    let spellings = e164.lookup_variants(&number.as_received);
    if let Some((tenant_id, checked)) = partial_match(group, &spellings) {
        return Ok(finding(monitor.confirm(&spellings, checked, tenant_id).await?, None));
    }
    let is_known = group.iter().any(|number| number.is_known);
    let said = monitor
        .lookup(&spellings, if is_known { LookupMode::AllFormats } else { LookupMode::FirstMatch })
        .await?;
    let found_by = spellings[..said.requested].last().filter(|_| said.requested < spellings.len());
    Ok(finding(said.tenant, found_by))
}

/// Returns the known tenant and how many spellings were looked up, if some spellings remain. Returns `None` if the
/// conversations with the number disagree.
fn partial_match<'a>(group: &'a [NumberToCheck], spellings: &[String]) -> Option<(&'a str, usize)> {
    let found = group.first()?.found.as_ref()?;
    let at = spellings.iter().position(|spelling| *spelling == found.1)?;
    let agree = group.iter().all(|number| number.found.as_ref() == Some(found));
    agree.then_some((found.0.as_str(), at + 1))
}

fn finding(lookup: TenantLookup, found_by: Option<&String>) -> Identification {
    match lookup {
        TenantLookup::NotFound => Identification::NotFound,
        TenantLookup::Tenant(Match { tenant_id, preference }) => {
            Identification::Tenant { tenant_id, preference, found_by: found_by.cloned() }
        }
        TenantLookup::Ambiguous(tenants) => Identification::Ambiguous(tenants),
    }
}

fn report(outcome: &Recorded, found: &[CheckedNumber]) {
    let checked = found.iter().find(|number| number.conversation_id == outcome.conversation_id);
    let _request = telemetry::request(checked.map_or("", |number| &number.request_id)).entered();
    let (conversation_id, previous) = (outcome.conversation_id, outcome.previous_tenant_id.as_deref());
    match &outcome.tenant_id {
        _ if outcome.is_ambiguous => {
            telemetry::count(Metric::TenantsAmbiguous, 1);
            tracing::warn!(%conversation_id, previous, "several tenants found");
        }
        Some(tenant_id) if previous == Some(tenant_id) => {
            tracing::info!(%conversation_id, tenant_id, "tenant confirmed");
        }
        Some(tenant_id) => {
            telemetry::count(Metric::TenantsIdentified, 1);
            tracing::info!(%conversation_id, tenant_id, previous, "tenant identified");
        }
        None => {
            telemetry::count(Metric::UnknownNumbers, 1);
            tracing::info!(%conversation_id, previous, "no tenant found");
        }
    }
    if let Some(language_previous) = outcome.forgotten_language {
        tracing::info!(
            %conversation_id,
            language_previous = language_previous.as_str(),
            language_detected = "unknown",
            language_chosen = "unknown",
            "cleared the language of the previous tenant"
        );
    }
}
