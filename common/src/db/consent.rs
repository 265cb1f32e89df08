//! The ledger of opt-outs and opt-ins of a number, and consent that was given or revoked elsewhere.

use super::{Db, DbError, Json, Statement, params, row, statements};
use crate::clock;
use crate::domain::event::{EventData, EventType, OptedIn, OptedOut};
use crate::domain::opt_out::{ConsentScope, OptOutAction, OptOutSource};
use crate::domain::phone::Recipient;
use crate::domain::sids::AccountSid;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

/// Consent that was given or revoked elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Whether messages are refused or allowed.
    pub action: OptOutAction,
    /// Which messages.
    pub scope: ConsentScope,
    /// How it was stated, such as on paper.
    pub source: String,
    /// What proves it.
    pub evidence: String,
    /// The key of the caller.
    pub api_key_id: Uuid,
}

impl Consent {
    /// Returns the type and the data of its event.
    fn event(&self) -> (EventType, String) {
        let (source, scope) = (OptOutSource::Consent, self.scope.restriction());
        match self.action {
            OptOutAction::OptOut => (OptedOut::TYPE, OptedOut { source, scope }.json()),
            OptOutAction::OptIn => (OptedIn::TYPE, OptedIn { source, scope }.json()),
        }
    }
}

row! {
    /// An entry of the ledger.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Entry {
        /// Whether messages are refused or allowed from then on.
        pub action: OptOutAction,
        /// Which messages: a [`ConsentScope`].
        pub scope: String,
        /// How it was detected or stated.
        pub source: String,
        /// The SID of the message or callback, or the evidence that the caller stated.
        pub evidence: String,
        /// When.
        pub recorded_at: Timestamp,
        /// The key of the caller that recorded it.
        pub recorded_by: Option<Uuid>,
    }
}

row! {
    /// How consent that was recorded relates to the rest of the ledger.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Recorded {
        /// An opt-in that was recorded earlier, and an opt-out since then. The opt-out applies.
        pub is_superseded: bool,
    }
}

/// Its steps are described in `migrations/functions/sms_record_consent_2.sql`.
const RECORD: Statement<(Entry, Recorded)> = Statement::new(
    "record consent",
    "
select action, scope, source, evidence, recorded_at, recorded_by, is_superseded
from sms_record_consent_2($account_sid, $variants, $recipient, $recipient_original, $new_conversation, $entry_id,
    $action, $scope, $source, $stated_source, $stated_evidence, $api_key_id, $event_type, $event_data, $now)",
);

/// Records consent of the first known variant of a number. A recipient without a conversation gets one. Returns `None`
/// if there is neither. If the latest entry states the same, or an earlier one the same opt-in, it is returned.
///
/// # Errors
///
/// [`DbError`]: the entry may be stored if the connection failed during the commit. A retry returns it.
pub async fn record(
    db: &Db,
    account_sid: &AccountSid,
    variants: &[String],
    recipient: Option<Recipient>,
    consent: &Consent,
    now: Timestamp,
) -> Result<Option<(Entry, Recorded)>, DbError> {
    let (event_type, event_data) = consent.event();
    let (recipient, recipient_original) = recipient.map(Recipient::into_parts).unzip();
    let params = params! {
        account_sid,
        variants,
        recipient,
        recipient_original,
        new_conversation: clock::new_id(),
        entry_id: clock::new_id(),
        action: consent.action,
        scope: consent.scope.to_string(),
        source: OptOutSource::Consent,
        stated_source: consent.source.as_str(),
        stated_evidence: consent.evidence.as_str(),
        api_key_id: consent.api_key_id,
        event_type,
        event_data,
        now,
    };
    Ok(db.query_confirmed(&RECORD, &params).await?.into_iter().next())
}

/// A row of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedConsent {
    /// The forms in which its number may be stored, in lookup order.
    pub variants: Vec<String>,
    /// Its number, if messages can be sent to it.
    pub recipient: Option<Recipient>,
    /// What is recorded.
    pub consent: Consent,
}

/// What happened to a row of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It has a new entry in the ledger.
    Imported,
    /// The ledger states the same already.
    Unchanged,
    /// Its number has no conversation and can't receive messages.
    UnknownNumber,
}

/// A row of an import in the JSON that `sms_import_consent` reads.
#[derive(Debug, Serialize)]
struct ImportRow<'a> {
    place: usize,
    variants: &'a [String],
    recipient: Option<&'a str>,
    original: Option<&'a str>,
    new_conversation: Uuid,
    /// Ids ascend, which keeps the order of entries with the same time.
    entry_id: Uuid,
    action: OptOutAction,
    scope: String,
    source: &'a str,
    evidence: &'a str,
    api_key_id: Uuid,
    /// The data of its event, if it has a scope. The others share theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data: Option<String>,
}

impl<'a> ImportRow<'a> {
    fn new(place: usize, row: &'a StatedConsent) -> Self {
        let recipient = row.recipient.as_ref();
        Self {
            place,
            variants: &row.variants,
            recipient: recipient.map(|recipient| recipient.e164().as_str()),
            original: recipient.map(Recipient::original),
            new_conversation: clock::new_id(),
            entry_id: clock::new_id(),
            action: row.consent.action,
            scope: row.consent.scope.to_string(),
            source: &row.consent.source,
            evidence: &row.consent.evidence,
            api_key_id: row.consent.api_key_id,
            event_data: (row.consent.scope != ConsentScope::All).then(|| row.consent.event().1),
        }
    }
}

row! {
    struct ImportedRow {
        is_known: bool,
        is_new: bool,
    }
}

/// Its steps are described in `migrations/functions/sms_import_consent.sql`.
const IMPORT: Statement<ImportedRow> = Statement::new(
    "import consent",
    "
select is_known, is_new
from sms_import_consent($account_sid, $rows, $source, $opted_out_event, $opted_out_data, $opted_in_event,
    $opted_in_data, $now)
order by place",
);

/// Records the consent of several rows in one transaction, as if they were recorded one after the other. A recipient
/// without a conversation gets one. Rows that the ledger states already change nothing, if all rows of a number are in
/// the same call. Returns the outcome of each row, in order.
///
/// Conversations are locked in the order of their numbers, but some transactions lock them in the order of their ids,
/// or those that exist before new ones. So Postgres may cancel the statement because of a deadlock; then it runs again.
///
/// # Errors
///
/// [`DbError`]: the rows may be stored if the connection failed during the commit. A retry then returns them as
/// unchanged.
pub async fn import(
    db: &Db,
    account_sid: &AccountSid,
    rows: &[&StatedConsent],
    now: Timestamp,
) -> Result<Vec<ImportOutcome>, DbError> {
    let source = OptOutSource::Consent;
    let rows: Vec<ImportRow<'_>> = (1..).zip(rows).map(|(place, row)| ImportRow::new(place, row)).collect();
    let params = params! {
        account_sid,
        rows: Json(rows),
        source,
        opted_out_event: OptedOut::TYPE,
        opted_out_data: OptedOut { source, scope: None }.json(),
        opted_in_event: OptedIn::TYPE,
        opted_in_data: OptedIn { source, scope: None }.json(),
        now,
    };
    let imported = match db.query_confirmed(&IMPORT, &params).await {
        Err(error) if error.is_deadlock() => db.query_confirmed(&IMPORT, &params).await?,
        imported => imported?,
    };
    let outcome = |row: ImportedRow| match row {
        ImportedRow { is_known: false, .. } => ImportOutcome::UnknownNumber,
        ImportedRow { is_new: true, .. } => ImportOutcome::Imported,
        ImportedRow { .. } => ImportOutcome::Unchanged,
    };
    Ok(imported.into_iter().map(outcome).collect())
}

row! {
    struct Found {
        is_opted_out: bool,
        opted_out_scopes: Vec<String>,
        action: Option<OptOutAction>,
        scope: Option<String>,
        source: Option<String>,
        evidence: Option<String>,
        recorded_at: Option<Timestamp>,
        recorded_by: Option<Uuid>,
    }
}

/// The ledger of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Whether all messages are refused.
    pub is_opted_out: bool,
    /// Which messages are refused otherwise.
    pub opted_out_scopes: Vec<String>,
    /// Its entries, newest first.
    pub entries: Vec<Entry>,
}

const LEDGER: Statement<Found> = Statement::new(
    "read the ledger of a number",
    "
with conversation as (
    select c.id, c.opted_out_at, c.opted_out_scopes
    from unnest($variants::text[]) with ordinality as v (number, position)
    join sms_conversations c on c.account_sid = $account_sid and c.phone_number_canonical = v.number
    order by v.position limit 1
)
select c.opted_out_at is not null as is_opted_out, c.opted_out_scopes, e.action, e.scope, e.source,
    e.evidence, e.recorded_at, e.recorded_by
from conversation c left join lateral (
    select o.action, o.scope, coalesce(o.stated_source, o.source) as source,
        coalesce(o.stated_evidence, o.evidence) as evidence, o.created_at as recorded_at, o.api_key_id as recorded_by,
        o.id
    from sms_opt_out_events o where o.conversation_id = c.id
    order by o.created_at desc, o.id desc limit $limit
) e on true
order by e.recorded_at desc, e.id desc",
);

/// Returns the latest entries of the ledger of the first known variant of a number.
///
/// # Errors
///
/// [`DbError`]: a retry is safe.
pub async fn ledger(
    db: &Db,
    account_sid: &AccountSid,
    variants: &[String],
    limit: i64,
) -> Result<Option<Ledger>, DbError> {
    let rows = db.query_idempotent(&LEDGER, &params! { account_sid, variants, limit }).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let (is_opted_out, opted_out_scopes) = (first.is_opted_out, first.opted_out_scopes.clone());
    let entry = |found: Found| {
        Some(Entry {
            action: found.action?,
            scope: found.scope?,
            source: found.source?,
            evidence: found.evidence?,
            recorded_at: found.recorded_at?,
            recorded_by: found.recorded_by,
        })
    };
    let entries = rows.into_iter().filter_map(entry).collect();
    Ok(Some(Ledger { is_opted_out, opted_out_scopes, entries }))
}

statements!(RECORD, IMPORT, LEDGER);
