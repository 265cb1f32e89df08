//! Asking about numbers, and keeping what is answered.

use crate::Identifier;
use common::clock;
use common::db::DbError;
use common::db::tenants::{self, Checked, CheckedNumber, Finding, Recorded};
use common::domain::phone::{E164, last_four};
use common::monitor::{Answer, Ask, Match, MonitorClient, PeerError};
use common::telemetry::{self, Metric};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// So many numbers are asked about at once.
const CONCURRENCY: usize = 10;

/// A conversation whose number is to be asked about.
#[derive(Clone)]
pub struct Number {
    /// The conversation.
    pub conversation_id: Uuid,
    /// The number that it is with.
    pub canonical: String,
    /// The number as it was received.
    pub as_received: String,
    /// Whether a tenant is known, which the answer confirms or not.
    pub is_known: bool,
    /// The tenant, and the spelling that they were found by, if those after it are still to be asked for.
    pub found: Option<(String, String)>,
    /// The request that makes us ask.
    pub request_id: String,
}

impl Number {
    /// Makes one of a conversation that is due.
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

impl std::fmt::Debug for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Number({}, …{})", self.conversation_id, last_four(&self.canonical))
    }
}

/// What came of asking.
#[derive(Debug, Default)]
pub struct Asked {
    /// The conversations with what was found out.
    pub found: Vec<CheckedNumber>,
    /// Those about which the Monitor gave no answer, and why.
    pub failed: Vec<(Number, Arc<PeerError>)>,
    /// Those about which it was not asked, since it gave none to others.
    pub unasked: Vec<Number>,
}

impl Identifier {
    /// Asks the Monitor, about each distinct number once, however many conversations are with it.
    ///
    /// What is known already is asked for by every spelling, so that one that became another tenant's is found out; else
    /// the first match will do, and the spellings after it are asked for a moment later.
    pub async fn ask(&self, monitor: &MonitorClient, numbers: Vec<Number>) -> Asked {
        let mut by_number: BTreeMap<String, Vec<Number>> = BTreeMap::new();
        for number in numbers {
            by_number.entry(number.canonical.clone()).or_default().push(number);
        }
        let answers = by_number.into_values().map(async |group| (lookup(monitor, &group).await, group));
        let answers: Vec<_> = futures::stream::iter(answers).buffer_unordered(CONCURRENCY).collect().await;
        let mut asked = Asked::default();
        for (answer, group) in answers {
            match answer {
                Ok(finding) => {
                    asked.found.extend(group.into_iter().map(|number| CheckedNumber {
                        conversation_id: number.conversation_id,
                        finding: finding.clone(),
                        request_id: number.request_id,
                    }));
                }
                Err(PeerError::BreakerOpen) => asked.unasked.extend(group),
                Err(error) => {
                    telemetry::count(Metric::TenantLookupsFailed, 1);
                    let error = Arc::new(error);
                    asked.failed.extend(group.into_iter().map(|number| (number, Arc::clone(&error))));
                }
            }
        }
        asked
    }

    /// Keeps what was found out, and returns what each conversation is now.
    ///
    /// # Errors
    ///
    /// [`DbError`]: nothing is kept; the checks are due again after their lease.
    pub async fn keep(&self, found: &[CheckedNumber]) -> Result<Vec<Recorded>, DbError> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let recorded = tenants::record(&self.db, found, clock::now(), &self.pace).await?;
        for outcome in &recorded {
            report(outcome, found);
        }
        Ok(recorded)
    }
}

async fn lookup(monitor: &MonitorClient, group: &[Number]) -> Result<Finding, PeerError> {
    let Some(number) = group.first() else { return Ok(Finding::Nobody) };
    let spellings = match number.canonical.parse::<E164>() {
        Ok(e164) => e164.lookup_variants(&number.as_received),
        // Not a number that a tenant can have, whatever it is.
        Err(_) => return Ok(Finding::Nobody),
    };
    if let Some((tenant_id, asked)) = found_by_some(group, &spellings) {
        return Ok(finding(monitor.confirm(&spellings, asked, tenant_id).await?, None));
    }
    let is_known = group.iter().any(|number| number.is_known);
    let said =
        monitor.lookup(&spellings, if is_known { Ask::EverySpelling } else { Ask::UntilMatch }).await?;
    let found_by = spellings[..said.asked].last().filter(|_| said.asked < spellings.len());
    Ok(finding(said.answer, found_by))
}

/// Returns the tenant that a number was found to be while only so many of its spellings were asked for; `None` if nobody is
/// known or everything was asked for, or if the conversations with the number don't agree.
fn found_by_some<'a>(group: &'a [Number], spellings: &[String]) -> Option<(&'a str, usize)> {
    let found = group.first()?.found.as_ref()?;
    let at = spellings.iter().position(|spelling| *spelling == found.1)?;
    let agree = group.iter().all(|number| number.found.as_ref() == Some(found));
    agree.then_some((found.0.as_str(), at + 1))
}

fn finding(answer: Answer, found_by: Option<&String>) -> Finding {
    match answer {
        Answer::Nobody => Finding::Nobody,
        Answer::Tenant(Match { tenant_id, preference }) => {
            Finding::Tenant { tenant_id, preference, found_by: found_by.cloned() }
        }
        Answer::Ambiguous(tenants) => Finding::Ambiguous(tenants),
    }
}

fn report(outcome: &Recorded, found: &[CheckedNumber]) {
    let asked_for = found.iter().find(|number| number.conversation_id == outcome.conversation_id);
    let _request = telemetry::request(asked_for.map_or("", |number| &number.request_id)).entered();
    let (conversation_id, previous) = (outcome.conversation_id, outcome.previous_tenant_id.as_deref());
    match &outcome.tenant_id {
        _ if outcome.is_ambiguous => {
            telemetry::count(Metric::TenantsAmbiguous, 1);
            tracing::warn!(%conversation_id, previous, "several tenants claim the number: it is nobody's");
        }
        Some(tenant_id) if previous == Some(tenant_id) => {
            tracing::info!(%conversation_id, tenant_id, "the number is the same tenant's");
        }
        Some(tenant_id) => {
            telemetry::count(Metric::TenantsIdentified, 1);
            tracing::info!(%conversation_id, tenant_id, previous, "the number is a tenant's");
        }
        None => tracing::info!(%conversation_id, previous, "the number is nobody's that the Monitor knows"),
    }
    if let Some(language_previous) = &outcome.forgotten_language {
        tracing::info!(
            %conversation_id,
            language_previous,
            language_detected = "unknown",
            language_chosen = "unknown",
            "a conversation forgets the language of the tenant before"
        );
    }
}
