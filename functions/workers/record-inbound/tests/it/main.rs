//! Runs the binary through the Runtime API with a real Postgres.

use serde_json::{Value, json};
use std::time::Duration;
use testing::{Behaviour, Database, Function, Sqs, environment, failed};

mod clarifications;

const BINARY: &str = env!("CARGO_BIN_EXE_record-inbound");

/// Returns an SQS event with the given forms.
fn batch(forms: &[&str]) -> Value {
    let body = |form: &&str| json!({"version": "1", "received_at": "2026-11-01T12:00:00Z", "form": form});
    testing::batch(&forms.iter().map(body).collect::<Vec<_>>())
}

async fn start(database: &Database, sqs: &Sqs, extra: &[(&str, &str)]) -> Function {
    let (url, inbound, queue) = (database.url(), sqs.queue("inbound"), sqs.queue("outbound"));
    let mut variables = vec![
        ("TWILIO_ACCOUNT_SID", "AC1"),
        ("DATABASE_URL", url.as_str()),
        ("INBOUND_QUEUE_URL", &inbound),
        ("OUTBOUND_QUEUE_URL", &queue),
        ("AWS_ENDPOINT_URL_SQS", sqs.url()),
    ];
    variables.extend(extra);
    Function::start(BINARY, &variables).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_event_is_stored_completely() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    let event = serde_json::from_str(include_str!("../../events/batch.json")).unwrap();
    assert!(failed(&function.call(event).await).is_empty());
    assert_eq!(
        database
            .scalar(
                "select message_content || '|' || (raw_webhook_data->>'FromCity') || '|' || request_id \
            from sms_messages join sms_message_payloads on message_id = id"
            )
            .await,
        "Hola, no hay agua caliente|WATERBURY|req-42"
    );
    assert_eq!(database.scalar("select language from sms_messages").await, "es");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_account_gets_our_account() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    let forms = [
        "MessageSid=SM1&From=%2B18605550101&Body=one",
        "MessageSid=SM2&From=%2B18605550101&Body=STOP&AccountSid=",
        "MessageSid=SM3&From=%2B18605550101&Body=one&AccountSid=AC2",
    ];
    assert!(failed(&function.call(batch(&forms)).await).is_empty());
    let accounts = "select string_agg(account_sid || ':' || message_count || ':' || (opted_out_at is not null), ' ' \
                    order by account_sid) from sms_conversations";
    assert_eq!(database.scalar(accounts).await, "AC1:2:true AC2:1:false");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_spellings_of_a_mexican_number_share_one_conversation_and_one_opt_out() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[("AUTO_REPLY_ES", "Estamos cerrados.")]).await;
    let forms = ["MessageSid=SM1&From=%2B5215512345678&To=%2B12025550100&Body=no+hay+agua"];
    assert!(failed(&function.call(batch(&forms)).await).is_empty());
    let forms =
        ["MessageSid=SM2&From=%2B525512345678&Body=hola", "MessageSid=SM3&From=%2B5215512345678&Body=STOP"];
    assert!(failed(&function.call(batch(&forms)).await).is_empty());
    let conversations = "select string_agg(phone_number_canonical || ':' || (opted_out_at is not null), ' ') \
                         from sms_conversations";
    assert_eq!(database.scalar(conversations).await, "+525512345678:true");
    let numbers = "select string_agg(case direction when 'inbound' then from_number else 'to ' || to_number end, ' ' \
                   order by direction, twilio_sid) from sms_messages";
    assert_eq!(
        database.scalar(numbers).await,
        "+5215512345678 +525512345678 +5215512345678 to +525512345678"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_with_files_are_put_on_their_queue_once() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let queue = sqs.queue("media");
    let mut function = start(&database, &sqs, &[("MEDIA_QUEUE_URL", queue.as_str())]).await;
    let with_file = "MessageSid=MM1&From=%2B18605550101&Body=look&NumMedia=1\
                     &MediaUrl0=https://api.twilio.com/x&MediaContentType0=image/jpeg";
    let event = batch(&[with_file, "MessageSid=SM2&From=%2B18605550102&Body=x&NumMedia=0"]);
    assert!(failed(&function.call(event.clone()).await).is_empty());
    // A duplicate has no hint.
    assert!(failed(&function.call(event).await).is_empty());
    let sent: Vec<_> = sqs.sent().into_iter().filter(|sent| sent.queue_url == queue).collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
    let ids = "select message_id || ' ' || conversation_id from sms_media f join sms_messages m on m.id = message_id";
    let named =
        [&sent[0].body["message_id"], &sent[0].body["conversation_id"]].map(|id| id.as_str().unwrap());
    assert_eq!(database.scalar(ids).await, named.join(" "));
    assert_eq!(sent[0].request_id.as_deref(), Some("r-0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_media_queue_fails_no_record_and_leaves_the_files_to_the_schedule() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let queue = sqs.queue("media");
    sqs.refuse_queue("media");
    let mut function = start(&database, &sqs, &[("MEDIA_QUEUE_URL", queue.as_str())]).await;
    let form = "MessageSid=MM1&From=%2B18605550101&Body=look&NumMedia=1&MediaUrl0=https://api.twilio.com/x";
    assert!(failed(&function.call(batch(&[form])).await).is_empty());
    let due = "select count(*) from sms_media where status = 'pending' and next_attempt_at <= now()";
    assert_eq!(database.scalar(due).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_message_fails_alone_and_becomes_visible_immediately() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    // A SID that is too long for an index: Postgres rejects the row, and so the statement of the batch.
    let huge: String = (0..9000_u32).map(|n| char::from(b'A' + u8::try_from(n * n % 26).unwrap())).collect();
    let huge = format!("MessageSid=SM{huge}{}&From=%2B18605550101&Body=x", random_text());
    let mut event = batch(&[
        "MessageSid=SM1&From=%2B18605550101&Body=one",
        &huge,
        "Body=nobody",
        "MessageSid=SM2&From=%2B18605550102",
    ]);
    event["Records"]
        .as_array_mut()
        .unwrap()
        .push(json!({"messageId": "not-ours", "receiptHandle": "AQEB4", "body": "{}"}));
    let response = function.call(event).await;
    assert_eq!(failed(&response), ["m-1", "m-2", "not-ours"]);
    let mut again = sqs.made_visible();
    again.sort();
    assert_eq!(again, ["inbound AQEB1", "inbound AQEB2", "inbound AQEB4"]);
    assert_eq!(
        database.scalar("select string_agg(twilio_sid, ',' order by twilio_sid) from sms_messages").await,
        "SM1,SM2"
    );
    assert_eq!(function.metric("records_failed").await, 3.0);
    assert_eq!(function.metric_of("errors", "record_poison").await, 3.0);
    let ages = function.metric("queue_age").await;
    let ages = ages.as_array().unwrap();
    assert_eq!(ages.len(), 4, "the unreadable record has no age: {ages:?}");
    assert!(ages.iter().all(|age| age.as_f64().unwrap() >= 2.0), "{ages:?}");
    assert_eq!(function.metric("cold_starts").await, 1.0);
}

/// Text that Postgres cannot compress below the maximum size of an index entry.
fn random_text() -> String {
    (0..4_000).map(|_| common::clock::new_id().simple().to_string()).collect::<String>()
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_characters_and_very_long_bodies_are_stored() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    let emoji = "%F0%9F%98%80".repeat(1600);
    let nul = "MessageSid=SM1&From=%2B18605550101&Body=a%00b&X%00Y=1";
    let long = format!("MessageSid=SM2&From=%2B18605550101&Body={emoji}");
    assert!(failed(&function.call(batch(&[nul, &long])).await).is_empty());
    assert_eq!(
        database
            .scalar(
                "select message_content || nul_removed || (raw_webhook_data->>'XY') from sms_messages \
            join sms_message_payloads on message_id = id where twilio_sid = 'SM1'"
            )
            .await,
        "abtrue1"
    );
    assert_eq!(
        database.scalar("select length(message_content) from sms_messages where twilio_sid = 'SM2'").await,
        "1600"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_unavailable_every_record_fails_and_none_is_lost() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    let event = batch(&["MessageSid=SM1&From=%2B18605550101", "MessageSid=SM2&From=%2B18605550102"]);
    database.client.batch_execute("alter table sms_messages rename to hidden").await.unwrap();
    assert_eq!(failed(&function.call(event.clone()).await), ["m-0", "m-1"]);
    assert!(sqs.made_visible().is_empty(), "the records are retried after the visibility timeout");
    assert_eq!(function.metric_of("errors", "record_failed").await, 2.0);
    database.client.batch_execute("alter table hidden rename to sms_messages").await.unwrap();
    assert!(failed(&function.call(event).await).is_empty());
    assert_eq!(database.scalar("select count(*) from sms_messages").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_broke_while_the_function_was_frozen_fails_no_record() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    assert!(failed(&function.call(batch(&["MessageSid=SM1&From=%2B18605550101"])).await).is_empty());
    let mut messages = 1;
    // A function that notices the cut before the next event needs no retry.
    while !function.log().await.iter().any(|line| line["database_retries"] == 1.0) {
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
            where datname = current_database() and pid <> pg_backend_pid()";
        database.scalar(cut).await;
        messages += 1;
        assert!(messages < 100, "no retry");
        let form = format!("MessageSid=SM{messages}&From=%2B18605550101");
        assert!(failed(&function.call(batch(&[&form])).await).is_empty());
        assert_eq!(database.scalar("select count(*) from sms_messages").await, messages.to_string());
    }
    assert!(function.metric("database_latency").await.as_f64().unwrap() > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn automatic_replies_are_sent_once_in_the_senders_language_and_not_to_machines() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let texts = [("AUTO_REPLY_EN", "We are closed."), ("AUTO_REPLY_ES", "Estamos cerrados.")];
    let mut function = start(&database, &sqs, &texts).await;
    let event = batch(&[
        "MessageSid=SM1&From=%2B18605550101&To=%2B15005550006&Body=Hola+buenas+tardes+mi+calentador+no+sirve",
        "MessageSid=SM2&From=%2B18605550102&To=%2B15005550006&Body=STOP",
        "MessageSid=SM3&From=24273&To=%2B15005550006&Body=your+code",
        "MessageSid=SM4&From=%2B18605550103&To=%2B15005550006&Body=Auto-reply:+I+am+away",
    ]);
    assert!(failed(&function.call(event.clone()).await).is_empty());
    assert!(failed(&function.call(event).await).is_empty(), "a repeated batch sends no second reply");
    let replies = "select string_agg(to_number || ' ' || message_content || ' ' || delivery_status, ',') \
        from sms_messages where direction = 'outbound'";
    assert_eq!(database.scalar(replies).await, "+18605550101 Estamos cerrados. pending");
    let sent = sqs.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        sent[0].body["message_id"],
        database.scalar("select id from sms_messages where direction = 'outbound'").await
    );
    assert_eq!(
        database
            .scalar(
                "select opted_out_at is not null from sms_conversations \
        where phone_number_canonical = '+18605550102'"
            )
            .await,
        "t"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_and_our_own_numbers_get_no_automatic_reply() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    // One of our numbers that is not in the configuration has sent messages.
    database.client.batch_execute("insert into sms_senders (sender) values ('+15005550008')").await.unwrap();
    let variables =
        [("AUTO_REPLY_EN", "We are closed."), ("TWILIO_PHONE_NUMBER", "+15005550006,+15005550007")];
    let mut function = start(&database, &sqs, &variables).await;
    let event = batch(&[
        "MessageSid=SM1&From=%2B18605550101&To=%2B15005550006&Body=Liked+%E2%80%9CWe+open+at+9%E2%80%9D",
        "MessageSid=SM2&From=%2B18605550102&To=%2B15005550006&Body=%F0%9F%91%8D+to+%22We+open+at+9%22",
        "MessageSid=SM3&From=%2B15005550007&To=%2B15005550006&Body=We+are+closed.",
        "MessageSid=SM4&From=%2B15005550008&To=%2B15005550006&Body=We+are+closed.",
        "MessageSid=SM5&From=%2B18605550103&To=%2B15005550006&Body=the+sink+leaks",
    ]);
    assert!(failed(&function.call(event).await).is_empty());
    let replies = "select string_agg(to_number, ' ') from sms_messages where direction = 'outbound'";
    assert_eq!(database.scalar(replies).await, "+18605550103");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_opt_out_result_of_a_message_is_stored_and_counted() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    let event = batch(&[
        "MessageSid=SM1&From=%2B18605550101&Body=My+60%22+tv+is+fine,+stop+texting+me",
        "MessageSid=SM2&From=%2B18605550102&Body=wrong+number",
        "MessageSid=SM3&From=%2B18605550103&Body=the+sink+leaks",
        "MessageSid=SM4&From=%2B18605550104&Body=adios&OptOutType=STOP",
        "MessageSid=SM5&From=%2B18605550105&Body=STOP&OptOutType=HELP",
    ]);
    assert!(failed(&function.call(event).await).is_empty());
    let results = "select string_agg(opt_out, ' ' order by twilio_sid) from sms_messages";
    assert_eq!(database.scalar(results).await, "opt_out unsure none opt_out none");
    let stopped = "select string_agg(phone_number_canonical, ' ' order by phone_number_canonical) \
                   from sms_conversations where opted_out_at is not null";
    assert_eq!(database.scalar(stopped).await, "+18605550101 +18605550104", "an unsure result is no opt-out");
    let counted = testing::eventually("the metrics", async || {
        let log = function.log().await;
        log.into_iter().find(|line| line["messages_stored"] == 5.0)
    })
    .await;
    assert_eq!((&counted["opt_outs"], &counted["opt_outs_unsure"]), (&json!(2.0), &json!(1.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_automatic_reply_uses_the_conversations_language_when_the_text_has_none() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let texts = [
        ("AUTO_REPLY_EN", "We are closed."),
        ("AUTO_REPLY_ES", "Estamos cerrados."),
        ("AUTO_REPLY_PERIOD_SECONDS", "1"),
    ];
    let mut function = start(&database, &sqs, &texts).await;
    let mut event = batch(&[
        "MessageSid=SM1&From=%2B18605550101&To=%2B15005550006&Body=Hola+buenas+tardes+mi+calentador+no+sirve",
    ]);
    assert!(failed(&function.call(event).await).is_empty());
    database.client.batch_execute("update sms_conversations set auto_replied_at = null").await.unwrap();
    event = batch(&["MessageSid=SM2&From=%2B18605550101&To=%2B15005550006&Body=12B"]);
    assert!(failed(&function.call(event).await).is_empty());
    let replies = "select string_agg(message_content, ' ') from sms_messages where direction = 'outbound'";
    assert_eq!(database.scalar(replies).await, "Estamos cerrados. Estamos cerrados.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_help_command_does_not_change_a_spanish_conversation_to_english() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let texts = [("AUTO_REPLY_EN", "We are closed."), ("AUTO_REPLY_ES", "Estamos cerrados.")];
    let mut function = start(&database, &sqs, &texts).await;
    for (sid, body) in [("SM1", "Hola+buenas+tardes+mi+calentador+no+sirve"), ("SM2", "HELP")] {
        database.client.batch_execute("update sms_conversations set auto_replied_at = null").await.unwrap();
        let event = batch(&[&format!("MessageSid={sid}&From=%2B18605550101&To=%2B15005550006&Body={body}")]);
        assert!(failed(&function.call(event).await).is_empty());
    }
    let replies = "select string_agg(message_content, ' ') from sms_messages where direction = 'outbound'";
    assert_eq!(database.scalar(replies).await, "Estamos cerrados. Estamos cerrados.");
    let held = "select language_detected || ' ' || language_strength from sms_conversations";
    assert_eq!(database.scalar(held).await, "es 3");
    let help = "select language || ' ' || language_confidence from sms_messages where twilio_sid = 'SM2'";
    assert_eq!(database.scalar(help).await, "en 0.6");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_sqs_refuses_waits_for_the_sweep() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[("AUTO_REPLY_EN", "We are closed.")]).await;
    sqs.behave(Behaviour::Fails);
    let event = batch(&["MessageSid=SM1&From=%2B18605550101&To=%2B15005550006&Body=the+sink+leaks"]);
    assert!(failed(&function.call(event).await).is_empty());
    let due = "select next_attempt_at <= now() from sms_messages where direction = 'outbound'";
    assert_eq!(database.scalar(due).await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_conversation_of_a_batch_is_queued_once_if_there_is_a_monitor() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let queue = sqs.queue("identify");
    let monitor = [("MONITOR_API_URL", "http://127.0.0.1:9"), ("IDENTIFY_QUEUE_URL", queue.as_str())];
    let mut function = start(&database, &sqs, &monitor).await;
    let event = batch(&[
        "MessageSid=SM1&From=%2B18605550101&Body=one",
        "MessageSid=SM2&From=%2B18605550102&Body=two",
        "MessageSid=SM3&From=%2B18605550101&Body=three",
        "MessageSid=SM4&From=24273&Body=your+code",
    ]);
    assert!(failed(&function.call(event.clone()).await).is_empty());
    assert!(failed(&function.call(event).await).is_empty(), "duplicates are not queued");
    let sent = sqs.sent();
    let requests: Vec<&str> = sent.iter().map(|sent| sent.request_id.as_deref().unwrap()).collect();
    assert!(
        requests.contains(&"r-1") && (requests.contains(&"r-0") || requests.contains(&"r-2")),
        "{requests:?}"
    );
    let numbers: Vec<&str> = sent.iter().map(|sent| sent.body["number"].as_str().unwrap()).collect();
    assert!(sent.iter().all(|sent| sent.queue_url == queue));
    assert_eq!(
        (numbers.len(), numbers.contains(&"+18605550101"), numbers.contains(&"+18605550102")),
        (2, true, true)
    );
    let ids = database.scalar("select string_agg(id::text, ',') from sms_conversations").await;
    assert!(sent.iter().all(|sent| ids.contains(sent.body["conversation_id"].as_str().unwrap())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_identify_queue_fails_no_record_and_leaves_the_lookup_to_the_schedule() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let queue = sqs.queue("identify");
    sqs.refuse_queue("identify");
    let monitor = [("MONITOR_API_URL", "http://127.0.0.1:9"), ("IDENTIFY_QUEUE_URL", queue.as_str())];
    let mut function = start(&database, &sqs, &monitor).await;
    assert!(failed(&function.call(batch(&["MessageSid=SM1&From=%2B18605550101"])).await).is_empty());
    assert_eq!(database.scalar("select tenant_next_check_at is null from sms_conversations").await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_language_decision_is_logged_with_its_request() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    let es = "MessageSid=SM1&From=%2B18605550101&Body=Hola+buenas+tardes+mi+calentador+no+sirve";
    let doubtful = "MessageSid=SM2&From=%2B18605550101&Body=ok";
    for form in [es, doubtful] {
        assert!(failed(&function.call(batch(&[form])).await).is_empty());
    }
    let log = testing::eventually("two decisions", async || {
        let log = function.log().await;
        let decisions: Vec<String> = log
            .iter()
            .filter(|line| line["message"] == "stored an inbound message")
            .map(|line| {
                let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
                let names = ["request_id", "language_previous", "language_detected", "language_chosen"];
                names.map(text).join(" ")
            })
            .collect();
        (decisions.len() == 2).then_some(decisions)
    })
    .await;
    assert_eq!(log, ["r-0 unknown es es", "r-0 es unknown es"]);
    for language in ["es", "unknown"] {
        assert_eq!(function.metric_of("languages_detected", language).await, 1.0, "{language}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_stops_the_cold_start_with_every_problem_named() {
    let mut function = Function::start(
        BINARY,
        &[("DATABASE_URL", "nonsense"), ("SQS_SEND_BUDGET_MS", "soon"), ("MONITOR_API_URL", "http://x")],
    )
    .await;
    let log = function.ended().await;
    let error = log[0]["error"].as_str().unwrap();
    for name in [
        "DATABASE_URL is invalid",
        "SQS_SEND_BUDGET_MS is invalid",
        "TWILIO_ACCOUNT_SID is missing",
        "INBOUND_QUEUE_URL is missing",
        "OUTBOUND_QUEUE_URL is missing",
        "IDENTIFY_QUEUE_URL is missing",
    ] {
        assert!(error.contains(name), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_message_version_is_retried_after_the_visibility_timeout() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    let mut event = batch(&["MessageSid=SM1&From=%2B18605550101&Body=one", "Body=nobody"]);
    let newer = json!({"version": "2", "payload": {"MessageSid": "SM2"}}).to_string();
    let newer = json!({"messageId": "newer", "receiptHandle": "AQEB9", "body": newer});
    event["Records"].as_array_mut().unwrap().push(newer);
    assert_eq!(failed(&function.call(event).await), ["m-1", "newer"]);
    assert_eq!(sqs.made_visible(), ["inbound AQEB1"], "only a body that no version can read is permanent");
    assert_eq!(database.scalar("select string_agg(twilio_sid, ',') from sms_messages").await, "SM1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_callback_that_an_older_webhook_queued_is_not_stored_as_a_message() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    let forms = ["MessageSid=SM1&MessageStatus=delivered&SmsStatus=delivered&From=%2B18605550100"];
    assert_eq!(failed(&function.call(batch(&forms)).await), ["m-0"]);
    assert_eq!(sqs.made_visible(), ["inbound AQEB0"], "the record goes to the dead-letter queue");
    assert_eq!(database.scalar("select count(*) from sms_messages").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_violates_a_constraint_is_logged_without_its_values() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let refuse = "alter table sms_messages add constraint no_leaks check (message_content !~ 'leaks')";
    database.client.batch_execute(refuse).await.unwrap();
    let mut function = start(&database, &sqs, &[]).await;
    let forms = ["MessageSid=SM1&From=%2B18605550101&Body=the+sink+leaks"];
    assert_eq!(failed(&function.call(batch(&forms)).await), ["m-0"]);
    let log = testing::eventually("the failure is logged", async || {
        let log = json!(function.log().await).to_string();
        log.contains("queue record failed").then_some(log)
    })
    .await;
    assert!(log.contains("SQLSTATE 23514") && log.contains("constraint no_leaks"), "{log}");
    for secret in ["sink", "8605550101", "DETAIL", "Failing row"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_outside_every_numbering_plan_gets_an_automatic_reply() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[("AUTO_REPLY_EN", "We are closed.")]).await;
    let event = batch(&["MessageSid=SM1&From=%2B16875550144&To=%2B15005550006&Body=the+sink+leaks"]);
    assert!(failed(&function.call(event).await).is_empty());
    let replies = "select string_agg(to_number, ' ') from sms_messages where direction = 'outbound'";
    assert_eq!(database.scalar(replies).await, "+16875550144");
    assert_eq!(sqs.sent().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_messages_send_one_hint_about_their_events_and_duplicates_none() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let queue = sqs.queue("events");
    let mut function = start(&database, &sqs, &[("EVENTS_QUEUE_URL", &queue), ("MONITOR_API_URL", "")]).await;
    let event = batch(&["MessageSid=SM1&From=%2B18605550101", "MessageSid=SM2&From=%2B18605550102"]);
    for _ in 0..2 {
        assert!(failed(&function.call(event.clone()).await).is_empty());
    }
    let sent: Vec<_> = sqs.sent().into_iter().map(|sent| (sent.queue_url, sent.body)).collect();
    assert_eq!(sent, [(queue, json!({"version": "1"}))]);
    // A lost hint fails no record.
    sqs.refuse_queue("events");
    let other = batch(&["MessageSid=SM3&From=%2B18605550101"]);
    assert!(failed(&function.call(other).await).is_empty());
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    // Publishes replies, clarifications and identification requests, and makes poison messages visible again.
    environment::check::<record_inbound::Config>(
        "record-inbound",
        Duration::ZERO,
        &[environment::CONNECT, environment::STATEMENT, ("SQS_SEND_BUDGET_MS", 4)],
    );
}
