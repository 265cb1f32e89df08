//! Rotation of the auth token: a request with a refused token is retried with the other one, through the gate.

use crate::twilio::Reply::{Accept, HoldAndRefuse, List, Refuse};
use crate::{World, metric, send, sid};
use serde_json::json;

const ROTATING: (&str, &str) = ("TWILIO_AUTH_TOKEN", "new,old");

fn empty_list() -> crate::twilio::Reply {
    List(json!({"messages": [], "next_page_uri": null}))
}

/// Returns the methods and tokens of all requests.
fn requests(world: &World) -> Vec<String> {
    let requests = world.twilio.requests().into_iter();
    let token = |request: &crate::twilio::Request| {
        // Basic credentials that end in `:new` and in `:old`.
        if request.authorization.ends_with("MTpuZXc=") { "new" } else { "old" }
    };
    requests
        .map(|request| format!("{} {}", request.line.split(' ').next().unwrap(), token(&request)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_a_slow_refusal_of_the_first_token_prevents_the_second_create() {
    let world = World::start().await;
    let mut function = world.function_with(&[ROTATING]).await;
    let id = world.message().await;
    world.twilio.replies([HoldAndRefuse(401, 20003, None), Refuse(401, 20003, None), empty_list(), Accept]);
    tokio::join!(send(&mut function, [id]), async {
        world.twilio.asked(1).await;
        // The STOP waits for the request, up to the maximum time.
        world.stop().await;
        world.twilio.release();
    });
    assert_eq!(requests(&world), ["POST new", "GET new", "GET old"]);
    assert_eq!(world.state(id).await, "failed opted_out - free");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_that_twilio_accepts_is_found_once_and_used_from_then_on() {
    let world = World::start().await;
    let mut function = world.function_with(&[ROTATING]).await;
    let first = world.message().await;
    world.twilio.replies([Refuse(401, 20003, None), Refuse(401, 20003, None), empty_list()]);
    send(&mut function, [first]).await;
    assert_eq!(requests(&world), ["POST new", "GET new", "GET old", "POST old"]);
    assert_eq!(world.state(first).await, format!("queued - {} free", sid(4)));
    let second = world.message().await;
    send(&mut function, [second]).await;
    assert_eq!(requests(&world)[4..], ["POST old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_all_tokens_is_a_configuration_error() {
    let world = World::start().await;
    let mut function = world.function_with(&[ROTATING]).await;
    let id = world.message().await;
    world.twilio.replies((0..3).map(|_| Refuse(401, 20003, None)));
    send(&mut function, [id]).await;
    assert_eq!(requests(&world), ["POST new", "GET new", "GET old"]);
    assert_eq!(world.state(id).await, "pending 20003 - free");
    assert_eq!(metric(&function, "sends_misconfigured", 1).await, [json!(1.0)]);
}
