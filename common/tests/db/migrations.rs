use common::db::{DatabaseConfig, Db, migrations};
use testing::Database;

#[tokio::test]
async fn migrating_again_applies_nothing() {
    let database = Database::create().await;
    assert!(migrations::migrate(&database.db()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_side_by_side_applies_each_once() {
    let database = Database::create().await;
    database.client.batch_execute("drop schema public cascade; create schema public").await.unwrap();
    let url = database.url();
    let runs = (0..4).map(|_| {
        let db = Db::new(&DatabaseConfig::for_url(&url)).unwrap();
        tokio::spawn(async move { migrations::migrate(&db).await.unwrap() })
    });
    let mut applied = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        applied.extend(run.await.unwrap());
    }
    let total = applied.len();
    applied.sort_unstable();
    applied.dedup();
    assert_eq!(applied.len(), total, "none was applied twice");
    assert_eq!(database.scalar("select count(*) from schema_migrations").await, total.to_string());
}

#[tokio::test]
async fn a_migration_that_was_changed_after_the_fact_stops_the_run() {
    let database = Database::create().await;
    database
        .client
        .batch_execute("update schema_migrations set checksum = 'x' where name like '0002%'")
        .await
        .unwrap();
    let error = migrations::migrate(&database.db()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "migration 0002_opt_outs was changed after it was applied to this database"
    );
}
