//! Finding a message of ours in Twilio's list, where nothing carries our id.

use super::client::{MessageFilter, Sender, TwilioClient};
use super::message::Message;
use super::send_error::SendError;
use crate::domain::smart_encoding::SmartEncoding;
use jiff::{SignedDuration, Timestamp};

/// How far Twilio's clock and ours may be apart, Twilio's whole seconds included.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// What Twilio's trial accounts put before every text.
const TRIAL_PREFIX: &str = "Sent from your Twilio trial account - ";

/// What a message that we may have created looks like at Twilio.
#[derive(Clone, PartialEq, Eq)]
pub struct Sought {
    /// The recipient, in E.164.
    pub to: String,
    /// Who sends.
    pub sender: Sender,
    /// The text.
    pub body: String,
    /// How many files it has.
    pub num_media: usize,
    /// When we can have created it at the earliest, by our clock.
    pub since: Timestamp,
}

impl Sought {
    /// Tells whether a message of Twilio's list may be this one.
    #[must_use]
    pub fn is(&self, message: &Message) -> bool {
        let same_sender = match &self.sender {
            Sender::Number(number) => message.from.as_ref().is_none_or(|from| from == number),
            Sender::MessagingService(sid) => {
                message.messaging_service_sid.as_ref().is_none_or(|service| service == sid)
            }
        };
        message.direction == "outbound-api"
            && message.to.as_deref() == Some(&self.to)
            && same_sender
            && usize::try_from(message.num_media).is_ok_and(|files| files == self.num_media)
            && same_text(&self.body, message.body.as_deref().unwrap_or_default())
            && message.created_at.is_none_or(|at| at >= self.since - CLOCK_MARGIN)
    }
}

/// Shows no number and no text.
impl std::fmt::Debug for Sought {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sought").field("since", &self.since).finish_non_exhaustive()
    }
}

/// Tells whether a text is what became of ours at Twilio, which ends lines its own way, cuts blanks off the ends, and replaces
/// typographic characters where its Smart Encoding is on, as it is in each new messaging service
/// (<https://www.twilio.com/blog/copilot-just-got-even-smarter-announcing-smart-encoding-html>).
fn same_text(ours: &str, listed: &str) -> bool {
    let plain = |text: &str| {
        let text = text.replace("\r\n", "\n").replace('\0', "");
        SmartEncoding::plainest(&text).trim().to_owned()
    };
    let (ours, listed) = (plain(ours), plain(listed));
    ours == listed || listed.strip_prefix(TRIAL_PREFIX).is_some_and(|listed| listed == ours)
}

impl TwilioClient {
    /// Lists what was sent to a number, by one of our numbers or by any sender of a service, since an instant by our
    /// clock, oldest first.
    ///
    /// There is no filter by date in it: Twilio's leaves out what it has not sent yet. The list is read from its newest
    /// end until a whole page is older.
    ///
    /// # Errors
    ///
    /// [`SendError`]. Reading again is always safe.
    pub async fn sent_to(
        &self,
        to: &str,
        sender: &Sender,
        since: Timestamp,
    ) -> Result<Vec<Message>, SendError> {
        let from = match sender {
            Sender::Number(number) => Some(number.clone()),
            Sender::MessagingService(_) => None,
        };
        let filter = MessageFilter { to: Some(to.to_owned()), from, ..MessageFilter::default() };
        let is_young = |message: &Message| message.created_at.is_none_or(|at| at >= since - CLOCK_MARGIN);
        let mut page = self.list_messages(&filter).await?;
        let mut found = Vec::new();
        loop {
            let before = found.len();
            found.extend(page.messages.into_iter().filter(is_young));
            match page.next {
                Some(next) if found.len() > before => page = self.list_next(&next).await?,
                _ => break,
            }
        }
        found.sort_by(|a, b| (a.created_at, &a.sid).cmp(&(b.created_at, &b.sid)));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sought() -> Sought {
        Sought {
            to: "+12025550143".to_owned(),
            sender: Sender::Number("+15005550006".to_owned()),
            body: "rent\nis due ".to_owned(),
            num_media: 0,
            since: "2026-11-01T12:00:00Z".parse().unwrap(),
        }
    }

    fn is(changes: Value) -> bool {
        let mut message = json!({
            "sid": "SM1", "direction": "outbound-api", "to": "+12025550143", "from": "+15005550006",
            "body": "rent\r\nis due", "num_media": "0", "date_created": "Sun, 01 Nov 2026 12:00:00 +0000",
            "messaging_service_sid": null, "status": "queued",
        });
        message.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        sought().is(&Message::from_json(&message).unwrap())
    }

    #[test]
    fn a_message_is_known_by_its_direction_numbers_text_files_and_time() {
        assert!(is(json!({})));
        assert!(is(json!({"body": "Sent from your Twilio trial account - rent\nis due"})));
        assert!(is(json!({"date_created": "Sun, 01 Nov 2026 11:59:30 +0000"})), "clocks differ");
        for other in [
            json!({"direction": "inbound"}),
            json!({"direction": "outbound-reply"}),
            json!({"to": "+12025550144"}),
            json!({"from": "+15005550007"}),
            json!({"body": "rent is due"}),
            json!({"num_media": "1"}),
            json!({"date_created": "Sun, 01 Nov 2026 11:58:59 +0000"}),
        ] {
            assert!(!is(other.clone()), "{other}");
        }
    }

    #[test]
    fn a_text_is_known_after_twilios_smart_encoding_and_another_text_is_not() {
        let ours = "“Está listo” – it’s done…";
        for listed in [ours, "\"Está listo\" - it's done...", "\"Esta listo\" - it's done..."] {
            assert!(same_text(ours, listed), "{listed}");
        }
        assert!(same_text(ours, "Sent from your Twilio trial account - \"Está listo\" - it's done..."));
        for other in ["\"Está listo\" - it's done", "Está listo - it's done...", "“Está lista” – it’s done…"]
        {
            assert!(!same_text(ours, other), "{other}");
        }
    }

    #[test]
    fn a_services_message_is_known_by_its_service_whatever_number_it_chose() {
        let sought = Sought { sender: Sender::MessagingService("MG1".to_owned()), ..sought() };
        let listed = |service: &str, from: Value| {
            let message = json!({"sid": "SM1", "direction": "outbound-api", "to": "+12025550143", "from": from,
                "body": "rent\nis due", "num_media": "0", "messaging_service_sid": service});
            sought.is(&Message::from_json(&message).unwrap())
        };
        assert!(listed("MG1", Value::Null) && listed("MG1", json!("+15005550009")));
        assert!(!listed("MG2", Value::Null));
    }
}
