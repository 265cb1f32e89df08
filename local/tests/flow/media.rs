//! Files of inbound messages: copied to S3, read through the API, erased.

use serde_json::{Value, json};

use crate::client::{fresh_handset, request, send_request};
use crate::stack::{Stack, eventually, shared};

/// A PNG image of one pixel.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
/// `<html><script>1</script></html>`
const HTML: &str = "PGh0bWw+PHNjcmlwdD4xPC9zY3JpcHQ+PC9odG1sPg==";

impl Stack {
    /// Sends a text with files, each said to be a PNG image, from a handset.
    async fn send_files(&self, from: &str, files: &[&str]) {
        let media: Vec<_> =
            files.iter().map(|data| json!({"content_type": "image/png", "data": data})).collect();
        let url = format!("{}/simulator/handsets/{from}/messages", self.info.twilio_api_url);
        let sent = send_request(request("POST", &url).json(&json!({"body": "A leak", "media": media}))).await;
        assert_eq!(sent.json()["delivered"], 1, "{sent:?}");
    }

    /// Returns the files of the newest message of a number, when none is pending.
    async fn finished_files(&self, number: &str, messages: u64) -> Vec<Value> {
        let page = self
            .wait_for_conversation(number, |page| {
                let files = page["messages"][0]["media"].as_array();
                page["total"] == messages
                    && files.is_some_and(|files| files.iter().all(|f| f["status"] != "pending"))
            })
            .await;
        page["messages"][0]["media"].as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_copied_and_a_disguised_page_is_not() {
    let stack = shared().await;
    let handset = fresh_handset();
    stack.send_files(&handset, &[PNG, HTML]).await;
    let files = stack.finished_files(&handset, 1).await;
    let statuses: Vec<_> = files.iter().map(|file| file["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["stored", "failed"], "{files:?}");
    assert_eq!(
        (&files[0]["content_type"], &files[0]["size"]),
        (&json!("image/png"), &json!(70)),
        "{files:?}"
    );

    let path = files[0]["url"].as_str().unwrap();
    let response = stack.api_request("GET", path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{response:?}");
    let copy = response.url().to_string();
    assert!(!copy.starts_with(&stack.info.api_url), "{copy}");
    assert_eq!(response.bytes().await.unwrap().len(), 70);
    assert_eq!(stack.response("GET", files[1]["url"].as_str().unwrap(), None).await.status, 409);
    let events = stack.response("GET", "/events?types=media.stored&limit=100", None).await.json();
    let id = &files[0]["id"];
    assert!(
        events["events"].as_array().unwrap().iter().any(|event| &event["data"]["media_id"] == id),
        "{events:#}"
    );

    let erase = format!("/conversations/{}/content", handset.replace('+', "%2B"));
    let erased = stack.response("DELETE", &erase, None).await;
    assert!(matches!(erased.status, 200 | 202), "{erased:?}");
    assert_eq!(stack.response("GET", path, None).await.status, 404);
    eventually("the copy is deleted", async || {
        (send_request(request("GET", &copy)).await.status == 404).then_some(())
    })
    .await;
    stack.wait_for_empty_queues().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_for_a_while_is_copied_without_credentials_for_the_second_host() {
    let stack = shared().await;
    let handset = fresh_handset();
    let matching = json!({"operation": "media", "from": handset});
    stack.set_fault(json!({"match": matching, "count": 2, "fault": {"kind": "error", "code": 20404}})).await;
    let matching = json!({"operation": "media_file", "from": handset});
    stack.set_fault(json!({"match": matching, "count": 1, "fault": {"kind": "error", "code": 20404}})).await;
    stack.send_files(&handset, &[PNG]).await;
    let files = stack.finished_files(&handset, 1).await;
    assert_eq!(files[0]["status"], "stored", "{files:?}");

    let url = format!("{}/simulator/handsets/{handset}/messages", stack.info.twilio_api_url);
    let media = send_request(request("GET", &url)).await.json();
    let url = format!("{}/simulator/media-requests", stack.info.twilio_api_url);
    let requests = send_request(request("GET", &url)).await.json();
    let of_file = |request: &&Value| media.to_string().contains(request["media_sid"].as_str().unwrap());
    let sent: Vec<_> = requests.as_array().unwrap().iter().filter(of_file).collect();
    let hosts = |host: &str| sent.iter().filter(|request| request["host"] == host).count();
    assert!(hosts("api") >= 4 && hosts("media") >= 2, "{sent:#?}");
    for request in sent {
        assert_eq!(request["authorization"], request["host"] == "api", "{request}");
    }
    stack.wait_for_empty_queues().await;
}
