//! Tests of object storage: against a real S3 server, and exact errors of one that fails.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use common::error::chain;
use common::storage::{Endpoint, Listing, Storage, StorageConfig, StoredObject};
use s3_server::S3Server;
use tempfile::TempDir;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const KEY: &str = "archive/sms_events/2026-10/part-00001.ndjson.gz";

fn client(url: &str, bucket: &str, secret: &str) -> Storage {
    let endpoint =
        Endpoint { url: url.parse().unwrap(), region: "eu-west-1".to_owned(), has_bucket_in_host: false };
    let keys = Credentials::new("key", secret, None, None, "test");
    Storage::at(&endpoint, &StorageConfig::for_bucket(bucket), SharedCredentialsProvider::new(keys)).unwrap()
}

async fn server() -> (TempDir, S3Server, Storage) {
    let folder = tempfile::tempdir().unwrap();
    let server = S3Server::start(folder.path(), "key", "secret").await.unwrap();
    server.create_bucket("archive").unwrap();
    let storage = client(server.url(), "archive", "secret");
    (folder, server, storage)
}

async fn read(storage: &Storage, key: &str) -> Option<Vec<u8>> {
    let mut download = storage.get(key).await.unwrap()?;
    let mut body = Vec::new();
    while let Some(chunk) = download.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

#[tokio::test]
async fn an_object_is_stored_replaced_and_read_in_chunks() {
    let (_folder, _server, storage) = server().await;
    assert_eq!(read(&storage, KEY).await, None);
    assert_eq!(storage.head(KEY).await.unwrap(), None);
    storage.put(KEY, Bytes::from_static(b"first"), "application/gzip").await.unwrap();
    let large: Bytes = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    storage.put(KEY, large.clone(), "application/gzip").await.unwrap();
    assert_eq!(storage.head(KEY).await.unwrap(), Some(3_000_000));
    assert_eq!(read(&storage, KEY).await.unwrap(), large);
    storage.delete(KEY).await.unwrap();
    storage.delete(KEY).await.unwrap();
    assert_eq!(read(&storage, KEY).await, None);
    storage.put("empty", Bytes::new(), "text/plain").await.unwrap();
    assert_eq!(read(&storage, "empty").await.unwrap(), Vec::<u8>::new());
}

#[tokio::test]
async fn a_list_has_the_objects_and_folders_directly_below_a_prefix() {
    let (_folder, _server, storage) = server().await;
    for key in ["a/1/x", "a/1/y", "a/2/x", "a/z", "a b/é"] {
        storage.put(key, Bytes::from_static(b"12"), "text/plain").await.unwrap();
    }
    let object = |key: &str| StoredObject { key: key.to_owned(), size: 2 };
    let listing =
        Listing { objects: vec![object("a/z")], folders: vec!["a/1/".to_owned(), "a/2/".to_owned()] };
    assert_eq!(storage.list("a/").await.unwrap(), listing);
    assert_eq!(storage.list("a b/").await.unwrap().objects, [object("a b/é")]);
    assert_eq!(storage.list("none/").await.unwrap(), Listing::default());
}

#[tokio::test]
async fn a_list_of_several_pages_is_complete() {
    let (_folder, server, storage) = server().await;
    std::fs::create_dir_all(server.file("archive", "many")).unwrap();
    for number in 0..1_005 {
        std::fs::write(server.file("archive", &format!("many/{number:04}")), "x").unwrap();
    }
    let objects = storage.list("many/").await.unwrap().objects;
    assert_eq!((objects.len(), objects[1_004].key.as_str()), (1_005, "many/1004"));
}

#[tokio::test]
async fn a_wrong_secret_and_a_missing_bucket_are_refused_with_the_code() {
    let (_folder, server, _) = server().await;
    let error = client(server.url(), "archive", "wrong").get(KEY).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("403 Forbidden SignatureDoesNotMatch"), "{text}");
    let error = client(server.url(), "missing", "secret").list("").await.unwrap_err();
    assert!(chain(&error).contains("404 Not Found NoSuchBucket"), "{error}");
}

#[tokio::test]
async fn transient_errors_are_retried_and_others_are_not() {
    let server = MockServer::start().await;
    let storage = client(&server.uri(), "archive", "secret");
    let slow_down = "<Error><Code>SlowDown</Code></Error>";
    let busy = ResponseTemplate::new(503).set_body_string(slow_down);
    Mock::given(method("PUT")).respond_with(busy).up_to_n_times(2).expect(2).mount(&server).await;
    Mock::given(method("PUT"))
        .and(path("/archive/k"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    storage.put("k", Bytes::from_static(b"x"), "text/plain").await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let last = &requests[2];
    // The SHA-256 of "x" in Base64; the header is part of the signature.
    assert_eq!(last.headers["x-amz-checksum-sha256"], "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=");
    let signed = last.url.query_pairs().find(|(name, _)| name == "X-Amz-SignedHeaders").unwrap().1;
    assert_eq!(signed, "content-type;host;x-amz-checksum-sha256");

    let denied = ResponseTemplate::new(403).set_body_string("<Error><Code>AccessDenied</Code></Error>");
    Mock::given(method("GET")).respond_with(denied).expect(1).mount(&server).await;
    let error = storage.get("k").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not read an object: object storage responded 403 Forbidden AccessDenied"
    );
}

#[tokio::test]
async fn keys_that_a_url_cannot_express_are_rejected() {
    let storage = client("http://127.0.0.1:1", "archive", "secret");
    for key in ["", "/a", "a//b", "a/../b", "./a"] {
        let error = storage.put(key, Bytes::new(), "text/plain").await.unwrap_err();
        assert_eq!(error.to_string(), format!("invalid object key {key:?}"));
    }
}

#[tokio::test]
async fn an_error_does_not_contain_the_signed_url() {
    let error = client("http://127.0.0.1:1", "archive", "secret").get(KEY).await.unwrap_err();
    let text = format!("{} {error:?}", chain(&error));
    assert!(text.starts_with("could not read an object") && !text.contains("X-Amz"), "{text}");
}
