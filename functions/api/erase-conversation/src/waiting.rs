//! Webhooks of the number that are not stored as messages yet: in the spool, and messages that wait for their media.
//!
//! They are not just deleted, because one of them may be a STOP. Inbound messages are stored now. The conversation is
//! marked as erased, so they are stored without content, and their opt-outs take effect. Status callbacks stay in the
//! spool with the parameters that a status needs.

use common::db::erasure::{Begun, NewErasure};
use common::db::inbound::{self, NewInbound};
use common::db::spool::{self, Spooled};
use common::db::{Db, DbError, reconciliation};
use common::domain::phone::InboundSender;
use common::queue::{WebhookMessage, WebhookV1};
use common::service::inbound::new_inbound;
use common::twilio::{Form, InboundSms, Message, StatusCallback, WebhookKind};
use jiff::Timestamp;
use serde_json::Value;

/// How many spooled webhooks are read at a time.
const PAGE: i64 = 100;

/// The parameters of a status callback without its numbers.
const OF_A_STATUS: &[&str] =
    &["MessageSid", "MessageStatus", "SmsStatus", "ErrorCode", "AccountSid", "RawDlrDoneDate"];

/// Stores the number's waiting webhooks without content. Returns how many there were.
///
/// # Errors
///
/// [`DbError`]: repeat the request.
pub(crate) async fn store(db: &Db, erasure: &NewErasure<'_>, begun: &Begun) -> Result<i64, DbError> {
    let waiting = Waiting { db, erasure, number: begun.phone_number_canonical.canonical() };
    let mut count = 0;
    for message in reconciliation::awaiting_media_from(db, &begun.spellings()).await? {
        count += waiting.store_listed(&message).await?;
    }
    let texts: Vec<String> = begun.spellings().into_iter().map(encoded).collect();
    let mut last: Option<Spooled> = None;
    loop {
        let page = spool::mentioning(db, &texts, last.as_ref(), PAGE).await?;
        for webhook in &page {
            count += waiting.store_webhook(webhook).await?;
        }
        let Some(end) = page.into_iter().next_back() else { return Ok(count) };
        last = Some(end);
    }
}

/// Returns a number as it appears in an encoded form. The plus sign is left out: both `+` and `%2B` stand for it.
fn encoded(number: &str) -> String {
    let form: Form = [("", number.trim_start_matches('+'))].into_iter().collect();
    form.to_urlencoded().trim_start_matches('=').to_owned()
}

struct Waiting<'a> {
    db: &'a Db,
    erasure: &'a NewErasure<'a>,
    number: &'a str,
}

impl Waiting<'_> {
    async fn store_listed(&self, awaiting: &reconciliation::AwaitingMedia) -> Result<i64, DbError> {
        let Some(listed) = Message::from_json(&awaiting.message) else { return Ok(0) };
        let received_at = listed.created_at.or(listed.sent_at).unwrap_or(self.erasure.requested_at);
        let sms = InboundSms::from_list(&listed, Vec::new());
        if !self.concerns(&sms.from, received_at) {
            return Ok(0);
        }
        let message = self.new_inbound(sms, self.erasure.request_id, received_at);
        if !self.store_inbound(message).await? {
            return Ok(0);
        }
        reconciliation::media_settled(self.db, &[&awaiting.twilio_sid]).await?;
        Ok(1)
    }

    async fn store_webhook(&self, spooled: &Spooled) -> Result<i64, DbError> {
        // Another version, or unreadable: the consumer of its queue decides.
        let Ok(WebhookMessage::V1(webhook)) = serde_json::from_value(spooled.message.clone()) else {
            return Ok(0);
        };
        let form = Form::from_urlencoded_lossy(webhook.form.as_bytes());
        if WebhookKind::of(&form) == Some(WebhookKind::Status) {
            return self.strip_status(spooled, webhook, &form).await;
        }
        let Ok(sms) = InboundSms::read(&form) else { return Ok(0) };
        if !self.concerns(&sms.from, webhook.received_at) {
            return Ok(0);
        }
        let message = self.new_inbound(sms, &spooled.request_id, webhook.received_at);
        if !self.store_inbound(message).await? {
            return Ok(0);
        }
        spool::remove(self.db, &[spooled.id]).await?;
        Ok(1)
    }

    async fn strip_status(&self, spooled: &Spooled, webhook: WebhookV1, form: &Form) -> Result<i64, DbError> {
        let recipient = StatusCallback::read(form, &Form::default()).ok().and_then(|callback| callback.to);
        if !recipient.is_some_and(|to| self.concerns(&to, webhook.received_at)) {
            return Ok(0);
        }
        let needed: Form = OF_A_STATUS.iter().filter_map(|key| Some((*key, form.get(key)?))).collect();
        let stripped = WebhookMessage::V1(WebhookV1 { form: needed.to_urlencoded(), ..webhook });
        let Ok(message) = serde_json::to_value(stripped) else { return Ok(0) };
        spool::replace(self.db, spooled.id, &message).await?;
        Ok(1)
    }

    /// Returns whether a message belongs to the number and was received before the erasure.
    fn concerns(&self, address: &str, received_at: Timestamp) -> bool {
        InboundSender::from_twilio(address).canonical() == self.number
            && received_at <= self.erasure.requested_at
    }

    /// Builds a message without its raw data, which are not stored.
    fn new_inbound(&self, sms: InboundSms, request_id: &str, received_at: Timestamp) -> NewInbound {
        new_inbound(sms, self.erasure.account_sid, Value::Null, false, request_id, received_at)
    }

    /// Stores a message, unless Postgres rejects its data. Then it stays where it waits.
    async fn store_inbound(&self, message: NewInbound) -> Result<bool, DbError> {
        match inbound::store(self.db, &[message]).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_about_the_data() => {
                tracing::error!(error = common::error::chain(&error), "could not store a waiting webhook");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
