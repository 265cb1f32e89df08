//! The function with its database.

use common::clock;
use common::db::inbound::{self, NewInbound};
use common::db::statuses::NewStatus;
use common::domain::message::Status;
use common::service::inbound::new_inbound;
use common::twilio::{Form, InboundSms};
use serde_json::{Value, json};
use testing::{ApiRequest, Database, Function};

pub const BINARY: &str = env!("CARGO_BIN_EXE_erase-conversation");
pub const TENANT: &str = "+12035550123";
pub const OTHER: &str = "+12035550124";

pub struct World {
    pub function: Function,
    pub database: Database,
    url: String,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let database = Database::create().await;
        let url = database.url();
        let variables = [&[("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", url.as_str())], settings].concat();
        Self { function: Function::start(BINARY, &variables).await, database, url }
    }

    pub fn variables(&self) -> [(&str, &str); 2] {
        [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", &self.url)]
    }

    pub async fn run(&self, sql: &str) {
        self.database.client.batch_execute(sql).await.unwrap();
    }

    pub async fn erase(&mut self, number: &str) -> Value {
        self.function.call(request(number).event()).await
    }

    pub async fn store(&self, messages: &[NewInbound]) {
        inbound::store(&self.database.db(), messages).await.unwrap();
    }

    /// Puts a webhook into the spool.
    pub async fn spool(&self, queue: &str, form: &[(&str, &str)]) {
        let form: Form = form.iter().copied().collect();
        let message = json!({"version": "1", "received_at": clock::now(), "form": form.to_urlencoded()});
        let insert = format!(
            "insert into webhook_spool (id, queue, message, request_id, created_at) \
             values (gen_random_uuid(), '{queue}', '{message}', 'r-1', now())"
        );
        self.run(&insert).await;
    }

    /// Stores Twilio's resource of a message whose media must be listed.
    pub async fn await_media(&self, sid: &str, from: &str, text: &str) {
        let message = json!({"sid": sid, "direction": "inbound", "from": from, "to": "+15005550006", "body": text,
            "account_sid": "AC1", "num_media": "1", "date_created": "Sun, 01 Nov 2026 12:00:00 +0000"});
        let insert =
            format!("insert into twilio_awaiting_media (twilio_sid, message) values ('{sid}', '{message}')");
        self.run(&insert).await;
    }
}

pub fn request(number: &str) -> ApiRequest {
    ApiRequest::new("DELETE", &format!("/conversations/{number}/content"))
        .path_parameter("phone_number", number)
}

/// An inbound message, as received now.
pub fn inbound(sid: &str, from: &str, text: &str, more: &[(&str, &str)]) -> NewInbound {
    let form =
        [("MessageSid", sid), ("AccountSid", "AC1"), ("From", from), ("To", "+15005550006"), ("Body", text)];
    let form: Form = form.iter().chain(more).copied().collect();
    let (sms, raw) = (InboundSms::read(&form).unwrap(), form.to_jsonb());
    new_inbound(sms, &"AC1".parse().unwrap(), raw.value, raw.nul_removed, "r-1", clock::now())
}

/// A status callback without our message id.
pub fn callback(sid: &str, status: &str, to: &str) -> NewStatus {
    NewStatus {
        id: clock::new_id(),
        twilio_sid: sid.parse().unwrap(),
        message_id: None,
        event_status: status.to_owned(),
        status: Status::from_twilio(status),
        error_code: None,
        raw_webhook_data: json!({"MessageSid": sid, "To": to}),
        nul_removed: false,
        received_at: clock::now(),
    }
}
