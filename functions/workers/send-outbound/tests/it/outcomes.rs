//! Outcomes are recorded immediately, and in one statement if they arrive together.

use crate::twilio::Reply::Hold;
use crate::{World, batch, failed, sid};
use common::domain::ids::MessageId;
use testing::{Function, eventually};

const MESSAGES: usize = 10;

/// Sends messages. Twilio responds to one, and to the others while Postgres blocks the first outcome.
async fn send_with_blocked_outcomes(world: &World, function: &mut Function) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for _ in 0..MESSAGES {
        ids.push(world.message().await);
    }
    world.twilio.replies((0..MESSAGES).map(|_| Hold));
    let log = function.lines();
    let taken = async |count: usize| {
        eventually("Twilio has accepted the messages", async || {
            let lines = log.lock().await;
            (lines.iter().filter(|line| line.contains("message accepted by Twilio")).count() >= count)
                .then_some(())
        })
        .await;
    };
    let (response, ()) = tokio::join!(function.call(batch(&ids)), async {
        world.twilio.asked(MESSAGES).await;
        let lock = "begin; lock table sms_send_attempts in exclusive mode";
        world.database.client.batch_execute(lock).await.unwrap();
        world.twilio.release_one();
        taken(1).await;
        let waiting =
            "select count(*) from pg_locks where relation = 'sms_send_attempts'::regclass and not granted";
        eventually("the first outcome waits to be recorded", async || {
            (world.database.scalar(waiting).await != "0").then_some(())
        })
        .await;
        world.twilio.release();
        taken(MESSAGES).await;
        world.database.client.batch_execute("commit").await.unwrap();
    });
    assert!(failed(&response).is_empty(), "{response}");
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_arrive_during_a_statement_are_recorded_by_the_next_one() {
    let world = World::start().await;
    let mut function = world.function().await;
    for id in send_with_blocked_outcomes(&world, &mut function).await {
        assert!(world.state(id).await.starts_with("queued - SM"), "{}", world.state(id).await);
    }
    let transactions = "select count(distinct xmin::text) from sms_send_attempts where outcome = 'accepted'";
    assert_eq!(world.database.scalar(transactions).await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_postgres_rejects_does_not_block_others() {
    let world = World::start().await;
    let mut function = world.function().await;
    let refused = format!(
        "alter table sms_send_attempts add constraint refused check (twilio_sid <> '{}')",
        sid(MESSAGES)
    );
    world.database.client.batch_execute(&refused).await.unwrap();
    let mut recorded = 0;
    for id in send_with_blocked_outcomes(&world, &mut function).await {
        let state = world.state(id).await;
        assert!(state.starts_with("queued - SM") || state == "pending - - held", "{state}");
        recorded += usize::from(state.starts_with("queued"));
    }
    assert_eq!(recorded, MESSAGES - 1);
}
