//! Compares the document with responses of the other functions' binaries.

use super::{BINARY, document};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::path::Path;
use testing::{ApiRequest, Database, Function, Sqs, body};

const TENANT: &str = "+12035550123";

/// Validates responses with the schema of their operation and status.
pub(crate) struct Contract(pub(crate) Value);

impl Contract {
    pub(crate) fn schema(&self, pointer: &str) -> Validator {
        let mut schema = self.0.pointer(pointer).unwrap_or_else(|| panic!("no schema at {pointer}")).clone();
        // References point to the document's components.
        schema["components"] = self.0["components"].clone();
        jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
    }

    /// Returns the examples of a body, or else of its schema.
    pub(crate) fn examples<'a>(&'a self, content: &'a Value) -> Vec<&'a Value> {
        let named = content["examples"].as_object();
        let named: Vec<&Value> =
            named.into_iter().flat_map(|all| all.values().map(|one| &one["value"])).collect();
        if !named.is_empty() {
            return named;
        }
        let reference = content["schema"]["$ref"].as_str();
        let schema = reference.map_or(&content["schema"], |name| self.0.pointer(&name[1..]).unwrap());
        [&content["example"], &schema["example"]].into_iter().filter(|one| !one.is_null()).take(1).collect()
    }

    pub(crate) fn check(&self, operation: &str, reply: &Value) {
        let status = &reply["statusCode"];
        let pointer = format!("/paths/{operation}/responses/{status}/content/application~1json/schema");
        let response = body(reply);
        let schema = self.schema(&pointer);
        let errors: Vec<String> = schema
            .iter_errors(&response)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{operation} {status}: {errors:?} in {response}");
        assert_has_no_more(&self.0, self.0.pointer(&pointer).unwrap(), &response);
    }
}

impl Contract {
    /// Validates a body with the schema of its webhook.
    fn check_event(&self, of: &str, event: &Value) {
        let pointer = format!("/webhooks/{of}/post/requestBody/content/application~1json/schema");
        let errors: Vec<String> =
            self.schema(&pointer).iter_errors(event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{of}: {errors:?} in {event}");
        assert_has_no_more(&self.0, self.0.pointer(&pointer).unwrap(), event);
    }
}

/// Fails for fields that the document does not have. Schemas allow them so that clients accept new fields.
fn assert_has_no_more(document: &Value, schema: &Value, response: &Value) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => schema,
    };
    match response {
        Value::Object(fields) if schema["properties"].is_object() => {
            for (name, value) in fields {
                let property = &schema["properties"][name];
                assert!(property.is_object(), "{name} is not in the document");
                assert_has_no_more(document, property, value);
            }
        }
        Value::Array(entries) => {
            entries.iter().for_each(|entry| assert_has_no_more(document, &schema["items"], entry));
        }
        _ => {}
    }
}

/// Starts another function's binary, from the same target directory.
pub(crate) async fn start(name: &str, environment: &[(&str, &str)]) -> Function {
    let binary = Path::new(BINARY).with_file_name(name);
    assert!(binary.exists(), "{} is not there: run `cargo build -p {name}`", binary.display());
    Function::start(binary.to_str().unwrap(), environment).await
}

#[tokio::test]
async fn responses_of_the_functions_match_the_document() {
    let contract = Contract(document().await);
    let (sqs, database) = (Sqs::start().await, Database::create().await);
    let (url, outbound) = (database.url(), sqs.queue("outbound"));
    let environment = [
        ("TWILIO_ACCOUNT_SID", "AC1"),
        ("TWILIO_AUTH_TOKEN", "token"),
        ("TWILIO_API_BASE_URL", "http://127.0.0.1:1"),
        ("TWILIO_PHONE_NUMBER", "+18605550100"),
        ("INBOUND_QUEUE_URL", &outbound),
        ("STATUS_QUEUE_URL", &outbound),
        ("OUTBOUND_QUEUE_URL", &outbound),
        ("IDENTIFY_QUEUE_URL", &outbound),
        ("EVENTS_QUEUE_URL", &outbound),
        ("SLOW_EVENTS_QUEUE_URL", &outbound),
        ("MEDIA_QUEUE_URL", &outbound),
        ("MEDIA_BUCKET", "media"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL_SQS", sqs.url()),
        ("DATABASE_URL", &url),
    ];

    let mut send = start("send-sms", &environment).await;
    let payload =
        json!({"to": TENANT, "body": "x", "media_urls": ["https://example.com/a"], "metadata": {"a": 1}});
    let accepted = send.call(ApiRequest::new("POST", "/sms/send").json(&payload).event()).await;
    assert_eq!(accepted["statusCode"], 202);
    contract.check("~1sms~1send/post", &accepted);
    for (request, status) in [
        (ApiRequest::new("POST", "/sms/send").json(&json!({"to": 1, "x": 2})), 400),
        (ApiRequest::new("POST", "/sms/send").json(&payload).scopes("messages:read"), 403),
        (ApiRequest::new("POST", "/sms/send").body(&"x".repeat(300_000)), 413),
    ] {
        let reply = send.call(request.event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1sms~1send/post", &reply);
    }

    let mark = |at: &str| format!("update sms_conversations set deactivated_at = {at}");
    database.client.batch_execute(&mark("now()")).await.unwrap();
    let refused = send.call(ApiRequest::new("POST", "/sms/send").json(&payload).event()).await;
    assert_eq!(refused["statusCode"], 409);
    contract.check("~1sms~1send/post", &refused);
    database.client.batch_execute(&mark("null")).await.unwrap();

    let attempt = "insert into sms_send_attempts (id, message_id, number, outcome, twilio_sid, started_at) \
        select sms_new_id(), id, 1, 'accepted', 'SM1', now() from sms_messages; \
        insert into sms_callbacks (packed_sid, event_status, message_id, event_id, created_at) \
        select sms_pack_sid('SM1'), 'sent', id, sms_new_id(), now() from sms_messages";
    database.client.batch_execute(attempt).await.unwrap();
    let id = body(&accepted)["id"].as_str().unwrap().to_owned();
    let mut message = start("get-message", &environment).await;
    for (id, status) in [(id.as_str(), 200), ("x", 400), ("01900000-0000-7000-8000-000000000001", 404)] {
        let reply =
            message.call(ApiRequest::new("GET", "/messages/x").path_parameter("id", id).event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1messages~1{id}/get", &reply);
    }

    let (received, file) = ("01900000-0000-7000-8000-0000000000aa", "01900000-0000-7000-8000-0000000000f1");
    let inbound = format!(
        "insert into sms_messages (id, conversation_id, direction, from_number, to_number, twilio_sid, \
             message_content, media, delivery_status, created_at) \
         select '{received}', id, 'inbound', '{TENANT}', '+18605550100', 'MM1', '', '[{{\"url\": \"x\"}}]', \
             'received', now() from sms_conversations; \
         insert into sms_media (id, message_id, position, url, status, created_at) \
         values ('{file}', '{received}', 1, 'x', 'pending', now())"
    );
    database.client.batch_execute(&inbound).await.unwrap();
    let request = ApiRequest::new("GET", "/messages/x").path_parameter("id", received);
    let reply = message.call(request.event()).await;
    assert_eq!(body(&reply)["media"][0]["id"], file);
    contract.check("~1messages~1{id}/get", &reply);
    let mut media = start("get-media", &environment).await;
    for (id, status) in [(file, 409), ("x", 400), ("01900000-0000-7000-8000-000000000001", 404)] {
        let reply = media.call(ApiRequest::new("GET", "/media/x").path_parameter("id", id).event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1media~1{id}/get", &reply);
    }

    let mut cancel = start("cancel-message", &environment).await;
    for (id, status) in
        [(id.as_str(), 200), (&id, 409), ("x", 400), ("01900000-0000-7000-8000-000000000001", 404)]
    {
        let request = ApiRequest::new("POST", "/messages/x/cancel").path_parameter("id", id);
        let reply = cancel.call(request.event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1messages~1{id}~1cancel/post", &reply);
    }

    let mut list = start("list-conversations", &environment).await;
    for (query, status) in [("", 200), ("unknown=true", 200), ("language=fr", 400)] {
        let reply = list.call(ApiRequest::new("GET", "/conversations").query(query).event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1conversations/get", &reply);
    }

    let event = "select sms_emit_events(array['message.status'], array_agg(id), array[null::uuid], \
        array['{\"status\": \"sent\", \"previous_status\": \"queued\", \"error_code\": null, \"parked\": false}'], \
        now()) \
        from sms_conversations";
    database.client.batch_execute(event).await.unwrap();
    let mut events = start("list-events", &environment).await;
    for (query, status) in [("", 200), ("types=contact.opted_in", 200), ("after=1", 400)] {
        let reply = events.call(ApiRequest::new("GET", "/events").query(query).event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1events/get", &reply);
        if query.is_empty() {
            let listed = body(&reply);
            let listed = listed["events"].as_array().unwrap();
            assert!(!listed.is_empty());
            for event in listed {
                let of = event["type"].as_str().unwrap();
                contract.check_event(of, event);
            }
        }
    }

    let mut token = start("create-stream-token", &environment).await;
    for (scopes, status) in [("events:read", 201), ("messages:read", 403)] {
        let request = ApiRequest::new("POST", "/events/stream-token").scopes(scopes);
        let reply = token.call(request.event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1events~1stream-token/post", &reply);
    }
    let mut stream = start("stream-events", &environment).await;
    let refused = stream.call(ApiRequest::new("GET", "/events/stream").unauthorized().event()).await;
    assert_eq!(refused["statusCode"], 401);
    contract.check("~1events~1stream/get", &refused);

    let mut conversation = start("get-conversation", &environment).await;
    for (number, query, status) in [(TENANT, "", 200), (TENANT, "page=0", 400), ("+12035550124", "", 404)] {
        let request = ApiRequest::new("GET", "/conversations/x").path_parameter("phone_number", number);
        let reply = conversation.call(request.query(query).event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1conversations~1{phone_number}/get", &reply);
    }

    let mut update = start("update-conversation", &environment).await;
    let changes = json!({"workflow_type": "collections", "time_zone": "America/Chicago"});
    for (number, payload, status) in [
        (TENANT, changes.clone(), 200),
        (TENANT, json!({"conversation_status": "Not a word", "x": 1}), 400),
        ("+12035550124", changes, 404),
    ] {
        let request = ApiRequest::new("PATCH", "/conversations/x").path_parameter("phone_number", number);
        let reply = update.call(request.json(&payload).event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1conversations~1{phone_number}/patch", &reply);
    }

    let mut record = start("record-consent", &environment).await;
    let consent = json!({"action": "opt_in", "source": "paper", "evidence": "scan 4711"});
    let opt_out = json!({"action": "opt_out", "source": "phone", "evidence": "call 17"});
    let invalid = json!({"action": "x", "scope": "y"});
    for (payload, status) in [(&consent, 201), (&opt_out, 201), (&consent, 409), (&invalid, 400)] {
        let request =
            ApiRequest::new("POST", "/conversations/x/consent").path_parameter("phone_number", TENANT);
        let reply = record.call(request.json(payload).event()).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        contract.check("~1conversations~1{phone_number}~1consent/post", &reply);
    }
    let mut import = start("import-consent", &environment).await;
    let row = json!({"phone_number": TENANT, "action": "opt_in", "source": "web", "evidence": "form 17"});
    for (payload, status) in [(json!({"rows": [row, {}]}), 200), (json!({"rows": 1}), 400)] {
        let reply = import.call(ApiRequest::new("POST", "/consent/import").json(&payload).event()).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        contract.check("~1consent~1import/post", &reply);
    }
    let mut consent = start("list-consent", &environment).await;
    for (number, status) in [(TENANT, 200), ("\0", 400), ("+12035550124", 404)] {
        let request =
            ApiRequest::new("GET", "/conversations/x/consent").path_parameter("phone_number", number);
        let reply = consent.call(request.event()).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        contract.check("~1conversations~1{phone_number}~1consent/get", &reply);
    }

    let mut erase = start("erase-conversation", &environment).await;
    for (number, status) in [(TENANT, 200), ("\0", 400), ("+12035550124", 404)] {
        let request =
            ApiRequest::new("DELETE", "/conversations/x/content").path_parameter("phone_number", number);
        let reply = erase.call(request.event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1conversations~1{phone_number}~1content/delete", &reply);
    }

    let mut health = start("health", &environment).await;
    for (query, status) in [("", 200), ("deep=true", 503), ("deep=x", 400)] {
        let reply = health.call(ApiRequest::new("GET", "/health").query(query).unauthorized().event()).await;
        assert_eq!(reply["statusCode"], status);
        contract.check("~1health/get", &reply);
    }
}

#[tokio::test]
async fn refusals_by_limits_match_the_document() {
    let contract = Contract(document().await);
    let (sqs, database) = (Sqs::start().await, Database::create().await);
    let (url, outbound) = (database.url(), sqs.queue("outbound"));
    let environment = [
        ("TWILIO_ACCOUNT_SID", "AC1"),
        ("TWILIO_PHONE_NUMBER", "+18605550100"),
        ("OUTBOUND_QUEUE_URL", &outbound),
        ("AWS_ENDPOINT_URL_SQS", sqs.url()),
        ("DATABASE_URL", &url),
        ("API_KEY_MESSAGES_PER_MINUTE", "2"),
    ];
    let message = json!({"to": TENANT, "body": "x"});
    let bulk = json!({"messages": [message]});
    for (function, path, operation, payload) in [
        ("send-sms", "/sms/send", "~1sms~1send/post", &message),
        ("send-bulk", "/sms/bulk", "~1sms~1bulk/post", &bulk),
    ] {
        let mut function = start(function, &environment).await;
        // Each endpoint has a key of its own.
        let key = common::clock::new_id().to_string();
        for status in [202, 202, 429] {
            let reply = function.call(ApiRequest::new("POST", path).key(&key).json(payload).event()).await;
            assert_eq!(reply["statusCode"], status, "{reply}");
            contract.check(operation, &reply);
            let headers = contract.0.pointer(&format!("/paths/{operation}/responses/{status}/headers"));
            for (name, _) in headers.unwrap().as_object().unwrap() {
                assert!(reply["headers"][name.to_lowercase()].is_string(), "{name}: {reply}");
            }
        }
    }
}

#[tokio::test]
async fn the_request_schema_accepts_and_refuses_what_the_function_does() {
    let contract = Contract(document().await);
    let schema = contract.schema("/paths/~1sms~1send/post/requestBody/content/application~1json/schema");
    let whole = json!({
        "to": TENANT, "body": "x", "conversation_id": "01900000-0000-7000-8000-000000000001",
        "media_urls": ["https://example.com/a"], "from": "+18605550100", "send_at": "2126-01-01T00:00:00Z",
        "send_before": "2126-01-02T00:00:00Z", "workflow_type": "collections", "workflow_id": "c-17",
        "priority": "urgent", "metadata": {"unit": "4B"},
    });
    assert!(
        schema.is_valid(&whole),
        "{:?}",
        schema.iter_errors(&whole).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    assert!(schema.is_valid(&json!({"to": TENANT, "body": null, "media_urls": ["https://example.com/a"]})));
    for (field, wrong) in [
        ("to", json!(1)),
        ("to", json!(null)),
        ("body", json!("x".repeat(1601))),
        ("media_urls", json!("x")),
        ("conversation_id", json!("x")),
        ("send_at", json!("tomorrow")),
        ("priority", json!("high")),
        ("metadata", json!([])),
        ("sendAt", json!("x")),
    ] {
        let mut payload = whole.clone();
        payload[field] = wrong;
        assert!(!schema.is_valid(&payload), "{field}");
    }
}
