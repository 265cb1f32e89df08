//! The function dies or Postgres becomes unavailable during a request to Twilio.

use crate::twilio::Reply::Hold;
use crate::{World, batch, cut_connections, send, sid};
use common::config::Configuration;
use common::domain::ids::MessageId;
use testing::eventually;

/// Runs the sweep until it has abandoned a claim, which it does after one second.
async fn sweep_until_unknown(world: &World, id: MessageId) {
    let url = world.database.url();
    let lookup = |name: &str| match name {
        "DATABASE_URL" => Some(url.clone()),
        "SEND_CLAIM_TIMEOUT_SECONDS" => Some("1".to_owned()),
        "DATABASE_CONNECT_TIMEOUT_MS" | "DATABASE_STATEMENT_TIMEOUT_MS" => Some("60000".to_owned()),
        name if name.ends_with("_QUEUE_URL") => Some("http://127.0.0.1:9/queue".to_owned()),
        _ => None,
    };
    let sweep = retry_sends::App::init(retry_sends::Config::from_lookup(&lookup).unwrap()).await.unwrap();
    eventually("the end of the claim", async || {
        retry_sends::handle(&sweep).await.unwrap();
        (world.state(id).await == "unknown - - free").then_some(())
    })
    .await;
    assert_eq!(world.attempts(id).await, "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_killed_during_a_request_leaves_an_unknown_message_and_no_second_request() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([Hold]);
    tokio::select! {
        outcome = function.invoke(batch(&[id])) => panic!("{outcome:?}"),
        () = world.twilio.asked(1) => {}
    }
    function.kill().await;
    let mut next = world.function().await;
    send(&mut next, [id]).await;
    assert_eq!(world.state(id).await, "pending - - held", "the claim remains after the function died");
    sweep_until_unknown(&world, id).await;
    send(&mut next, [id]).await;
    assert_eq!(world.twilio.requests().len(), 1);
    assert_eq!(world.state(id).await, "unknown - - free");
}

#[tokio::test(flavor = "multi_thread")]
async fn database_connections_cut_during_a_request_lose_no_outcome() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([Hold]);
    tokio::join!(send(&mut function, [id]), async {
        world.twilio.asked(1).await;
        cut_connections(&world.database).await;
        world.twilio.release();
    });
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_is_recorded_when_postgres_is_available_again() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    // A sequence keeps its value when the transaction fails.
    let twice = "create sequence failures;
        create function fail() returns trigger language plpgsql as $$ begin
            if nextval('failures') <= 2 then raise 'not now' using errcode = 'cannot_connect_now'; end if;
            return new;
        end $$;
        create trigger fail before update of outcome on sms_send_attempts for each row execute function fail()";
    world.database.client.batch_execute(twice).await.unwrap();
    send(&mut function, [id]).await;
    assert_eq!(world.database.scalar("select last_value from failures").await, "3");
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(1)));
    assert_eq!(world.attempts(id).await, "accepted");
    assert_eq!(world.twilio.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_outcome_is_never_recorded_becomes_unknown_and_is_not_retried() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([Hold]);
    tokio::join!(send(&mut function, [id]), async {
        world.twilio.asked(1).await;
        world.database.client.batch_execute("alter table sms_messages rename to hidden").await.unwrap();
        world.twilio.release();
    });
    world.database.client.batch_execute("alter table hidden rename to sms_messages").await.unwrap();
    send(&mut function, [id]).await;
    sweep_until_unknown(&world, id).await;
    send(&mut function, [id]).await;
    assert_eq!(world.twilio.requests().len(), 1);
}
