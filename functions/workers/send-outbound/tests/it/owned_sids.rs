//! Responses with a SID of another message: Twilio accepted the message, so it must not be sent again.

use crate::twilio::Reply::{Accept, AcceptAs};
use crate::{World, batch, failed, metric, send, sid};
use common::domain::ids::MessageId;
use serde_json::json;

async fn parked(world: &World, id: MessageId) -> String {
    let sql = format!(
        "select concat_ws(' ', m.delivery_status, coalesce(m.twilio_sid, '-'), m.parked_at is not null,
             m.claimed_at is null, (select count(*) from sms_events_pending e where e.message_id = m.id
             and e.body::jsonb->'data'->>'parked' = 'true'))
         from sms_messages m where m.id = '{id}'"
    );
    world.database.scalar(&sql).await
}

/// Returns a message's status and SID, whether it is parked and unclaimed, and its number of events.
const PARKED: &str = "unknown - t t 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_sid_of_another_message_or_attempt_parks_the_message_and_raises_an_alarm() {
    let owners = [
        "update sms_messages set twilio_sid = 'SM77', delivery_status = 'sent' where id = '{owner}'",
        "update sms_messages set twilio_sid = 'SM77', direction = 'inbound', delivery_status = 'received'
         where id = '{owner}'",
        "insert into sms_send_attempts (id, message_id, number, outcome, twilio_sid, started_at)
         values (gen_random_uuid(), '{owner}', 1, 'accepted', 'SM77', now());
         update sms_messages set delivery_status = 'failed' where id = '{owner}'",
    ];
    for owns in owners {
        let world = World::start().await;
        let mut function = world.function().await;
        let owner = world.message().await;
        world.database.client.batch_execute(&owns.replace("{owner}", &owner.to_string())).await.unwrap();
        let id = world.message().await;
        world.twilio.replies([AcceptAs("SM77")]);
        send(&mut function, [id]).await;
        assert_eq!(parked(&world, id).await, PARKED, "{owns}");
        assert_eq!(world.attempts(id).await, "unknown");
        assert_eq!(metric(&function, "sends_parked", 1).await, [json!(1.0)]);
        world.time_passes(100_000).await;
        send(&mut function, [id]).await;
        assert_eq!(world.twilio.requests().len(), 1, "not sent again automatically: {owns}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sid_returned_for_two_messages_belongs_to_the_first_and_blocks_no_other() {
    let world = World::start().await;
    let mut function = world.function().await;
    let ids = [world.message().await, world.message().await, world.message().await];
    world.twilio.replies([AcceptAs("SM77"), AcceptAs("SM77"), Accept]);
    assert!(failed(&function.call(batch(&ids)).await).is_empty());
    let mut states = Vec::new();
    for id in ids {
        states.push(parked(&world, id).await);
    }
    states.sort();
    // Which of the first two gets the SID depends on which response is recorded first.
    let accepted = ["queued SM77 f t 0".to_owned(), format!("queued {} f t 0", sid(3))];
    for state in &accepted {
        assert!(states.contains(state), "{states:?}");
    }
    assert!(states.contains(&PARKED.to_owned()), "{states:?}");
}
