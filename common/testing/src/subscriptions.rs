//! Subscriptions, and the rules of access that all endpoints of a subscription share.

use super::{ApiRequest, Database, Function, KEY_ID, Receiver, refusal};
use common::clock;
use common::db::subscriptions::{self, NewSubscription};
use common::subscribers::new_secret;

/// A key that is not [`KEY_ID`].
pub const OTHER_KEY_ID: &str = "01900000-0000-7000-8000-000000000002";

/// Returns a subscription of [`KEY_ID`] to all events.
#[must_use]
pub fn new_subscription(url: &str) -> NewSubscription {
    NewSubscription {
        id: clock::new_id().into(),
        api_key_id: KEY_ID.parse().unwrap(),
        url: Some(url.to_owned()),
        queue_arn: None,
        event_types: Vec::new(),
        workflow_type: None,
        tenant_id: None,
        include_unknown: true,
        content: false,
        max_in_flight: 10,
        max_hold_seconds: 300,
        description: None,
        secret: new_secret(),
        created_at: clock::now(),
    }
}

/// A function of a subscription's endpoint, with one stored subscription to a receiver.
#[derive(Debug)]
pub struct SubscriptionWorld {
    /// The function.
    pub function: Function,
    /// Its database.
    pub database: Database,
    /// The receiver of the subscription.
    pub receiver: Receiver,
    /// The subscription.
    pub subscription: NewSubscription,
    /// Its id.
    pub id: String,
}

impl SubscriptionWorld {
    /// Starts the function, with further variables.
    ///
    /// # Panics
    ///
    /// If a step fails.
    pub async fn start(binary: &str, variables: &[(&str, &str)]) -> Self {
        let (database, receiver) = (Database::create().await, Receiver::start().await);
        let subscription = new_subscription(&receiver.url("/hook"));
        subscriptions::create(&database.db(), &subscription).await.unwrap().unwrap();
        let url = database.url();
        let mut environment = vec![("DATABASE_URL", url.as_str()), ("SUBSCRIBERS_ALLOW_LOOPBACK", "true")];
        environment.extend(variables);
        let function = Function::start(binary, &environment).await;
        let id = subscription.id.to_string();
        Self { function, database, receiver, subscription, id }
    }

    /// Checks who may use an endpoint, and that ids are checked. The subscription must not change.
    ///
    /// # Panics
    ///
    /// If a request gets another response than expected.
    pub async fn check_access(&mut self, request: impl Fn(&str) -> ApiRequest) {
        let id = self.id.clone();
        let unknown = clock::new_id().to_string();
        let other_key = |request: ApiRequest| request.key(OTHER_KEY_ID);
        for (request, response) in [
            (other_key(request(&id)).scopes("subscriptions:manage"), "404 sms.not_found"),
            (request(&unknown).scopes("subscriptions:manage"), "404 sms.not_found"),
            (request(&unknown).scopes("admin"), "404 sms.not_found"),
            (request("x"), "400 sms.validation_error\n  id: is not a UUID"),
            (request(&id).scopes("events:read messages:read"), "403 sms.forbidden"),
        ] {
            assert_eq!(refusal(&self.function.call(request.event()).await), response, "{request:?}");
        }
        for allowed in [request(&id).scopes("subscriptions:manage"), other_key(request(&id)).scopes("admin")]
        {
            let reply = self.function.call(allowed.event()).await;
            assert!(reply["statusCode"].as_u64().unwrap() < 300, "{allowed:?}: {reply}");
        }
    }
}

/// Checks that an endpoint returns 503 without Postgres, does not log the password, and reports its configuration.
///
/// # Panics
///
/// If it does not.
pub async fn check_outage(binary: &str, request: &ApiRequest) {
    let variables = [("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")];
    let mut function = Function::start(binary, &variables).await;
    assert_eq!(refusal(&function.call(request.event()).await), "503 sms.unavailable");
    let log = format!("{:?}", function.log().await);
    assert!(!log.contains("hunter2"), "{log}");
    let log = Function::start(binary, &[]).await.ended().await;
    assert_eq!(log.last().unwrap()["error"], "invalid configuration: DATABASE_URL is missing");
}
