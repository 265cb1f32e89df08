//! Tests of the binary through the Runtime API, with an S3 server.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::Duration;
use testing::{ApiRequest, Database, Function, S3, environment, refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

const BINARY: &str = env!("CARGO_BIN_EXE_get-media");
const ID: &str = "01900000-0000-7000-8000-0000000000f1";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01";

struct World {
    function: Function,
    database: Database,
    s3: S3,
}

/// A message with a stored file.
async fn world(extra: &[(&str, &str)]) -> World {
    let (database, s3) = (Database::create().await, S3::start().await);
    let message = "01900000-0000-7000-8000-0000000000aa";
    let rows = format!(
        "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at) \
         values (sms_new_id(), 'AC1', '+12035550123', '+12035550123', now()); \
         insert into sms_messages (id, conversation_id, direction, from_number, to_number, twilio_sid, \
             message_content, media, delivery_status, created_at) \
         select '{message}', id, 'inbound', '+12035550123', '+18605550100', 'MM1', 'look', '[{{\"url\": \"x\"}}]', \
             'received', now() from sms_conversations; \
         insert into sms_media (id, message_id, position, url, declared_type, detected_type, size, sha256, status, \
             created_at) \
         values ('{ID}', '{message}', 1, 'https://api.twilio.com/x', 'image/png', 'image/jpeg', 12, 'ab', 'stored', \
             now())"
    );
    database.client.batch_execute(&rows).await.unwrap();
    s3.storage().put(&format!("media/{ID}"), JPEG.into(), "image/jpeg").await.unwrap();
    let url = database.url();
    let mut variables = vec![
        ("DATABASE_URL", url.as_str()),
        ("AWS_ENDPOINT_URL_S3", s3.url()),
        ("MEDIA_BUCKET", s3.bucket()),
    ];
    variables.extend(extra);
    let function = Function::start(BINARY, &variables).await;
    World { function, database, s3 }
}

fn get(id: &str) -> ApiRequest {
    ApiRequest::new("GET", &format!("/media/{id}")).scopes("conversations:read").path_parameter("id", id)
}

/// Requests a URL without anything else, and returns the response.
async fn fetch(url: &str) -> Vec<u8> {
    let url = Url::parse(url).unwrap();
    let (path, query) = (url.path(), url.query().unwrap());
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let mut connection = TcpStream::connect(&host).await.unwrap();
    let request = format!("GET {path}?{query} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    connection.read_to_end(&mut response).await.unwrap();
    response
}

impl World {
    /// Returns the URL of the redirect to the file.
    async fn location(&mut self) -> String {
        let reply = self.function.call(get(ID).event()).await;
        assert_eq!(reply["statusCode"], 302, "{reply}");
        assert_eq!(reply["headers"]["cache-control"], "no-store");
        assert_eq!(reply["body"], "");
        reply["headers"]["location"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_redirect_leads_to_the_file_as_a_download_with_its_type() {
    let mut world = world(&[]).await;
    let location = world.location().await;
    let url = Url::parse(&location).unwrap();
    assert_eq!(url.path(), format!("/{}/media/{ID}", world.s3.bucket()));
    let query = |name: &str| {
        url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned()).unwrap()
    };
    assert_eq!(query("response-content-type"), "image/jpeg", "not what Twilio declared");
    assert_eq!(query("response-content-disposition"), format!("attachment; filename=\"{ID}.jpg\""));
    assert_eq!(query("response-cache-control"), "private, no-store");
    assert_eq!(query("X-Amz-Expires"), "60");

    // The URL needs no other credentials.
    let response = fetch(&location).await;
    assert!(response.starts_with(b"HTTP/1.1 200 "), "{}", response.escape_ascii());
    assert!(response.ends_with(&[b"\r\n\r\n", JPEG].concat()), "{}", response.escape_ascii());
    // The signature covers the type and the name.
    let changed = location.replace("image%2Fjpeg", "text%2Fhtml");
    assert_ne!(changed, location);
    assert!(fetch(&changed).await.starts_with(b"HTTP/1.1 403 "));
    let other = location.replace(ID, "01900000-0000-7000-8000-0000000000f2");
    assert!(fetch(&other).await.starts_with(b"HTTP/1.1 403 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_is_valid_for_the_configured_time() {
    let mut world = world(&[("MEDIA_URL_SECONDS", "1")]).await;
    let location = world.location().await;
    assert!(location.contains("X-Amz-Expires=1&"), "{location}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_stored_is_a_conflict_and_an_erased_one_is_not_found() {
    let mut world = world(&[]).await;
    for (change, expected) in [
        ("status = 'pending', detected_type = null", "409 sms.conflict"),
        ("status = 'failed'", "409 sms.conflict"),
        ("status = 'stored', detected_type = 'text/html'", "409 sms.conflict"),
        ("detected_type = null, erased_at = now()", "404 sms.not_found"),
    ] {
        let change = format!("update sms_media set {change}");
        world.database.client.batch_execute(&change).await.unwrap();
        assert_eq!(refusal(&world.function.call(get(ID).event()).await), expected, "{change}");
    }
    let other = get("01900000-0000-7000-8000-0000000000f2");
    assert_eq!(refusal(&world.function.call(other.event()).await), "404 sms.not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_id_is_400_and_a_key_without_the_scope_403() {
    let mut world = world(&[]).await;
    for id in ["7", "", "../archive", "\u{0}", &format!("{ID}0")] {
        let reply = world.function.call(get(id).event()).await;
        assert_eq!(refusal(&reply), "400 sms.validation_error\n  id: is not a UUID", "{id:?}");
    }
    let reply = world.function.call(get(ID).scopes("messages:send messages:read").event()).await;
    assert_eq!(refusal(&reply), "403 sms.forbidden");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503() {
    let variables = [
        ("DATABASE_URL", "postgres://u@127.0.0.1:1/x"),
        ("MEDIA_BUCKET", "media"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
    ];
    let mut function = Function::start(BINARY, &variables).await;
    assert_eq!(refusal(&function.call(get(ID).event()).await), "503 sms.unavailable");
}

#[tokio::test]
async fn a_missing_configuration_stops_the_function_at_start() {
    let log = Function::start(BINARY, &[]).await.ended().await;
    assert_eq!(
        log.last().unwrap()["error"],
        "invalid configuration: DATABASE_URL is missing; MEDIA_BUCKET is missing"
    );
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<get_media::Config>("get-media", Duration::ZERO, environment::API);
}
