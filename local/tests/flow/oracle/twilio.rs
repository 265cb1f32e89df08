//! Reads the state of Twilio and its handsets from the simulator.

use std::collections::HashSet;

use common::domain::smart_encoding::SmartEncoding;
use serde_json::Value;

use crate::client::{request, send_request};
use crate::stack::Stack;

/// The state of Twilio and its handsets.
pub(super) struct TwilioState {
    /// The messages that handsets have received.
    pub received: Vec<Value>,
    /// The create calls.
    pub creates: Vec<Value>,
    /// All messages, inbound and outbound.
    pub messages: Vec<Value>,
    /// The SIDs of messages with a rejected callback.
    pub with_failed_callback: Vec<String>,
}

impl TwilioState {
    /// Reads the state from the simulator.
    pub async fn read(stack: &Stack) -> Self {
        let base = &stack.info.twilio_api_url;
        let get = async |url: String| {
            let request = request("GET", &url);
            let request = request.basic_auth(&stack.info.account_sid, Some(&stack.info.auth_token));
            send_request(request).await.json()
        };
        let list = async |path: &str| match get(format!("{base}/simulator/{path}")).await {
            Value::Array(items) => items,
            other => panic!("{path}: {other:#}"),
        };
        let mut messages = Vec::new();
        let first = format!("/2010-04-01/Accounts/{}/Messages.json?PageSize=1000", stack.info.account_sid);
        let mut next = Some(first);
        while let Some(path) = next {
            let page = get(format!("{base}{path}")).await;
            messages.extend(page["messages"].as_array().unwrap().iter().cloned());
            next = page["next_page_uri"].as_str().map(str::to_owned);
        }
        let failed = list("webhooks").await.into_iter().filter(|call| call["delivered"] == false);
        let sid = |call: Value| {
            let form = call["form"].as_array()?.iter().find(|pair| pair[0] == "MessageSid")?[1].clone();
            form.as_str().map(str::to_owned)
        };
        Self {
            received: list("ledger").await,
            creates: list("creates").await,
            messages,
            with_failed_callback: failed.filter_map(sid).collect(),
        }
    }
}

/// Returns a body's letters and digits. They identify a message on both sides, whatever Smart Encoding replaces.
pub(super) fn letters(body: &str) -> String {
    SmartEncoding::plainest(body).chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Returns the [`letters`] of the body of a message or create call.
pub(super) fn letters_of(entry: &Value) -> String {
    letters(entry["body"].as_str().unwrap_or_default())
}

/// Returns the [`letters`] of messages that never get a status after `sent`.
pub(super) fn sent_only(creates: &[Value]) -> HashSet<String> {
    let silent = creates.iter().filter(|create| create["fault"]["kind"] == "sent_only");
    silent.map(letters_of).collect()
}
