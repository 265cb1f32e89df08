//! Applies `migrations/`, which is embedded here.

use super::{Db, DbError, Type};
use sha2::{Digest, Sha256};

/// Every migration, in order. A test compares this with the folder.
const MIGRATIONS: &[(&str, &str)] = &[
    (
        "0001_conversations_and_messages",
        include_str!("../../../migrations/0001_conversations_and_messages.sql"),
    ),
    ("0002_opt_outs", include_str!("../../../migrations/0002_opt_outs.sql")),
    ("0003_webhook_spool", include_str!("../../../migrations/0003_webhook_spool.sql")),
    ("0004_api_keys_and_idempotency", include_str!("../../../migrations/0004_api_keys_and_idempotency.sql")),
    ("0005_store_inbound", include_str!("../../../migrations/0005_store_inbound.sql")),
    ("0006_events", include_str!("../../../migrations/0006_events.sql")),
    ("0007_dispatch", include_str!("../../../migrations/0007_dispatch.sql")),
    ("0008_outcomes", include_str!("../../../migrations/0008_outcomes.sql")),
    ("0009_tenants", include_str!("../../../migrations/0009_tenants.sql")),
    ("0010_pages", include_str!("../../../migrations/0010_pages.sql")),
    ("0011_cost_of_a_send", include_str!("../../../migrations/0011_cost_of_a_send.sql")),
    ("0012_conversation_settings", include_str!("../../../migrations/0012_conversation_settings.sql")),
    ("0013_settled_tenants", include_str!("../../../migrations/0013_settled_tenants.sql")),
    ("0014_drop_store_inbound", include_str!("../../../migrations/0014_drop_store_inbound.sql")),
    ("0015_urgent_first", include_str!("../../../migrations/0015_urgent_first.sql")),
    ("0016_once_only", include_str!("../../../migrations/0016_once_only.sql")),
    ("0017_webhooks", include_str!("../../../migrations/0017_webhooks.sql")),
];

/// The advisory lock under which migrations run: any number does, as long as it is always the same.
const LOCK: &str = "select pg_advisory_xact_lock(7673797)";

/// Why the database is not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A statement failed; its migration was not applied.
    #[error("applying migration {name}")]
    Apply {
        /// The migration.
        name: &'static str,
        /// What Postgres says.
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

/// Applies what is missing, and returns the names of what was applied.
///
/// Safe to run twice and side by side: each migration runs in a transaction under an advisory lock and records itself
/// first, so that the second of two runs fails on the primary key, looks again, and goes on.
///
/// # Errors
///
/// [`MigrateError`]; what was applied before the failure stays.
pub async fn migrate(db: &Db) -> Result<Vec<&'static str>, MigrateError> {
    db.script(
        "create the list of migrations",
        &format!(
            "{LOCK}; create table if not exists schema_migrations
             (name text primary key, checksum text not null, applied_at timestamptz not null default now())"
        ),
    )
    .await?;
    let mut applied = Vec::new();
    for &(name, sql) in MIGRATIONS {
        let checksum = hex::encode(Sha256::digest(sql));
        if is_applied(db, name, &checksum).await? {
            continue;
        }
        // Names and checksums are ours, with nothing in them to escape.
        let script = format!(
            "{LOCK}; insert into schema_migrations (name, checksum) values ('{name}', '{checksum}'); {sql}"
        );
        match db.script("apply a migration", &script).await {
            Ok(()) => applied.push(name),
            Err(_) if is_applied(db, name, &checksum).await? => {}
            Err(source) => return Err(MigrateError::Apply { name, source }),
        }
    }
    Ok(applied)
}

/// Returns a short name for this very set of migrations.
#[must_use]
pub fn fingerprint() -> String {
    let mut hasher = Sha256::new();
    for (name, sql) in MIGRATIONS {
        hasher.update(name);
        hasher.update(sql);
    }
    hex::encode(&hasher.finalize()[..8])
}

async fn is_applied(db: &Db, name: &'static str, checksum: &str) -> Result<bool, MigrateError> {
    let rows = db
        .query_idempotent(
            "read the list of migrations",
            "select checksum from schema_migrations where name = $1",
            &[(&name, Type::TEXT)],
        )
        .await?;
    match rows.first() {
        None => Ok(false),
        Some(row) if row.get::<_, &str>(0) == checksum => Ok(true),
        Some(_) => Err(MigrateError::Changed(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| {
                entry.unwrap().file_name().to_str().unwrap().strip_suffix(".sql").map(str::to_owned)
            })
            .collect();
        files.sort();
        let listed: Vec<_> = MIGRATIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(files, listed);
    }
}
