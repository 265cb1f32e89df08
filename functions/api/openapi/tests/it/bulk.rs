//! Compares the document with the life of a batch: responses of the five endpoints.

use super::document;
use super::responses::{Contract, start};
use serde_json::json;
use testing::{ApiRequest, Database, Sqs, body};

const UNKNOWN: &str = "01900000-0000-7000-8000-000000000001";

#[tokio::test]
async fn responses_of_bulk_requests_match_the_document() {
    let contract = Contract(document().await);
    let (sqs, database) = (Sqs::start().await, Database::create().await);
    let (url, outbound) = (database.url(), sqs.queue("outbound"));
    let environment = [
        ("TWILIO_ACCOUNT_SID", "AC1"),
        ("TWILIO_PHONE_NUMBER", "+18605550100"),
        ("OUTBOUND_QUEUE_URL", &outbound),
        ("AWS_ENDPOINT_URL_SQS", sqs.url()),
        ("DATABASE_URL", &url),
    ];

    let mut send = start("send-bulk", &environment).await;
    let payload = json!({
        "texts": {"en": "Hi {{name}}"},
        "recipients": [{"to": "+12035550123", "variables": {"name": "Ana"}}, {"to": "1", "variables": {"name": "x"}}],
    });
    let mut dry_run = payload.clone();
    dry_run["dry_run"] = true.into();
    let mut batch = String::new();
    for (payload, status) in [(&dry_run, 200), (&payload, 202), (&json!({}), 400)] {
        let reply = send.call(ApiRequest::new("POST", "/sms/bulk").json(payload).event()).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        contract.check("~1sms~1bulk/post", &reply);
        if status == 202 {
            batch = body(&reply)["batch_id"].as_str().unwrap().to_owned();
        }
    }

    for (function, method, path, last) in [
        ("get-batch", "GET", "~1sms~1bulk~1{batch_id}/get", 200),
        ("pause-batch", "POST", "~1sms~1bulk~1{batch_id}~1pause/post", 200),
        ("resume-batch", "POST", "~1sms~1bulk~1{batch_id}~1resume/post", 200),
        ("cancel-batch", "POST", "~1sms~1bulk~1{batch_id}~1cancel/post", 200),
        // Its only message is canceled.
        ("pause-batch", "POST", "~1sms~1bulk~1{batch_id}~1pause/post", 409),
    ] {
        let mut function = start(function, &environment).await;
        for (id, status) in [(batch.as_str(), last), ("x", 400), (UNKNOWN, 404)] {
            let request = ApiRequest::new(method, "/sms/bulk/x").path_parameter("batch_id", id);
            let reply = function.call(request.event()).await;
            assert_eq!(reply["statusCode"], status, "{reply}");
            contract.check(path, &reply);
        }
    }
}
