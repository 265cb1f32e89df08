//! Opt-outs of a workflow or a purpose: what they stop, and what ends them.

use crate::sends::{claimed, claims_of, new_send};
use crate::{inbound, now};
use common::clock::new_id;
use common::db::consent::{self, Consent, ImportOutcome, StatedConsent};
use common::db::inbound::{OptOutChange, store};
use common::db::sends::{self, Claimed, Created, NewSend, Passage};
use common::db::{Db, batches};
use common::domain::message::Purpose;
use common::domain::opt_out::{OptOutAction, OptOutSource};
use common::domain::phone::E164;
use common::domain::sids::AccountSid;
use jiff::ToSpan;
use testing::Database;

const HANDSET: &str = "+18605550100";
/// What applies, and the scopes of the events, `-` for all messages.
const STATE: &str =
    "select concat_ws(' ', opted_out_at is not null, opted_out_scopes::text) from sms_conversations";
const EVENTS: &str = "select coalesce(string_agg(concat_ws(':', substr(event_type, 15),
        coalesce(body::jsonb -> 'data' ->> 'scope', '-')), ' ' order by number), '')
    from sms_events_pending where event_type like 'contact.opted_%'";

fn account() -> AccountSid {
    "AC1".parse().unwrap()
}

fn stated(action: OptOutAction, scope: &str) -> Consent {
    Consent {
        action,
        scope: scope.parse().unwrap(),
        source: "paper".to_owned(),
        evidence: new_id().to_string(),
        api_key_id: new_id(),
    }
}

async fn record(db: &Db, action: OptOutAction, scope: &str) {
    let variants = [HANDSET.to_owned()];
    let consent = stated(action, scope);
    let (entry, _) =
        consent::record(db, &account(), &variants, None, &consent, now()).await.unwrap().unwrap();
    assert_eq!((entry.action, entry.scope.as_str()), (action, scope));
}

/// Stores a text with an opt-out or opt-in, some minutes later.
async fn text(db: &Db, sid: &str, action: OptOutAction, words: &str, minutes: i64) {
    let mut message = inbound(sid, HANDSET);
    message.received_at = now() + minutes.minutes();
    message.opt_out =
        Some(OptOutChange { action, source: OptOutSource::Keyword, words: Some(words.to_owned()) });
    store(db, &[message]).await.unwrap();
}

fn workflow(name: &str) -> NewSend {
    NewSend { workflow_type: Some(name.to_owned()), ..new_send(HANDSET) }
}

fn purpose(purpose: Purpose) -> NewSend {
    NewSend { purpose, ..new_send(HANDSET) }
}

/// Stores messages and claims them.
async fn claim_all(db: &Db, messages: &[NewSend]) -> Vec<Claimed> {
    let mut claims = Vec::new();
    for message in messages {
        claims.push(claimed(db, message.clone()).await);
    }
    claims
}

/// Returns the verdicts of the gate, in the order of the messages.
async fn verdicts(db: &Db, claims: &[Claimed], messages: &[NewSend]) -> Vec<Passage> {
    let (verdicts, held) = sends::pass_gate(db, &claims.iter().collect::<Vec<_>>(), now()).await.unwrap();
    held.release().await;
    messages.iter().map(|message| verdicts[&message.id]).collect()
}

#[tokio::test]
async fn each_opt_in_ends_what_it_states_and_each_change_is_announced_with_its_scope() {
    use OptOutAction::{OptIn, OptOut};
    let database = Database::create().await;
    let db = database.db();
    store(&db, &[inbound("SM1", HANDSET)]).await.unwrap();
    let mut events = Vec::new();
    for (action, scope, state, event) in [
        (OptOut, "workflow:collections", "f {workflow:collections}", Some("out:workflow:collections")),
        // Again, with other evidence.
        (OptOut, "workflow:collections", "f {workflow:collections}", None),
        (
            OptOut,
            "purpose:marketing",
            "f {purpose:marketing,workflow:collections}",
            Some("out:purpose:marketing"),
        ),
        (OptIn, "workflow:leasing", "f {purpose:marketing,workflow:collections}", None),
        (OptIn, "workflow:collections", "f {purpose:marketing}", Some("in:workflow:collections")),
        (OptOut, "all", "t {purpose:marketing}", Some("out:-")),
        (OptIn, "purpose:marketing", "t {}", Some("in:purpose:marketing")),
        (OptOut, "purpose:service", "t {purpose:service}", Some("out:purpose:service")),
        (OptIn, "all", "f {}", Some("in:-")),
        (OptOut, "purpose:service", "f {purpose:service}", Some("out:purpose:service")),
        // It changes the number's state, although not all messages were stopped.
        (OptIn, "all", "f {}", Some("in:-")),
        (OptIn, "all", "f {}", None),
    ] {
        record(&db, action, scope).await;
        events.extend(event);
        assert_eq!(database.scalar(STATE).await, state, "{action} {scope}");
        assert_eq!(database.scalar(EVENTS).await, events.join(" "), "{action} {scope}");
    }
}

#[tokio::test]
async fn a_text_stops_all_messages_and_ends_no_opt_out_that_was_stated_elsewhere() {
    use OptOutAction::{OptIn, OptOut};
    let database = Database::create().await;
    let db = database.db();
    store(&db, &[inbound("SM1", HANDSET)]).await.unwrap();
    record(&db, OptOut, "purpose:marketing").await;
    text(&db, "SM2", OptOut, "stop", 1).await;
    assert_eq!(database.scalar(STATE).await, "t {purpose:marketing}");
    // YES is also the answer to a question.
    text(&db, "SM3", OptIn, "yes", 2).await;
    assert_eq!(database.scalar(STATE).await, "f {purpose:marketing}");
    let narrow = "insert into sms_opt_out_events (id, conversation_id, action, scope, source, evidence, created_at)
        select gen_random_uuid(), id, 'opt_out', 'purpose:marketing', 'keyword', 'SM4', now() from sms_conversations";
    let error = database.client.batch_execute(narrow).await.unwrap_err();
    let constraint = error.as_db_error().and_then(|error| error.constraint().map(str::to_owned));
    assert_eq!(constraint.as_deref(), Some("sms_opt_out_events_scope_check"));
}

#[tokio::test]
async fn the_gate_stops_only_messages_in_the_scope_that_was_recorded_after_their_claim() {
    let messages = [
        workflow("collections"),
        workflow("leasing"),
        new_send(HANDSET),
        purpose(Purpose::Marketing),
        purpose(Purpose::Emergency),
    ];
    let (go, opted_out) = (Passage::Go, Passage::OptedOut);
    for (scope, expected) in [
        ("workflow:collections", [opted_out, go, go, go, go]),
        ("purpose:marketing", [go, go, go, opted_out, go]),
        ("purpose:service", [opted_out, opted_out, opted_out, go, go]),
        ("all", [opted_out; 5]),
    ] {
        let database = Database::create().await;
        let db = database.db();
        let claims = claim_all(&db, &messages).await;
        assert_eq!(verdicts(&db, &claims, &messages).await, [go; 5]);
        record(&db, OptOutAction::OptOut, scope).await;
        assert_eq!(verdicts(&db, &claims, &messages).await, expected, "{scope}");
    }
}

#[tokio::test]
async fn a_message_without_a_workflow_belongs_to_that_of_its_conversation() {
    let database = Database::create().await;
    let db = database.db();
    let messages = [new_send(HANDSET), workflow("leasing")];
    let claims = claim_all(&db, &messages).await;
    record(&db, OptOutAction::OptOut, "workflow:collections").await;
    assert_eq!(verdicts(&db, &claims, &messages).await, [Passage::Go; 2]);
    let route = "update sms_conversations set workflow_type = 'collections'";
    database.client.batch_execute(route).await.unwrap();
    assert_eq!(verdicts(&db, &claims, &messages).await, [Passage::OptedOut, Passage::Go]);
    assert_eq!(sends::create(&db, &new_send(HANDSET), None).await.unwrap(), Created::OptedOut);
    let other = sends::create(&db, &workflow("leasing"), None).await.unwrap();
    assert!(matches!(other, Created::Stored { .. }));
}

#[tokio::test]
async fn a_waiting_message_fails_at_its_claim_and_a_new_one_is_refused() {
    let database = Database::create().await;
    let db = database.db();
    let (stopped, free) = (workflow("collections"), workflow("leasing"));
    for message in [&stopped, &free] {
        sends::create(&db, message, None).await.unwrap();
    }
    record(&db, OptOutAction::OptOut, "workflow:collections").await;
    let claims = claims_of(&db, &[stopped.id, free.id], now()).await;
    assert_eq!(claims.refused, [stopped.id]);
    assert_eq!(claims.claimed.iter().map(|claim| claim.message_id).collect::<Vec<_>>(), [free.id]);
    let code = format!("select error_code from sms_messages where id = '{}'", stopped.id);
    assert_eq!(database.scalar(&code).await, "opted_out");
    assert_eq!(sends::create(&db, &workflow("collections"), None).await.unwrap(), Created::OptedOut);
}

/// The rule in Rust, for dry runs, and the rule in Postgres.
#[tokio::test]
async fn a_bulk_request_knows_what_postgres_refuses() {
    let database = Database::create().await;
    let db = database.db();
    store(&db, &[inbound("SM1", HANDSET)]).await.unwrap();
    let number: E164 = HANDSET.parse().unwrap();
    for (scopes, of_conversation) in [
        ("{}", "null"),
        ("{}", "'collections'"),
        ("{workflow:collections}", "null"),
        ("{workflow:collections}", "'collections'"),
        ("{purpose:marketing,workflow:leasing}", "'collections'"),
    ] {
        let set = format!(
            "update sms_conversations set opted_out_scopes = '{scopes}', workflow_type = {of_conversation}"
        );
        database.client.batch_execute(&set).await.unwrap();
        let found = batches::recipients(&db, &account(), &[(&number, false)], None, now()).await.unwrap();
        for message in [
            new_send(HANDSET),
            workflow("collections"),
            workflow("leasing"),
            purpose(Purpose::Marketing),
            NewSend { workflow_type: Some("collections".to_owned()), ..purpose(Purpose::Marketing) },
        ] {
            let refused = sends::create(&db, &message, None).await.unwrap() == Created::OptedOut;
            let known = found[0].refuses(message.workflow_type.as_deref(), message.purpose);
            assert_eq!(
                known, refused,
                "{scopes} {of_conversation} {:?} {}",
                message.workflow_type, message.purpose
            );
        }
    }
}

#[tokio::test]
async fn an_import_records_scopes_once() {
    let database = Database::create().await;
    let db = database.db();
    let row = |action, scope: &str, evidence: &str| StatedConsent {
        variants: vec![HANDSET.to_owned()],
        recipient: None,
        consent: Consent { evidence: evidence.to_owned(), ..stated(action, scope) },
    };
    store(&db, &[inbound("SM1", HANDSET)]).await.unwrap();
    let rows = [
        row(OptOutAction::OptOut, "workflow:collections", "scan 1"),
        row(OptOutAction::OptOut, "purpose:marketing", "scan 1"),
        row(OptOutAction::OptIn, "purpose:marketing", "scan 2"),
    ];
    let rows: Vec<&StatedConsent> = rows.iter().collect();
    let events = "out:workflow:collections out:purpose:marketing in:purpose:marketing";
    for outcome in [ImportOutcome::Imported, ImportOutcome::Unchanged] {
        assert_eq!(consent::import(&db, &account(), &rows, now()).await.unwrap(), [outcome; 3]);
        assert_eq!(database.scalar(STATE).await, "f {workflow:collections}");
        assert_eq!(database.scalar(EVENTS).await, events);
    }
    let ledger = consent::ledger(&db, &account(), &[HANDSET.to_owned()], 10).await.unwrap().unwrap();
    let scopes: Vec<&str> = ledger.entries.iter().map(|entry| entry.scope.as_str()).collect();
    assert_eq!(scopes, ["purpose:marketing", "purpose:marketing", "workflow:collections"]);
    assert_eq!(
        (ledger.is_opted_out, ledger.opted_out_scopes),
        (false, vec!["workflow:collections".to_owned()])
    );
}

#[tokio::test]
async fn functions_of_the_previous_release_record_consent_for_all_messages() {
    let database = Database::create().await;
    let db = database.db();
    store(&db, &[inbound("SM1", HANDSET)]).await.unwrap();
    let old = format!(
        "select action from sms_record_consent('AC1', array['{HANDSET}'], null, null, gen_random_uuid(),
             gen_random_uuid(), 'opt_out', 'consent', 'paper', 'scan 1', gen_random_uuid(), 'contact.opted_out',
             '{{\"source\":\"consent\"}}', now())"
    );
    assert_eq!(database.scalar(&old).await, "opt_out");
    let row = r#"[{"place": 1, "variants": ["+18605550100"], "new_conversation": "00000000-0000-7000-8000-000000000001",
        "entry_id": "00000000-0000-7000-8000-000000000002", "action": "opt_in", "source": "paper",
        "evidence": "scan 2", "api_key_id": "00000000-0000-7000-8000-000000000003"}]"#;
    let old = format!(
        "select is_new from sms_import_consent('AC1', '{row}', 'consent', 'contact.opted_out', '{{}}',
             'contact.opted_in', '{{\"source\":\"consent\"}}', now())"
    );
    assert_eq!(database.scalar(&old).await, "t");
    assert_eq!(database.scalar(STATE).await, "f {}");
    assert_eq!(
        database.scalar("select string_agg(distinct scope, ' ') from sms_opt_out_events").await,
        "all"
    );
}
