//! What came of calls is recorded at once, and together where it became known together.

use crate::twilio::Reply::Hold;
use crate::{World, batch, failed, sid};
use testing::{Function, eventually};
use uuid::Uuid;

const MESSAGES: usize = 10;

/// Sends messages of which Twilio answers one, and the others while Postgres keeps its outcome waiting.
async fn send_with_answers_piled_up(world: &World, function: &mut Function) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for _ in 0..MESSAGES {
        ids.push(world.message().await);
    }
    world.twilio.replies((0..MESSAGES).map(|_| Hold));
    let log = function.lines();
    let taken = async |count: usize| {
        eventually("what Twilio took", async || {
            let lines = log.lock().await;
            (lines.iter().filter(|line| line.contains("Twilio took the message")).count() >= count)
                .then_some(())
        })
        .await;
    };
    let (answer, ()) = tokio::join!(function.call(batch(&ids)), async {
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
    assert!(failed(&answer).is_empty(), "{answer}");
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_known_while_an_outcome_was_recorded_is_recorded_by_one_statement() {
    let world = World::start().await;
    let mut function = world.function().await;
    for id in send_with_answers_piled_up(&world, &mut function).await {
        assert!(world.state(id).await.starts_with("queued - SM"), "{}", world.state(id).await);
    }
    let transactions = "select count(distinct xmin::text) from sms_send_attempts where outcome = 'accepted'";
    assert_eq!(world.database.scalar(transactions).await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_postgres_refuses_keeps_no_other_from_being_recorded() {
    let world = World::start().await;
    let mut function = world.function().await;
    let refused = format!(
        "alter table sms_send_attempts add constraint refused check (twilio_sid <> '{}')",
        sid(MESSAGES)
    );
    world.database.client.batch_execute(&refused).await.unwrap();
    let mut recorded = 0;
    for id in send_with_answers_piled_up(&world, &mut function).await {
        let state = world.state(id).await;
        assert!(state.starts_with("queued - SM") || state == "pending - - held", "{state}");
        recorded += usize::from(state.starts_with("queued"));
    }
    assert_eq!(recorded, MESSAGES - 1);
}
