//! Candidates at Twilio: a create without a response counts as absent only if there is no candidate.

use super::*;

/// Runs two lookups, late enough to prove that a message is absent.
async fn looked_for_twice(world: &World) -> Function {
    let mut function = world.function().await;
    for _ in 0..2 {
        function.call(event()).await;
        world.later().await;
    }
    function
}

fn changed(mut listed: Value, changes: Value) -> Value {
    listed.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    listed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_with_other_content_keeps_a_message_from_being_sent_again() {
    let like = || listed("SM1", "Rent ? is due now", "sent", HOUR);
    let candidates = [
        // A replacement that Smart Encoding does not document.
        like(),
        changed(like(), json!({"body": null})),
        changed(like(), json!({"body": ""})),
        changed(like(), json!({"body": "Something else"})),
        changed(like(), json!({"body": "Rent ⅓ is due now", "num_media": "1"})),
        // Our clock is ahead, or Twilio created it late.
        changed(like(), json!({"date_created": null})),
        listed("SM1", "Rent ? is due now", "sent", HOUR - MINUTE * 14),
    ];
    for candidate in candidates {
        let world = World::start().await;
        let id = world.unknown("Rent ⅓ is due now", HOUR).await;
        world.lists(std::slice::from_ref(&candidate)).await;
        looked_for_twice(&world).await;
        assert_eq!(world.state(id).await, "unknown - -", "{candidate}");
        assert_eq!(world.attempts(id).await, "unknown", "{candidate}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_went_through_smart_encoding_is_found() {
    let world = World::start().await;
    let id = world.unknown("“Rent”\u{a0}is\tdue ‹ now", HOUR).await;
    world.lists(&[listed("SM1", "\"Rent\"  is       due > now", "delivered", HOUR)]).await;
    looked_for_twice(&world).await;
    assert_eq!(world.state(id).await, "delivered SM1 -");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_from_another_sender_or_time_is_no_candidate() {
    let like = || listed("SM1", "Something else", "sent", HOUR);
    let others = [
        changed(like(), json!({"direction": "inbound"})),
        changed(like(), json!({"direction": "outbound-reply"})),
        changed(like(), json!({"from": "+15005550007"})),
        listed("SM1", "Something else", "sent", HOUR + MINUTE * 2),
        listed("SM1", "Something else", "sent", HOUR - MINUTE * 17),
    ];
    for other in others {
        let world = World::start().await;
        let id = world.unknown("rent", HOUR).await;
        world.lists(std::slice::from_ref(&other)).await;
        looked_for_twice(&world).await;
        assert_eq!(world.state(id).await, "pending - -", "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_undecided_for_a_day_is_parked_with_an_event_and_counted() {
    let world = World::start().await;
    let (old, young) = (world.unknown("old", HOUR * 25).await, world.unknown("young", HOUR).await);
    world
        .lists(&[
            listed("SM1", "Something else", "sent", HOUR * 25),
            listed("SM2", "Something else", "sent", HOUR),
        ])
        .await;
    let function = looked_for_twice(&world).await;
    assert_eq!(world.state(old).await, "unknown - - parked");
    assert_eq!(world.state(young).await, "unknown - -");
    world.database.number_events().await;
    let events = "select string_agg((body::json->'data')::text || ' ' || (message_id::text), ',')
        from sms_events where body::jsonb->'data'->>'parked' = 'true'";
    let event_data = r#"{"status":"unknown","previous_status":"unknown","error_code":null,"parked":true}"#;
    assert_eq!(world.database.scalar(events).await, format!("{event_data} {old}"));
    let counted = testing::eventually("the metric", async || {
        function.log().await.iter().find_map(|line| line.get("sends_parked").cloned())
    });
    assert_eq!(counted.await, json!(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_gets_an_owner_is_ignored() {
    let world = World::start().await;
    let id = world.unknown("rent", HOUR).await;
    world.lists(&[listed("SM1", "Something else", "sent", HOUR)]).await;
    looked_for_twice(&world).await;
    assert_eq!(world.state(id).await, "unknown - -");
    let other = new_send("Something else", HOUR);
    sends::create(&world.database.db(), &other, None).await.unwrap();
    let owned = format!(
        "update sms_messages set delivery_status = 'sent', twilio_sid = 'SM1' where id = '{}'",
        other.id
    );
    world.database.client.batch_execute(&owned).await.unwrap();
    looked_for_twice(&world).await;
    assert_eq!(world.state(id).await, "pending - -");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_unknown_messages_neither_is_absent_while_one_candidate_is_unclear() {
    let world = World::start().await;
    let (one, other) = (world.unknown("rent", HOUR).await, world.unknown("boiler", HOUR).await);
    world.lists(&[listed("SM1", "Something else", "sent", HOUR)]).await;
    looked_for_twice(&world).await;
    assert_eq!([world.state(one).await, world.state(other).await], ["unknown - -", "unknown - -"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_for_two_messages_is_assigned_when_there_is_one_for_each() {
    let file = |n: u8| NewSend {
        media: json!([{"url": format!("https://a.example/{n}")}]),
        ..new_send("rent", HOUR)
    };
    let quoted = |text: &str| new_send(text, HOUR);
    let pairs = [
        // Two MMS with the same text and different files.
        ((file(1), file(2)), json!({"body": "rent", "num_media": "1"})),
        // The texts are equal after Smart Encoding.
        ((quoted("“rent”"), quoted("\"rent\"")), json!({"body": "\"rent\""})),
    ];
    for ((first, second), content) in pairs {
        let world = World::start().await;
        let (one, other) = (world.unknown_send(first).await, world.unknown_send(second).await);
        let at = |sid| changed(listed(sid, "", "sent", HOUR), content.clone());
        world.lists(&[at("SM1")]).await;
        looked_for_twice(&world).await;
        assert_eq!([world.state(one).await, world.state(other).await], ["unknown - -", "unknown - -"]);
        world.lists(&[at("SM2"), at("SM1")]).await;
        looked_for_twice(&world).await;
        assert_eq!([world.state(one).await, world.state(other).await], ["sent SM1 -", "sent SM2 -"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_message_still_counts_as_a_possible_owner() {
    let world = World::start().await;
    let (parked, id) = (world.unknown("“rent”", HOUR).await, world.unknown("\"rent\"", HOUR).await);
    let park = format!("update sms_messages set parked_at = now() where id = '{parked}'");
    world.database.client.batch_execute(&park).await.unwrap();
    world.lists(&[listed("SM1", "\"rent\"", "sent", HOUR)]).await;
    looked_for_twice(&world).await;
    assert_eq!(world.state(id).await, "unknown - -");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_resolved_during_another_create_to_its_recipient() {
    let world = World::start().await;
    let (id, claimed) = (world.unknown("“rent”", HOUR).await, world.unknown("\"rent\"", HOUR).await);
    let claim = format!(
        "update sms_messages set delivery_status = 'pending', claimed_at = now() where id = '{claimed}';
         update sms_send_attempts set outcome = null, finished_at = null where message_id = '{claimed}'"
    );
    world.database.client.batch_execute(&claim).await.unwrap();
    world.lists(&[listed("SM1", "\"rent\"", "sent", HOUR)]).await;
    looked_for_twice(&world).await;
    assert_eq!(world.state(id).await, "unknown - -");
}
