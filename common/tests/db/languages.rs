//! Compares the language decision in Postgres with `common::domain::language`.

use crate::{inbound, now};
use common::db::inbound::{NewInbound, store};
use common::domain::language::{Detection, Evidence, Language, Source, decide};
use jiff::ToSpan;
use testing::Database;

const HELD: &str = "select language_detected || ' ' || language_confidence || ' ' || language_evidence \
    from sms_conversations";
const CHANGES: &str = "select coalesce(string_agg((data->>'previous_language') || '>' || (data->>'language'), ' '
    order by position), '')
    from (select *, body::jsonb->'data' as data from sms_events) e where event_type = 'conversation.language_changed'";

fn says(sid: &str, language: &'static str, confidence: f64, minute: i64) -> NewInbound {
    let mut message = inbound(sid, "+12025550123");
    message.language = language.parse().unwrap();
    message.language_confidence = confidence;
    message.received_at = now() + minute.minutes();
    sid.clone_into(&mut message.request_id);
    message
}

/// Returns the decision of the domain code.
fn expected(messages: &[NewInbound]) -> String {
    let of = |message: &NewInbound| {
        let detected =
            Detection { language: message.language, confidence: message.language_confidence as f32 };
        Evidence::new(detected, Source::Own, message.received_at, message.twilio_sid.as_str())
    };
    match messages.iter().map(of).fold(None, decide) {
        Some(kept) => {
            let message = messages.iter().find(|m| of(m).as_ref() == Some(&kept)).unwrap();
            format!("{} {} {}", message.language, message.language_confidence, message.twilio_sid)
        }
        None => format!("{} 0 ", Language::Unknown),
    }
}

/// Messages of a conversation: language, confidence, minute.
const CASES: [&[(&str, f64, i64)]; 8] = [
    &[("unknown", 0.98, 1)],
    &[("es", 0.41, 1)],
    &[("es", 0.95, 1), ("en", 0.97, 2)],
    &[("es", 0.95, 1), ("en", 0.89, 2), ("unknown", 0.98, 3)],
    &[("es", 0.75, 2), ("en", 0.9, 1)],
    &[("es", 0.95, 1), ("es", 0.91, 3), ("en", 0.93, 2)],
    &[("pt", 0.69, 1), ("es", 0.7, 2), ("pt", 0.89, 3), ("en", 0.5, 4)],
    &[("es", 0.95, 1), ("en", 0.95, 1)],
];

#[tokio::test]
async fn postgres_and_the_domain_decide_the_same_for_every_order_and_batch_size() {
    let database = Database::create().await;
    let db = database.db();
    for written in CASES {
        let messages: Vec<NewInbound> = written
            .iter()
            .enumerate()
            .map(|(position, &(language, confidence, minute))| {
                says(&format!("SM{position}"), language, confidence, minute)
            })
            .collect();
        let wanted = expected(&messages);
        for turn in 0..messages.len() {
            let mut arriving = messages.clone();
            arriving.rotate_left(turn);
            for size in [1, arriving.len()] {
                database
                    .client
                    .batch_execute(
                        "truncate sms_conversations, sms_message_sids, sms_message_payloads cascade",
                    )
                    .await
                    .unwrap();
                for batch in arriving.chunks(size) {
                    store(&db, batch).await.unwrap();
                }
                assert_eq!(database.scalar(HELD).await, wanted, "{arriving:#?} by {size}");
                store(&db, &arriving).await.unwrap();
                assert_eq!(database.scalar(HELD).await, wanted, "again: {arriving:#?} by {size}");
            }
        }
    }
}

#[tokio::test]
async fn a_language_change_is_returned_and_stored_as_an_event_and_a_confirmation_is_not() {
    let database = Database::create().await;
    let db = database.db();
    let first = store(&db, &[says("SM1", "es", 0.95, 1), says("SM2", "unknown", 0.98, 2)]).await.unwrap();
    assert!(
        first.iter().all(|stored| (stored.previous_language.as_str(), stored.chosen_language.as_str())
            == ("unknown", "es"))
    );
    let weak = store(&db, &[says("SM3", "en", 0.6, 3)]).await.unwrap();
    assert_eq!((weak[0].previous_language.as_str(), weak[0].chosen_language.as_str()), ("es", "es"));
    store(&db, &[says("SM4", "es", 0.99, 4)]).await.unwrap();
    let changed = store(&db, &[says("SM5", "en", 0.92, 5)]).await.unwrap();
    assert_eq!((changed[0].previous_language.as_str(), changed[0].chosen_language.as_str()), ("es", "en"));
    store(&db, &[says("SM5", "en", 0.92, 5), says("SM1", "es", 0.95, 1)]).await.unwrap();
    database.number_events().await;
    assert_eq!(database.scalar(CHANGES).await, "unknown>es es>en");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_messages_of_a_new_number_agree_on_its_language() {
    let database = Database::create().await;
    let messages: Vec<NewInbound> = (0..12)
        .map(|n| says(&format!("SM{n}"), ["en", "es", "pt"][n % 3], [0.95, 0.8][n % 2], n as i64))
        .collect();
    let runs: Vec<_> = messages
        .chunks(2)
        .map(|batch| {
            let (db, batch) = (database.db(), batch.to_vec());
            tokio::spawn(async move { store(&db, &batch).await.unwrap() })
        })
        .collect();
    for run in runs {
        run.await.unwrap();
    }
    assert_eq!(database.scalar(HELD).await, expected(&messages));
}
