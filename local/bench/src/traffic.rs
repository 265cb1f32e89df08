//! Events as Twilio, API Gateway and SQS send them.

use common::clock;
use common::queue::{WebhookMessage, WebhookV1};
use common::twilio::Form;
use serde_json::{Value, json};
use testing::Webhook;

/// The number of handsets, each with a conversation.
pub const HANDSETS: u64 = 10_000;

/// The first events of API functions come from a caller who may do everything.
const SCOPES: &str = "messages:send messages:read conversations:read conversations:write admin";

const TEXTS: [&str; 6] = [
    "Hello, my sink is leaking again",
    "¿Cuándo vienen? 🏠 No hay agua caliente desde ayer",
    "Obrigado, o pagamento vai amanhã",
    "ok",
    "I sent the rent on Friday, please check and tell me whether it has arrived, thanks!",
    "Can somebody look at the heater in 12B?",
];

/// Returns the `MessageSid` of the message with this number in a series.
pub fn sid(series: u64, number: u64) -> String {
    format!("SM{series:016x}{number:016x}")
}

/// Returns a handset's number.
pub fn handset(number: u64) -> String {
    // 7919 is prime, so adjacent messages of a batch have different handsets.
    format!("+1203555{:04}", number * 7919 % HANDSETS)
}

/// Returns the parameters of an inbound message webhook.
pub fn inbound(series: u64, number: u64) -> Vec<(String, String)> {
    let text = TEXTS[(number % TEXTS.len() as u64) as usize];
    inbound_form(&sid(series, number), &handset(number), text)
}

/// Returns the parameters of the webhook of this message.
pub fn inbound_form(sid: &str, from: &str, text: &str) -> Vec<(String, String)> {
    let pairs = [
        ("ToCountry", "US"),
        ("ToState", "CT"),
        ("SmsMessageSid", sid),
        ("NumMedia", "0"),
        ("ToCity", "O'FALLON"),
        ("FromZip", "06102"),
        ("SmsSid", sid),
        ("FromState", "CT"),
        ("SmsStatus", "received"),
        ("FromCity", "WATERBURY"),
        ("Body", text),
        ("FromCountry", "US"),
        ("To", "+18605550100"),
        ("MessagingServiceSid", "MG1c9cab1762463b1c5801ab7dff16cf50"),
        ("ToZip", ""),
        ("NumSegments", "1"),
        ("MessageSid", sid),
        ("AccountSid", "AC277f7ecc24aaab2316acb9fd8f634625"),
        ("From", from),
        ("ApiVersion", "2010-04-01"),
    ];
    owned(&pairs)
}

/// Returns the parameters of a status callback.
pub fn status(series: u64, number: u64, status: &str) -> Vec<(String, String)> {
    status_form(&sid(series, number), &handset(number), status)
}

/// Returns the parameters of a status callback of this message.
pub fn status_form(sid: &str, to: &str, status: &str) -> Vec<(String, String)> {
    let pairs = [
        ("ApiVersion", "2010-04-01"),
        ("MessageStatus", status),
        ("SmsSid", sid),
        ("SmsStatus", status),
        ("To", to),
        ("From", "+18605550100"),
        ("MessageSid", sid),
        ("AccountSid", "AC277f7ecc24aaab2316acb9fd8f634625"),
        ("RawDlrDoneDate", "2611231000"),
    ];
    owned(&pairs)
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Returns the event of a signed POST to a function URL.
pub fn webhook(path: &'static str, query: &str, pairs: &[(String, String)]) -> Vec<u8> {
    let body = pairs.iter().cloned().collect::<Form>().to_urlencoded();
    let parameters: Vec<(&str, &str)> =
        pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let request = Webhook::form(path, body.clone())
        .query(query)
        .header("accept", "*/*")
        .header("content-length", &body.len().to_string())
        .header("host", "r3pmxmplak.lambda-url.us-east-1.on.aws")
        .header("i-twilio-idempotency-token", "4d4f7ee2-43b5-4b3c-9b57-7ed60d2c1b11")
        .header("user-agent", "TwilioProxy/1.1")
        .header("x-amzn-tls-cipher-suite", "TLS_AES_128_GCM_SHA256")
        .header("x-amzn-tls-version", "TLSv1.3")
        .header("x-amzn-trace-id", "Root=1-6922f1a0-3c9a4b5d6e7f8091a2b3c4d5")
        .header("x-forwarded-for", "54.172.60.0")
        .header("x-forwarded-port", "443")
        .header("x-forwarded-proto", "https")
        .header("x-home-region", "us1")
        .signed(&parameters);
    request.event().to_string().into_bytes()
}

/// Returns the event of a batch of webhooks from their queue.
pub fn batch(queue: &str, webhooks: &[(Vec<(String, String)>, String)]) -> Vec<u8> {
    records(queue, webhooks.iter().map(|(pairs, query)| webhook_message(pairs, query)))
}

/// Returns the event of a batch of messages from a queue.
pub fn records(queue: &str, bodies: impl Iterator<Item = String>) -> Vec<u8> {
    let records: Vec<Value> = bodies.map(|body| record(queue, &body)).collect();
    json!({"Records": records}).to_string().into_bytes()
}

fn webhook_message(pairs: &[(String, String)], query: &str) -> String {
    let message = WebhookMessage::V1(WebhookV1 {
        received_at: clock::now(),
        form: pairs.iter().cloned().collect::<Form>().to_urlencoded(),
        query: query.to_owned(),
        idempotency_token: Some("4d4f7ee2-43b5-4b3c-9b57-7ed60d2c1b11".to_owned()),
        group: None,
    });
    serde_json::to_string(&message).unwrap()
}

fn record(queue: &str, body: &str) -> Value {
    json!({
        "messageId": clock::new_id(),
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".repeat(5),
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO", "ApproximateFirstReceiveTimestamp": "1545082649185",
        },
        "messageAttributes": {"request_id": {
            "stringValue": clock::new_id(), "stringListValues": [], "binaryListValues": [], "dataType": "String",
        }},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{queue}"),
        "awsRegion": "us-east-1",
    })
}

/// Returns the event of an authorized API request.
pub fn api(method: &str, path: &str, parameters: &Value, query: &str, body: Option<&Value>) -> Vec<u8> {
    json!({
        "version": "2.0", "routeKey": format!("{method} {path}"), "rawPath": path,
        "rawQueryString": query, "isBase64Encoded": false, "pathParameters": parameters,
        "headers": {
            "accept": "application/json", "content-type": "application/json", "host": "api.example.com",
            "authorization": format!("Bearer smsk_{}", "a".repeat(43)), "user-agent": "workflow/1.0",
            "x-amzn-trace-id": "Root=1-6922f1a0-3c9a4b5d6e7f8091a2b3c4d5", "x-forwarded-for": "10.0.0.1",
        },
        "requestContext": {
            "accountId": "000000000000", "apiId": "a1b2c3", "stage": "$default", "requestId": clock::new_id(),
            "domainName": "api.example.com", "domainPrefix": "api", "routeKey": format!("{method} {path}"),
            "time": "23/Nov/2026:10:00:00 +0000", "timeEpoch": 1_795_428_000_000_i64,
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "10.0.0.1",
                "userAgent": "workflow/1.0",
            },
            "authorizer": {"lambda": {"key_id": clock::new_id(), "name": "bench", "scopes": SCOPES}},
        },
        "body": body.map(ToString::to_string),
    })
    .to_string()
    .into_bytes()
}
