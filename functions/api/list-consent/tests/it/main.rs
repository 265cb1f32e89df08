//! Tests of the binary through the Runtime API.

use serde_json::json;
use std::time::Duration;
use testing::{ApiRequest, Database, Function, KEY_ID, body, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_list-consent");
const TENANT: &str = "+12035550123";

fn get(number: &str) -> ApiRequest {
    ApiRequest::new("GET", &format!("/conversations/{number}/consent"))
        .scopes("conversations:read")
        .path_parameter("phone_number", number)
}

async fn start(database: &Database) -> Function {
    let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", &database.url())];
    Function::start(BINARY, &variables).await
}

#[tokio::test]
async fn entries_are_newest_first_with_their_evidence() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    assert_eq!(refusal(&function.call(get(TENANT).event()).await), "404 sms.not_found");
    let rows = format!(
        "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
         select gen_random_uuid(), 'AC1', n, n, now() from unnest(array['{TENANT}', '+12035550124']) n;
         insert into sms_opt_out_events (id, conversation_id, action, source, words, evidence, created_at)
         select gen_random_uuid(), id, 'opt_out', 'keyword', 'STOP', 'SM1', '2026-11-01T12:00:00Z'
         from sms_conversations where phone_number_canonical = '{TENANT}';
         insert into sms_opt_out_events (id, conversation_id, action, source, evidence, stated_source, stated_evidence,
             api_key_id, created_at)
         select gen_random_uuid(), id, 'opt_in', 'consent', 'id', 'mail', 'scan 1', '{KEY_ID}', '2026-11-02T12:00:00Z'
         from sms_conversations where phone_number_canonical = '{TENANT}'"
    );
    database.client.batch_execute(&rows).await.unwrap();
    assert_eq!(
        body(&function.call(get("(203) 555-0123").event()).await),
        json!({"opted_out": false, "entries": [
            {"action": "opt_in", "scope": "all", "source": "mail", "evidence": "scan 1",
                "recorded_at": "2026-11-02T12:00:00Z", "recorded_by": KEY_ID},
            {"action": "opt_out", "scope": "all", "source": "keyword", "evidence": "SM1",
                "recorded_at": "2026-11-01T12:00:00Z", "recorded_by": null},
        ]})
    );
    let scoped = format!(
        "insert into sms_opt_out_events (id, conversation_id, action, scope, source, evidence, stated_source,
             stated_evidence, api_key_id, created_at)
         select gen_random_uuid(), id, 'opt_out', 'purpose:marketing', 'consent', 'id 2', 'mail', 'scan 2', '{KEY_ID}',
             '2026-11-03T12:00:00Z'
         from sms_conversations where phone_number_canonical = '{TENANT}'"
    );
    database.client.batch_execute(&scoped).await.unwrap();
    let ledger = body(&function.call(get(TENANT).event()).await);
    assert_eq!(
        (&ledger["opted_out"], &ledger["opted_out_scopes"]),
        (&json!(false), &json!(["purpose:marketing"]))
    );
    assert_eq!(ledger["entries"][0]["scope"], "purpose:marketing");
    let without = body(&function.call(get("+12035550124").event()).await);
    assert_eq!(without, json!({"opted_out": false, "entries": []}));
}

#[tokio::test]
async fn a_missing_scope_an_empty_number_and_an_outage_are_refused() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let forbidden = get(TENANT).scopes("conversations:write").event();
    assert_eq!(refusal(&function.call(forbidden).await), "403 sms.forbidden");
    let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")];
    let mut function = Function::start(BINARY, &variables).await;
    assert_eq!(refusal(&function.call(get(TENANT).event()).await), "503 sms.unavailable");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<list_consent::Config>("list-consent", Duration::ZERO, environment::API);
}
