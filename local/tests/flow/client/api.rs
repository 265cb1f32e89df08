//! Operations of an API caller.

use serde_json::{Value, json};

use super::{HttpResponse, fresh_sid, request, send_request};
use crate::oracle::AcceptedSend;
use crate::stack::{Stack, eventually};

impl Stack {
    /// Starts an API request with the stack's key.
    pub fn api_request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.api_request_with(self.info.api_key.as_ref().unwrap(), method, path)
    }

    /// Starts an API request with another key.
    pub fn api_request_with(&self, key: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        request(method, &format!("{}{path}", self.info.api_url)).bearer_auth(key)
    }

    /// Sends an API request. Retries on 503, because Postgres may time out on a busy machine.
    pub async fn response(&self, method: &str, path: &str, body: Option<&Value>) -> HttpResponse {
        self.response_to(|| {
            let call = self.api_request(method, path);
            if let Some(body) = body { call.json(body) } else { call }
        })
        .await
    }

    /// Sends any idempotent request. Retries on 503.
    pub async fn response_to(&self, request: impl Fn() -> reqwest::RequestBuilder) -> HttpResponse {
        eventually("the response is not 503", async || {
            Some(send_request(request()).await).filter(|response| response.status != 503)
        })
        .await
    }

    /// Posts a send with any payload. Retries on 503 with the same idempotency key.
    pub async fn post_send(&self, payload: &Value) -> HttpResponse {
        let key = fresh_sid();
        self.response_to(|| {
            self.api_request("POST", "/sms/send").header("idempotency-key", &key).json(payload)
        })
        .await
    }

    /// Posts a send, which may be rejected.
    pub async fn try_send(&self, to: &str, body: &str) -> HttpResponse {
        self.post_send(&json!({ "to": to, "body": body })).await
    }

    /// Sends a message and returns its ID.
    pub async fn send(&self, to: &str, body: &str) -> String {
        let response = self.try_send(to, body).await;
        assert_eq!(response.status, 202, "{response:?}");
        let accepted = response.json();
        assert_eq!((accepted["status"].as_str(), &accepted["twilio_sid"]), (Some("pending"), &Value::Null));
        accepted["id"].as_str().unwrap().to_owned()
    }

    /// Schedules a message in an hour and returns its ID.
    pub async fn send_in_an_hour(&self, to: &str, body: &str) -> String {
        #[expect(clippy::disallowed_methods, reason = "tests do not use the service's clock")]
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let response = self.post_send(&json!({ "to": to, "body": body, "send_at": at.to_string() })).await;
        assert_eq!(response.status, 202, "{response:?}");
        response.json()["id"].as_str().unwrap().to_owned()
    }

    /// Makes a scheduled message due now.
    pub async fn make_due(&self, id: &str) {
        let due = "update sms_messages set next_attempt_at = now(), send_at = least(send_at, now())
            where id = $1::text::uuid and next_attempt_at is not null";
        self.sql().await.client.execute(due, &[&id]).await.unwrap();
    }

    /// Sends a message with a unique body, for the oracle.
    pub async fn send_unique(&self, to: &str, body: &str) -> AcceptedSend {
        self.try_send_unique(to, body).await.unwrap_or_else(|| panic!("{to} has opted out"))
    }

    /// Sends a message with a unique body. Returns `None` if the recipient has opted out.
    pub async fn try_send_unique(&self, to: &str, body: &str) -> Option<AcceptedSend> {
        let body = format!("{body} {}", fresh_sid());
        let response = self.try_send(to, &body).await;
        if response.status == 409 && response.code() == "sms.recipient_opted_out" {
            return None;
        }
        assert_eq!(response.status, 202, "{response:?}");
        let id = response.json()["id"].as_str().unwrap().to_owned();
        Some(AcceptedSend { id, to: to.to_owned(), body })
    }

    /// Returns a message from the API.
    pub async fn message(&self, id: &str) -> Value {
        let response = self.response("GET", &format!("/messages/{id}"), None).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// Waits until a message has this delivery status.
    pub async fn wait_for_status(&self, id: &str, status: &str) -> Value {
        self.wait_for_message(id, &format!("is {status}"), |message| message["delivery_status"] == status)
            .await
    }

    /// Waits until a message satisfies `condition`. `what` completes "the message …" in the panic message.
    pub async fn wait_for_message(&self, id: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = tokio::time::timeout(crate::stack::DEADLINE, async {
            loop {
                last = self.message(id).await;
                if condition(&last) {
                    return last.clone();
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("timed out waiting until the message {what}: {last:#}"))
    }

    /// Returns a conversation from the API, if it exists.
    pub async fn conversation(&self, number: &str) -> Option<Value> {
        let response = self.response("GET", &format!("/conversations/{number}"), None).await;
        assert!(matches!(response.status, 200 | 404), "{response:?}");
        (response.status == 200).then(|| response.json())
    }

    /// Waits until a conversation satisfies `condition`.
    pub async fn wait_for_conversation(&self, number: &str, condition: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the conversation with {number} satisfies the condition"), async || {
            self.conversation(number).await.filter(&condition)
        })
        .await
    }
}
