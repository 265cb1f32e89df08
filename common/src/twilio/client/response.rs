//! Sends a request and classifies the response.

use super::{MessagePage, SendError};
use crate::clock;
use crate::retry_after::retry_after;
use crate::twilio::message::Message;
use reqwest::header::LOCATION;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

/// A 2xx response with a JSON body, or a redirect.
pub(super) struct JsonResponse {
    pub(super) status: StatusCode,
    /// The body. Null for a redirect, so that it is no resource.
    pub(super) json: Value,
    /// Where a redirect leads, as Twilio wrote it. The client does not follow it.
    pub(super) location: Option<String>,
}

/// Sends a request once and returns its JSON, or what the failure proves about the request.
pub(super) async fn send(request: RequestBuilder) -> Result<JsonResponse, SendError> {
    let response = request.send().await.map_err(|error| {
        // The URL of a list contains phone numbers, which must not be logged.
        let error = error.without_url();
        if error.is_connect() { SendError::Connect(error) } else { SendError::NoResponse(error) }
    })?;
    let status = response.status();
    let retry_after = retry_after(response.headers(), clock::now());
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = response.bytes().await.map_err(reqwest::Error::without_url);
    let json =
        body.map_err(Into::into).and_then(|body| serde_json::from_slice::<Value>(&body).map_err(Into::into));
    let code = json.as_ref().ok().and_then(error_code);
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(SendError::Limited { code, retry_after });
    }
    if status.is_server_error() {
        return Err(SendError::Failed { status: status.as_u16(), code });
    }
    if status.is_redirection()
        && let Some(location) = location.or_else(|| redirect_to(json.as_ref().ok()?))
    {
        return Ok(JsonResponse { status, json: Value::Null, location: Some(location) });
    }
    match (json, code) {
        (Ok(json), _) if status.is_success() => Ok(JsonResponse { status, json, location: None }),
        (Err(source), _) => Err(SendError::Unreadable { status: status.as_u16(), source }),
        (Ok(_), Some(code)) if status.is_client_error() => {
            Err(SendError::Refused { status: status.as_u16(), code, retry_after })
        }
        (Ok(_), _) => Err(unreadable(status, "not a response of Twilio's API")),
    }
}

/// Reads a Message resource.
pub(super) fn message(response: JsonResponse) -> Result<Message, SendError> {
    Message::from_json(&response.json).ok_or_else(|| unreadable(response.status, "the message has no SID"))
}

/// Reads one page of a list of Message resources.
pub(super) fn page(JsonResponse { status, json, .. }: JsonResponse) -> Result<MessagePage, SendError> {
    let listed = json.get("messages").and_then(Value::as_array);
    let messages =
        listed.and_then(|listed| listed.iter().map(Message::from_json).collect::<Option<Vec<_>>>());
    let messages = messages.ok_or_else(|| unreadable(status, "not a list of messages"))?;
    let next = json.get("next_page_uri").and_then(Value::as_str).filter(|next| !next.is_empty());
    Ok(MessagePage { messages, next: next.map(str::to_owned) })
}

/// Returns the error for a response whose content is not the expected one.
pub(super) fn unreadable(status: StatusCode, reason: &'static str) -> SendError {
    SendError::Unreadable { status: status.as_u16(), source: reason.into() }
}

/// Reads the address from the body of a redirect, which is documented next to the header.
fn redirect_to(json: &Value) -> Option<String> {
    json.get("redirect_to")?.as_str().map(str::to_owned)
}

fn error_code(json: &Value) -> Option<u32> {
    json.get("code")?.as_u64()?.try_into().ok()
}
