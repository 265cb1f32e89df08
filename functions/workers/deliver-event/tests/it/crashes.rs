//! Workers that are killed.

use crate::world::{World, after_ms, hint, status, succeeds, written};
use testing::{batch, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_delivered_and_not_recorded_is_delivered_again_before_later_ones() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    world.write(&[0, 0]).await;
    world.receiver.behave(|_| after_ms(60_000));
    let mut function = world.function().await;
    let call = function.invoke(batch(&[written()]));
    tokio::select! {
        outcome = call => panic!("{outcome:?}"),
        () = eventually("the request", async || (world.receiver.received().len() == 1).then_some(())) => {}
    }
    function.kill().await;

    world.receiver.behave(|_| status(200));
    let mut function = world.function().await;
    succeeds(&mut function, &[written(), hint(&id)]).await;
    assert_eq!(world.receiver.received().len(), 1, "its lease has not ended");
    let in_flight =
        "select string_agg(position::text, ' ') from sms_deliveries where leased_until is not null";
    assert_eq!(world.database.scalar(in_flight).await, "1", "the next one of the conversation waits");
    world.database.client.batch_execute("update sms_deliveries set leased_until = now()").await.unwrap();
    succeeds(&mut function, &[hint(&id)]).await;
    assert_eq!(world.receiver.sequences(), [1, 1, 2]);
    let received = world.receiver.received();
    assert_eq!(received[0].body, received[1].body);
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    assert_eq!(world.undelivered().await, "0");
}
