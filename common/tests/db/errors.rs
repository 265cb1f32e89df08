//! Postgres errors in logs must not contain data of messages.

use common::db::{Column, ColumnError, DbError, FromRow, RowReader, SqlParam, Statement};
use common::domain::message::Status;
use common::error::chain;
use testing::Database;

const SECRETS: [&str; 3] = ["the sink leaks", "2035550123", "DETAIL"];

fn shown(error: &DbError) -> String {
    let shown = format!("{} | {error} | {error:?} | {error:#?}", chain(error));
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    chain(error)
}

#[tokio::test]
async fn a_constraint_violation_is_shown_with_code_constraint_and_message() {
    let database = Database::create().await;
    let table =
        "create table t (number text primary key, body text constraint no_leaks check (body !~ 'leaks'))";
    database.client.batch_execute(table).await.unwrap();
    let db = database.db();
    let insert = async |body: &str| {
        let insert = Statement::<()>::new("store a text", "insert into t values ($number, $body)");
        let number = "+12035550123";
        db.query(&insert, &[("number", &number as &dyn SqlParam), ("body", &body)]).await.map(drop)
    };
    assert_eq!(
        shown(&insert("the sink leaks").await.unwrap_err()),
        "could not store a text: new row for relation \"t\" violates check constraint \"no_leaks\" \
         (SQLSTATE 23514, constraint no_leaks)"
    );
    insert("fine").await.unwrap();
    assert_eq!(
        shown(&insert("fine").await.unwrap_err()),
        "could not store a text: duplicate key value violates unique constraint \"t_pkey\" \
         (SQLSTATE 23505, constraint t_pkey)"
    );
}

#[tokio::test]
async fn an_error_message_is_cut_before_a_quoted_value() {
    let database = Database::create().await;
    let db = database.db();
    for (sql, expected) in [
        ("select $text::text::uuid", "invalid input syntax for type uuid (SQLSTATE 22P02)"),
        (
            "select $text::text::timestamptz",
            "invalid input syntax for type timestamp with time zone (SQLSTATE 22007)",
        ),
        ("select $text::text::jsonb", "invalid input syntax for type json (SQLSTATE 22P02)"),
        ("select now() at time zone $text::text", "time zone (SQLSTATE 22023)"),
        ("select ('2035550123' || left($text, 0))::int2", "value (SQLSTATE 22003)"),
    ] {
        let error = db
            .query(&Statement::<()>::new("read it", sql), &[("text", &"the sink leaks")])
            .await
            .unwrap_err();
        assert_eq!(shown(&error), format!("could not read it: {expected}"), "{sql}");
        assert!(error.is_about_the_data(), "{sql}");
    }
}

#[tokio::test]
async fn a_failed_connection_is_shown_without_the_password() {
    let config = common::db::DatabaseConfig::for_url("postgres://u:hunter2@127.0.0.1:1/x");
    let error = common::db::Db::new(&config).unwrap().ping().await.unwrap_err();
    assert!(error.is_unavailable());
    let shown = shown(&error);
    assert!(shown.contains("connecting to Postgres to ping: ") && shown.contains("refused"), "{shown}");
}

/// The row of the statements below.
#[derive(Debug)]
struct Read;

impl FromRow for Read {
    fn columns() -> Vec<Column> {
        vec![Column::of::<Status>("status")]
    }

    fn from_row(row: &mut RowReader<'_>) -> Result<Self, ColumnError> {
        row.read_next::<Status>().map(|_| Self)
    }
}

#[tokio::test]
async fn a_column_that_cannot_be_read_is_an_error_with_its_name() {
    let database = Database::create().await;
    let db = database.db();
    for (sql, reason) in [
        ("select 'lost' as status", "\"lost\" is not a message status"),
        ("select null::text as status", "NULL"),
        ("select 1 as status", "int4"),
        ("select 'sent' as state", "not in the result"),
    ] {
        let error = db.query(&Statement::<Read>::new("read a status", sql), &[]).await.unwrap_err();
        assert!(matches!(error, DbError::Decode { .. }) && !error.is_unavailable(), "{error:?}");
        let shown = shown(&error);
        let begins =
            shown.starts_with("could not read what Postgres returned to read a status: column status: ");
        assert!(begins && shown.contains(reason), "{shown}");
    }
}

#[tokio::test]
async fn a_statement_with_a_wrong_parameter_name_is_not_sent() {
    let database = Database::create().await;
    let statement = Statement::<()>::new("read it", "select from pg_class where relname = $name");
    let error = database.db().query(&statement, &[("names", &"t" as &dyn SqlParam)]).await.unwrap_err();
    assert_eq!(shown(&error), "could not read it: the parameter $name has no value");
    assert!(!error.is_unavailable());
}
