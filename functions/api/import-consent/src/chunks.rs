//! Stores the rows, one transaction per chunk.

use crate::request::{Row, Rows};
use crate::response::ConsentImport;
use crate::{App, RejectedRow};
use common::clock;
use common::db::DbError;
use common::db::consent::{self, ImportOutcome, StatedConsent};
use common::domain::phone::{NumberingPlan, PhoneError};
use common::http::ApiError;
use common::service::consent::no_number;
use std::collections::HashMap;
use tokio::time::{Instant, timeout_at};

/// How many rows a transaction stores. It locks their conversations, and waits for calls to Twilio that are being made.
const CHUNK: usize = 500;

/// A row to store.
struct Stating {
    /// Its position in the request, from 1.
    number: usize,
    stated: StatedConsent,
    /// Whether it applies to all messages because its scope is not configured.
    is_widened: bool,
    /// Why its phone number is no recipient.
    refusal: Option<PhoneError>,
}

impl Stating {
    fn new(plan: &NumberingPlan, row: Row) -> Self {
        let Row { number, phone_number, consent, is_widened } = row;
        let variants = plan.lookup_variants(&phone_number);
        let (recipient, refusal) = match plan.recipient(&phone_number) {
            Ok(recipient) => (Some(recipient), None),
            Err(refusal) => (None, Some(refusal)),
        };
        Self { number, stated: StatedConsent { variants, recipient, consent }, is_widened, refusal }
    }
}

/// Stores the rows until a time.
///
/// # Errors
///
/// [`ApiError::Unavailable`] when nothing was stored, [`ApiError::Incomplete`] when some chunks were. Repeating the
/// request continues.
pub(crate) async fn import(app: &App, rows: Rows, until: Instant) -> Result<ConsentImport, ApiError> {
    let mut import = ConsentImport { imported: 0, unchanged: 0, widened: 0, rejected: rows.rejected };
    for chunk in chunks(app.conversations.plan(), rows.valid) {
        match store(app, &chunk, until).await {
            Ok(outcomes) => add(&mut import, &chunk, &outcomes),
            Err(error) => return Err(failure(&import, error)),
        }
    }
    import.rejected.sort_by_key(|rejected| rejected.row);
    Ok(import)
}

/// Groups the rows in their order. All rows of a number are in one chunk, which is larger if there are more than 500.
fn chunks(plan: &NumberingPlan, rows: Vec<Row>) -> Vec<Vec<Stating>> {
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut numbers: Vec<Vec<Stating>> = Vec::new();
    for row in rows {
        let position = *positions.entry(plan.canonical(&row.phone_number)).or_insert(numbers.len());
        if position == numbers.len() {
            numbers.push(Vec::new());
        }
        numbers[position].push(Stating::new(plan, row));
    }
    let mut chunks: Vec<Vec<Stating>> = Vec::new();
    for rows in numbers {
        match chunks.last_mut() {
            Some(chunk) if chunk.len() + rows.len() <= CHUNK => chunk.extend(rows),
            _ => chunks.push(rows),
        }
    }
    chunks
}

/// Stores a chunk, unless the time is up. A transaction that is not finished by then is rolled back.
async fn store(app: &App, chunk: &[Stating], until: Instant) -> Result<Vec<ImportOutcome>, DbError> {
    let late = DbError::TimedOut { operation: "import consent", after: app.database_budget };
    if Instant::now() >= until {
        return Err(late);
    }
    let app = &app.conversations;
    let rows: Vec<&StatedConsent> = chunk.iter().map(|row| &row.stated).collect();
    let imported = consent::import(&app.db, app.account_sid(), &rows, clock::now());
    timeout_at(until, imported).await.unwrap_or(Err(late))
}

fn add(import: &mut ConsentImport, chunk: &[Stating], outcomes: &[ImportOutcome]) {
    for (row, outcome) in chunk.iter().zip(outcomes) {
        if row.is_widened && *outcome != ImportOutcome::UnknownNumber {
            import.widened += 1;
        }
        match outcome {
            ImportOutcome::Imported => import.imported += 1,
            ImportOutcome::Unchanged => import.unchanged += 1,
            ImportOutcome::UnknownNumber => {
                import.rejected.push(RejectedRow::new(row.number, &no_number(row.refusal)));
            }
        }
    }
}

/// Returns the error for an import that failed after some chunks.
fn failure(import: &ConsentImport, error: DbError) -> ApiError {
    let stored = import.imported + import.unchanged;
    if stored == 0 || !error.is_unavailable() {
        return error.into();
    }
    let done = format!("the import is incomplete: {stored} rows are stored; repeat the request to continue");
    ApiError::Incomplete { done, cause: error.into() }
}
