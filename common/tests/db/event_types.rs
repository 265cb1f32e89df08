//! Every change writes its event, with the text that the types in `common::domain::event` describe.

use crate::sends::{claimed, claims_of, new_send};
use crate::statuses::{accepted, callback, record};
use crate::{inbound, now};
use common::db::inbound::{NewInbound, OptOutChange, store};
use common::db::sends::{self, Decision, NewSend, Search, SendResult};
use common::db::tenants::{self, CheckedNumber, Identification, LookupIntervals};
use common::db::{Db, deactivations, erasure, media, messages};
use common::domain::delivery_failure::RecipientEffect;
use common::domain::event::{
    DeactivationSource, Event, EventData, EventType, LanguageChanged, MediaStored, MessageFailed,
    MessageReceived, MessageStatus, NumberDeactivated, OptOutSuspected, OptedIn, OptedOut, TenantIdentified,
};
use common::domain::ids::MessageId;
use common::domain::keywords::OptOut;
use common::domain::language::Language;
use common::domain::media::FileType;
use common::domain::message::Status;
use common::domain::opt_out::{OptOutAction, OptOutSource};
use jiff::ToSpan;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::time::Duration;
use testing::Database;

const DAY: Duration = Duration::from_secs(86_400);
const HANDSET: &str = "+18605550100";

/// Numbers all events and returns the bodies of a type, in the order of the log.
async fn bodies(database: &Database, of: EventType) -> Vec<String> {
    database.number_events().await;
    let sql = "select body from sms_events where event_type = $1 order by position";
    let rows = database.client.query(sql, &[&of.as_str()]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns the types of all events, in the order of the log.
async fn types(database: &Database) -> String {
    database.number_events().await;
    let sql = "select coalesce(string_agg(event_type, ' ' order by position), '') from sms_events";
    database.scalar(sql).await
}

/// Reads the only event of a type, and checks that its text is the serialization of the struct.
async fn only<D: EventData + DeserializeOwned>(database: &Database) -> Event<D> {
    let found = bodies(database, D::TYPE).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let event: Event<D> = serde_json::from_str(&found[0]).unwrap();
    assert_eq!(serde_json::to_string(&event).unwrap(), found[0]);
    assert_eq!(event.r#type, D::TYPE);
    event
}

fn word(sid: &str, action: OptOutAction, hours: i64) -> NewInbound {
    let mut message = inbound(sid, HANDSET);
    message.received_at = now() + hours.hours();
    message.language = Language::Unknown;
    message.opt_out =
        Some(OptOutChange { action, source: OptOutSource::Keyword, words: Some("STOP".to_owned()) });
    message
}

#[tokio::test]
async fn an_inbound_message_writes_its_receipt_the_new_language_and_a_suspicion() {
    let database = Database::create().await;
    let mut message = inbound("SM1", HANDSET);
    message.opt_out_result = OptOut::Unsure;
    message.media = json!([{"url": "x"}, {"url": "y"}]);
    message.request_id = "r \"1\"\\\u{1}".to_owned();
    let stored = store(&database.db(), &[message.clone()]).await.unwrap();
    store(&database.db(), &[message]).await.unwrap();
    database
        .client
        .batch_execute("update sms_conversations set tenant_id = 'T \"1\"\n', workflow_type = 'collections'")
        .await
        .unwrap();

    assert_eq!(
        types(&database).await,
        "message.received conversation.language_changed contact.opt_out_suspected"
    );
    let received = only::<MessageReceived>(&database).await;
    let expected = json!({
        "direction": "inbound", "twilio_sid": "SM1", "language": "en", "language_confidence": 0.9, "num_media": 2,
        "opt_out": "unsure"
    });
    assert_eq!(serde_json::to_value(&received.data).unwrap(), expected);
    assert_eq!(
        (received.conversation_id, received.message_id),
        (stored[0].conversation_id, Some(stored[0].message_id))
    );
    assert_eq!((received.conversation_sequence, received.tenant_id), (1, None));
    let changed = only::<LanguageChanged>(&database).await;
    assert_eq!((changed.data.previous_language, changed.data.language), (Language::Unknown, Language::En));
    assert_eq!(changed.data.request_id.as_deref(), Some("r \"1\"\\\u{1}"));
    let suspected = only::<OptOutSuspected>(&database).await;
    assert_eq!((suspected.conversation_sequence, suspected.data.twilio_sid), (3, "SM1".to_owned()));

    // The envelope has the tenant and the workflow of the time of the event.
    store(&database.db(), &[inbound("SM2", HANDSET)]).await.unwrap();
    let second: Event<MessageReceived> =
        serde_json::from_str(&bodies(&database, EventType::MessageReceived).await[1]).unwrap();
    assert_eq!(second.tenant_id.as_deref(), Some("T \"1\"\n"));
    assert_eq!((second.workflow_type.as_deref(), second.conversation_sequence), (Some("collections"), 4));
}

#[tokio::test]
async fn opt_outs_and_opt_ins_are_reported_once_when_they_change_what_applies() {
    let database = Database::create().await;
    let db = database.db();
    let (stop, start) = (OptOutAction::OptOut, OptOutAction::OptIn);
    store(&db, &[word("SM0", start, 0)]).await.unwrap();
    store(&db, &[word("SM1", stop, 1)]).await.unwrap();
    assert_eq!(only::<OptedOut>(&database).await.data.source, OptOutSource::Keyword);
    store(&db, &[word("SM2", stop, 2)]).await.unwrap();
    store(&db, &[word("SM5", start, 5)]).await.unwrap();
    only::<OptedIn>(&database).await;
    // A late STOP changes nothing. Two words in one batch are two changes.
    store(&db, &[word("SM4", stop, 4)]).await.unwrap();
    store(&db, &[word("SM7", start, 7), word("SM6", stop, 6)]).await.unwrap();
    let all = types(&database).await.replace("message.received ", "").replace("contact.opted_", "");
    assert_eq!(all, "out in out in");
}

#[tokio::test]
async fn an_error_code_that_reports_an_opt_out_writes_the_failure_and_the_opt_out() {
    let database = Database::create().await;
    let db = database.db();
    let claim =
        claimed(&db, NewSend { workflow_type: Some("leasing".to_owned()), ..new_send(HANDSET) }).await;
    let refused = SendResult::Failed {
        by_twilio: true,
        error_code: "21610".to_owned(),
        recipient: Some(RecipientEffect::OptedOut),
        detail: "refused".to_owned(),
    };
    for _ in 0..2 {
        sends::finish(&db, &[(&claim, &refused)], now()).await.unwrap();
    }
    assert_eq!(types(&database).await, "message.status message.failed contact.opted_out");
    let status = only::<MessageStatus>(&database).await;
    assert_eq!(
        serde_json::to_string(&status.data).unwrap(),
        r#"{"status":"failed","previous_status":"pending","error_code":"21610","parked":false}"#
    );
    assert_eq!(
        (status.message_id, status.workflow_type.as_deref()),
        (Some(claim.message_id), Some("leasing"))
    );
    let failed = only::<MessageFailed>(&database).await;
    assert_eq!((failed.data.status, failed.data.error_code.as_deref()), (Status::Failed, Some("21610")));
    let opted_out = only::<OptedOut>(&database).await;
    assert_eq!((opted_out.data.source, opted_out.conversation_sequence), (OptOutSource::TwilioError, 3));
}

#[tokio::test]
async fn callbacks_write_an_event_only_when_something_changed() {
    let database = Database::create().await;
    let db = database.db();
    let id = accepted(&database).await;
    for status in ["sent", "sent", "queued", "undelivered", "undelivered", "delivered"] {
        record(&db, &[callback("SM1", status, Some(id))], now()).await.unwrap();
    }
    let mut with_code = callback("SM1", "undelivered", Some(id));
    with_code.error_code = Some("30005".to_owned());
    record(&db, &[with_code], now()).await.unwrap();
    let changes: Vec<String> = bodies(&database, EventType::MessageStatus)
        .await
        .iter()
        .map(|body| {
            let data = serde_json::from_str::<Event<MessageStatus>>(body).unwrap().data;
            format!("{}>{} {}", data.previous_status, data.status, data.error_code.unwrap_or_default())
        })
        .collect();
    assert_eq!(
        changes,
        ["pending>queued ", "queued>sent ", "sent>undelivered ", "undelivered>undelivered 30005"]
    );
    assert_eq!(only::<MessageFailed>(&database).await.data.status, Status::Undelivered);
}

#[tokio::test]
async fn an_identification_writes_the_tenant_before_and_after() {
    let database = Database::create().await;
    let db = database.db();
    let stored = store(&db, &[word("SM1", OptOutAction::OptIn, 0)]).await.unwrap();
    let intervals = LookupIntervals { refresh: DAY, confirm: DAY, no_match: DAY, no_match_max: DAY };
    let result = Identification::Tenant { tenant_id: "T-1".to_owned(), preference: None, found_by: None };
    let number =
        CheckedNumber { conversation_id: stored[0].conversation_id, result, request_id: "r-1".to_owned() };
    for _ in 0..2 {
        tenants::record(&db, std::slice::from_ref(&number), now(), &intervals).await.unwrap();
    }
    let event = only::<TenantIdentified>(&database).await;
    assert_eq!((event.tenant_id.as_deref(), event.conversation_sequence), (Some("T-1"), 2));
    let expected = TenantIdentified {
        tenant_id: "T-1".to_owned(),
        previous_tenant_id: None,
        request_id: "r-1".to_owned(),
    };
    assert_eq!((event.data, event.timestamp), (expected, now()));
}

#[tokio::test]
async fn a_stored_file_is_reported_with_its_message() {
    let database = Database::create().await;
    let db = database.db();
    let mut message = inbound("MM1", HANDSET);
    message.media = json!([{"url": "https://api.twilio.com/x"}]);
    let stored = store(&db, &[message]).await.unwrap();
    let file = media::claim(&db, &[stored[0].message_id], now()).await.unwrap().remove(0);
    let file_type = FileType::of("image/jpeg").unwrap();
    let copy = media::StoredFile { id: file.id, file_type, size: 12, sha256: "ab", delete_at: None };
    for _ in 0..2 {
        media::store(&db, &copy, now()).await.unwrap();
    }
    let event = only::<MediaStored>(&database).await;
    assert_eq!((event.message_id, event.timestamp), (Some(stored[0].message_id), now()));
    let expected = MediaStored {
        media_id: file.id,
        content_type: "image/jpeg".to_owned(),
        size: 12,
        sha256: "ab".to_owned(),
    };
    assert_eq!(event.data, expected);
}

#[tokio::test]
async fn a_deactivation_is_reported_once() {
    let database = Database::create().await;
    let db = database.db();
    created(&db, HANDSET).await;
    let account = new_send(HANDSET).account_sid;
    for day in ["2026-10-30", "2026-10-30", "2026-10-31"] {
        let numbers = [HANDSET.parse().unwrap()];
        deactivations::mark(&db, &account, day.parse().unwrap(), &numbers, now()).await.unwrap();
    }
    let event = only::<NumberDeactivated>(&database).await;
    assert_eq!(event.data, NumberDeactivated { source: DeactivationSource::Twilio });
    assert_eq!((event.conversation_sequence, event.message_id, event.timestamp), (1, None, now()));
}

/// Records each change of a status and each parking, to compare with the events.
const AUDIT: &str = "
    create table audit (change text not null);
    create function audit() returns trigger language plpgsql as $$ begin
        insert into audit values (concat_ws(' ', new.id, old.delivery_status, new.delivery_status,
            new.parked_at is not null));
        return null;
    end $$;
    create trigger audit after update on sms_messages for each row
    when (old.delivery_status <> new.delivery_status or (old.parked_at is null and new.parked_at is not null))
    execute function audit()";

const REPORTED: &str = "
    select concat_ws(' ', message_id, d->>'previous_status', d->>'status', (d->>'parked')::bool) as change
    from (select message_id, body::jsonb->'data' as d from sms_events where event_type = 'message.status') e";

async fn created(db: &Db, to: &str) -> MessageId {
    let send = new_send(to);
    sends::create(db, &send, None).await.unwrap();
    send.id
}

async fn finished(db: &Db, to: &str, result: &SendResult) -> MessageId {
    let claim = claimed(db, new_send(to)).await;
    sends::finish(db, &[(&claim, result)], now()).await.unwrap();
    claim.message_id
}

#[tokio::test]
async fn every_change_of_a_status_has_an_event_whatever_made_it() {
    let database = Database::create().await;
    let db = database.db();
    database.client.batch_execute(AUDIT).await.unwrap();
    let detail = String::new;
    let unknown = SendResult::Unknown { detail: detail() };
    let failed =
        SendResult::Failed { by_twilio: true, error_code: "1".to_owned(), recipient: None, detail: detail() };

    // Callbacks, also with another create after a transient failure.
    let delivered = SendResult::Accepted { twilio_sid: "SM1".parse().unwrap(), status: Status::Queued };
    let id = finished(&db, "+18605550101", &delivered).await;
    record(&db, &[callback("SM1", "sent", Some(id))], now()).await.unwrap();
    let mut transient = callback("SM1", "undelivered", Some(id));
    transient.error_code = Some("30003".to_owned());
    record(&db, &[transient], now()).await.unwrap();
    // Parked at the response and by the search; decided by an operator.
    let parked = finished(&db, "+18605550102", &SendResult::Parked { detail: detail() }).await;
    let searched = finished(&db, "+18605550103", &unknown).await;
    sends::park(&db, &[parked, searched], now()).await.unwrap();
    sends::decide(&db, parked, &Decision::NotSent, DAY, now()).await.unwrap();
    sends::decide(&db, searched, &Decision::Sent { twilio_sid: None }, DAY, now()).await.unwrap();
    // Proven absent, in time and too late.
    for (to, max_age) in [("+18605550104", DAY), ("+18605550105", Duration::ZERO)] {
        finished(&db, to, &unknown).await;
        let found = sends::take_unresolved(&db, now() + 2.hours(), now() + 3.hours(), 10).await.unwrap();
        for listed_at in [now() + 1.hour(), now() + 2.hours()] {
            let search = Search { listed_at, proves_after: Duration::from_secs(900), max_age };
            sends::absent(&db, &found[0], search, now() + 2.hours()).await.unwrap();
        }
    }
    // Canceled, expired, abandoned, failed and retried.
    let canceled = created(&db, "+18605550106").await;
    sends::cancel(&db, canceled, now()).await.unwrap();
    let failure = finished(&db, "+18605550107", &failed).await;
    sends::retry(&db, &[failure], now()).await.unwrap();
    claimed(&db, new_send("+18605550108")).await;
    sends::abandon_claims(&db, now() + 1.second(), now() + 1.second(), 10).await.unwrap();
    // Refused at the claim.
    let refused = created(&db, HANDSET).await;
    store(&db, &[word("SM9", OptOutAction::OptOut, 0)]).await.unwrap();
    assert_eq!(claims_of(&db, &[refused], now() + 1.hour()).await.refused, [refused]);
    // Erased while pending.
    let erased = created(&db, "+18605550109").await;
    let variants = ["+18605550109".to_owned()];
    let request = erasure::NewErasure {
        id: common::clock::new_id(),
        account_sid: &new_send(HANDSET).account_sid,
        variants: &variants,
        api_key_id: common::clock::new_id(),
        request_id: "r-1",
        requested_at: now() + 1.hour(),
    };
    assert!(erasure::begin(&db, &request).await.unwrap().is_some());
    erasure::erase(&db, request.id, None, 10).await.unwrap();
    let status = messages::find(&db, erased).await;
    assert!(status.is_ok());
    // The rest expires.
    sends::expire(&db, now() + 48.hours(), DAY, 100).await.unwrap();

    database.number_events().await;
    let made = database.scalar("select count(*) from audit").await.parse::<usize>().unwrap();
    assert_eq!(made, 20);
    let states = "select string_agg(distinct split_part(change, ' ', 3), ' ') from audit";
    assert_eq!(database.scalar(states).await, "canceled failed pending queued sent unknown");
    for (what, difference) in [
        ("without event", format!("select change from audit except all {REPORTED}")),
        ("without change", format!("{REPORTED} except all select change from audit")),
    ] {
        let rows = database.client.query(&difference, &[]).await.unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert!(found.is_empty(), "{what}: {found:#?}");
    }
    let failures = "select count(*) filter (where change like '% failed f') from audit";
    assert_eq!(
        bodies(&database, EventType::MessageFailed).await.len().to_string(),
        database.scalar(failures).await
    );
}

#[tokio::test]
async fn no_event_name_is_written_in_sql() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src/db"), root.join("../migrations")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // It has its only event; its callers have no parameter for it.
            if path.ends_with("sms_complete_batches.sql") {
                continue;
            }
            let named = EventType::ALL.into_iter().find(|of| text.contains(&format!("'{of}'")));
            assert_eq!(named, None, "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 60, "{files}");
}
