//! Applies the embedded folder `migrations`: numbered files once, and SQL functions whenever their text changes.

use super::locks::{LockRetries, LockWaits};
use super::{Db, DbError, Held, Statement, params, partitions, row, statements};
use crate::clock;
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// The folder `migrations`.
static FOLDER: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../migrations");

/// Returns the numbered migrations in order, as pairs of name and SQL.
#[must_use]
pub fn numbered() -> Vec<(&'static str, &'static str)> {
    sql_files(&FOLDER)
}

/// Returns the repeatable migrations, one per SQL function, as pairs of name and SQL.
#[must_use]
pub fn functions() -> Vec<(&'static str, &'static str)> {
    FOLDER.get_dir("functions").map(sql_files).unwrap_or_default()
}

fn sql_files(folder: &Dir<'static>) -> Vec<(&'static str, &'static str)> {
    let mut files: Vec<_> = folder
        .files()
        .filter_map(|file| Some((file.path().to_str()?.strip_suffix(".sql")?, file.contents_utf8()?)))
        .collect();
    files.sort_unstable();
    files
}

/// The key of the advisory lock for migrations: an arbitrary constant. The lock is transaction-level, because a
/// transaction pooler changes sessions. Waiting for it has a `lock_timeout`: a waiting statement holds a snapshot, and
/// `create index concurrently` of the run with the lock waits for all snapshots.
const LOCK: &str = "select pg_advisory_xact_lock(7673797)";

/// The last step of the transaction that replaces SQL functions. `create or replace` with other parameters would add a
/// second function, and calls by the previous version would fail or become ambiguous.
const CHECK_SIGNATURES: &str = "
do $$
declare
    changed text;
begin
    select p.proname into changed from pg_proc p
    where p.pronamespace = current_schema()::regnamespace and p.proname like 'sms\\_%'
    group by p.proname having count(*) > 1 limit 1;
    if found then
        raise exception 'function % has another signature in the database: give the new one a new name', changed;
    end if;
end $$";

/// The first line of a file that runs without a transaction.
const NO_TRANSACTION: &str = "-- transaction: none";

row! {
    struct Applied {
        checksum: String,
    }
}

const APPLIED: Statement<Applied> = Statement::new(
    "read the list of migrations",
    "select checksum from schema_migrations where name = $name",
);

row! {
    struct IsInvalid {
        is_invalid: bool,
    }
}

const IS_INVALID: Statement<IsInvalid> = Statement::new(
    "look for an invalid index",
    "select exists (select from pg_index where indexrelid = to_regclass($index) and not indisvalid) as is_invalid",
);

statements!(APPLIED, IS_INVALID, RECORDED);

/// The migrations failed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A statement failed. The migration has no effect.
    #[error("migration {name} failed and has no effect: fix its file or the data, and run `migrate` again")]
    RolledBack {
        /// The migration, or the changed functions.
        name: String,
        /// The error of Postgres.
        #[source]
        source: DbError,
    },
    /// A statement of a migration without a transaction failed.
    #[error(
        "migration {name} failed after some of its statements: fix its file or the data, and run `migrate` \
         again, which starts with its first statement"
    )]
    Unfinished {
        /// The migration.
        name: &'static str,
        /// The error of Postgres.
        #[source]
        source: DbError,
    },
    /// The list of applied migrations could not be read.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A migration was changed after it was applied.
    #[error("migration {0} was changed after it was applied to this database")]
    Changed(&'static str),
}

/// Applies pending migrations, creates the missing partitions, and returns the names of the migrations.
///
/// Concurrent runs are safe: each migration runs under an advisory lock.
///
/// # Errors
///
/// [`MigrateError`]. Migrations before the failed one stay applied.
pub async fn migrate(db: &Db) -> Result<Vec<&'static str>, MigrateError> {
    migrate_with(db, LockWaits::default()).await
}

/// Like [`migrate`], with other timeouts.
///
/// # Errors
///
/// See [`migrate`].
pub async fn migrate_with(db: &Db, waits: LockWaits) -> Result<Vec<&'static str>, MigrateError> {
    let mut applied = apply(db, &numbered(), waits).await?;
    applied.extend(apply_functions(db, &functions(), waits).await?);
    partitions::ensure(db, clock::now(), partitions::MONTHS_AHEAD, waits).await?;
    Ok(applied)
}

/// Applies pending ones of the numbered `migrations`, given as pairs of name and SQL.
///
/// # Errors
///
/// See [`migrate`].
pub async fn apply(
    db: &Db,
    migrations: &[(&'static str, &'static str)],
    waits: LockWaits,
) -> Result<Vec<&'static str>, MigrateError> {
    let list = format!(
        "{}; {LOCK}; create table if not exists schema_migrations
         (name text primary key, checksum text not null, applied_at timestamptz not null default now())",
        waits.set()
    );
    LockRetries::new("schema_migrations", waits).script(db, "create the list of migrations", &list).await?;
    let mut applied = Vec::new();
    for &(name, sql) in migrations {
        let migration = Migration::new(name, sql);
        if migration.is_applied(db).await? {
            continue;
        }
        let is_new = match sql.lines().next() {
            Some(NO_TRANSACTION) => migration.apply_by_statement(db, waits).await?,
            _ => migration.apply_at_once(db, waits).await?,
        };
        applied.extend(is_new.then_some(name));
    }
    Ok(applied)
}

/// Creates or replaces the SQL functions whose text changed, all in one transaction, because they call each other.
/// Returns their names.
///
/// # Errors
///
/// [`MigrateError`]. All functions are as before.
pub async fn apply_functions(
    db: &Db,
    functions: &[(&'static str, &'static str)],
    waits: LockWaits,
) -> Result<Vec<&'static str>, MigrateError> {
    let all: Vec<Migration> = functions.iter().map(|&(name, sql)| Migration::new(name, sql)).collect();
    if changed(db, &all).await?.is_empty() {
        return Ok(Vec::new());
    }
    let held = lock(db, "functions", waits).await?;
    let outcome = async {
        let changed = changed(db, &all).await?;
        let mut script = waits.set();
        for function in &changed {
            script += &format!(";\n{}\n{}", function.record(), function.sql);
        }
        script += &format!(";\n{CHECK_SIGNATURES}");
        let names: Vec<_> = changed.iter().map(|function| function.name).collect();
        let result = LockRetries::new("functions", waits).script(db, "replace SQL functions", &script).await;
        result.map_err(|source| MigrateError::RolledBack { name: names.join(", "), source })?;
        Ok(names)
    }
    .await;
    held.release().await;
    outcome
}

row! {
    struct Recorded {
        name: String,
        checksum: String,
    }
}

const RECORDED: Statement<Recorded> = Statement::new(
    "read the list of migrations",
    "select name, checksum from schema_migrations where name like 'functions/%'",
);

/// Returns the functions whose text is not the one in the database.
async fn changed<'a>(db: &Db, functions: &'a [Migration]) -> Result<Vec<&'a Migration>, DbError> {
    let recorded = db.query_idempotent(&RECORDED, &[]).await?;
    let stored: HashMap<&str, &str> =
        recorded.iter().map(|row| (row.name.as_str(), row.checksum.as_str())).collect();
    let is_changed = |function: &&Migration| stored.get(function.name) != Some(&function.checksum.as_str());
    Ok(functions.iter().filter(is_changed).collect())
}

/// Waits for other runs of the migrations, on its own connection.
async fn lock(db: &Db, migration: &'static str, waits: LockWaits) -> Result<Held, DbError> {
    let lock = format!("{}; {LOCK}", waits.set());
    let retries = LockRetries::new(migration, waits);
    loop {
        match db.script_held("wait for other runs of the migrations", &lock).await {
            Ok(held) => return Ok(held),
            Err(error) => retries.pause(error).await?,
        }
    }
}

struct Migration {
    name: &'static str,
    sql: &'static str,
    checksum: String,
}

impl Migration {
    fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, checksum: hex::encode(Sha256::digest(sql)) }
    }

    /// Runs the file in one transaction. It is recorded first, so that the second of two concurrent runs fails on the
    /// primary key. Returns whether this run applied it.
    async fn apply_at_once(&self, db: &Db, waits: LockWaits) -> Result<bool, MigrateError> {
        let script = format!("{}; {LOCK}; {} {}", waits.set(), self.record(), self.sql);
        match LockRetries::new(self.name, waits).script(db, "apply a migration", &script).await {
            Ok(()) => Ok(true),
            Err(_) if self.is_applied(db).await? => Ok(false),
            Err(source) => Err(MigrateError::RolledBack { name: self.name.to_owned(), source }),
        }
    }

    /// Runs the statements one by one and records the file after the last one. If one fails, the next run starts with
    /// the first one. Returns whether this run applied it.
    async fn apply_by_statement(&self, db: &Db, waits: LockWaits) -> Result<bool, MigrateError> {
        let held = lock(db, self.name, waits).await?;
        let outcome = async {
            if self.is_applied(db).await? {
                return Ok(false);
            }
            for statement in statements(self.sql) {
                self.run_alone(db, statement, waits).await.map_err(|source| self.unfinished(source))?;
            }
            db.script("record a migration", &self.record())
                .await
                .map_err(|source| self.unfinished(source))?;
            Ok(true)
        }
        .await;
        held.release().await;
        outcome
    }

    async fn run_alone(&self, db: &Db, statement: &str, waits: LockWaits) -> Result<(), DbError> {
        if !is_concurrent(statement) {
            let script = format!("{}; {statement}", waits.set());
            let retries = LockRetries::new(self.name, waits);
            return retries.script(db, "run a statement of a migration", &script).await;
        }
        // These block no writers. A lock_timeout would leave an invalid index.
        if let Some(index) = created_index(statement)
            && is_invalid(db, index).await?
        {
            tracing::info!(migration = self.name, index, "dropping an invalid index");
            let drop = format!("drop index concurrently if exists {index}");
            db.batch("drop an invalid index", &drop).await?;
        }
        db.batch("run a statement of a migration", statement).await
    }

    /// Names and checksums need no escaping. Only the record of a function is replaced.
    fn record(&self) -> String {
        let conflict = if self.name.starts_with("functions/") {
            "on conflict (name) do update set checksum = excluded.checksum, applied_at = now()"
        } else {
            ""
        };
        format!(
            "insert into schema_migrations (name, checksum) values ('{}', '{}') {conflict};",
            self.name, self.checksum
        )
    }

    fn unfinished(&self, source: DbError) -> MigrateError {
        MigrateError::Unfinished { name: self.name, source }
    }

    async fn is_applied(&self, db: &Db) -> Result<bool, MigrateError> {
        let rows = db.query_idempotent(&APPLIED, &params! { name: self.name }).await?;
        match rows.first() {
            None => Ok(false),
            Some(row) if row.checksum == self.checksum => Ok(true),
            Some(_) => Err(MigrateError::Changed(self.name)),
        }
    }
}

/// Splits a file without function bodies into statements, which end with a semicolon at the end of a line.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    let is_code = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("--");
    sql.split(";\n").map(str::trim).filter(move |statement| statement.lines().any(is_code))
}

/// Returns the words of a statement, without comments.
fn words(statement: &str) -> impl Iterator<Item = &str> {
    let code = statement.lines().map(|line| line.split("--").next().unwrap_or_default());
    code.flat_map(str::split_whitespace)
}

fn is_concurrent(statement: &str) -> bool {
    words(statement).take(4).any(|word| word.eq_ignore_ascii_case("concurrently"))
}

/// Returns the name of the index that `create [unique] index concurrently if not exists NAME on …` creates.
fn created_index(statement: &str) -> Option<&str> {
    let mut words = words(statement);
    words.next().filter(|word| word.eq_ignore_ascii_case("create"))?;
    words.find(|word| word.eq_ignore_ascii_case("exists"))?;
    words.next()
}

async fn is_invalid(db: &Db, index: &str) -> Result<bool, DbError> {
    let rows = db.query_idempotent(&IS_INVALID, &params! { index }).await?;
    Ok(rows.first().is_some_and(|row| row.is_invalid))
}

/// Returns a hash of all migrations.
#[must_use]
pub fn fingerprint() -> String {
    let mut hasher = Sha256::new();
    for (name, sql) in numbered().into_iter().chain(functions()) {
        hasher.update(name);
        hasher.update(sql);
    }
    hex::encode(&hasher.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of `migrations/README.md` for files without a transaction.
    fn is_sound(sql: &str) -> bool {
        let is_repeatable = |statement: &str| {
            let text = words(statement).collect::<Vec<_>>().join(" ").to_lowercase();
            !is_concurrent(statement)
                || text.starts_with("create") && created_index(statement).is_some()
                || text.starts_with("drop index concurrently if exists ")
        };
        !sql.contains("$$") && sql.ends_with(";\n") && statements(sql).all(is_repeatable)
    }

    #[test]
    fn files_without_a_transaction_can_be_split_and_repeated() {
        for (name, sql) in numbered().iter().filter(|(_, sql)| sql.starts_with(NO_TRANSACTION)) {
            assert!(is_sound(sql), "{name}");
        }
        for (name, sql) in numbered().iter().filter(|(_, sql)| !sql.starts_with(NO_TRANSACTION)) {
            assert!(!statements(sql).any(is_concurrent), "{name} needs the line {NO_TRANSACTION:?}");
        }
        assert!(!is_sound("create index concurrently a on t (a);\n"));
        assert!(!is_sound("drop index concurrently a;\n"));
        assert!(is_sound("create unique index concurrently if not exists a\n on t (a);\n"));
    }

    #[test]
    fn a_file_is_split_into_its_statements() {
        let sql = "-- transaction: none\n-- Why; and how.\ncreate index concurrently if not exists a_b on t (a, b);\n\n\
                   -- Nothing else.\nalter table t validate constraint c;\n-- The end.\n";
        let found: Vec<&str> = statements(sql).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(is_concurrent(found[0]) && !is_concurrent(found[1]));
        assert_eq!((created_index(found[0]), created_index(found[1])), (Some("a_b"), None));
    }
}
