use crate::inbound;
use common::db::inbound::store;
use common::service::batches;
use testing::Database;

#[tokio::test]
async fn only_the_item_with_invalid_data_fails() {
    let database = Database::create().await;
    let db = database.db();
    let mut invalid = inbound("SM2", "+18615550100");
    invalid.message_content = "NUL \0".to_owned();
    let messages = [inbound("SM1", "+18605550100"), invalid, inbound("SM3", "+18625550100")];
    let written = batches::write(&messages, async |messages| store(&db, messages).await).await;
    let stored: Vec<_> = written.rows.iter().map(|stored| stored.twilio_sid.as_str()).collect();
    assert_eq!(stored, ["SM1", "SM3"]);
    assert_eq!([0, 1, 2].map(|position| written.is_written(position)), [true, false, true]);
    let rejected = written.into_rejected().unwrap();
    assert_eq!(rejected.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_single_invalid_item_is_rejected_after_one_statement() {
    let database = Database::create().await;
    let db = database.db();
    let mut invalid = inbound("SM1", "+18605550100");
    invalid.message_content = "NUL \0".to_owned();
    let statements = std::cell::Cell::new(0);
    let written = batches::write(&[invalid], async |messages| {
        statements.set(statements.get() + 1);
        store(&db, messages).await
    })
    .await;
    assert_eq!((statements.get(), written.into_rejected().unwrap().len()), (1, 1));
}
