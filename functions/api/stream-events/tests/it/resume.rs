//! Resumption: every event once, in order, over many streams.

use super::{BINARY, World, emit, finish};
use std::sync::atomic::{AtomicUsize, Ordering};
use testing::{Function, SseClient, eventually};

/// Events per writer.
const EACH: usize = 100;
const WRITERS: usize = 4;

/// Writes events in transactions of different lengths, of which every fifth is rolled back.
async fn write_events(url: &str, seed: usize, written: &AtomicUsize) {
    let client = testing::connect(url).await;
    for n in 0..EACH {
        let events = emit("message.status", u8::try_from(1 + (n + seed) % 3).unwrap());
        let pause = (n * 7 + seed * 3) % 20;
        let end = if n % 5 == 4 { "rollback" } else { "commit" };
        let sql = format!("begin; {events}; select pg_sleep({pause} / 1000.0); {end}");
        client.batch_execute(&sql).await.unwrap();
        written.fetch_add(usize::from(end == "commit"), Ordering::SeqCst);
    }
}

#[tokio::test]
async fn events_are_neither_lost_nor_repeated_over_ends_disconnections_and_kills() {
    let variables = [("EVENTS_STREAM_MAX_MS", "400"), ("EVENTS_POLL_MAX_MS", "50")];
    let mut world = World::start(&variables).await;
    let (url, written) = (world.database.url(), AtomicUsize::new(0));
    let writing = async {
        let writers = (0..WRITERS).map(|seed| write_events(&url, seed, &written));
        futures::future::join_all(writers).await;
    };
    let total = WRITERS * EACH / 5 * 4;
    let reading = async {
        let mut client = SseClient::default();
        let mut streams = 0;
        while client.events.len() < total {
            streams += 1;
            let mut streamed = world.open("", &client).await;
            match streams % 4 {
                // The client disconnects in the middle of a chunk.
                1 => {
                    if let Some(chunk) = streamed.next().await.unwrap() {
                        client.push(&chunk);
                    }
                    // A connection loses nothing before the end of what arrived.
                    if let Some(chunk) = streamed.next().await.unwrap_or_default() {
                        client.push(&chunk[..chunk.len() * 2 / 3]);
                    }
                    client.disconnect();
                }
                // The function is killed.
                2 => {
                    if let Some(chunk) = streamed.next().await.unwrap() {
                        client.push(&chunk);
                    }
                    world.function.kill().await;
                    eventually("the end of the stream", async || match streamed.next().await {
                        Ok(Some(chunk)) => {
                            client.push(&chunk);
                            None
                        }
                        // On a busy machine the time of the stream may have been up.
                        Ok(None) | Err(_) => Some(()),
                    })
                    .await;
                    client.disconnect();
                    let variables: Vec<_> =
                        [("DATABASE_URL", url.as_str())].iter().chain(&variables).copied().collect();
                    world.function = Function::start(BINARY, &variables).await;
                }
                _ => finish(streamed, &mut client).await,
            }
        }
        // One more stream: nothing follows.
        let streamed = world.open("", &client).await;
        finish(streamed, &mut client).await;
        (client, streams)
    };
    let ((), (client, streams)) = tokio::join!(writing, reading);
    assert_eq!(written.load(Ordering::SeqCst), total);
    assert!(streams >= 3, "only {streams} streams");
    let received: Vec<&str> = client.events.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(received, world.log().await);
}
