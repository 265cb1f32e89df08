//! Tests of the SQS emulator with the AWS SDK for Rust.

use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName as Name, SendMessageBatchRequestEntry,
};
use local::sqs::{MAX_MESSAGE_BYTES, Sqs};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

struct Server {
    client: Client,
    folder: TempDir,
    task: AbortHandle,
}

impl Server {
    async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sqs = Sqs::open(&folder.path().join("queues.sqlite"), &url, "us-east-1").unwrap();
        let router = std::sync::Arc::new(sqs).router();
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .endpoint_url(url)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Self { client: Client::from_conf(config), folder, task: task.abort_handle() }
    }

    async fn queue(&self, name: &str, attributes: &[(Name, &str)]) -> String {
        let mut request = self.client.create_queue().queue_name(name);
        for (key, value) in attributes {
            request = request.attributes(key.clone(), *value);
        }
        request.send().await.unwrap().queue_url.unwrap()
    }

    async fn send(&self, url: &str, body: &str) {
        self.client.send_message().queue_url(url).message_body(body).send().await.unwrap();
    }

    async fn receive(&self, url: &str, wait_seconds: i32) -> Vec<Message> {
        let request = self.client.receive_message().queue_url(url).max_number_of_messages(10);
        let request = request.message_system_attribute_names(MessageSystemAttributeName::All);
        let request = request.message_attribute_names("All").wait_time_seconds(wait_seconds);
        request.send().await.unwrap().messages.unwrap_or_default()
    }

    async fn count(&self, url: &str, name: Name) -> String {
        let request = self.client.get_queue_attributes().queue_url(url).attribute_names(name.clone());
        request.send().await.unwrap().attributes.unwrap()[&name].clone()
    }
}

fn receives(message: &Message) -> &str {
    &message.attributes().unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount]
}

fn text(value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap()
}

#[tokio::test]
async fn a_message_is_received_unchanged_and_can_be_deleted() {
    let server = Server::start().await;
    let url = server.queue("q", &[]).await;
    let binary = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(Blob::new([0, 255]))
        .build()
        .unwrap();
    let sent = server.client.send_message().queue_url(&url).message_body("¿Qué tal? 🙂");
    let sent = sent.message_attributes("a", text("x")).message_attributes("b", binary).send().await.unwrap();
    let [message] = &server.receive(&url, 0).await[..] else { panic!("expected one message") };
    assert_eq!(message.body(), Some("¿Qué tal? 🙂"));
    assert_eq!(message.message_id(), sent.message_id());
    assert_eq!(message.md5_of_body(), sent.md5_of_message_body());
    assert_eq!(message.md5_of_message_attributes(), sent.md5_of_message_attributes());
    // Computed with Python's hashlib according to SQS's documentation.
    assert_eq!(sent.md5_of_message_body(), Some("e418bac474cfd55ffa0efc0b90060208"));
    assert_eq!(sent.md5_of_message_attributes(), Some("c4ec7d55335539420ccc7ec70efeb4a1"));
    assert_eq!(message.message_attributes().unwrap()["b"].binary_value().unwrap().as_ref(), [0, 255]);
    assert_eq!(receives(message), "1");
    assert_eq!(server.count(&url, Name::ApproximateNumberOfMessagesNotVisible).await, "1");
    let receipt = message.receipt_handle().unwrap();
    server.client.delete_message().queue_url(&url).receipt_handle(receipt).send().await.unwrap();
    server.client.delete_message().queue_url(&url).receipt_handle(receipt).send().await.unwrap();
    assert_eq!(server.count(&url, Name::ApproximateNumberOfMessagesNotVisible).await, "0");
}

#[tokio::test]
async fn a_message_that_is_not_deleted_is_redelivered_and_then_dead_lettered() {
    let server = Server::start().await;
    let dead = server.queue("dead", &[]).await;
    let arn = server.count(&dead, Name::QueueArn).await;
    let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"2"}}"#);
    let url = server.queue("q", &[(Name::VisibilityTimeout, "1"), (Name::RedrivePolicy, &policy)]).await;
    server.send(&url, "poison").await;
    assert_eq!(receives(&server.receive(&url, 0).await[0]), "1");
    let begun = Instant::now();
    assert_eq!(receives(&server.receive(&url, 20).await[0]), "2");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "the long poll must end when the message becomes visible"
    );
    assert!(server.receive(&url, 2).await.is_empty());
    let [message] = &server.receive(&dead, 0).await[..] else { panic!("expected one dead-lettered message") };
    assert_eq!(message.body(), Some("poison"));
    let came_from = &message.attributes().unwrap()[&MessageSystemAttributeName::DeadLetterQueueSourceArn];
    assert!(came_from.ends_with(":q"));
    let receipt = message.receipt_handle().unwrap();
    let request = server.client.change_message_visibility().queue_url(&dead).receipt_handle(receipt);
    request.visibility_timeout(0).send().await.unwrap();
    server.client.start_message_move_task().source_arn(&arn).send().await.unwrap();
    assert_eq!(receives(&server.receive(&url, 20).await[0]), "1", "a redrive must reset the receive count");
}

#[tokio::test]
async fn a_group_with_a_backlog_does_not_delay_another_group() {
    let server = Server::start().await;
    let url = server.queue("q", &[]).await;
    let send = async |body: &str, group: &str| {
        let request = server.client.send_message().queue_url(&url).message_body(body);
        request.message_group_id(group).send().await.unwrap();
    };
    for number in 0..15 {
        send(&format!("busy {number}"), "busy").await;
    }
    // Ten of the busy group are in flight when the others arrive.
    assert_eq!(server.receive(&url, 0).await.len(), 10);
    for number in 0..3 {
        send(&format!("quiet {number}"), "quiet").await;
    }
    let receive = server.client.receive_message().queue_url(&url).max_number_of_messages(3);
    let received =
        receive.message_system_attribute_names(MessageSystemAttributeName::All).send().await.unwrap();
    let mut bodies: Vec<_> = received.messages().iter().map(|message| message.body().unwrap()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["quiet 0", "quiet 1", "quiet 2"]);
    let attributes = received.messages()[0].attributes().unwrap();
    assert_eq!(attributes[&MessageSystemAttributeName::MessageGroupId], "quiet");
    assert_eq!(server.receive(&url, 0).await.len(), 5, "the rest of the busy group");
}

#[tokio::test]
async fn a_long_poll_ends_when_a_message_arrives_and_delays_are_respected() {
    let server = Server::start().await;
    let url = server.queue("q", &[]).await;
    let begun = Instant::now();
    let (received, ()) = tokio::join!(server.receive(&url, 20), async {
        tokio::task::yield_now().await;
        server.send(&url, "now").await;
    });
    assert_eq!(received.len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(20));
    let delayed = async |seconds: i32| {
        let message = server.client.send_message().queue_url(&url).message_body(seconds.to_string());
        message.delay_seconds(seconds).send().await.unwrap();
    };
    delayed(900).await;
    assert_eq!(server.count(&url, Name::ApproximateNumberOfMessagesDelayed).await, "1");
    assert!(server.receive(&url, 0).await.is_empty());
    delayed(1).await;
    assert_eq!(server.receive(&url, 20).await[0].body(), Some("1"));
}

#[tokio::test]
async fn the_visibility_timeout_can_be_changed_only_with_the_latest_receipt_handle() {
    let server = Server::start().await;
    let url = server.queue("q", &[]).await;
    server.send(&url, "a").await;
    let first = server.receive(&url, 0).await[0].receipt_handle.clone().unwrap();
    assert!(server.receive(&url, 0).await.is_empty(), "the message must be invisible");
    let change = |receipt: &str, seconds| {
        let request = server.client.change_message_visibility().queue_url(&url);
        request.receipt_handle(receipt).visibility_timeout(seconds).send()
    };
    change(&first, 0).await.unwrap();
    let second = server.receive(&url, 0).await[0].receipt_handle.clone().unwrap();
    assert_ne!(first, second);
    assert_eq!(
        change(&first, 10).await.unwrap_err().code(),
        Some("AWS.SimpleQueueService.MessageNotInflight")
    );
    assert_eq!(change("nonsense", 10).await.unwrap_err().code(), Some("ReceiptHandleIsInvalid"));
    assert_eq!(change(&second, 43_201).await.unwrap_err().code(), Some("InvalidParameterValue"));
    server.client.delete_message().queue_url(&url).receipt_handle(&first).send().await.unwrap();
    assert_eq!(
        server.count(&url, Name::ApproximateNumberOfMessagesNotVisible).await,
        "1",
        "an outdated receipt handle must not delete the message"
    );
}

#[tokio::test]
async fn batch_entries_fail_individually_and_invalid_batches_fail_as_a_whole() {
    let server = Server::start().await;
    let url = server.queue("q", &[]).await;
    let entry = |id: &str, body: &str| {
        SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap()
    };
    let send = |entries: Vec<_>| {
        server.client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send()
    };
    let output = send(vec![entry("a", "1"), entry("b", "bad\u{0}"), entry("c", "3")]).await.unwrap();
    assert_eq!(output.successful().iter().map(|sent| sent.id()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(output.failed()[0].code(), "InvalidMessageContents");
    assert!(output.failed()[0].sender_fault());
    let half = "x".repeat(MAX_MESSAGE_BYTES / 2 + 1);
    let refused = [
        (vec![], "AWS.SimpleQueueService.EmptyBatchRequest"),
        (
            (0..11).map(|n| entry(&n.to_string(), "x")).collect(),
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        ),
        (vec![entry("a", "1"), entry("a", "2")], "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
        (vec![entry("a b", "1")], "AWS.SimpleQueueService.InvalidBatchEntryId"),
        (vec![entry("a", &half), entry("b", &half)], "AWS.SimpleQueueService.BatchRequestTooLong"),
    ];
    for (entries, code) in refused {
        assert_eq!(send(entries).await.unwrap_err().code(), Some(code));
    }
    let received = server.receive(&url, 0).await;
    let entries = received.iter().enumerate().map(|(index, message)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
        entry.receipt_handle(message.receipt_handle().unwrap()).build().unwrap()
    });
    let deleted = server.client.delete_message_batch().queue_url(&url).set_entries(Some(entries.collect()));
    assert_eq!(deleted.send().await.unwrap().successful().len(), 2);
}

#[tokio::test]
async fn invalid_requests_return_the_error_codes_of_sqs() {
    let server = Server::start().await;
    let url = server.queue("q", &[]).await;
    let send = |body: String| server.client.send_message().queue_url(&url).message_body(body).send();
    send("x".repeat(MAX_MESSAGE_BYTES)).await.unwrap();
    let cases = [
        ("x".repeat(MAX_MESSAGE_BYTES + 1), "InvalidParameterValue"),
        ("\u{fffe}".to_owned(), "InvalidMessageContents"),
        (String::new(), "MissingParameter"),
    ];
    for (body, code) in cases {
        assert_eq!(send(body).await.unwrap_err().code(), Some(code));
    }
    let nowhere = server.client.send_message().queue_url(format!("{url}-not")).message_body("x").send().await;
    let error = nowhere.unwrap_err();
    assert_eq!(error.code(), Some("AWS.SimpleQueueService.NonExistentQueue"));
    assert!(error.into_service_error().is_queue_does_not_exist());
    let named = server.client.get_queue_url().queue_name("none").send().await.unwrap_err();
    assert!(named.into_service_error().is_queue_does_not_exist());
    let attributes = server.client.set_queue_attributes().queue_url(&url);
    let wrong = attributes.attributes(Name::VisibilityTimeout, "43201").send().await.unwrap_err();
    assert_eq!(wrong.code(), Some("InvalidAttributeValue"));
    let other =
        server.client.create_queue().queue_name("q").attributes(Name::VisibilityTimeout, "7").send().await;
    assert_eq!(other.unwrap_err().code(), Some("QueueAlreadyExists"));
    let no_source =
        server.client.start_message_move_task().source_arn("arn:aws:sqs:us-east-1:000000000000:q");
    assert_eq!(no_source.send().await.unwrap_err().code(), Some("InvalidParameterValue"));
    let many = server.client.receive_message().queue_url(&url).max_number_of_messages(11).send().await;
    assert_eq!(many.unwrap_err().code(), Some("InvalidParameterValue"));
}

#[tokio::test]
async fn messages_survive_a_restart_of_the_server() {
    let server = Server::start().await;
    let url = server.queue("q", &[(Name::VisibilityTimeout, "7")]).await;
    server.send(&url, "kept").await;
    let Server { folder, task, .. } = server;
    task.abort();
    let server = Server::start_in(folder).await;
    let url = server.client.get_queue_url().queue_name("q").send().await.unwrap().queue_url.unwrap();
    assert_eq!(server.count(&url, Name::VisibilityTimeout).await, "7");
    assert_eq!(server.receive(&url, 0).await[0].body(), Some("kept"));
    server.client.purge_queue().queue_url(&url).send().await.unwrap();
    assert_eq!(server.count(&url, Name::ApproximateNumberOfMessagesNotVisible).await, "0");
}
