//! The event stream through the whole stack: a browser's token, ends, disconnections and killed functions.

use testing::SseClient;

use crate::client::{HttpResponse, fresh_handset, request, send_request};
use crate::stack::{Setup, Stack, eventually};

const PATH: &str = "/events/stream";

/// A connection that a test reads event by event.
struct Connection(reqwest::Response);

impl Stack {
    /// Opens a stream as a browser does: with a token in the URL, after the last event that it has.
    async fn open_stream(&self, client: &SseClient) -> Connection {
        let token = self.response("POST", "/events/stream-token", None).await;
        assert_eq!(token.status, 201, "{token:?}");
        let token = token.json()["token"].as_str().unwrap().to_owned();
        let url = format!("{}{PATH}?token={token}", self.info.api_url);
        let response = eventually("a stream is free", async || {
            let request = request("GET", &url).header("last-event-id", &client.last_event_id);
            let response = request.send().await.unwrap();
            // While a killed function is replaced, or Postgres times out on a busy machine.
            (!matches!(response.status().as_u16(), 429 | 502 | 503)).then_some(response)
        })
        .await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        Connection(response)
    }
}

impl Connection {
    /// Reads a chunk. Returns false at the end of the stream.
    ///
    /// # Errors
    ///
    /// When the stream was cut off.
    async fn read(&mut self, client: &mut SseClient) -> reqwest::Result<bool> {
        let chunk = self.0.chunk().await?;
        let text = chunk.as_deref().map(|chunk| std::str::from_utf8(chunk).unwrap().to_owned());
        client.push(text.as_deref().unwrap_or_default());
        Ok(text.is_some())
    }

    /// Reads until the client has this number of events. Returns false if the stream ends before.
    async fn read_until(&mut self, client: &mut SseClient, events: usize) -> bool {
        while client.events.len() < events {
            if !self.read(client).await.unwrap() {
                client.disconnect();
                return false;
            }
        }
        true
    }
}

/// Resumes until the client has this number of events.
async fn catch_up(stack: &Stack, client: &mut SseClient, events: usize) {
    while !stack.open_stream(client).await.read_until(client, events).await {}
    client.disconnect();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_receives_every_event_once_although_streams_end_and_functions_are_killed() {
    let stack =
        Setup::fast().with("EVENTS_STREAM_MAX_MS", "1500").with("EVENTS_POLL_MAX_MS", "100").start().await;
    let handset = fresh_handset();
    let mut client = SseClient::default();

    // A message arrives while the stream is open.
    let mut connection = stack.open_stream(&client).await;
    let sent = stack.send_from_handset(&handset, "The sink leaks");
    let reading = async {
        if !connection.read_until(&mut client, 1).await {
            catch_up(&stack, &mut client, 1).await;
        }
    };
    tokio::join!(sent, reading);
    assert_eq!(client.events[0].of, "message.received");

    // The function is killed in the middle of the stream.
    let mut connection = stack.open_stream(&client).await;
    assert!(connection.read(&mut client).await.unwrap());
    stack.kill("stream-events").await;
    let cut_off = eventually("the stream is cut off", async || match connection.read(&mut client).await {
        Ok(true) => None,
        // On a busy machine the time of the stream may have been up.
        Ok(false) => Some(false),
        Err(_) => Some(true),
    });
    println!("cut off: {}", cut_off.await);
    client.disconnect();

    // Events of messages in both directions, over several streams and a further kill.
    let writing = async {
        for n in 0..6 {
            stack.send_from_handset(&handset, &format!("text {n}")).await;
            let id = stack.send(&handset, &format!("answer {n}")).await;
            stack.wait_for_status(&id, "delivered").await;
        }
    };
    let killing = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        stack.kill("stream-events").await;
    };
    let streaming = async {
        // Seven messages received, and at least one status of each of the six answers.
        while client.events.len() < 13 {
            let mut connection = stack.open_stream(&client).await;
            while let Ok(true) = connection.read(&mut client).await {}
            client.disconnect();
        }
    };
    tokio::join!(writing, killing, streaming);
    stack.wait_for_empty_queues().await;

    // The stream has exactly the log, also as read by the other endpoint.
    stack.response("GET", "/events", None).await;
    let sql = stack.sql().await;
    let rows = sql.client.query("select body from sms_events order by position", &[]).await.unwrap();
    let log: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    catch_up(&stack, &mut client, log.len()).await;
    let received: Vec<&str> = client.events.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(received, log);
    let page = stack.response("GET", "/events?limit=1000", None).await;
    assert!(page.text.starts_with(&format!("{{\"events\":[{}]", log.join(","))), "{}", page.text);
    let ids: std::collections::BTreeSet<&str> = client.events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), log.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_a_valid_key_is_refused_with_the_services_errors() {
    let stack = crate::stack::shared().await;
    let url = format!("{}{PATH}", stack.info.api_url);
    let answer = async |key: Option<&str>, query: &str| {
        let request = request("GET", &format!("{url}{query}"));
        let response: HttpResponse =
            send_request(key.into_iter().fold(request, |request, key| request.bearer_auth(key))).await;
        (response.status, response.code())
    };
    let refused = (401, "sms.unauthorized".to_owned());
    assert_eq!(answer(None, "").await, refused);
    assert_eq!(answer(Some("smsk_x"), "").await, refused);
    assert_eq!(answer(None, "?token=x").await, refused);
    let own = stack.info.api_key.clone();
    assert_eq!(answer(own.as_deref(), "?after=1").await, (400, "sms.validation_error".to_owned()));
}
