//! Signatures of Twilio over unusual URLs, from the HTTP event to the signature check.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::config::Env;
use common::http::{self, ApiError, Request, Response, StatusCode};
use common::service::receive::{Receiver, ReceiverConfig};
use common::twilio::WebhookKind;
use proptest::prelude::*;
use testing::{AUTH_TOKEN, BASE_URL, Webhook};

fn receiver() -> Receiver {
    let lookup = |name: &str| {
        let value = match name {
            "TWILIO_AUTH_TOKEN" => AUTH_TOKEN,
            "PUBLIC_WEBHOOK_BASE_URL" => BASE_URL,
            "INBOUND_QUEUE_URL" | "STATUS_QUEUE_URL" => "http://127.0.0.1:1/queue",
            "DATABASE_URL" => "postgres://u@127.0.0.1:1/x",
            _ => return None,
        };
        Some(value.to_owned())
    };
    Receiver::init(ReceiverConfig::from_env(&mut Env::new(&lookup)).unwrap(), WebhookKind::Incoming)
}

/// Returns the status of the response to a webhook's event.
fn status(receiver: &Receiver, webhook: &Webhook) -> u16 {
    let handler = async |request: &Request| -> Result<Response, ApiError> {
        receiver.admit(request).await.map(|_| http::empty(StatusCode::OK))
    };
    let event = webhook.event().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(http::serve(&event, handler)).status().as_u16()
}

/// The signature covers path and query, so a changed character makes the signature wrong (403).
#[test]
fn signatures_over_unusual_urls_are_verified() {
    let receiver = receiver();
    let path = "(/|\\.\\.|%2e|%2F|%|\\+|é|[a-zA-Z~!$'()*,=:@_-]){0,12}";
    let query = "(&|=|%20|%C3%A9|%|\\+|é|\\?|/|;|[a-z]){0,20}";
    proptest!(|(path in path, query in query)| {
        let webhook = Webhook::form(format!("/{path}"), "MessageSid=SM1").query(&query);
        let signed = webhook.signed(&[("MessageSid", "SM1")]);
        prop_assert_eq!(status(&receiver, &signed), 404);
        prop_assert_eq!(status(&receiver, &signed.query(&format!("{query}x"))), 403);
    });
}
