//! Media of messages: files from handsets, the redirect to the media host, and their faults.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use twilio_simulator::ApiKey;

use crate::support::{ABSENT, ACCOUNT, HANDSET, TOKEN, WebhookServer, World, config, eventually};

const CLOSED_PORT: &str = "http://127.0.0.1:1/";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot a whole image \xff\x00";

fn attachment(content_type: &str, bytes: &[u8]) -> Value {
    json!({ "content_type": content_type, "data": STANDARD.encode(bytes) })
}

/// A simulator with a message that has files, and a client that does not follow redirects.
struct Mms {
    world: World,
    client: Client,
    sid: String,
    /// The values of `MediaUrl{N}`.
    urls: Vec<String>,
}

impl Mms {
    async fn with(files: &[Value]) -> Self {
        let server = WebhookServer::start().await;
        let world = World::start(config(&server.url)).await;
        let path = format!("/simulator/handsets/{HANDSET}/messages");
        let (status, sent) = world.post_json(&path, json!({ "body": "see", "media": files })).await;
        assert_eq!((status, &sent["delivered"]), (200, &json!(1)), "{sent}");
        let hit = server.hits().remove(0);
        assert_eq!(hit.get("NumMedia"), files.len().to_string());
        let urls = (0..files.len()).map(|number| hit.get(&format!("MediaUrl{number}")).to_owned()).collect();
        for (number, file) in files.iter().enumerate() {
            assert_eq!(hit.get(&format!("MediaContentType{number}")), file["content_type"].as_str().unwrap());
        }
        assert_eq!(hit.get(&format!("MediaUrl{}", files.len())), "");
        Self {
            world,
            client: Client::builder().no_proxy().redirect(Policy::none()).build().unwrap(),
            sid: hit.get("MessageSid").to_owned(),
            urls,
        }
    }

    async fn with_png() -> Self {
        Self::with(&[attachment("image/png", PNG)]).await
    }

    /// Requests the first file with the account's credentials.
    async fn get(&self) -> Response {
        self.client.get(&self.urls[0]).basic_auth(ACCOUNT, Some(TOKEN)).send().await.unwrap()
    }

    async fn delete(&self) -> StatusCode {
        let request = self.client.delete(&self.urls[0]).basic_auth(ACCOUNT, Some(TOKEN));
        request.send().await.unwrap().status()
    }

    async fn location(&self) -> String {
        location(&self.get().await)
    }

    /// Arms a fault of this operation.
    async fn fault(&self, operation: &str, fault: Value) {
        let matcher = json!({ "operation": operation, "from": HANDSET });
        self.world.fault(json!({ "match": matcher, "fault": fault })).await;
    }

    async fn requests(&self) -> Vec<Value> {
        let requests = self.world.get("/simulator/media-requests").await;
        let mut requests = requests.as_array().unwrap().clone();
        for request in &mut requests {
            assert!(request["at"].take().is_string());
        }
        requests
    }

    async fn list(&self) -> Value {
        self.world.get(&format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{}/Media.json", self.sid)).await
    }
}

fn location(response: &Response) -> String {
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    response.headers()["location"].to_str().unwrap().to_owned()
}

fn media_sid(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn a_file_needs_credentials_and_redirects_to_another_origin_that_needs_none() {
    let mms = Mms::with_png().await;
    let media = media_sid(&mms.urls[0]).to_owned();
    assert_eq!((&mms.sid[..2], &media[..2], media.len()), ("MM", "ME", 34));
    let expected = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{}/Media/{media}", mms.sid);
    assert_eq!(mms.urls[0], format!("{}{expected}", mms.world.simulator.url()));

    let refused = mms.client.get(&mms.urls[0]).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], 20003);
    let redirect = mms.location().await;
    assert!(!redirect.starts_with(mms.world.simulator.url()), "{redirect}");
    let file = mms.client.get(&redirect).send().await.unwrap();
    assert_eq!((file.status().as_u16(), file.headers()["content-type"].as_bytes()), (200, &b"image/png"[..]));
    assert_eq!(file.bytes().await.unwrap(), PNG);
    let unsigned = mms.client.get(redirect.split('?').next().unwrap()).send().await.unwrap();
    assert_eq!(unsigned.status(), StatusCode::FORBIDDEN);
    // A client that sends its credentials to the media host.
    mms.client.get(&redirect).basic_auth(ACCOUNT, Some(TOKEN)).send().await.unwrap();
    let requests = [("api", false), ("api", true), ("media", false), ("media", false), ("media", true)];
    let expected = requests.map(|(host, sent)| {
        json!({ "at": null, "host": host, "method": "GET", "media_sid": media, "authorization": sent })
    });
    assert_eq!(mms.requests().await, expected);
}

#[tokio::test]
async fn an_api_key_is_accepted_and_the_page_needs_no_credentials() {
    let mut settings = config(CLOSED_PORT);
    settings.api_keys.push(ApiKey { sid: "SK1".to_owned(), secret: "s:cret".to_owned() });
    let world = World::start(settings).await;
    let path = format!("/simulator/handsets/{HANDSET}/messages");
    let (_, sent) = world.post_json(&path, json!({ "media": [attachment("text/html", b"<b>")] })).await;
    let shown = &sent["message"]["media"][0];
    let (sid, media) = (sent["message_sid"].as_str().unwrap(), shown["sid"].as_str().unwrap());
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media/{media}", world.simulator.url());
    for (user, password, status) in [("SK1", "s:cret", 200), ("SK1", TOKEN, 401), (ACCOUNT, "wrong", 401)] {
        let response = world.client.get(&url).basic_auth(user, Some(password)).send().await.unwrap();
        assert_eq!(response.status(), status, "{user}");
    }
    assert_eq!(shown["url"], format!("/simulator/media/{media}"));
    assert_eq!(world.get(&path).await[0]["media"], json!([shown]));
    let url = format!("{}/simulator/media/{media}", world.simulator.url());
    let response = world.client.get(url).send().await.unwrap();
    assert_eq!(response.headers()["content-security-policy"], "sandbox", "HTML must not use the control API");
    assert_eq!(response.headers()["content-type"], "text/html");
    assert_eq!(response.bytes().await.unwrap(), "<b>".as_bytes());
}

#[tokio::test]
async fn files_are_listed_fetched_and_deleted() {
    let files = [attachment("image/png", PNG), attachment("application/pdf", b"%PDF")];
    let mms = Mms::with(&files).await;
    let list = mms.list().await;
    let sids: Vec<_> = list["media_list"].as_array().unwrap().iter().map(|media| &media["sid"]).collect();
    assert_eq!(sids, [media_sid(&mms.urls[0]), media_sid(&mms.urls[1])]);
    let second = &list["media_list"][1];
    assert_eq!(
        (&second["content_type"], &second["parent_sid"]),
        (&json!("application/pdf"), &json!(mms.sid))
    );
    assert_eq!(&mms.world.get(second["uri"].as_str().unwrap()).await, second);

    let location = mms.location().await;
    let refused = mms.client.delete(&mms.urls[0]).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(mms.delete().await, StatusCode::NO_CONTENT);
    let gone = mms.get().await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    assert_eq!(gone.json::<Value>().await.unwrap()["code"], 20404);
    assert_eq!(mms.delete().await, StatusCode::NOT_FOUND);
    assert_eq!(mms.client.get(location).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(mms.list().await["media_list"], json!([second]));
    let message = mms.world.get(&format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{}.json", mms.sid)).await;
    assert_eq!(message["num_media"], "1");
}

#[tokio::test]
async fn files_of_a_deleted_message_are_gone() {
    let mms = Mms::with_png().await;
    let location = mms.location().await;
    let url = format!("{}/{}.json", mms.world.messages().trim_end_matches(".json"), mms.sid);
    let deleted = mms.client.delete(url).basic_auth(ACCOUNT, Some(TOKEN)).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert_eq!(mms.get().await.status(), StatusCode::NOT_FOUND);
    assert_eq!(mms.client.get(location).send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_handset_attaches_ten_files_of_5_mb_and_no_more() {
    let full = vec![7; 5 * 1024 * 1024];
    let mms = Mms::with(&vec![attachment("image/jpeg", &full); 10]).await;
    let file = mms.client.get(mms.location().await).send().await.unwrap();
    assert_eq!(file.bytes().await.unwrap().len(), full.len());
    let path = format!("/simulator/handsets/{HANDSET}/messages");
    let large = [&full[..], &[7]].concat();
    for media in [
        vec![attachment("image/png", PNG); 11],
        vec![attachment("image/png", &large)],
        vec![attachment("png", PNG)],
        vec![attachment("image/png\r\nX-Injected: 1", PNG)],
    ] {
        assert_eq!(mms.world.post_json(&path, json!({ "media": media })).await.0, 400);
    }
    let (status, _) =
        mms.world.post_json(&path, json!({ "media": [{ "content_type": "a/b", "data": "?" }] })).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn a_restart_keeps_files_and_deletions() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(CLOSED_PORT);
    settings.journal = Some(folder.path().join("journal.jsonl"));
    let mut world = World::start(settings.clone()).await;
    let media = [attachment("image/png", PNG), attachment("image/gif", b"GIF89a")];
    let path = format!("/simulator/handsets/{HANDSET}/messages");
    let (_, sent) = world.post_json(&path, json!({ "media": media })).await;
    let sids = [0, 1].map(|number| sent["message"]["media"][number]["sid"].as_str().unwrap().to_owned());
    let message = sent["message_sid"].as_str().unwrap();
    let media = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{message}/Media");
    let url = format!("{}{media}/{}", world.simulator.url(), sids[1]);
    let deleted = world.client.delete(url).basic_auth(ACCOUNT, Some(TOKEN)).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    // The second start reads what the first restart has written.
    for _ in 0..2 {
        world.simulator.shutdown().await;
        world = World::start(settings.clone()).await;
        let fetched = async |sid: &str| {
            let url = format!("{}{media}/{sid}", world.simulator.url());
            world.client.get(url).basic_auth(ACCOUNT, Some(TOKEN)).send().await.unwrap()
        };
        assert_eq!(fetched(&sids[0]).await.bytes().await.unwrap(), PNG);
        assert_eq!(fetched(&sids[1]).await.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_file_is_missing_for_some_requests_or_for_some_time() {
    let mms = Mms::with_png().await;
    let missing = json!({ "kind": "error", "code": 20404 });
    let matcher = json!({ "operation": "media", "from": HANDSET });
    mms.world.fault(json!({ "match": matcher, "count": 2, "fault": missing })).await;
    for status in [404, 404, 307] {
        assert_eq!(mms.get().await.status(), status);
    }
    let begun = Instant::now();
    mms.world.fault(json!({ "match": matcher, "count": 0, "for_ms": 1_000, "fault": missing })).await;
    eventually("the file is back", async || mms.get().await.status() == 307).await;
    assert!(begun.elapsed() >= Duration::from_millis(1_000));
    let armed = mms.world.get("/simulator/faults").await;
    assert!(armed[1]["hits"].as_u64().unwrap() > 0, "{armed}");

    let other = json!({ "operation": "media", "from": "+12035559999" });
    mms.world.fault(json!({ "match": other, "fault": missing })).await;
    assert_eq!(mms.get().await.status(), 307, "files of other handsets are not affected");
}

#[tokio::test]
async fn a_server_error_can_be_at_the_api_or_at_the_media_host() {
    let mms = Mms::with_png().await;
    let error = json!({ "kind": "server_error", "status": 503 });
    mms.fault("media", error.clone()).await;
    assert_eq!(mms.get().await.status(), 503);
    mms.fault("media_file", error).await;
    let location = mms.location().await;
    assert_eq!(mms.client.get(&location).send().await.unwrap().status(), 503);
    assert_eq!(mms.client.get(&location).send().await.unwrap().status(), 200);
    mms.fault("delete", json!({ "kind": "server_error" })).await;
    assert_eq!(mms.delete().await, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(mms.get().await.status(), 307, "the file was not deleted");
}

#[tokio::test]
async fn a_fault_changes_content_type_or_size_of_a_file() {
    let mms = Mms::with_png().await;
    let location = mms.location().await;
    mms.fault("media_file", json!({ "kind": "content_type", "value": "text/html" })).await;
    let file = mms.client.get(&location).send().await.unwrap();
    assert_eq!(file.headers()["content-type"], "text/html");
    assert_eq!(file.bytes().await.unwrap(), PNG);

    let size = 5 * 1024 * 1024 + 1;
    mms.fault("media_file", json!({ "kind": "oversized", "bytes": size })).await;
    let file = mms.client.get(&location).send().await.unwrap();
    assert_eq!(file.content_length(), Some(size));
    assert_eq!(file.headers()["content-type"], "image/png");
    assert_eq!(file.bytes().await.unwrap().len() as u64, size);

    mms.fault("media_file", json!({ "kind": "endless" })).await;
    let mut file = mms.client.get(&location).send().await.unwrap();
    assert_eq!(file.content_length(), None);
    let mut read = 0;
    while read < 8 * 1024 * 1024 {
        read += file.chunk().await.unwrap().expect("the body goes on").len();
    }

    mms.fault("media_file", json!({ "kind": "truncated" })).await;
    let file = mms.client.get(&location).send().await.unwrap();
    assert_eq!(file.content_length(), Some(PNG.len() as u64));
    assert!(file.bytes().await.is_err());
}

#[tokio::test]
async fn a_slow_body_arrives_in_parts() {
    let mms = Mms::with_png().await;
    let location = mms.location().await;
    mms.fault("media_file", json!({ "kind": "slow_body", "ms": 50 })).await;
    let begun = Instant::now();
    let file = mms.client.get(&location).send().await.unwrap();
    assert_eq!(file.bytes().await.unwrap(), PNG);
    assert!(begun.elapsed() >= Duration::from_millis(9 * 50), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_redirect_leads_to_itself_or_elsewhere() {
    let mms = Mms::with_png().await;
    mms.fault("media", json!({ "kind": "redirect" })).await;
    assert_eq!(mms.location().await, mms.urls[0]);
    let file = mms.location().await;
    mms.fault("media_file", json!({ "kind": "redirect" })).await;
    assert_eq!(location(&mms.client.get(&file).send().await.unwrap()), file);
    mms.fault("media", json!({ "kind": "redirect", "location": "http://169.254.169.254/" })).await;
    assert_eq!(mms.location().await, "http://169.254.169.254/");
    assert_eq!(mms.location().await, file, "the faults are used up");
}

#[tokio::test]
async fn an_outage_also_closes_the_media_host() {
    let mms = Mms::with_png().await;
    let location = mms.location().await;
    mms.world.simulator.outage(Duration::from_secs(2));
    eventually("the media host is closed", async || mms.client.get(&location).send().await.is_err()).await;
    let is_open = async || mms.client.get(&location).send().await.is_ok_and(|file| file.status() == 200);
    eventually("the media host is open again", is_open).await;
}

#[tokio::test]
async fn media_of_outbound_messages_are_validated_and_redirect_to_their_own_url() {
    let world = World::start(config(CLOSED_PORT)).await;
    let url = "https://example.com/lease.pdf";
    let of = |count| [vec![("Body", ABSENT)], vec![("MediaUrl", url); count]].concat();
    for invalid in
        ["ftp://example.com/a.png", "//example.com/a.png", "https://", "data:image/png;base64,AA=="]
    {
        let (status, error) = world.created(&[("MediaUrl", url), ("MediaUrl", invalid)]).await;
        assert_eq!((status, &error["code"]), (400, &json!(21620)), "{invalid}");
    }
    let (status, error) = world.created(&of(11)).await;
    assert_eq!((status, &error["code"]), (400, &json!(21623)));
    let (status, message) = world.created(&of(10)).await;
    assert_eq!((status, &message["num_media"]), (201, &json!("10")));

    let client = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let list = world.get(message["subresource_uris"]["media"].as_str().unwrap()).await;
    let media = list["media_list"][9]["uri"].as_str().unwrap().trim_end_matches(".json");
    let media = format!("{}{media}", world.simulator.url());
    let response = client.get(media).basic_auth(ACCOUNT, Some(TOKEN)).send().await.unwrap();
    assert_eq!(location(&response), url);
    let shown = world.get(&format!("/simulator/handsets/{HANDSET}/messages")).await;
    assert_eq!(shown[0]["media"][9]["url"], url);
    assert_eq!(shown[0]["media"][9]["content_type"], "application/pdf");
}
