use crate::now;
use common::clock::new_id;
use common::db::Db;
use common::db::sends::{
    self, ClaimRequest, Claimed, Claims, Created, Finished, Idempotency, NewReply, NewSend, Repeated,
    SendPace, SendResult,
};
use common::domain::delivery_failure::FailurePolicy;
use common::domain::ids::MessageId;
use common::domain::message::{Priority, Status};
use common::domain::pace::SenderLimits;
use common::domain::segments::Encoding;
use common::twilio::RenewalPolicy;
use jiff::{Timestamp, ToSpan};
use std::time::Duration;
use testing::Database;

/// Returns a message to send.
pub fn new_send(to: &str) -> NewSend {
    NewSend { sender: "+15550100".into(), created_at: now(), ..testing::new_send(to) }
}

/// Stores a message and claims it.
pub async fn claimed(db: &Db, send: NewSend) -> Claimed {
    assert!(matches!(sends::create(db, &send, None).await.unwrap(), Created::Stored { .. }));
    // Neither the pace nor other messages of the sender may delay the claim.
    let asked = ClaimRequest { allowed: Some(vec![send.id]), ..ClaimRequest::messages(&[send.id]) };
    let pace = SendPace { burst: 100_000, ..SendPace::default() };
    sends::claim(db, &asked, &pace, now()).await.unwrap().claimed.remove(0)
}

/// Claims messages of these messages' senders at the default pace.
pub async fn claims_of(db: &Db, ids: &[MessageId], at: Timestamp) -> Claims {
    sends::claim(db, &ClaimRequest::messages(ids), &SendPace::default(), at).await.unwrap()
}

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_returns_the_trace_that_the_request_belongs_to() {
    let database = Database::create().await;
    let trace_context = Some(format!("{TRACEPARENT} vendor=value"));
    let traced = NewSend { trace_context: trace_context.clone(), ..new_send("+18605550100") };
    assert_eq!(claimed(&database.db(), traced).await.trace_context, trace_context);
    assert_eq!(claimed(&database.db(), new_send("+18615550100")).await.trace_context, None);
}

fn key(payload: u8) -> Idempotency {
    Idempotency { key: "k-1".to_owned(), payload_hash: vec![payload] }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_with_one_key_create_one_message_and_all_get_its_id() {
    let database = Database::create().await;
    let runs = (0..10).map(|_| {
        let db = database.db();
        tokio::spawn(async move {
            let send = new_send("+18605550100");
            match sends::create(&db, &send, Some(&key(1))).await.unwrap() {
                Created::Stored { .. } => send.id,
                Created::Repeated(Repeated { same_payload: true, message_id }) => message_id,
                other => panic!("{other:?}"),
            }
        })
    });
    let mut ids = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        ids.push(run.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(database.scalar("select count(*) from sms_messages").await, "1");
}

#[tokio::test]
async fn a_key_with_another_payload_conflicts_until_the_key_expires() {
    let database = Database::create().await;
    let db = database.db();
    let first = new_send("+18605550100");
    sends::create(&db, &first, Some(&key(1))).await.unwrap();
    let outcome = sends::create(&db, &new_send("+18605550100"), Some(&key(2))).await.unwrap();
    assert_eq!(outcome, Created::Repeated(Repeated { same_payload: false, message_id: first.id }));
    let mut tomorrow = new_send("+18605550100");
    tomorrow.created_at = now() + 25.hours();
    assert!(matches!(sends::create(&db, &tomorrow, Some(&key(2))).await.unwrap(), Created::Stored { .. }));
}

#[tokio::test]
async fn a_message_to_an_opted_out_recipient_is_rejected_and_the_key_stays_free() {
    let database = Database::create().await;
    let db = database.db();
    sends::create(&db, &new_send("+18605550100"), None).await.unwrap();
    database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    assert_eq!(
        sends::create(&db, &new_send("+18605550100"), Some(&key(1))).await.unwrap(),
        Created::OptedOut
    );
    assert_eq!(database.scalar("select count(*) from idempotency_keys").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_claims_get_a_message_once() {
    let database = Database::create().await;
    let send = new_send("+18605550100");
    sends::create(&database.db(), &send, None).await.unwrap();
    let runs = (0..10).map(|_| {
        let (db, id) = (database.db(), send.id);
        tokio::spawn(async move { claims_of(&db, &[id, id], now()).await.claimed.len() })
    });
    let mut claims = 0;
    for run in runs.collect::<Vec<_>>() {
        claims += run.await.unwrap();
    }
    assert_eq!(claims, 1);
    assert_eq!(database.scalar("select count(*) from sms_send_attempts").await, "1");
}

#[tokio::test]
async fn a_message_queued_before_an_opt_out_fails_at_the_claim() {
    let database = Database::create().await;
    let db = database.db();
    let send = new_send("+18605550100");
    sends::create(&db, &send, None).await.unwrap();
    database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    let claims = claims_of(&db, &[send.id], now()).await;
    assert!(claims.claimed.is_empty());
    assert_eq!(claims.refused, [send.id]);
    assert_eq!(
        database.scalar("select delivery_status || ' ' || error_code from sms_messages").await,
        "failed opted_out"
    );
}

#[tokio::test]
async fn a_message_is_not_claimed_before_it_is_due_or_after_it_expires() {
    let database = Database::create().await;
    let db = database.db();
    let mut send = new_send("+18605550100");
    send.send_at = Some(now() + 1.hour());
    send.send_before = Some(now() + 2.hours());
    sends::create(&db, &send, None).await.unwrap();
    assert_eq!(claims_of(&db, &[send.id], now()).await, Claims::default());
    let claims = claims_of(&db, &[send.id], now() + 2.hours()).await;
    assert!(claims.claimed.is_empty() && claims.refused == [send.id]);
}

#[tokio::test]
async fn a_deferred_message_is_claimed_again_when_it_is_due() {
    let database = Database::create().await;
    let db = database.db();
    let claim = claimed(&db, new_send("+18605550100")).await;
    let outcome = SendResult::Deferred {
        next_attempt_at: now() + 1.minute(),
        error_code: Some("20429".to_owned()),
        detail: "too many requests".to_owned(),
    };
    sends::finish(&db, &[(&claim, &outcome)], now()).await.unwrap();
    let ids = [claim.message_id];
    let claims = claims_of(&db, &ids, now()).await;
    assert!(claims.claimed.is_empty());
    let delays: Vec<Duration> = claims.wake_ups.iter().map(|(_, delay)| *delay).collect();
    assert_eq!(delays, [Duration::from_secs(60)], "a wake-up is scheduled");
    assert_eq!(claims_of(&db, &ids, now() + 1.minute()).await.claimed[0].attempt_number, 2);
}

/// Status, code, SID and claim of every message, ordered by recipient.
const STATES: &str = "
    select string_agg(concat_ws(' ', delivery_status, error_code, twilio_sid,
    case when claimed_at is null then 'free' else 'held' end),
                      ', ' order by to_number)
    from sms_messages";

#[tokio::test]
async fn outcomes_recorded_in_one_batch_do_not_affect_each_other() {
    let database = Database::create().await;
    let db = database.db();
    let mut claims = Vec::new();
    for to in ["+18615550100", "+18625550100", "+18635550100", "+18645550100", "+18655550100"] {
        claims.push(claimed(&db, new_send(to)).await);
    }
    let failed = |code: &str| SendResult::Failed {
        by_twilio: true,
        error_code: code.to_owned(),
        recipient: RenewalPolicy::default().recipient_effect(code),
        detail: "refused".to_owned(),
    };
    let outcomes = [
        SendResult::Accepted { twilio_sid: "SM1".parse().unwrap(), status: Status::Queued },
        SendResult::Deferred {
            next_attempt_at: now() + 1.minute(),
            error_code: None,
            detail: "busy".to_owned(),
        },
        failed("30004"),
        failed("21610"),
        SendResult::Unknown { detail: "no answer".to_owned() },
    ];
    // The last message has been claimed by a later attempt.
    let later = format!(
        "insert into sms_send_attempts (id, message_id, number, started_at)
         values (gen_random_uuid(), '{}', 2, now())",
        claims[4].message_id
    );
    database.client.batch_execute(&later).await.unwrap();
    let ended: Vec<_> = claims.iter().zip(&outcomes).collect();
    for _ in 0..2 {
        // A retry, as after a lost response.
        assert_eq!(sends::finish(&db, &ended, now()).await.unwrap(), Finished::default());
    }
    let expected = "queued SM1 free, pending free, failed 30004 free, failed 21610 free, pending held";
    assert_eq!(database.scalar(STATES).await, expected);
    let attempts = "select string_agg(coalesce(outcome, 'open'), ' ' order by to_number, number)
                    from sms_send_attempts a join sms_messages m on m.id = a.message_id";
    assert_eq!(database.scalar(attempts).await, "accepted not_processed rejected rejected unknown open");
    let of_conversations = "
        select string_agg(phone_number_canonical, ' ' order by phone_number_canonical) from sms_conversations
        where carrier_blocked_at is not null or opted_out_at is not null";
    assert_eq!(database.scalar(of_conversations).await, "+18635550100 +18645550100");
    assert_eq!(database.scalar("select count(*) from sms_opt_out_events").await, "1");
}

#[tokio::test]
async fn recording_a_sid_returns_whether_callbacks_for_it_arrived_earlier() {
    let database = Database::create().await;
    let db = database.db();
    let early =
        [crate::statuses::callback("SM1", "sent", None), crate::statuses::callback("SM1", "delivered", None)];
    crate::statuses::record(&db, &early, now()).await.unwrap();
    let claims = [claimed(&db, new_send("+18615550100")).await, claimed(&db, new_send("+18625550100")).await];
    let outcomes = ["SM1", "SM2"]
        .map(|sid| SendResult::Accepted { twilio_sid: sid.parse().unwrap(), status: Status::Queued });
    let ended: Vec<_> = claims.iter().zip(&outcomes).collect();
    assert_eq!(sends::finish(&db, &ended, now()).await.unwrap().early, ["SM1"]);
}

#[tokio::test]
async fn a_sid_of_another_message_parks_only_the_message_that_got_it() {
    let database = Database::create().await;
    let db = database.db();
    common::db::inbound::store(&db, &[crate::inbound("SM1", "+18605550100")]).await.unwrap();
    let claims = [claimed(&db, new_send("+18615550100")).await, claimed(&db, new_send("+18625550100")).await];
    let outcomes = ["SM1", "SM2"]
        .map(|sid| SendResult::Accepted { twilio_sid: sid.parse().unwrap(), status: Status::Queued });
    let ended: Vec<_> = claims.iter().zip(&outcomes).collect();
    for _ in 0..2 {
        // A retry, as after a lost response.
        assert_eq!(sends::finish(&db, &ended, now()).await.unwrap().parked, [claims[0].message_id]);
    }
    let states = "select string_agg(concat_ws(' ', delivery_status, twilio_sid, parked_at is not null), ', '
        order by to_number)
                  from sms_messages where direction = 'outbound'";
    assert_eq!(database.scalar(states).await, "unknown t, queued SM2 f");
    database.number_events().await;
    let parked = "select count(*) from sms_events where body::jsonb->'data'->>'parked' = 'true'";
    assert_eq!(database.scalar(parked).await, "1");
    assert!(sends::take_unresolved(&db, now() + 1.hour(), now() + 2.hours(), 10).await.unwrap().is_empty());
    assert!(claims_of(&db, &[claims[0].message_id], now() + 1.hour()).await.claimed.is_empty());
    // An operator sets the status.
    let sent = sends::Decision::Sent { twilio_sid: None };
    let day = Duration::from_secs(86_400);
    let decided = sends::decide(&db, claims[0].message_id, &sent, day, now()).await.unwrap();
    assert_eq!(decided, sends::Decided::Done(Status::Sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sid_recorded_twice_concurrently_parks_one_of_the_messages() {
    let database = Database::create().await;
    for round in 0..10 {
        let sid = format!("SM{round}");
        let runs = [0, 1].map(|number| {
            let (db, sid) = (database.db(), sid.clone());
            tokio::spawn(async move {
                let claim = claimed(&db, new_send(&format!("+1860555010{number}{round}"))).await;
                let outcome =
                    SendResult::Accepted { twilio_sid: sid.parse().unwrap(), status: Status::Queued };
                loop {
                    match sends::finish(&db, &[(&claim, &outcome)], now()).await {
                        Ok(finished) => break finished.parked.len(),
                        Err(error) => assert!(error.is_about_the_data(), "{error:?}"),
                    }
                }
            })
        });
        let mut parked = 0;
        for run in runs {
            parked += run.await.unwrap();
        }
        assert_eq!(parked, 1, "{sid}");
    }
}

#[tokio::test]
async fn an_abandoned_claim_becomes_unknown_and_is_not_sent_again() {
    let database = Database::create().await;
    let db = database.db();
    let claim = claimed(&db, new_send("+18605550100")).await;
    let later = now() + 10.minutes();
    assert_eq!(sends::abandon_claims(&db, now() - 1.second(), later, 10).await.unwrap().ended, 0);
    assert_eq!(sends::abandon_claims(&db, later, later, 10).await.unwrap().unknown, [claim.message_id]);
    assert_eq!(database.scalar("select delivery_status from sms_messages").await, "unknown");
    assert_eq!(database.scalar("select outcome from sms_send_attempts").await, "unknown");
    assert!(claims_of(&db, &[claim.message_id], later).await.claimed.is_empty());
    // The response was recorded late.
    let outcome = SendResult::Accepted { twilio_sid: "SM1".parse().unwrap(), status: Status::Queued };
    sends::finish(&db, &[(&claim, &outcome)], later).await.unwrap();
    assert_eq!(
        database.scalar("select delivery_status || ' ' || twilio_sid from sms_messages").await,
        "queued SM1"
    );
    assert_eq!(database.scalar("select outcome from sms_send_attempts").await, "accepted");
}

#[tokio::test]
async fn an_automatic_reply_is_created_once_per_message_and_period() {
    let database = Database::create().await;
    let db = database.db();
    let stored = [
        crate::inbound("SM1", "+18605550100"),
        crate::inbound("SM2", "+18605550100"),
        crate::inbound("SM3", "+18615550100"),
    ];
    common::db::inbound::store(&db, &stored).await.unwrap();
    let replies = |sids: &[&str]| -> Vec<NewReply> {
        let reply = |sid: &&str| NewReply {
            id: new_id().into(),
            in_reply_to: sid.parse().unwrap(),
            text: "The office is closed.".to_owned(),
            encoding: Encoding::Gsm7,
            segments: 1,
            trace_context: Some(format!("{TRACEPARENT} reply={sid}")),
        };
        sids.iter().map(reply).collect()
    };
    let period = Duration::from_secs(3600);
    let all = ["SM1", "SM2", "SM3"];
    assert_eq!(sends::create_replies(&db, &replies(&all), now(), period).await.unwrap().len(), 2);
    let continue_it = "select count(*) from sms_messages r join sms_messages m on m.id = r.in_reply_to
                       where r.trace_context like '% reply=' || m.twilio_sid";
    assert_eq!(database.scalar(continue_it).await, "2");
    assert_eq!(sends::create_replies(&db, &replies(&all), now(), period).await.unwrap().len(), 0);
    let later = now() + 2.hours();
    assert_eq!(sends::create_replies(&db, &replies(&["SM1", "SM2"]), later, period).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_message_whose_time_zone_changed_in_the_meantime_is_not_postponed() {
    let database = Database::create().await;
    let db = database.db();
    let (moved, stays) = (new_send("+18605550100"), new_send("+18615550100"));
    for send in [&moved, &stays] {
        sends::create(&db, send, None).await.unwrap();
    }
    let candidates = sends::candidates(&db, &ClaimRequest::messages(&[moved.id]), now(), 10).await.unwrap();
    assert_eq!(candidates.len(), 2);
    let moves = "update sms_conversations set time_zone = 'Europe/Lisbon' where phone_number_canonical = \
        '+18605550100'";
    database.client.batch_execute(moves).await.unwrap();
    let morning = now() + 5.hours();
    let disturbing: Vec<_> = candidates.into_iter().map(|candidate| (candidate, morning)).collect();
    sends::postpone(&db, &disturbing).await.unwrap();
    let waiting = "select string_agg(to_number, ',') from sms_messages where quiet_until = next_attempt_at";
    assert_eq!(database.scalar(waiting).await, "+18615550100");
}

/// Claims all messages that the pace allows at one time. Returns their number and the seconds until the next wake-up.
async fn claim_all(db: &Db, pace: &SendPace, id: MessageId, at: Timestamp) -> (usize, f64) {
    let mut claimed = 0;
    loop {
        let claims = sends::claim(db, &ClaimRequest::messages(&[id]), pace, at).await.unwrap();
        claimed += claims.claimed.len();
        let wait = claims.wake_ups.first().map(|(_, delay)| delay.as_secs_f64());
        if claims.claimed.is_empty() || wait.is_some_and(|wait| wait > 0.0) {
            return (claimed, wait.unwrap_or_default());
        }
    }
}

#[tokio::test]
async fn a_burst_lasts_until_the_next_whole_second_at_every_rate() {
    for (rates, of_bulk) in [("10", 15), ("10,+15550100=100", 150), ("3", 15)] {
        let database = Database::create().await;
        let db = database.db();
        let limits = SenderLimits { segments_per_second: rates.parse().unwrap(), ..SenderLimits::default() };
        let pace = SendPace { limits, ..SendPace::default() };
        let last = NewSend { priority: Priority::Bulk, ..new_send("+18605550100") };
        sends::create(&db, &last, None).await.unwrap();
        let many = "insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content,
                delivery_status, priority, next_attempt_at, created_at)
            select gen_random_uuid(), conversation_id, 'outbound', from_number, to_number, '', 'pending', 'bulk',
                next_attempt_at - interval '1 minute', created_at
            from sms_messages, generate_series(1, 400)";
        database.client.batch_execute(many).await.unwrap();
        let begun = now();
        let (first, wait) = claim_all(&db, &pace, last.id, begun).await;
        assert_eq!(first, of_bulk, "{rates}");
        assert!(wait <= 1.0, "{rates}: {wait}");
        // SQS delays are whole seconds, and deliveries may be a little late.
        let (mut sent, seconds) = (first, 10);
        for second in 1..=seconds {
            let at = begun + jiff::SignedDuration::from_millis(second * 1_100);
            sent += claim_all(&db, &pace, last.id, at).await.0;
        }
        let pace_allows = match rates {
            "10" => 10.0,
            "3" => 3.0,
            _ => 100.0,
        } * 11.0;
        let wanted = (of_bulk as f64 + pace_allows).min(401.0);
        assert!((sent as f64 - wanted).abs() <= wanted * 0.1, "{rates}: {sent}, not {wanted}");
    }
}
