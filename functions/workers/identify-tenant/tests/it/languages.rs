//! A tenant's language: copied to their numbers and pushed to their profile.

use crate::world::{World, succeeds};
use crate::{A, B};
use serde_json::json;
use wiremock::matchers::method;
use wiremock::{Mock, ResponseTemplate};

const UPDATE_TO_ES: &str = r#"PUT /tenants/T-1/language {"language":"es"}"#;
const UPDATE_TO_EN: &str = r#"PUT /tenants/T-1/language {"language":"en"}"#;

async fn takes(world: &World, status: u16) {
    Mock::given(method("PUT")).respond_with(ResponseTemplate::new(status)).mount(&world.profiles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certain_language_is_pushed_once_and_an_uncertain_one_is_not() {
    let world = World::start().await;
    takes(&world, 200).await;
    world.add_match(A, json!({"tenant_id": "T-1"})).await;
    let mut function = world.function().await;
    succeeds(&mut function, &[world.text(A, "es", 0.69).await]).await;
    assert!(world.profile_updates().await.is_empty());
    succeeds(&mut function, &[world.text(A, "es", 0.7).await]).await;
    succeeds(&mut function, &[world.text(A, "es", 0.95).await]).await;
    assert_eq!(world.profile_updates().await, [UPDATE_TO_ES]);
    succeeds(&mut function, &[world.text(A, "en", 0.8).await]).await;
    assert_eq!(world.profile_updates().await, [UPDATE_TO_ES], "weaker evidence changes nothing");
    succeeds(&mut function, &[world.text(A, "en", 0.95).await]).await;
    assert_eq!(world.profile_updates().await, [UPDATE_TO_ES, UPDATE_TO_EN]);
    assert_eq!(world.events("language_changed", "previous_language", "language").await, "unknown>es es>en");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_has_the_language_or_does_not_exist_is_not_updated() {
    let world = World::start().await;
    takes(&world, 404).await;
    world.add_match(A, json!({"tenant_id": "T-1", "language_preference": "es"})).await;
    world.add_match(B, json!({"tenant_id": "T-2"})).await;
    let mut function = world.function().await;
    succeeds(&mut function, &[world.text(A, "es", 0.95).await]).await;
    assert!(world.profile_updates().await.is_empty());
    for _ in 0..2 {
        succeeds(&mut function, &[world.text(B, "es", 0.95).await]).await;
    }
    assert_eq!(world.profile_updates().await.len(), 1, "a missing profile is not retried");
    assert_eq!(
        world.database.scalar("select count(*) from sms_tenants where push_language is not null").await,
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_profile_service_fails_no_record_and_is_updated_later() {
    let world = World::start().await;
    takes(&world, 500).await;
    world.add_match(A, json!({"tenant_id": "T-1"})).await;
    let mut function = world.function().await;
    succeeds(&mut function, &[world.text(A, "es", 0.95).await]).await;
    succeeds(&mut function, &[world.text(A, "es", 0.95).await]).await;
    assert_eq!(world.profile_updates().await.len(), 1, "not retried before the interval");
    assert_eq!(function.metric_of("errors", "profile_failed").await, 1.0);
    let due = "select push_language || (push_due_at > now()) || push_tries from sms_tenants";
    assert_eq!(world.database.scalar(due).await, "estrue1");
    world.profiles.reset().await;
    takes(&world, 200).await;
    world.database.client.batch_execute("update sms_tenants set push_due_at = now()").await.unwrap();
    succeeds(&mut function, &[world.text(A, "es", 0.95).await]).await;
    assert_eq!(world.profile_updates().await, [UPDATE_TO_ES]);
    assert_eq!(
        world
            .database
            .scalar("select coalesce(push_language, '-') || language_preference from sms_tenants")
            .await,
        "-es"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_language_is_copied_to_their_numbers_until_stronger_evidence_arrives() {
    let world = World::start().await;
    takes(&world, 200).await;
    for number in [A, B] {
        world.add_match(number, json!({"tenant_id": "T-1"})).await;
    }
    let mut function = world.function().await;
    succeeds(&mut function, &[world.text(A, "es", 0.8).await]).await;
    succeeds(&mut function, &[world.text(B, "unknown", 0.98).await]).await;
    assert_eq!(world.language(B).await, "es 0.8");
    // Weaker evidence of the number itself changes nothing, equal evidence does.
    succeeds(&mut function, &[world.text(B, "en", 0.5).await]).await;
    assert_eq!(world.language(B).await, "es 0.8");
    succeeds(&mut function, &[world.text(B, "en", 0.75).await]).await;
    assert_eq!(
        (world.language(A).await.as_str(), world.language(B).await.as_str()),
        ("es 0.8 own", "en 0.75 own")
    );
    // Stronger evidence of one number is copied to the other.
    succeeds(&mut function, &[world.text(A, "es", 0.95).await]).await;
    assert_eq!(world.language(B).await, "es 0.95");
    assert_eq!(world.profile_updates().await, [UPDATE_TO_ES, UPDATE_TO_EN, UPDATE_TO_ES]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_preference_is_used_until_the_tenant_writes_in_another_language() {
    let world = World::start().await;
    takes(&world, 200).await;
    world.add_match(A, json!({"tenant_id": "T-1", "language_preference": "es"})).await;
    let mut function = world.function().await;
    succeeds(&mut function, &[world.text(A, "en", 0.5).await]).await;
    assert_eq!(world.language(A).await, "es 0.7");
    succeeds(&mut function, &[world.text(A, "en", 0.75).await]).await;
    assert_eq!(world.language(A).await, "en 0.75 own");
    assert_eq!(world.profile_updates().await, [UPDATE_TO_EN]);
    assert_eq!(
        world.events("language_changed", "previous_language", "language").await,
        "unknown>en en>es es>en"
    );
}
