//! Postgres, an S3 server, queues, Twilio and its storage service, and messages with files.

use crate::twilio::{Host, Reply};
use common::clock;
use common::db::erasure::{self, NewErasure};
use common::db::inbound;
use common::domain::ids::MessageId;
use common::service::inbound::new_inbound;
use common::twilio::{Form, InboundSms};
use serde_json::{Value, json};
use testing::{Database, Function, S3, Sqs, failed};

pub const BINARY: &str = env!("CARGO_BIN_EXE_store-media");
const HANDSET: &str = "+12025550123";

/// The start of a JPEG file.
pub const JPEG: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01";

pub struct World {
    pub database: Database,
    pub s3: S3,
    pub sqs: Sqs,
    pub twilio: Host,
    /// The storage service, which gets no credentials.
    pub storage: Host,
}

impl World {
    pub async fn start() -> Self {
        Self {
            database: Database::create().await,
            s3: S3::start().await,
            sqs: Sqs::start().await,
            twilio: Host::start(true).await,
            storage: Host::start(false).await,
        }
    }

    pub async fn function(&self, extra: &[(&str, &str)]) -> Function {
        let (url, events) = (self.database.url(), self.sqs.queue("events"));
        let mut variables = vec![
            ("DATABASE_URL", url.as_str()),
            ("EVENTS_QUEUE_URL", &events),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url()),
            ("AWS_ENDPOINT_URL_S3", self.s3.url()),
            ("MEDIA_BUCKET", self.s3.bucket()),
            ("TWILIO_ACCOUNT_SID", "AC1"),
            ("TWILIO_AUTH_TOKEN", "token"),
            ("TWILIO_API_BASE_URL", &self.twilio.url),
            // Every failed attempt is due again at once.
            ("MEDIA_RETRY_DELAYS_SECONDS", "0,0,0"),
        ];
        variables.extend(extra);
        Function::start(BINARY, &variables).await
    }

    /// Lets Twilio redirect to a file of the storage service. Returns Twilio's URL.
    pub fn file(&self, name: &str, replies: &[Reply]) -> String {
        let target = self.storage.reply(&format!("/bucket/{name}"), replies);
        self.twilio.reply(&resource(name), &[Reply::Redirect(target)])
    }

    /// Stores an inbound message with files, as `record-inbound` does.
    pub async fn message(&self, urls: &[String]) -> MessageId {
        let mut form = format!(
            "MessageSid=MM{}&From=%2B12025550123&To=%2B12025550100&Body=look&NumMedia={}",
            clock::new_id().simple(),
            urls.len()
        );
        for (position, url) in urls.iter().enumerate() {
            form += &format!("&MediaUrl{position}={url}&MediaContentType{position}=image/png");
        }
        let form = Form::from_urlencoded_lossy(form.as_bytes());
        let sms = InboundSms::read(&form).unwrap();
        let account = "AC1".parse().unwrap();
        let message = new_inbound(sms, &account, form.to_jsonb().value, false, "r-1", clock::now());
        inbound::store(&self.database.db(), &[message]).await.unwrap()[0].message_id
    }

    /// Erases the content of the conversation.
    pub async fn erase(&self) {
        let db = self.database.db();
        let erasure = NewErasure {
            id: clock::new_id(),
            account_sid: &"AC1".parse().unwrap(),
            variants: &[HANDSET.to_owned()],
            api_key_id: clock::new_id(),
            request_id: "r-2",
            requested_at: clock::now(),
        };
        erasure::begin(&db, &erasure).await.unwrap().unwrap();
        assert!(erasure::erase(&db, erasure.id, None, 100).await.unwrap().is_some());
    }

    /// Makes all files due, as the time does that passes.
    pub async fn pass_the_time(&self) {
        let due = "update sms_media set next_attempt_at = now() where next_attempt_at is not null";
        self.database.client.batch_execute(due).await.unwrap();
    }

    /// Returns the files as `status error`, without the part of the error after its code.
    pub async fn files(&self) -> String {
        let sql = "select coalesce(string_agg(status || coalesce(' ' || split_part(error, ':', 1), ''), ', ' \
                   order by message_id, position), '') from sms_media";
        self.database.scalar(sql).await
    }

    pub async fn events(&self) -> Vec<Value> {
        self.database.number_events().await;
        let sql = "select body from sms_events where event_type = 'media.stored' order by position";
        let rows = self.database.client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()
    }

    /// Returns the key of the object of the only file.
    pub async fn key(&self) -> String {
        self.database.scalar("select 'media/' || id from sms_media").await
    }
}

/// Returns the path of a file at Twilio.
pub fn resource(name: &str) -> String {
    format!("/2010-04-01/Accounts/AC1/Messages/MM1/Media/{name}")
}

pub fn hint(message: MessageId) -> Value {
    json!({"version": "1", "message_id": message, "conversation_id": message})
}

/// Calls the function with a hint for each message. No record fails.
pub async fn call(function: &mut Function, messages: &[MessageId]) {
    let hints: Vec<Value> = messages.iter().copied().map(hint).collect();
    assert_eq!(failed(&function.call(testing::batch(&hints)).await), Vec::<&str>::new());
}
