//! Reads a conversation from a database with 100,000 conversations and a million messages.

use crate::cluster::Database;
use crate::statistics::{median, milliseconds, percentile};
use crate::traffic;
use crate::world::World;
use serde_json::json;

/// The number of conversations. Half have one message, the others nineteen.
const CONVERSATIONS: u64 = 100_000;
/// The number of requests per run.
const REQUESTS: u64 = 2_000;
const FUNCTION: &str = "get-conversation";

/// Prints the result.
pub fn measure(world: &World, database: &Database<'_>, rounds: u64) {
    if !world.binary(FUNCTION).exists() {
        println!("read {FUNCTION} not built");
        return;
    }
    fill(database);
    let function = world.start(FUNCTION, &database.url, Vec::new());
    let requests = |round: u64| {
        let request = |number: u64| {
            // A prime stride visits the conversations in an order unrelated to the table.
            let phone = phone((round * REQUESTS + number) * 7_919 % CONVERSATIONS);
            traffic::api("GET", &format!("/conversations/{phone}"), &json!({"phone_number": phone}), "", None)
        };
        (0..REQUESTS).map(request).collect::<Vec<_>>()
    };
    function.run(requests(0));
    let (mut in_function, mut in_postgres, mut together, mut took) = (vec![], vec![], vec![], vec![]);
    for round in 1..=rounds {
        let events = requests(round);
        let before = database.cluster.cpu();
        let series = function.run(events);
        let postgres = milliseconds(database.cluster.cpu() - before) / REQUESTS as f64;
        let cpu = milliseconds(series.cpu) / REQUESTS as f64;
        for invocation in &series.invocations {
            let body = String::from_utf8_lossy(&invocation.body);
            assert!(body.contains(r#""statusCode":200"#), "{FUNCTION} returned {body}");
            took.push(milliseconds(invocation.took));
        }
        in_function.push(cpu);
        in_postgres.push(postgres);
        together.push(cpu + postgres);
    }
    println!(
        "read {FUNCTION} conversations={CONVERSATIONS} messages={} function_ms={:.3} postgres_ms={:.3} \
         together_ms={:.3} p50_ms={:.2} p99_ms={:.2} runs={rounds}x{REQUESTS}",
        database.number("select count(*) from sms_messages"),
        median(&in_function),
        median(&in_postgres),
        median(&together),
        percentile(&took, 50.0),
        percentile(&took, 99.0),
    );
}

/// Returns the phone number of a conversation, as `fill` writes it.
fn phone(number: u64) -> String {
    format!("+1203{:07}", 5_000_000 + number)
}

/// Fills the tables without triggers and foreign key checks. The statements set the values that triggers would set.
fn fill(database: &Database<'_>) {
    database.execute(&format!(
        "begin;
         set local session_replication_role = replica;
         insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original,
             language_detected, language_confidence, message_count, last_message_at, created_at)
         select sms_new_id(), 'AC277f7ecc24aaab2316acb9fd8f634625', '+1203' || (5000000 + n),
             '+1203' || (5000000 + n), 'en', 0.9, case when n % 2 = 0 then 1 else 19 end, now(),
             now() - interval '1 year'
         from generate_series(0, {CONVERSATIONS} - 1) n;
         insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number,
             message_content, delivery_status, language, language_confidence, request_id, created_at)
         select sms_new_id(), c.id, 'inbound', 'SM' || lpad(to_hex(row_number() over ()), 32, '0'),
             c.phone_number_canonical, '+18605550100', 'Hello, my sink is leaking again, number ' || m, 'received',
             'en', 0.9, md5(c.id::text), now() - m * interval '1 hour'
         from generate_series(1, 19) m join sms_conversations c on m <= c.message_count;
         insert into sms_message_sids (packed_sid, message_id)
         select sms_pack_sid(twilio_sid), id from sms_messages;
         insert into sms_message_payloads (message_id, raw_webhook_data, created_at)
         select m.id,
             jsonb_build_object('MessageSid', m.twilio_sid, 'Body', m.message_content, 'From', m.from_number,
                 'To', m.to_number, 'ApiVersion', '2010-04-01', 'NumMedia', '0',
                 'AccountSid', 'AC277f7ecc24aaab2316acb9fd8f634625', 'FromCity', 'WATERBURY', 'FromState', 'CT'),
             m.created_at
         from sms_messages m;
         commit"
    ));
    database.settle();
}
