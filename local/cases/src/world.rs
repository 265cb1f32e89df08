//! Runs the service's functions in this process, with their own database and SQS server.

use common::config::Configuration;
use common::db::sends::{self, ClaimRequest, SendPace, SendResult};
use common::domain::message::Status;
use common::domain::metadata::Metadata;
use common::http::{self, ApiError, Request, Response};
use common::queue::Batch;
use common::{clock, config};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use testing::{ApiRequest, Database, Sqs};

use crate::Error;

const OUR_NUMBER: &str = "+15005550006";
/// The account of [`testing::new_send`].
const ACCOUNT_SID: &str = "AC1";

/// A status callback with Twilio's parameter names.
#[derive(Deserialize)]
pub struct Callback {
    #[serde(rename = "MessageStatus")]
    status: String,
    #[serde(rename = "ErrorCode", default)]
    error_code: Option<String>,
}

pub struct World {
    database: Database,
    sqs: Sqs,
    send: send_sms::App,
    get_conversation: get_conversation::App,
    get_message: get_message::App,
}

impl World {
    pub async fn start() -> Result<Self, Error> {
        let (database, sqs) = (Database::create().await, Sqs::start().await);
        let send = send_sms::App::init(configuration(&database, &sqs)?).await?;
        let get_conversation = get_conversation::App::init(configuration(&database, &sqs)?)?;
        let get_message = get_message::App::init(&configuration(&database, &sqs)?)?;
        Ok(Self { database, sqs, send, get_conversation, get_message })
    }

    /// Receives a message from a number.
    pub async fn receive(&self, from: &str) -> Result<(), Error> {
        let app = record_inbound::App::init(configuration(&self.database, &self.sqs)?).await?;
        let form = format!("MessageSid=SM1&From={}&To={}&Body=hello", encoded(from), encoded(OUR_NUMBER));
        let batch = record_inbound::handle(&app, batch(&form, "")?).await;
        is_recorded(batch)
    }

    /// Posts a send. The status of a rejection counts only if it is about `field`.
    pub async fn send(&self, payload: &Value, field: &str) -> Result<Value, Error> {
        self.send_text(&payload.to_string(), field).await
    }

    async fn send_text(&self, payload: &str, field: &str) -> Result<Value, Error> {
        let request = ApiRequest::new("POST", "/sms/send").body(payload);
        let reply = call(&request, async |request| send_sms::handle(&self.send, request).await).await?;
        let mut response: Value = serde_json::from_slice(reply.body())?;
        let details = response["error"]["details"].as_array().into_iter().flatten();
        let is_about = details.clone().all(|detail| {
            detail["field"]
                .as_str()
                .is_some_and(|named| named == field || named.starts_with(&format!("{field}.")))
        });
        if is_about {
            let status = reply.status().as_u16();
            response["status"] = status.into();
            response["send"] = status.into();
        }
        Ok(response)
    }

    /// Sends metadata with a message and reads it back.
    pub async fn keep(&self, metadata: &str) -> Result<Value, Error> {
        #[derive(Deserialize)]
        struct Shown {
            metadata: Box<RawValue>,
        }
        let payload = format!(r#"{{"to":"+12025550123","body":"x","metadata":{metadata}}}"#);
        let mut response = self.send_text(&payload, "metadata").await?;
        if let Some(id) = response["id"].as_str() {
            let shown: Shown = serde_json::from_slice(self.message(id).await?.body())?;
            let written = RawValue::from_string(metadata.to_owned())?;
            // Spaces and the order of fields may differ.
            let is_same = Metadata::new(shown.metadata.clone())?.exact() == Metadata::new(written)?.exact();
            let kept = if is_same { metadata } else { shown.metadata.get() };
            response["metadata_json"] = kept.into();
        }
        Ok(response)
    }

    /// Reads a conversation by a path that is not percent-encoded.
    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        let number = path.strip_prefix("/conversations/").ok_or("not a path of a conversation")?;
        let request = ApiRequest::new("GET", path).path_parameter("phone_number", number);
        let handler =
            async |request: &Request| get_conversation::handle(&self.get_conversation, request).await;
        let reply = call(&request, handler).await?;
        let mut response: Value = serde_json::from_slice(reply.body())?;
        response["status"] = reply.status().as_u16().into();
        Ok(response)
    }

    async fn message(&self, id: &str) -> Result<Response, Error> {
        let request = ApiRequest::new("GET", &format!("/messages/{id}")).path_parameter("id", id);
        call(&request, async |request| get_message::handle(&self.get_message, request).await).await
    }

    /// Processes status callbacks for an accepted message, then reads the message.
    pub async fn report(&self, callbacks: &[Callback]) -> Result<Value, Error> {
        let (db, send) = (self.database.db(), testing::new_send("+12025550143"));
        sends::create(&db, &send, None).await?;
        let claim =
            sends::claim(&db, &ClaimRequest::messages(&[send.id]), &SendPace::default(), clock::now())
                .await?;
        let claim = claim.claimed.first().ok_or("the message can't be claimed")?;
        let accepted = SendResult::Accepted { twilio_sid: "SM1".parse()?, status: Status::Queued };
        sends::finish(&db, &[(claim, &accepted)], clock::now()).await?;

        let app = record_status::App::init(configuration(&self.database, &self.sqs)?).await?;
        for Callback { status, error_code } in callbacks {
            let code = error_code.as_ref().map_or_else(String::new, |code| format!("&ErrorCode={code}"));
            let form = format!("MessageSid=SM1&MessageStatus={status}{code}");
            let query = format!("message_id={}", send.id);
            is_recorded(record_status::handle(&app, batch(&form, &query)?).await)?;
        }
        Ok(serde_json::from_slice(self.message(&send.id.to_string()).await?.body())?)
    }
}

/// Reads the configuration of a function; all of them share these variables.
fn configuration<C: Configuration>(database: &Database, sqs: &Sqs) -> Result<C, config::ConfigError> {
    C::from_lookup(&|name| match name {
        "TWILIO_ACCOUNT_SID" => Some(ACCOUNT_SID.to_owned()),
        "TWILIO_PHONE_NUMBER" => Some(OUR_NUMBER.to_owned()),
        "DATABASE_URL" => Some(database.url()),
        "DATABASE_CONNECT_TIMEOUT_MS" | "DATABASE_STATEMENT_TIMEOUT_MS" => Some("60000".to_owned()),
        "AWS_ENDPOINT_URL_SQS" => Some(sqs.url().to_owned()),
        "AWS_REGION" => Some("us-east-1".to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
        "OUTBOUND_QUEUE_URL" | "INBOUND_QUEUE_URL" | "STATUS_QUEUE_URL" => Some(sqs.queue(name)),
        _ => None,
    })
}

async fn call(
    request: &ApiRequest,
    handler: impl AsyncFn(&Request) -> Result<Response, ApiError>,
) -> Result<Response, Error> {
    Ok(http::serve(&request.event().to_string(), handler).await)
}

/// Returns a batch of one form, as its queue hands it to a worker.
fn batch<M: common::queue::Versioned>(form: &str, query: &str) -> Result<Batch<M>, Error> {
    let body = json!({"version": "1", "received_at": clock::now(), "form": form, "query": query});
    Ok(Batch::decode(serde_json::from_value(testing::batch(&[body]))?))
}

fn is_recorded<M>(batch: Batch<M>) -> Result<(), Error> {
    let response = serde_json::to_value(batch.into_response())?;
    if testing::failed(&response).is_empty() { Ok(()) } else { Err("the worker failed the record".into()) }
}

fn encoded(number: &str) -> String {
    number.replace('+', "%2B")
}
