//! Clarifications: when there is one, and that nothing else passes an opt-out.

use crate::sends::new_send;
use crate::{inbound, now};
use common::clock::new_id;
use common::db::Db;
use common::db::consent::{self, Consent};
use common::db::inbound::{OptOutChange, store};
use common::db::sends::{self, ClaimRequest, Claimed, NewReply, NewSend, Passage, SendPace};
use common::domain::clarification::MAX_DELAY;
use common::domain::ids::MessageId;
use common::domain::keywords::OptOut;
use common::domain::message::{Priority, Purpose};
use common::domain::opt_out::{ConsentScope, OptOutAction, OptOutSource};
use common::domain::segments::Encoding;
use common::domain::sids::AccountSid;
use jiff::{Timestamp, ToSpan};
use std::time::Duration;
use testing::Database;

const HANDSET: &str = "+18605550100";
/// The refusal in free text.
const REFUSAL: &str = "SM2";

fn account() -> AccountSid {
    "AC1".parse().unwrap()
}

/// Stores a text that opts out or in, some seconds after noon.
async fn text(db: &Db, sid: &str, action: OptOutAction, source: OptOutSource, seconds: i64) {
    let mut message = inbound(sid, HANDSET);
    message.received_at = now() + seconds.seconds();
    if action == OptOutAction::OptOut {
        message.opt_out_result = OptOut::OptOut;
    }
    message.opt_out = Some(OptOutChange { action, source, words: Some("words".to_owned()) });
    store(db, &[message]).await.unwrap();
}

async fn refuse(db: &Db, sid: &str, seconds: i64) {
    text(db, sid, OptOutAction::OptOut, OptOutSource::FreeText, seconds).await;
}

/// Stores a text that may be a refusal.
async fn unsure(db: &Db, sid: &str, seconds: i64) {
    let mut message = inbound(sid, HANDSET);
    message.received_at = now() + seconds.seconds();
    message.opt_out_result = OptOut::Unsure;
    store(db, &[message]).await.unwrap();
}

async fn consent(db: &Db, action: OptOutAction, scope: ConsentScope) {
    let consent = Consent {
        action,
        scope,
        source: "paper".to_owned(),
        evidence: new_id().to_string(),
        api_key_id: new_id(),
    };
    consent::record(db, &account(), &[HANDSET.to_owned()], None, &consent, now() + 60.seconds())
        .await
        .unwrap();
}

fn reply(sid: &str) -> NewReply {
    NewReply {
        id: new_id().into(),
        in_reply_to: sid.parse().unwrap(),
        text: "Reply START".to_owned(),
        encoding: Encoding::Gsm7,
        segments: 1,
        trace_context: None,
    }
}

/// Stores clarifications of messages, and returns the new ones.
async fn clarify(db: &Db, sids: &[&str], at: Timestamp) -> Vec<MessageId> {
    let replies: Vec<NewReply> = sids.iter().map(|sid| reply(sid)).collect();
    let stored = sends::create_clarifications(db, &replies, at, MAX_DELAY).await.unwrap();
    stored.into_iter().map(|stored| stored.id).collect()
}

/// Claims a message, if it may be claimed.
async fn claim(db: &Db, id: MessageId) -> Option<Claimed> {
    let asked = ClaimRequest { allowed: Some(vec![id]), ..ClaimRequest::messages(&[id]) };
    let pace = SendPace { burst: 100_000, ..SendPace::default() };
    sends::claim(db, &asked, &pace, now()).await.unwrap().claimed.pop()
}

async fn verdict(db: &Db, claim: &Claimed, at: Timestamp) -> Passage {
    let (verdicts, held) = sends::pass_gate(db, &[claim], at).await.unwrap();
    held.release().await;
    verdicts[&claim.message_id]
}

/// Stores a clarification of a refusal and claims it.
async fn claimed_clarification(db: &Db) -> Claimed {
    refuse(db, REFUSAL, 0).await;
    let ids = clarify(db, &[REFUSAL], now()).await;
    claim(db, ids[0]).await.unwrap()
}

/// Messages of every priority, purpose, workflow and origin, claimed before the opt-out.
async fn every_kind(database: &Database) -> Vec<(String, Claimed)> {
    let db = database.db();
    let mut kinds = Vec::new();
    for priority in Priority::ALL {
        for purpose in Purpose::ALL {
            for workflow_type in [None, Some("collections".to_owned())] {
                let name = format!("{priority} {purpose} {workflow_type:?}");
                let send = NewSend { priority, purpose, workflow_type, ..new_send(HANDSET) };
                sends::create(&db, &send, None).await.unwrap();
                kinds.push((name, send.id));
            }
        }
    }
    let of_batch = new_send(HANDSET);
    sends::create(&db, &of_batch, None).await.unwrap();
    let batch = format!(
        "insert into sms_batches (id, created_at, changed_at) values ('{0}', now(), now());
         update sms_messages set batch_id = '{0}' where id = '{0}'",
        of_batch.id
    );
    database.client.batch_execute(&batch).await.unwrap();
    kinds.push(("of a batch".to_owned(), of_batch.id));
    store(&db, &[inbound("SM7", HANDSET)]).await.unwrap();
    let replies = sends::create_replies(&db, &[reply("SM7")], now(), Duration::from_secs(1)).await.unwrap();
    kinds.push(("an automatic reply".to_owned(), replies[0].id));
    unsure(&db, "SM8", 0).await;
    let questions = clarify(&db, &["SM8"], now()).await;
    kinds.push(("a clarification of another message".to_owned(), questions[0]));
    // The next clarification belongs to another episode.
    database.client.batch_execute("update sms_conversations set clarified_at = null").await.unwrap();
    let unmarked = new_send(HANDSET);
    sends::create(&db, &unmarked, None).await.unwrap();
    kinds.push(("an answer to the refusal without the mark".to_owned(), unmarked.id));

    let mut claims = Vec::new();
    for (name, id) in kinds {
        claims.push((name, claim(&db, id).await.unwrap()));
    }
    claims
}

#[tokio::test]
async fn only_the_clarification_of_a_refusal_passes_the_gate() {
    let database = Database::create().await;
    let db = database.db();
    let others = every_kind(&database).await;
    assert_eq!(others.len(), 22);
    for (name, claim) in &others {
        assert_eq!(verdict(&db, claim, now()).await, Passage::Go, "before the refusal: {name}");
    }
    refuse(&db, REFUSAL, 0).await;
    let ids = clarify(&db, &[REFUSAL], now()).await;
    let clarification = claim(&db, ids[0]).await.unwrap();
    // Looks like the clarification, except for the mark.
    let unmarked = others.last().unwrap().1.message_id;
    let answer = format!(
        "update sms_messages set in_reply_to = null, is_clarification = false where id = '{0}';
         update sms_messages u set in_reply_to = i.id, send_before = '2026-11-01T12:05:00Z', priority = 'urgent'
         from sms_messages i where u.id = '{unmarked}' and i.twilio_sid = '{REFUSAL}'",
        clarification.message_id
    );
    let back = format!(
        "update sms_messages set in_reply_to = null where id = '{unmarked}';
         update sms_messages c set in_reply_to = i.id, is_clarification = true from sms_messages i
         where c.id = '{}' and i.twilio_sid = '{REFUSAL}'",
        clarification.message_id
    );
    database.client.batch_execute(&answer).await.unwrap();
    for (name, claim) in &others {
        assert_eq!(verdict(&db, claim, now()).await, Passage::OptedOut, "{name}");
    }
    database.client.batch_execute(&back).await.unwrap();
    assert_eq!(verdict(&db, &clarification, now()).await, Passage::Go);
    // Neither can the API or an automatic reply store anything now.
    assert_eq!(sends::create(&db, &new_send(HANDSET), None).await.unwrap(), sends::Created::OptedOut);
    let replies = [reply(REFUSAL), reply("SM7")];
    assert!(sends::create_replies(&db, &replies, now() + 1.hour(), Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_clarification_passes_no_other_opt_out() {
    use OptOutAction::{OptIn, OptOut};
    let (go, opted_out) = (Passage::Go, Passage::OptedOut);
    let all_sources = OptOutSource::ALL.into_iter().filter(|source| *source != OptOutSource::Consent);
    for source in all_sources {
        let database = Database::create().await;
        let db = database.db();
        let clarification = claimed_clarification(&db).await;
        text(&db, "SM3", OptOut, source, 1).await;
        let expected = if source == OptOutSource::FreeText { go } else { opted_out };
        assert_eq!(verdict(&db, &clarification, now()).await, expected, "{source}");
    }
    for (scope, expected) in [
        (ConsentScope::All, opted_out),
        (ConsentScope::Purpose(Purpose::Service), opted_out),
        (ConsentScope::Purpose(Purpose::Marketing), go),
        (ConsentScope::Workflow("collections".to_owned()), opted_out),
        (ConsentScope::Workflow("leasing".to_owned()), go),
    ] {
        let database = Database::create().await;
        let db = database.db();
        let clarification = claimed_clarification(&db).await;
        let route = "update sms_conversations set workflow_type = 'collections'";
        database.client.batch_execute(route).await.unwrap();
        consent(&db, OptOut, scope.clone()).await;
        assert_eq!(verdict(&db, &clarification, now()).await, expected, "{scope}");
    }
    // A STOP after an opt-in, which ended the refusal.
    let database = Database::create().await;
    let db = database.db();
    let clarification = claimed_clarification(&db).await;
    text(&db, "SM3", OptIn, OptOutSource::Keyword, 1).await;
    assert_eq!(verdict(&db, &clarification, now()).await, go);
    text(&db, "SM4", OptOut, OptOutSource::Keyword, 2).await;
    assert_eq!(verdict(&db, &clarification, now()).await, opted_out);
}

#[tokio::test]
async fn a_clarification_expires_five_minutes_after_the_refusal() {
    let database = Database::create().await;
    let db = database.db();
    let clarification = claimed_clarification(&db).await;
    assert_eq!(verdict(&db, &clarification, now() + 299.seconds()).await, Passage::Go);
    assert_eq!(verdict(&db, &clarification, now() + 300.seconds()).await, Passage::TooLate);
    let database = Database::create().await;
    let db = database.db();
    refuse(&db, REFUSAL, 0).await;
    assert_eq!(clarify(&db, &[REFUSAL], now() + 300.seconds()).await, []);
    assert_eq!(clarify(&db, &[REFUSAL], now() + 299.seconds()).await.len(), 1);
}

#[tokio::test]
async fn there_is_one_clarification_until_the_number_opts_in() {
    let database = Database::create().await;
    let db = database.db();
    unsure(&db, "SM1", 0).await;
    assert_eq!(clarify(&db, &["SM1"], now()).await.len(), 1);
    // The same batch again, another text, and a refusal.
    assert_eq!(clarify(&db, &["SM1"], now()).await, []);
    unsure(&db, "SM3", 1).await;
    refuse(&db, REFUSAL, 2).await;
    assert_eq!(clarify(&db, &["SM3", REFUSAL], now() + 2.seconds()).await, []);
    text(&db, "SM4", OptOutAction::OptIn, OptOutSource::Keyword, 3).await;
    // The opt-in ended the refusal.
    assert_eq!(clarify(&db, &[REFUSAL], now() + 3.seconds()).await, []);
    refuse(&db, "SM5", 4).await;
    assert_eq!(clarify(&db, &["SM5"], now() + 4.seconds()).await.len(), 1);
    refuse(&db, "SM6", 5).await;
    assert_eq!(clarify(&db, &["SM6"], now() + 5.seconds()).await, []);
    let stored = "select string_agg(concat_ws(' ', i.twilio_sid, m.priority, m.to_number, m.send_before - i.created_at),
            ', ' order by i.twilio_sid)
        from sms_messages m join sms_messages i on i.id = m.in_reply_to where m.is_clarification";
    assert_eq!(
        database.scalar(stored).await,
        format!("SM1 urgent {HANDSET} 00:05:00, SM5 urgent {HANDSET} 00:05:00")
    );
}

#[tokio::test]
async fn there_is_no_clarification_of_a_number_that_has_opted_out_otherwise() {
    use OptOutAction::OptOut;
    let database = Database::create().await;
    let db = database.db();
    text(&db, "SM1", OptOut, OptOutSource::Keyword, 0).await;
    refuse(&db, REFUSAL, 1).await;
    unsure(&db, "SM3", 2).await;
    assert_eq!(clarify(&db, &["SM1", REFUSAL, "SM3"], now() + 2.seconds()).await, []);
    let database = Database::create().await;
    let db = database.db();
    unsure(&db, "SM1", 0).await;
    consent(&db, OptOut, ConsentScope::Purpose(Purpose::Service)).await;
    assert_eq!(clarify(&db, &["SM1"], now()).await, []);
    // Of two texts in one batch, the refusal is answered.
    let database = Database::create().await;
    let db = database.db();
    refuse(&db, REFUSAL, 0).await;
    unsure(&db, "SM3", 1).await;
    assert_eq!(clarify(&db, &[REFUSAL, "SM3"], now() + 1.seconds()).await.len(), 1);
    let answered = "select i.twilio_sid from sms_messages m join sms_messages i on i.id = m.in_reply_to";
    assert_eq!(database.scalar(answered).await, REFUSAL);
}

#[tokio::test]
async fn a_failed_clarification_is_not_retried_by_hand() {
    let database = Database::create().await;
    let db = database.db();
    unsure(&db, "SM1", 0).await;
    let ids = clarify(&db, &["SM1"], now()).await;
    database
        .client
        .batch_execute("update sms_messages set delivery_status = 'failed' where is_clarification")
        .await
        .unwrap();
    let retried = sends::retry(&db, &ids, now() + 1.hour()).await.unwrap();
    assert_eq!(retried[0].refused, Some("it is a clarification, which must be sent within minutes"));
}
