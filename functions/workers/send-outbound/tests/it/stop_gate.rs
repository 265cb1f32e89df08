//! A STOP and a create request at the same time: the first one makes the other wait.

use crate::twilio::Reply::{Accept, Hold, Refuse};
use crate::{World, batch, failed, new_send, send, sid};
use common::clock;
use common::db::sends::NewSend;
use testing::eventually;

impl World {
    async fn opted_out(&self) -> bool {
        self.database.scalar("select opted_out_at is not null from sms_conversations").await == "t"
    }

    /// Returns whether a transaction waits at the gate.
    async fn is_waited(&self) -> bool {
        let waiting = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                       where d.datname = current_database() and l.locktype = 'advisory' and not l.granted";
        self.database.scalar(waiting).await != "0"
    }

    /// Waits until a transaction waits at the gate.
    pub async fn somebody_waits(&self) {
        eventually("a transaction waits at the gate", async || self.is_waited().await.then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_recorded_after_the_response_to_a_started_request() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([Hold]);
    tokio::join!(send(&mut function, [id]), async {
        world.twilio.asked(1).await;
        tokio::join!(world.stop(), async {
            world.somebody_waits().await;
            assert!(!world.opted_out().await);
            world.twilio.release();
        });
        assert!(world.opted_out().await);
    });
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_request_delays_a_stop_only_briefly() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([Hold]);
    tokio::join!(send(&mut function, [id]), async {
        world.twilio.asked(1).await;
        world.stop().await;
        assert_eq!(world.state(id).await, "pending - - held", "the request has no response yet");
        world.twilio.release();
    });
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_waits_for_a_stop_in_progress_and_then_blocks_the_message() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    let record =
        "begin; insert into sms_opt_out_events (id, conversation_id, action, source, evidence, created_at)
                  select gen_random_uuid(), id, 'opt_out', 'keyword', 'SM1', now() from sms_conversations";
    world.database.client.batch_execute(record).await.unwrap();
    tokio::join!(send(&mut function, [id]), async {
        // The claim is committed: the STOP was not committed yet.
        world.somebody_waits().await;
        assert!(world.twilio.requests().is_empty());
        world.database.client.batch_execute("commit").await.unwrap();
    });
    assert!(world.twilio.requests().is_empty());
    assert_eq!(world.state(id).await, "failed opted_out - free");
    assert_eq!(world.attempts(id).await, "not_processed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_message_to_a_deactivated_number_is_not_sent() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.database.client.batch_execute("update sms_conversations set deactivated_at = now()").await.unwrap();
    send(&mut function, [id]).await;
    assert!(world.twilio.requests().is_empty());
    assert_eq!(world.state(id).await, "failed number_deactivated - free");
    assert_eq!(world.attempts(id).await, "not_processed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_expires_at_the_gate_is_not_sent() {
    let world = World::start().await;
    let mut function = world.function().await;
    // Slow machines need more time for the claim.
    for seconds in [1, 4, 16, 64] {
        let end = clock::now() + jiff::SignedDuration::from_secs(seconds);
        let id = world.stored(NewSend { send_before: Some(end), ..new_send() }).await;
        let record =
            "begin; insert into sms_opt_out_events (id, conversation_id, action, source, evidence, created_at)
                      select gen_random_uuid(), id, 'opt_out', 'keyword', 'SM1', now() from sms_conversations";
        world.database.client.batch_execute(record).await.unwrap();
        let ((), was_claimed) = tokio::join!(send(&mut function, [id]), async {
            let was_claimed = eventually("the message waits at the gate or has expired", async || {
                let is_held = world.state(id).await == "pending - - held";
                let is_waited = is_held && world.is_waited().await;
                (is_waited || world.state(id).await.starts_with("failed")).then_some(is_waited)
            })
            .await;
            eventually("the message expires", async || (clock::now() > end).then_some(())).await;
            world.database.client.batch_execute("rollback").await.unwrap();
            was_claimed
        });
        assert!(world.twilio.requests().is_empty());
        assert_eq!(world.state(id).await, "failed retries_exhausted - free");
        if was_claimed {
            assert_eq!(world.attempts(id).await, "not_processed");
            return;
        }
    }
    panic!("the message was never claimed in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_reported_by_twilio_is_recorded_while_other_requests_of_the_batch_hang() {
    let world = World::start().await;
    let mut function = world.function().await;
    let (first, second) = (world.message().await, world.message().await);
    world.twilio.replies([Refuse(400, 21610, None), Hold]);
    tokio::join!(send(&mut function, [first, second]), async {
        world.twilio.asked(2).await;
        eventually("the opt-out", async || world.opted_out().await.then_some(())).await;
        assert!(
            [world.state(first).await, world.state(second).await].contains(&"pending - - held".to_owned())
        );
        world.twilio.release();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn inbound_messages_and_send_requests_do_not_wait_for_create_requests() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([Hold, Accept]);
    tokio::join!(send(&mut function, [id]), async {
        world.twilio.asked(1).await;
        // Both change the conversation's row.
        world.stored(new_send()).await;
        assert_eq!(world.state(id).await, "pending - - held");
        world.twilio.release();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_deferred_when_the_gate_cannot_be_checked() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    let hide = "alter function sms_pass_send_gate rename to hidden";
    world.database.client.batch_execute(hide).await.unwrap();
    assert!(failed(&function.call(batch(&[id])).await).is_empty());
    assert!(world.twilio.requests().is_empty());
    assert_eq!(
        (world.state(id).await, world.attempts(id).await),
        ("pending - - free".into(), "not_processed".into())
    );
    let back = "alter function hidden rename to sms_pass_send_gate";
    world.database.client.batch_execute(back).await.unwrap();
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(1)));
}
