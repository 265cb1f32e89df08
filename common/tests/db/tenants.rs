//! Tenants of conversations, and the languages of tenants.

use crate::{inbound, now};
use common::db::inbound::store;
use common::db::tenants::{
    Checked, CheckedNumber, Identification, LookupIntervals, claim, claim_pushes, record, release,
    settle_languages, take_due, told, unsettled,
};
use common::domain::ids::ConversationId;
use common::domain::language::Language;
use jiff::{Timestamp, ToSpan};
use std::time::Duration;
use testing::Database;

const PACE: LookupIntervals = LookupIntervals {
    refresh: Duration::from_secs(86_400),
    confirm: Duration::from_secs(10),
    no_match: Duration::from_secs(3_600),
    no_match_max: Duration::from_secs(86_400),
};
const LEASE: Duration = Duration::from_secs(45);

fn is_tenants(conversation_id: ConversationId, tenant: &str) -> CheckedNumber {
    let finding = Identification::Tenant { tenant_id: tenant.to_owned(), preference: None, found_by: None };
    CheckedNumber { conversation_id, result: finding, request_id: "r-1".to_owned() }
}

#[tokio::test]
async fn an_identification_found_twice_is_stored_as_one_event() {
    let database = Database::create().await;
    let db = database.db();
    let stored = store(&db, &[inbound("SM1", "+12025550123")]).await.unwrap();
    let found = [is_tenants(stored[0].conversation_id, "T-1"), is_tenants(stored[0].conversation_id, "T-1")];
    for _ in 0..2 {
        let recorded = record(&db, &found, now(), &PACE).await.unwrap();
        assert_eq!((recorded.len(), recorded[0].tenant_id.as_deref()), (1, Some("T-1")));
        settle_languages(&db, &["T-1".to_owned()], now(), 0.7).await.unwrap();
    }
    database.number_events().await;
    assert_eq!(
        database
            .scalar("select count(*) from sms_events where event_type = 'conversation.tenant_identified'")
            .await,
        "1"
    );
    assert_eq!(
        database
            .scalar(
                "select tenant_identified_at = '2026-11-01T12:00:00Z' \
            and tenant_next_check_at = '2026-11-02T12:00:00Z' from sms_conversations"
            )
            .await,
        "t"
    );
}

#[tokio::test]
async fn a_claimed_check_is_not_due_until_its_lease_ends() {
    let database = Database::create().await;
    let db = database.db();
    let stored = store(&db, &[inbound("SM1", "+12025550123"), inbound("SM2", "40404")]).await.unwrap();
    let ids: Vec<ConversationId> = stored.iter().map(|stored| stored.conversation_id).collect();
    let due = async |at| {
        let claimed = claim(&db, &ids, at, LEASE).await.unwrap();
        let due = claimed.iter().filter(|checked| checked.is_due);
        due.map(|checked| checked.phone_number_canonical.canonical().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(due(now()).await, ["+12025550123"], "a short code has no tenant");
    assert!(due(now() + 44.seconds()).await.is_empty());
    assert_eq!(due(now() + 45.seconds()).await, ["+12025550123"]);
}

#[tokio::test]
async fn a_language_decided_during_a_push_is_pushed_next() {
    let database = Database::create().await;
    let db = database.db();
    let tenants = ["T-1".to_owned()];
    let pushes = async |at| claim_pushes(&db, Some(&tenants), at, Duration::from_secs(60), 10).await.unwrap();
    let mut message = inbound("SM1", "+12025550123");
    message.language = Language::Es;
    let stored = store(&db, &[message]).await.unwrap();
    record(&db, &[is_tenants(stored[0].conversation_id, "T-1")], now(), &PACE).await.unwrap();
    settle_languages(&db, &tenants, now(), 0.7).await.unwrap();
    let first = pushes(now()).await;
    assert_eq!((first.len(), first[0].language.as_str()), (1, "es"));
    let mut message = inbound("SM2", "+12025550123");
    message.received_at = now() + 1.minute();
    store(&db, &[message]).await.unwrap();
    settle_languages(&db, &tenants, now() + 1.second(), 0.7).await.unwrap();
    assert!(
        pushes(now() + 2.seconds()).await.is_empty(),
        "concurrent pushes could arrive in the wrong order"
    );
    told(&db, &first[0], now() + 3.seconds(), true).await.unwrap();
    let next = pushes(now() + 3.seconds()).await;
    assert_eq!(next[0].language, Language::En);
    told(&db, &next[0], now() + 4.seconds(), true).await.unwrap();
    assert!(pushes(now() + 1.hour()).await.is_empty());
}

#[tokio::test]
async fn a_match_with_unchecked_spellings_is_confirmed_soon_and_then_refreshed_daily() {
    let database = Database::create().await;
    let db = database.db();
    let stored = store(&db, &[inbound("SM1", "+12025550123")]).await.unwrap();
    let mut found = is_tenants(stored[0].conversation_id, "T-1");
    let Identification::Tenant { found_by, .. } = &mut found.result else { panic!("a tenant is expected") };
    *found_by = Some("+12025550123".to_owned());
    record(&db, &[found], now(), &PACE).await.unwrap();
    let due = async |at| {
        let taken = take_due(&db, at, at, at + 1.minute(), 10).await.unwrap();
        taken.into_iter().map(|(checked, _)| checked).collect::<Vec<_>>()
    };
    assert!(due(now() + 9.seconds()).await.is_empty());
    let checked = due(now() + 10.seconds()).await;
    assert_eq!(checked[0].found_by.as_deref(), Some("+12025550123"));
    record(&db, &[is_tenants(checked[0].conversation_id, "T-1")], now(), &PACE).await.unwrap();
    assert!(due(now() + 23.hours()).await.is_empty());
    assert_eq!(due(now() + 24.hours()).await[0].found_by, None);
}

#[tokio::test]
async fn the_longest_due_check_is_taken_first_and_is_due_again_after_a_release() {
    let database = Database::create().await;
    let db = database.db();
    let numbers = ["+12025550121", "+12025550122", "+12025550123", "+12025550124"];
    for (n, number) in numbers.iter().enumerate() {
        store(&db, &[inbound(&format!("SM{n}"), number)]).await.unwrap();
    }
    let times = "update sms_conversations set tenant_next_check_at = case phone_number_canonical
        when '+12025550121' then '2026-11-01T12:03:00Z'::timestamptz when '+12025550122' then '2026-11-01T12:02:00Z'
        when '+12025550123' then '2026-11-01T12:04:00Z' end";
    database.client.batch_execute(times).await.unwrap();
    let take = async || take_due(&db, now() + 1.hour(), now(), now() + 2.hours(), 10).await.unwrap();
    let in_order = |taken: &[(Checked, Option<Timestamp>)]| {
        let digits =
            taken.iter().map(|(checked, _)| checked.phone_number_canonical.canonical()[11..].to_owned());
        digits.collect::<Vec<_>>().join(" ")
    };
    for _ in 0..2 {
        let taken = take().await;
        assert_eq!(in_order(&taken), "4 2 1 3", "numbers that were never checked come first");
        assert!(take().await.is_empty(), "all checks are leased");
        let due: Vec<_> = taken.iter().map(|(checked, due_at)| (checked.conversation_id, *due_at)).collect();
        release(&db, &due).await.unwrap();
    }
}

#[tokio::test]
async fn a_possible_change_of_a_tenants_language_is_marked_until_it_is_settled() {
    let database = Database::create().await;
    let db = database.db();
    let tenants = ["T-1".to_owned()];
    let texts = async |sid: &str, from: &str, language: &'static str, minute: i64| {
        let mut message = inbound(sid, from);
        (message.language, message.received_at) = (language.parse().unwrap(), now() + minute.minutes());
        store(&db, &[message]).await.unwrap()[0].conversation_id
    };
    let waiting = async || unsettled(&db, common::clock::now(), 10).await.unwrap().len();
    let settles = async || _ = settle_languages(&db, &tenants, now(), 0.7).await.unwrap();

    let one = texts("SM1", "+12025550123", "es", 0).await;
    assert_eq!(waiting().await, 0, "the number has no tenant");
    record(&db, &[is_tenants(one, "T-1")], now(), &PACE).await.unwrap();
    assert_eq!(waiting().await, 1, "the tenant was just identified");
    settles().await;
    assert_eq!(waiting().await, 0);
    texts("SM2", "+12025550123", "es", 1).await;
    assert_eq!(waiting().await, 0, "the language did not change");
    texts("SM3", "+12025550123", "en", 2).await;
    assert_eq!(waiting().await, 1);
    settles().await;
    let two = texts("SM4", "+12025550124", "unknown", 3).await;
    record(&db, &[is_tenants(two, "T-1")], now(), &PACE).await.unwrap();
    settles().await;
    texts("SM5", "+12025550123", "en", 4).await;
    assert_eq!(waiting().await, 1, "the tenant's other number may change");
    settles().await;
    let ambiguous = CheckedNumber { result: Identification::Ambiguous(vec![]), ..is_tenants(one, "T-1") };
    texts("SM6", "+12025550123", "es", 5).await;
    record(&db, &[ambiguous], now(), &PACE).await.unwrap();
    assert_eq!(waiting().await, 0, "the number no longer has a tenant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_settling_stays_marked() {
    let mut database = Database::create().await;
    let db = database.db();
    let stored = store(&db, &[inbound("SM1", "+12025550123")]).await.unwrap();
    record(&db, &[is_tenants(stored[0].conversation_id, "T-1")], now(), &PACE).await.unwrap();
    let change = database.client.transaction().await.unwrap();
    change
        .batch_execute("update sms_conversations set tenant_unsettled_at = clock_timestamp()")
        .await
        .unwrap();
    let settling = tokio::spawn(async move {
        settle_languages(&db, &["T-1".to_owned()], now(), 0.7).await.unwrap();
    });
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    testing::eventually("the settling waits for the lock", async || {
        (change.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 1).then_some(())
    })
    .await;
    change.commit().await.unwrap();
    settling.await.unwrap();
    let db = database.db();
    assert_eq!(unsettled(&db, common::clock::now(), 10).await.unwrap(), ["T-1"]);
    settle_languages(&db, &["T-1".to_owned()], now(), 0.7).await.unwrap();
    assert!(unsettled(&db, common::clock::now(), 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_messages_identifications_and_settlings_do_not_deadlock() {
    let database = Database::create().await;
    let numbers: Vec<String> = (0..10).map(|n| format!("+1202555{:04}", 1000 + n)).collect();
    let first: Vec<_> =
        numbers.iter().enumerate().map(|(n, from)| inbound(&format!("SM{n}"), from)).collect();
    let stored = store(&database.db(), &first).await.unwrap();
    let found: Vec<_> = stored.iter().map(|stored| is_tenants(stored.conversation_id, "T-1")).collect();
    let runs: Vec<_> = (0..24)
        .map(|run: i64| {
            let (db, mut found, numbers) = (database.db(), found.clone(), numbers.clone());
            tokio::spawn(async move {
                if run % 2 == 1 {
                    found.reverse();
                }
                let at = now() + run.minutes();
                let mut messages: Vec<_> = numbers
                    .iter()
                    .enumerate()
                    .map(|(n, from)| {
                        let mut message = inbound(&format!("SM{run}-{n}"), from);
                        message.language = [Language::En, Language::Es, Language::Pt][(run % 3) as usize];
                        message.language_confidence = [0.95, 0.8, 0.6, 0.9][(n + run as usize) % 4];
                        message.received_at = at;
                        message
                    })
                    .collect();
                if run % 4 < 2 {
                    messages.reverse();
                }
                match run % 3 {
                    0 => _ = store(&db, &messages).await.unwrap(),
                    1 => _ = record(&db, &found, at, &PACE).await.unwrap(),
                    _ => {
                        store(&db, &messages).await.unwrap();
                        settle_languages(&db, &["T-1".to_owned()], at, 0.7).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for run in runs {
        run.await.unwrap();
    }
    let db = database.db();
    settle_languages(&db, &["T-1".to_owned()], now(), 0.7).await.unwrap();
    assert!(
        settle_languages(&db, &["T-1".to_owned()], now(), 0.7).await.unwrap().is_empty(),
        "all languages are settled"
    );
    assert_eq!(
        database
            .scalar(
                "select count(*) from sms_conversations where tenant_id = 'T-1' and language_strength = 3"
            )
            .await,
        "10"
    );
    database.number_events().await;
    assert_eq!(
        database
            .scalar("select count(*) from sms_events where event_type = 'conversation.tenant_identified'")
            .await,
        "10"
    );
}
