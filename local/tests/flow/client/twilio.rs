//! Operations of Twilio and its handsets.

use serde_json::{Value, json};
use testing::Webhook;

use super::{HttpResponse, request, send_request, try_send_request};
use crate::stack::{Stack, eventually};

/// The webhook for inbound messages.
pub const SMS_PATH: &str = "/webhook/twilio/sms";
/// The webhook for status callbacks.
pub const STATUS_PATH: &str = "/webhook/twilio/status";

impl Stack {
    /// Sends a message from a handset. The simulator must have delivered its webhook.
    pub async fn send_from_handset(&self, from: &str, body: &str) -> Value {
        let url = format!("{}/simulator/handsets/{from}/messages", self.info.twilio_api_url);
        let response = send_request(request("POST", &url).json(&json!({ "body": body }))).await;
        let sent = response.json();
        assert_eq!(sent["delivered"], 1, "{sent:#}");
        sent
    }

    /// Returns the messages that a handset has received, without Twilio's own notices.
    pub async fn received_by(&self, handset: &str) -> Vec<Value> {
        let url = format!("{}/simulator/ledger?to={handset}", self.info.twilio_api_url);
        let response = send_request(request("GET", &url)).await;
        let received: Vec<Value> = serde_json::from_str(&response.text).unwrap();
        received.into_iter().filter(|received| received["kind"] == "message").collect()
    }

    /// Returns the number of create calls for a handset.
    pub async fn count_creates(&self, handset: &str) -> usize {
        let url = format!("{}/simulator/creates", self.info.twilio_api_url);
        let creates = send_request(request("GET", &url)).await.json();
        creates.as_array().unwrap().iter().filter(|create| create["to"] == handset).count()
    }

    /// Sets a fault in the simulator.
    pub async fn set_fault(&self, fault: Value) {
        let url = format!("{}/simulator/faults", self.info.twilio_api_url);
        let response = send_request(request("POST", &url).json(&fault)).await;
        assert_eq!(response.status, 201, "{response:?}");
    }

    /// Sets a fault for the next message to a handset.
    pub async fn set_fault_for(&self, to: &str, fault: Value) {
        self.set_fault(json!({ "match": { "to": to }, "fault": fault })).await;
    }

    /// Makes the simulator unavailable for some seconds. Returns when the outage has started.
    pub async fn start_twilio_outage(&self, seconds: f64) {
        let url = format!("{}/simulator/outage", self.info.twilio_api_url);
        let response = send_request(request("POST", &url).json(&json!({ "seconds": seconds }))).await;
        assert_eq!(response.status, 202, "{response:?}");
        let begun = std::time::Instant::now();
        eventually("the simulator is unavailable", async || {
            let response = try_send_request(request("GET", &self.info.twilio_api_url)).await;
            let is_unavailable = response.is_err_and(|error| error.is_connect());
            (is_unavailable || begun.elapsed().as_secs_f64() > seconds + 1.0).then_some(())
        })
        .await;
    }

    /// Returns a signed webhook for an inbound message.
    pub fn inbound_webhook(&self, from: &str, sid: &str, body: &str) -> Webhook {
        self.inbound_webhook_at(SMS_PATH, from, sid, body)
    }

    /// Returns a signed webhook for an inbound message at another path.
    pub fn inbound_webhook_at(&self, path: &'static str, from: &str, sid: &str, body: &str) -> Webhook {
        let form = [
            ("ToCountry", "US"),
            ("SmsMessageSid", sid),
            ("NumMedia", "0"),
            ("SmsSid", sid),
            ("SmsStatus", "received"),
            ("Body", body),
            ("To", self.info.phone_number.as_str()),
            ("NumSegments", "1"),
            ("MessageSid", sid),
            ("AccountSid", self.info.account_sid.as_str()),
            ("From", from),
            ("ApiVersion", "2010-04-01"),
        ];
        self.signed(path, &form)
    }

    /// Returns a signed status callback without the message ID in its URL.
    pub fn status_callback(&self, sid: &str, status: &str, error_code: Option<&str>) -> Webhook {
        self.status_callback_at(STATUS_PATH, sid, status, error_code)
    }

    /// Returns a signed status callback at another path.
    pub fn status_callback_at(
        &self,
        path: &'static str,
        sid: &str,
        status: &str,
        error_code: Option<&str>,
    ) -> Webhook {
        let mut form = vec![
            ("SmsSid", sid),
            ("SmsStatus", status),
            ("MessageStatus", status),
            ("MessageSid", sid),
            ("AccountSid", self.info.account_sid.as_str()),
            ("From", self.info.phone_number.as_str()),
            ("ApiVersion", "2010-04-01"),
        ];
        form.extend(error_code.map(|code| ("ErrorCode", code)));
        self.signed(path, &form)
    }

    fn signed(&self, path: &'static str, form: &[(&str, &str)]) -> Webhook {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        Webhook::form(path, body).signed_with(&self.info.auth_token, &self.info.webhook_base_url, form)
    }

    /// Posts a webhook as Twilio does.
    pub async fn post_webhook(&self, webhook: &Webhook) -> HttpResponse {
        let mut post = request("POST", &format!("{}{}", self.info.webhook_base_url, webhook.path()));
        for (name, value) in webhook.headers() {
            post = post.header(name, value);
        }
        send_request(post.body(webhook.body().to_vec())).await
    }

    /// Posts a webhook, which must be accepted.
    pub async fn deliver_webhook(&self, webhook: &Webhook) {
        let response = self.post_webhook(webhook).await;
        assert_eq!(response.status, 200, "{response:?}");
    }
}
