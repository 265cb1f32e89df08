//! Runs the binary through the Runtime API with a real Postgres.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use common::db::sends::{self, Created, Idempotency, NewSend};
use common::db::spool::{self, SpoolQueue};
use common::db::statuses::{self, NewStatus};
use common::domain::ids::MessageId;
use common::domain::message::Status;
use common::twilio::RenewalPolicy;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Behaviour, Database, Function, Outcome, Sent, Sqs, environment, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_retry-sends");

struct World {
    database: Database,
    sqs: Sqs,
}

impl World {
    async fn start() -> Self {
        Self { database: Database::create().await, sqs: Sqs::start().await }
    }

    async fn function(&self) -> Function {
        self.function_with(&[]).await
    }

    async fn function_with(&self, changes: &[(&str, &str)]) -> Function {
        let url = self.database.url();
        let [inbound, status, outbound] = ["inbound", "status", "outbound"].map(|name| self.sqs.queue(name));
        let mut variables = vec![
            ("DATABASE_URL", url.as_str()),
            ("INBOUND_QUEUE_URL", &inbound),
            ("STATUS_QUEUE_URL", &status),
            ("OUTBOUND_QUEUE_URL", &outbound),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url()),
        ];
        variables.extend(changes);
        Function::start(BINARY, &variables).await
    }

    /// Stores an old webhook in the spool.
    async fn spooled(&self, queue: SpoolQueue, message: &Value, request_id: &str) {
        let at = clock::now() - jiff::SignedDuration::from_secs(60);
        spool::add(&self.database.db(), clock::new_id(), queue, message, request_id, at).await.unwrap();
    }

    /// Stores a pending message without a queue message.
    async fn pending(&self, request_id: &str) -> MessageId {
        self.stored(request_id, None).await
    }

    async fn stored(&self, request_id: &str, key: Option<&Idempotency>) -> MessageId {
        let send = new_send(request_id);
        let created = sends::create(&self.database.db(), &send, key).await.unwrap();
        assert!(matches!(created, Created::Stored { .. }), "{created:?}");
        send.id
    }

    /// Returns the senders of the queued wake-ups, with their delays.
    fn woken(&self) -> Vec<(String, u64)> {
        let queue = self.sqs.queue("outbound");
        let sent = self.sqs.sent().into_iter().filter(|sent| sent.queue_url == queue);
        let mut woken: Vec<_> =
            sent.map(|sent| (sent.body["sender"].as_str().unwrap().to_owned(), sent.delay_seconds)).collect();
        woken.sort();
        woken
    }

    async fn run(&self, sql: &str) {
        self.database.client.batch_execute(sql).await.unwrap();
    }
}

const SENDER: &str = "+15005550006";

fn new_send(request_id: &str) -> NewSend {
    NewSend { request_id: request_id.to_owned(), ..testing::new_send("+12025550143") }
}

fn event() -> Value {
    serde_json::from_str(include_str!("../../events/schedule.json")).unwrap()
}

/// Runs a sweep in which a part must fail.
async fn fails(function: &mut Function) {
    let outcome = function.invoke(event()).await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_with_due_files_are_put_on_their_queue() {
    let world = World::start().await;
    let queue = world.sqs.queue("media");
    let message = world.pending("r-1").await;
    // Due are: a lost hint, an erased file, and a file whose worker died. Each message is named once.
    let file = |position: u32, next: &str, erased: &str| {
        format!(
            "insert into sms_media (id, message_id, position, url, status, next_attempt_at, created_at, erased_at) \
             values (sms_new_id(), '{message}', {position}, 'x', 'pending', {next}, now(), {erased})"
        )
    };
    let mut function = world.function_with(&[("MEDIA_QUEUE_URL", &queue)]).await;
    world.run(&file(1, "now() + interval '1 hour'", "null")).await;
    world.run(&file(2, "null", "null")).await;
    assert_eq!(function.call(event()).await["media_hinted"], 0);
    world.run(&file(3, "now()", "null")).await;
    world.run(&file(4, "now() - interval '1 hour'", "now()")).await;
    assert_eq!(function.call(event()).await["media_hinted"], 1);
    let sent: Vec<_> = world.sqs.sent().into_iter().filter(|sent| sent.queue_url == queue).collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0].body["message_id"], json!(message));
    // The schedule does not fail without the queue. The next run tries again.
    world.sqs.refuse_queue("media");
    assert_eq!(function.call(event()).await["media_hinted"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn spooled_webhooks_are_moved_unchanged_to_their_queues() {
    let world = World::start().await;
    let inbound =
        json!({"version": "1", "received_at": "2026-11-01T12:00:00Z", "form": "MessageSid=SM1&Body=a%00"});
    let status = json!({"version": "1", "received_at": "2026-11-01T12:00:00Z", "form": "MessageSid=SM2",
        "query": "message_id=x"});
    world.spooled(SpoolQueue::Inbound, &inbound, "req-1").await;
    world.spooled(SpoolQueue::Status, &status, "req-2").await;
    let swept = world.function().await.call(event()).await;
    assert_eq!(swept["spool_drained"], 2);
    let expected = |queue: &str, body: Value, request: &str| Sent {
        queue_url: world.sqs.queue(queue),
        body,
        request_id: Some(request.to_owned()),
        traceparent: None,
        delay_seconds: 0,
    };
    assert_eq!(
        world.sqs.sent(),
        [expected("inbound", inbound, "req-1"), expected("status", status, "req-2")]
    );
    assert_eq!(world.database.scalar("select count(*) from webhook_spool").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_of_many_large_webhooks_is_emptied_in_one_run() {
    let world = World::start().await;
    let large = "%F0".repeat(60_000);
    for number in 0..8 {
        world
            .spooled(
                SpoolQueue::Inbound,
                &json!({"form": format!("MessageSid=SM{number}&Body={large}")}),
                "r",
            )
            .await;
    }
    let many = "insert into webhook_spool (id, queue, message, request_id, created_at)
        select gen_random_uuid(), 'status', jsonb_build_object('form', n::text), 'r' || n, now() - interval '1 minute'
        from generate_series(1, 250) n";
    world.database.client.batch_execute(many).await.unwrap();
    assert_eq!(world.function().await.call(event()).await["spool_drained"], 258);
    let mut requests: Vec<_> =
        world.sqs.sent().into_iter().map(|sent| sent.body["form"].to_string()).collect();
    requests.sort();
    requests.dedup();
    assert_eq!(requests.len(), 258);
    assert_eq!(world.database.scalar("select count(*) from webhook_spool").await, "0");
}

/// Waits until the last recorded spool backlog is `expected`. An alarm watches this metric.
async fn backlog(function: &Function, expected: f64) {
    eventually("the backlog is reported", async || {
        let log = function.log().await;
        let last = log.iter().rev().find_map(|line| line["spool_backlog"].as_f64());
        (last == Some(expected)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_sqs_fails_or_hangs_nothing_leaves_postgres() {
    for behaviour in [Behaviour::Fails, Behaviour::Hangs] {
        let world = World::start().await;
        world.spooled(SpoolQueue::Inbound, &json!({"form": "MessageSid=SM1"}), "req-1").await;
        world.pending("req-2").await;
        let mut function = world.function_with(&[("SQS_SEND_BUDGET_MS", "200")]).await;
        world.sqs.behave(behaviour);
        fails(&mut function).await;
        assert_eq!(world.database.scalar("select count(*) from webhook_spool").await, "1");
        assert_eq!(world.database.scalar("select wake_at is null from sms_senders").await, "t");
        backlog(&function, 1.0).await;
        world.sqs.behave(Behaviour::Accepts);
        let swept = function.call(event()).await;
        backlog(&function, 0.0).await;
        assert_eq!((&swept["spool_drained"], &swept["senders_woken"]), (&json!(1), &json!(1)));
        assert_eq!(world.woken(), [(SENDER.to_owned(), 0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_queue_does_not_block_the_others() {
    let world = World::start().await;
    world.spooled(SpoolQueue::Inbound, &json!({"form": "MessageSid=SM1"}), "req-1").await;
    world.spooled(SpoolQueue::Status, &json!({"form": "MessageSid=SM2"}), "req-2").await;
    world.pending("req-3").await;
    world.sqs.refuse_queue("inbound");
    fails(&mut world.function().await).await;
    let taken: Vec<_> = world.sqs.sent().into_iter().map(|sent| sent.request_id.unwrap()).collect();
    assert_eq!((taken.len(), taken[0].as_str()), (2, "req-2"));
    assert_eq!(world.woken(), [(SENDER.to_owned(), 0)]);
    assert_eq!(world.database.scalar("select request_id from webhook_spool").await, "req-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_with_due_messages_is_woken_once_and_again_if_the_wake_up_is_lost() {
    let world = World::start().await;
    for _ in 0..3 {
        world.pending("req-due").await;
    }
    let later = world.pending("req-later").await;
    world
        .run(&format!(
            "update sms_messages set next_attempt_at = now() + interval '1 hour', from_number = '+1860' \
                where id = '{later}'"
        ))
        .await;
    let mut function = world.function().await;
    assert_eq!(function.call(event()).await["senders_woken"], 1);
    assert_eq!(world.woken(), [(SENDER.to_owned(), 0)]);
    // Far enough in the future that it stays so on a slow machine.
    world
        .run(
            "update sms_messages set next_attempt_at = now() + interval '50 seconds'
                where from_number is distinct from '+1860';
             update sms_senders set wake_at = now() + interval '50 seconds'",
        )
        .await;
    assert_eq!(function.call(event()).await["senders_woken"], 0, "the wake-up is on the queue");
    world.run("update sms_senders set wake_at = wake_at - interval '1 minute'").await;
    assert_eq!(function.call(event()).await["senders_woken"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_due_or_released_within_a_minute_are_woken_on_time() {
    let world = World::start().await;
    let held = world.pending("req-held").await;
    let (soon, held_for_long) = (world.pending("req-soon").await, world.pending("req-held-long").await);
    let (day_ends, day_is_full) = (world.pending("req-day-ends").await, world.pending("req-day-full").await);
    world
        .run(&format!(
            "update sms_messages set from_number = '+1' where id = '{held}';
             update sms_messages set from_number = '+2', next_attempt_at = now() + interval '40 seconds'
             where id = '{soon}';
             update sms_messages set from_number = '+3' where id = '{held_for_long}';
             update sms_messages set from_number = '+4' where id = '{day_ends}';
             update sms_messages set from_number = '+5' where id = '{day_is_full}';
             insert into sms_senders (sender, held_until) values ('+1', now() + interval '20 seconds'),
                 ('+3', now() + interval '1 hour');
             insert into sms_senders (sender, day_full_until) values ('+4', now() + interval '40 seconds'),
                 ('+5', now() + interval '1 hour')"
        ))
        .await;
    let mut function = world.function().await;
    assert_eq!(function.call(event()).await["senders_woken"], 3);
    let woken = world.woken();
    let delays: Vec<_> = woken.iter().map(|(sender, delay)| (sender.as_str(), *delay)).collect();
    assert!(matches!(delays[..], [("+1", 15..=20), ("+2", 35..=40), ("+4", 35..=40)]), "{delays:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn claimed_final_or_accepted_sends_wake_no_sender() {
    let world = World::start().await;
    for change in [
        "claimed_at = now()",
        "delivery_status = 'canceled'",
        "delivery_status = 'unknown'",
        "twilio_sid = 'SM1'",
    ] {
        let id = world.pending("req-1").await;
        world.run(&format!("update sms_messages set {change} where id = '{id}'")).await;
    }
    assert_eq!(world.function().await.call(event()).await["senders_woken"], 0);
    assert!(world.sqs.sent().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_waited_too_long_fails_even_if_it_was_never_claimed() {
    let world = World::start().await;
    let ids = [world.pending("req-1").await, world.pending("req-2").await, world.pending("req-3").await];
    let [late, old, young] = ids;
    world
        .run(&format!(
            "update sms_messages set created_at = now() - interval '2 days' where id in ('{late}', '{old}');
             update sms_messages set send_before = now() - interval '1 second' where id = '{late}';
             update sms_messages set created_at = now() - interval '2 days', send_at = now() - interval '1 hour'
             where id = '{young}';
             insert into sms_senders (sender, held_until) values ('{SENDER}', now() + interval '1 hour')"
        ))
        .await;
    let mut function = world.function().await;
    assert_eq!(function.call(event()).await["sends_expired"], 2);
    let failed = "select string_agg(error_code || ' ' || request_id, ',' order by request_id) from sms_messages \
        where delivery_status = 'failed'";
    assert_eq!(world.database.scalar(failed).await, "retries_exhausted req-1,retries_exhausted req-2");
    assert_eq!(world.database.scalar("select count(*) from sms_send_attempts").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_claims_become_unknown_and_recent_ones_stay() {
    let world = World::start().await;
    let (old, young) = (world.pending("req-1").await, world.pending("req-2").await);
    let asked = sends::ClaimRequest::messages(&[old, young]);
    sends::claim(&world.database.db(), &asked, &sends::SendPace::default(), clock::now()).await.unwrap();
    let age = format!(
        "update sms_messages set claimed_at = claimed_at - interval '200 seconds' where id = '{old}'"
    );
    world.database.client.batch_execute(&age).await.unwrap();
    let mut function = world.function().await;
    assert_eq!(function.call(event()).await["claims_abandoned"], 1);
    assert_eq!(function.call(event()).await["claims_abandoned"], 0);
    let state = "select string_agg(delivery_status || ' ' || (claimed_at is null), ',' order by request_id) \
        from sms_messages";
    assert_eq!(world.database.scalar(state).await, "unknown true,pending false");
    assert!(world.sqs.sent().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_abandons_all_old_claims() {
    let world = World::start().await;
    world.pending("req-1").await;
    world
        .run(
            "insert into sms_messages (id, conversation_id, direction, to_number, message_content, delivery_status,
                 claimed_at, created_at)
             select gen_random_uuid(), conversation_id, 'outbound', to_number, '', 'pending',
                 now() - interval '200 seconds', now()
             from sms_messages, generate_series(1, 230);
             insert into sms_send_attempts (id, message_id, number, started_at)
             select gen_random_uuid(), id, 1, claimed_at from sms_messages where claimed_at is not null",
        )
        .await;
    assert_eq!(world.function().await.call(event()).await["claims_abandoned"], 230);
    let unknown = "select count(*) from sms_messages m join sms_send_attempts a on a.message_id = m.id
        where m.delivery_status = 'unknown' and a.outcome = 'unknown'";
    assert_eq!(world.database.scalar(unknown).await, "230");
}

fn callback(sid: &str, word: &str, error_code: Option<&str>) -> NewStatus {
    NewStatus {
        id: clock::new_id(),
        twilio_sid: sid.parse().unwrap(),
        message_id: None,
        event_status: word.to_owned(),
        status: Status::from_twilio(word),
        error_code: error_code.map(str::to_owned),
        raw_webhook_data: Value::Null,
        nul_removed: false,
        received_at: clock::now(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn early_callbacks_are_joined_with_their_messages_and_applied() {
    let world = World::start().await;
    let early = [
        callback("SM1", "sent", None),
        callback("SM1", "undelivered", Some("21610")),
        callback("SM9", "sent", None),
    ];
    statuses::record(&world.database.db(), &early, &RenewalPolicy::default(), clock::now()).await.unwrap();
    let id = world.pending("req-1").await;
    let known =
        format!("update sms_messages set twilio_sid = 'SM1', delivery_status = 'queued' where id = '{id}'");
    world.database.client.batch_execute(&known).await.unwrap();
    let mut function = world.function().await;
    assert_eq!(function.call(event()).await["callbacks_joined"], 2);
    assert_eq!(function.call(event()).await["callbacks_joined"], 0);
    let state = "select delivery_status || ' ' || error_code from sms_messages";
    assert_eq!(world.database.scalar(state).await, "undelivered 21610");
    assert_eq!(world.database.scalar("select opted_out_at is not null from sms_conversations").await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_get_their_positions_without_a_reader() {
    let world = World::start().await;
    world.pending("r-1").await;
    world
        .run(
            "select sms_emit_events(array_fill('message.status'::text, array[2500]), array_agg(c.id), \
                 array_fill(null::uuid, array[2500]), array_fill('{}'::text, array[2500]), now()) \
             from sms_conversations c, generate_series(1, 2500)",
        )
        .await;
    let queue = world.sqs.queue("events");
    let mut function = world.function_with(&[("EVENTS_QUEUE_URL", &queue)]).await;
    assert_eq!(function.call(event()).await["events_numbered"], 2500);
    assert_eq!(function.call(event()).await["events_numbered"], 0);
    let hints: Vec<_> = world.sqs.sent().into_iter().filter(|sent| sent.queue_url == queue).collect();
    assert_eq!(hints.iter().map(|sent| &sent.body).collect::<Vec<_>>(), [&json!({"version": "1"})]);
    let positions = "select count(*) || ' ' || max(position) from sms_events";
    assert_eq!(world.database.scalar(positions).await, "2500 2500");
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_are_deleted_after_a_day_and_not_earlier() {
    let world = World::start().await;
    for key in ["old", "young"] {
        let key = Idempotency { key: key.to_owned(), payload_hash: vec![1] };
        world.stored("req-1", Some(&key)).await;
    }
    let age = "update idempotency_keys set created_at = now() - interval '25 hours' where idempotency_key = 'old';
               update idempotency_keys set created_at = now() - interval '23 hours' where idempotency_key = 'young'";
    world.database.client.batch_execute(age).await.unwrap();
    world.function().await.call(event()).await;
    assert_eq!(
        world.database.scalar("select string_agg(idempotency_key, ',') from idempotency_keys").await,
        "young"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_api_keys_used_is_deleted_after_ten_minutes_and_not_earlier() {
    let world = World::start().await;
    let usage = "insert into sms_key_usage (api_key_id, minute, shard, used)
        select gen_random_uuid(), date_trunc('minute', now()) - age * interval '1 minute', shard, age
        from unnest(array[0, 1, 8, 12, 5000]) age, generate_series(0, 15) shard";
    world.run(usage).await;
    world.function().await.call(event()).await;
    let left = "select string_agg(distinct used::text, ',' order by used::text) from sms_key_usage";
    assert_eq!(world.database.scalar(left).await, "0,1,8");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_part_does_not_stop_others_and_fails_the_run() {
    let world = World::start().await;
    world.pending("req-1").await;
    world.database.client.batch_execute("alter table webhook_spool rename to hidden").await.unwrap();
    let mut function = world.function().await;
    fails(&mut function).await;
    assert_eq!(world.woken(), [(SENDER.to_owned(), 0)]);
    let part = eventually("the log line", async || {
        function.log().await.into_iter().find(|line| line["message"] == "sweep part failed")
    })
    .await;
    assert_eq!(part["part"], "inbound spool");
    assert_eq!(function.metric_of("errors", "invocation_failed").await, 1.0);
    let parts = function.metric_of("errors", "part_failed").await;
    assert!(parts.as_f64().unwrap() >= 1.0, "{parts}");
    world.database.client.batch_execute("alter table hidden rename to webhook_spool").await.unwrap();
    function.call(event()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_spool_leaves_the_other_parts_their_time() {
    let world = World::start().await;
    world.pending("req-1").await;
    // 333 ms for ten webhooks: 13 s for each queue, whose share is a little less than five seconds.
    world
        .run(
            "insert into webhook_spool (id, queue, message, request_id, created_at)
             select gen_random_uuid(), queue, jsonb_build_object('form', queue || n), 'r', now() - interval '1 minute'
             from generate_series(1, 400) n, unnest(array['inbound', 'status']) queue",
        )
        .await;
    world.sqs.behave(Behaviour::Slow);
    let mut function = world.function_with(&[("SWEEP_BUDGET_SECONDS", "20")]).await;
    let swept = function.call(event()).await;
    assert_eq!(swept["senders_woken"], 1, "{swept}");
    let left: u64 = world.database.scalar("select count(*) from webhook_spool").await.parse().unwrap();
    assert!(left > 0, "the share is too short for all of them");
    assert_eq!(swept["spool_drained"], 800 - left);
    for queue in ["inbound", "status"] {
        let of_queue = format!("select count(*) < 400 from webhook_spool where queue = '{queue}'");
        assert_eq!(world.database.scalar(&of_queue).await, "t", "{queue}");
    }
    world.sqs.behave(Behaviour::Accepts);
    assert_eq!(function.call(event()).await["spool_drained"], left, "the next run continues");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_does_not_end_is_stopped_and_the_others_run() {
    let world = World::start().await;
    let id = world.pending("req-1").await;
    world.pending("req-2").await;
    world.run(&format!("update sms_messages set send_before = now() where id = '{id}'")).await;
    let locker = testing::connect(&world.database.url()).await;
    locker.batch_execute("begin; lock table webhook_spool").await.unwrap();
    // Each statement would wait for a minute.
    let mut function = world.function_with(&[("SWEEP_BUDGET_SECONDS", "25")]).await;
    let begun = std::time::Instant::now();
    fails(&mut function).await;
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    assert_eq!(world.woken(), [(SENDER.to_owned(), 0)]);
    let failed = "select request_id from sms_messages where delivery_status = 'failed'";
    assert_eq!(world.database.scalar(failed).await, "req-1");
    let parts = eventually("the failures are logged", async || {
        let log = function.log().await;
        let failed = log.iter().filter(|line| line["message"] == "sweep part failed");
        let parts: Vec<_> = failed.map(|line| line["part"].as_str().unwrap().to_owned()).collect();
        (parts.len() == 3).then_some(parts)
    })
    .await;
    assert_eq!(parts, ["inbound spool", "status spool", "spool backlog"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn spooled_webhooks_that_sqs_refuses_do_not_block_younger_ones() {
    let world = World::start().await;
    world
        .run(
            "insert into webhook_spool (id, queue, message, request_id, created_at)
             select gen_random_uuid(), 'inbound', '{\"form\": \"refused\"}', 'r', now() - interval '2 minutes'
             from generate_series(1, 120)",
        )
        .await;
    world.spooled(SpoolQueue::Inbound, &json!({"form": "MessageSid=SM1"}), "req-1").await;
    world.sqs.refuse_text("refused");
    assert_eq!(world.function().await.call(event()).await["spool_drained"], 1);
    assert_eq!(world.sqs.sent()[0].request_id.as_deref(), Some("req-1"));
    assert_eq!(world.database.scalar("select count(*) from webhook_spool").await, "120");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spooled_webhook_that_fails_its_whole_request_does_not_block_others() {
    let world = World::start().await;
    // Larger than SQS accepts: it returns 400.
    let large = json!({"form": "x".repeat(1_100_000)});
    world.spooled(SpoolQueue::Inbound, &large, "req-large").await;
    for number in 1..=3 {
        world
            .spooled(SpoolQueue::Inbound, &json!({"form": "MessageSid=SM1"}), &format!("req-{number}"))
            .await;
    }
    fails(&mut world.function().await).await;
    assert_eq!(
        world.database.scalar("select string_agg(request_id, ',') from webhook_spool").await,
        "req-large"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_broke_while_the_function_was_frozen_fails_no_run() {
    let world = World::start().await;
    let mut function = world.function().await;
    function.call(event()).await;
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()";
    world.database.scalar(cut).await;
    function.call(event()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_stops_the_cold_start_with_every_problem_named() {
    let variables =
        [("DATABASE_URL", "nonsense"), ("INBOUND_QUEUE_URL", "inbound"), ("SEND_CLAIM_TIMEOUT_SECONDS", "0")];
    let mut function = Function::start(BINARY, &variables).await;
    let log = function.ended().await;
    let error = log[0]["error"].as_str().unwrap();
    for problem in [
        "DATABASE_URL is invalid",
        "INBOUND_QUEUE_URL is not a URL",
        "STATUS_QUEUE_URL is missing",
        "OUTBOUND_QUEUE_URL is missing",
        "SEND_CLAIM_TIMEOUT_SECONDS must be between",
    ] {
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<retry_sends::Config>(
        "retry-sends",
        Duration::ZERO,
        &[environment::CONNECT, environment::STATEMENT, ("SQS_SEND_BUDGET_MS", 1)],
    );
}
