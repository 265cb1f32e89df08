//! CSV documents, and documents that cannot be read.

use super::{LEDGER, OTHER, STATE, TENANT, World, all, csv, post};
use serde_json::json;

#[tokio::test]
async fn columns_can_have_any_order_and_fields_can_contain_commas_quotes_and_line_breaks() {
    let mut world = World::start().await;
    let document = format!(
        "evidence,scope,phone_number, action ,source\n\
         \"Letter, \"\"signed\"\"\nby both\",all,{TENANT},opt_out,\"paper, scanned\"\n\
         \n\
         scan 2,,(203) 555-0124,opt_in,web\n"
    );
    assert_eq!(world.import(csv(&document)).await, all(2, 0));
    assert_eq!(
        world.database.scalar(LEDGER).await,
        format!("{TENANT} opt_out paper, scanned Letter, \"signed\"\nby both; {OTHER} opt_in web scan 2")
    );
    assert_eq!(world.import(csv(&document)).await, all(0, 2));
}

#[tokio::test]
async fn a_document_of_excel_can_have_a_bom_and_crlf() {
    let mut world = World::start().await;
    let document = format!(
        "\u{feff}phone_number,action,source,evidence\r\n\
         {TENANT},opt_out,paper,scan 1\r\n{OTHER},opt_in,web,a\r\n"
    );
    let request = post().header("content-type", "Text/CSV; charset=utf-8; header=present").body(&document);
    assert_eq!(world.import(request).await, all(2, 0));
    let ledger = format!("{TENANT} opt_out paper scan 1; {OTHER} opt_in web a");
    assert_eq!(world.database.scalar(LEDGER).await, ledger);
}

#[tokio::test]
async fn invalid_rows_are_counted_without_the_header() {
    let mut world = World::start().await;
    let document = format!(
        "phone_number,action,source,evidence,scope\n\
         {TENANT},opt_out,paper,scan 1\n\
         {TENANT},opt_out,paper,scan 1,all,more\n\
         {TENANT},OPT_OUT,paper,,all\n\
         1,opt_out,paper,scan 1,calls\n\
         {TENANT},opt_out,paper,scan 1,all"
    );
    let expected = json!({"imported": 1, "unchanged": 0, "rejected": [
        {"row": 1, "reason": "row has 4 columns; the header has 5"},
        {"row": 2, "reason": "row has 6 columns; the header has 5"},
        {"row": 3, "reason": "action must be opt_out or opt_in; evidence is blank"},
        {"row": 4, "reason": "scope must be all, workflow: with a workflow_type of at most 255 characters, or \
            purpose: with service, marketing or emergency"},
    ]});
    assert_eq!(world.import(csv(&document)).await, expected);
    assert_eq!(world.database.scalar(STATE).await, format!("{TENANT} t"));
}

const SCOPES: &str = "select string_agg(concat_ws(' ', phone_number_canonical, opted_out_at is not null,
        opted_out_scopes::text), ', ' order by phone_number_canonical) from sms_conversations";

#[tokio::test]
async fn rows_have_scopes_if_these_are_configured_and_otherwise_stop_everything() {
    let document = format!(
        "phone_number,action,scope,source,evidence\n\
         {TENANT},opt_out,purpose:marketing,paper,scan 1\n\
         {OTHER},opt_out,workflow:collections,paper,scan 1\n"
    );
    let mut world = World::with_scopes("workflow,purpose").await;
    for expected in [all(2, 0), all(0, 2)] {
        assert_eq!(world.import(csv(&document)).await, expected);
    }
    let narrow = format!("{TENANT} f {{purpose:marketing}}, {OTHER} f {{workflow:collections}}");
    assert_eq!(world.database.scalar(SCOPES).await, narrow);

    let mut world = World::with_scopes("purpose").await;
    for (imported, unchanged) in [(2, 0), (0, 2)] {
        let expected = json!({"imported": imported, "unchanged": unchanged, "widened": 1, "rejected": []});
        assert_eq!(world.import(csv(&document)).await, expected);
    }
    let wide = format!("{TENANT} f {{purpose:marketing}}, {OTHER} t {{}}");
    assert_eq!(world.database.scalar(SCOPES).await, wide);
}

#[tokio::test]
async fn an_empty_document_imports_nothing() {
    let mut world = World::start().await;
    assert_eq!(world.import(post().json(&json!({"rows": []}))).await, all(0, 0));
    assert_eq!(world.import(csv("phone_number,action,source,evidence\n")).await, all(0, 0));
}

#[tokio::test]
async fn a_document_that_cannot_be_read_is_refused() {
    let mut world = World::start().await;
    for (document, problems) in [
        ("[]", "request body: is not a JSON object"),
        ("{}", "rows: is missing"),
        (r#"{"rows": 1}"#, "rows: must be a list, not a number"),
        (r#"{"rows": [], "more": 1}"#, "more: is not a field of this request"),
    ] {
        let refused = world.refused(post().body(document)).await;
        assert_eq!(refused, format!("400 sms.validation_error\n  {problems}"), "{document}");
    }
    let broken = world.refused(post().body(r#"{"rows": ["#)).await;
    assert!(broken.starts_with("400 sms.validation_error\n  request body: is not JSON: "), "{broken}");

    for (document, problems) in [
        ("", "request body: has no header line"),
        ("\n\n", "request body: has no header line"),
        (
            "phone_number,action\n+12035550123,opt_out\n",
            "source: is not in the header\n  evidence: is not in the header",
        ),
        (
            "phone_number,action,source,evidence,action,note\n",
            "action: is given more than once in the header\n  note: is not a column of this request",
        ),
        (
            "phone_number,action,source,evidence\n\
             +12035550123,opt_out,paper,\"scan 1\n+12035550124,opt_in,web,2\n",
            "request body: has a double quote without its counterpart",
        ),
    ] {
        let refused = world.refused(csv(document)).await;
        assert_eq!(refused, format!("400 sms.validation_error\n  {problems}"), "{document}");
    }
    // The bytes FF FE, with which UTF-16 begins.
    let mut event = csv("//4=").event();
    event["isBase64Encoded"] = true.into();
    let refused = testing::refusal(&world.function.call(event).await);
    assert_eq!(refused, "400 sms.validation_error\n  request body: is not UTF-8 at byte 1");
    assert_eq!(world.database.scalar("select count(*) from sms_conversations").await, "0");
}

#[tokio::test]
async fn a_body_of_more_than_five_megabytes_is_too_large() {
    let mut world = World::start().await;
    assert_eq!(world.refused(csv(&"x".repeat(5_000_001))).await, "413 sms.payload_too_large");
    // Larger than the limit of other endpoints.
    let evidence = "x".repeat(1_900);
    let rows: String = (0..1_000).map(|n| format!("+1203555{n:04},opt_out,paper,{evidence}\n")).collect();
    let document = format!("phone_number,action,source,evidence\n{rows}");
    assert_eq!(world.import(csv(&document)).await, all(1_000, 0));
}
