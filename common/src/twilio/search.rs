//! Finds one of our messages in Twilio's list of messages, which does not contain our ids.

use super::client::{MessageFilter, TwilioClient};
use super::message::Message;
use super::send_error::SendError;
use crate::domain::phone::E164;
use crate::domain::sender::Sender;
use crate::domain::smart_encoding::SmartEncoding;
use jiff::{SignedDuration, Timestamp};

/// The assumed maximum difference between Twilio's clock and ours, including Twilio's rounding to seconds.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// The text that Twilio's trial accounts put before each message.
const TRIAL_PREFIX: &str = "Sent from your Twilio trial account - ";

/// A message that we may have created, as it would appear at Twilio.
#[derive(Clone, PartialEq, Eq)]
pub struct ExpectedMessage {
    /// The recipient.
    pub to: E164,
    /// The sender.
    pub sender: Sender,
    /// The text.
    pub body: String,
    /// The number of media files.
    pub num_media: usize,
    /// The earliest time at which we can have created it, by our clock.
    pub since: Timestamp,
    /// The latest time at which Twilio can have accepted it, by our clock. Not applied to a message with the same
    /// content.
    pub until: Timestamp,
}

/// The result of comparing our content with a message from Twilio's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Similarity {
    /// Same text, as far as the list shows it, and same number of media files.
    Same,
    /// Not comparable: the text was redacted or deleted, or may contain replacements that we do not know.
    Unclear,
    /// Not our text: no change that Twilio makes explains the difference.
    Different,
}

impl ExpectedMessage {
    /// Compares a message from Twilio's list with this one. Returns `None` if its direction, numbers or time prove that
    /// it is another message.
    #[must_use]
    pub fn similarity(&self, message: &Message) -> Option<Similarity> {
        let same_sender = match &self.sender {
            Sender::Number(number) => message.from.as_ref().is_none_or(|from| from == number),
            Sender::MessagingService(sid) => {
                message.messaging_service_sid.as_ref().is_none_or(|service| service == sid)
            }
        };
        let is_ours = matches!(message.direction.as_str(), "outbound-api" | "")
            && message.to.as_ref().is_none_or(|to| to == self.to.as_str())
            && same_sender
            && message.created_at.is_none_or(|at| at >= self.since - CLOCK_MARGIN);
        let similarity = similarity(&self.body, self.num_media, message);
        let in_time = message.created_at.is_none_or(|at| at <= self.until + CLOCK_MARGIN);
        (is_ours && (in_time || similarity == Similarity::Same)).then_some(similarity)
    }
}

/// Omits phone numbers and the text.
impl std::fmt::Debug for ExpectedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExpectedMessage")
            .field("since", &self.since)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// Compares our text and number of media files with those of a message from Twilio's list.
///
/// Twilio changes line ends, trims, and replaces characters outside GSM-7 where Smart Encoding is on, which is the
/// default for messaging services
/// (<https://www.twilio.com/blog/copilot-just-got-even-smarter-announcing-smart-encoding-html>). Bodies and media can
/// be redacted or deleted later (<https://www.twilio.com/docs/messaging/api/message-resource>).
#[must_use]
pub fn similarity(body: &str, num_media: usize, message: &Message) -> Similarity {
    let listed = message.body.as_deref().unwrap_or_default();
    let listed = listed.strip_prefix(TRIAL_PREFIX).unwrap_or(listed);
    if normalized(body) == normalized(listed) {
        let same_files = usize::try_from(message.num_media).is_ok_and(|files| files == num_media);
        return if same_files { Similarity::Same } else { Similarity::Unclear };
    }
    if listed.trim().is_empty() || may_become(body, listed) {
        Similarity::Unclear
    } else {
        Similarity::Different
    }
}

/// Returns the text with all known replacements of Smart Encoding applied and white space collapsed. `<` becomes `>`,
/// because Twilio's map replaces both angle quotation marks with either of them, depending on its version.
fn normalized(text: &str) -> String {
    let text = SmartEncoding::plainest(&text.replace("\r\n", "\n").replace('\0', "")).replace('<', ">");
    let lines: Vec<String> =
        text.trim().split('\n').map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.join("\n")
}

/// Returns whether replacing characters can turn `ours` into `listed`.
///
/// Smart Encoding does not change ASCII letters and digits. So each word of `ours` that is only ASCII must occur in
/// `listed`, in the same order. If all of `ours` is ASCII, `listed` has exactly the same words.
fn may_become(ours: &str, listed: &str) -> bool {
    fn words(text: &str, is_gap: fn(char) -> bool) -> impl Iterator<Item = &str> {
        text.split(is_gap).filter(|word| !word.is_empty())
    }
    if ours.is_ascii() {
        let is_gap = |character: char| !character.is_ascii_alphanumeric();
        return words(ours, is_gap).eq(words(listed, is_gap));
    }
    let is_gap = |character: char| character.is_ascii() && !character.is_ascii_alphanumeric();
    let mut rest = listed;
    words(ours, is_gap).filter(|word| word.is_ascii()).all(|word| match rest.split_once(word) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

impl TwilioClient {
    /// Lists the messages to a number that were created after `since` (by our clock), oldest first.
    ///
    /// The list is limited to `sender` if that is a number. It is not filtered by date, because Twilio's filter
    /// excludes messages that are not sent yet: pages are read from the newest on until a whole page is older than
    /// `since`.
    ///
    /// # Errors
    ///
    /// [`SendError`]. The caller can retry.
    pub async fn sent_to(
        &self,
        to: &E164,
        sender: &Sender,
        since: Timestamp,
    ) -> Result<Vec<Message>, SendError> {
        let from = match sender {
            Sender::Number(number) => Some(number.clone()),
            Sender::MessagingService(_) => None,
        };
        let filter = MessageFilter { to: Some(to.clone()), from, ..MessageFilter::default() };
        let is_recent = |message: &Message| message.created_at.is_none_or(|at| at >= since - CLOCK_MARGIN);
        let mut page = self.list_messages(&filter).await?;
        let mut found = Vec::new();
        loop {
            let before = found.len();
            found.extend(page.messages.into_iter().filter(is_recent));
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

    fn expected() -> ExpectedMessage {
        ExpectedMessage {
            to: "+12025550143".parse().unwrap(),
            sender: Sender::Number("+15005550006".to_owned()),
            body: "rent\nis due ".to_owned(),
            num_media: 0,
            since: "2026-11-01T12:00:00Z".parse().unwrap(),
            until: "2026-11-01T12:15:00Z".parse().unwrap(),
        }
    }

    fn similarity_of(changes: Value) -> Option<Similarity> {
        let mut message = json!({
            "sid": "SM1", "direction": "outbound-api", "to": "+12025550143", "from": "+15005550006",
            "body": "rent\r\nis due", "num_media": "0", "date_created": "Sun, 01 Nov 2026 12:00:00 +0000",
            "messaging_service_sid": null, "status": "queued",
        });
        message.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        expected().similarity(&Message::from_json(&message).unwrap())
    }

    #[test]
    fn a_message_with_another_direction_number_or_time_is_excluded() {
        for same in [
            json!({}),
            json!({"body": "Sent from your Twilio trial account - rent\nis due"}),
            // Within the clock margin.
            json!({"date_created": "Sun, 01 Nov 2026 11:59:30 +0000"}),
            // After `until`, but with the same content.
            json!({"date_created": "Sun, 01 Nov 2026 14:00:00 +0000"}),
        ] {
            assert_eq!(similarity_of(same.clone()), Some(Similarity::Same), "{same}");
        }
        for other in [
            json!({"direction": "inbound"}),
            json!({"direction": "outbound-reply"}),
            json!({"to": "+12025550144"}),
            json!({"from": "+15005550007"}),
            json!({"date_created": "Sun, 01 Nov 2026 11:58:59 +0000"}),
            json!({"body": "something else", "date_created": "Sun, 01 Nov 2026 12:16:01 +0000"}),
        ] {
            assert_eq!(similarity_of(other.clone()), None, "{other}");
        }
    }

    #[test]
    fn an_empty_body_or_another_media_count_is_unclear_and_another_text_is_different() {
        for unclear in [json!({"body": null}), json!({"body": ""}), json!({"num_media": "1"})] {
            assert_eq!(similarity_of(unclear.clone()), Some(Similarity::Unclear), "{unclear}");
        }
        for different in ["rent is overdue", "rent", "rent is due now", "The rent is due"] {
            let different = json!({"body": different});
            assert_eq!(similarity_of(different.clone()), Some(Similarity::Different), "{different}");
        }
    }

    fn compare_texts(ours: &str, listed: &str) -> Similarity {
        similarity(ours, 0, &Message::from_json(&json!({"sid": "SM1", "body": listed})).unwrap())
    }

    #[test]
    fn a_text_changed_by_smart_encoding_is_the_same() {
        let ours = "“Está listo” – it’s done…";
        for listed in [ours, "\"Está listo\" - it's done...", "\"Esta listo\" - it's done..."] {
            assert_eq!(compare_texts(ours, listed), Similarity::Same, "{listed}");
        }
        assert_eq!(compare_texts("Rent\u{a0}is\tdue ‹ now", "Rent  is       due > now"), Similarity::Same);
        let trial = "Sent from your Twilio trial account - \"Está listo\" - it's done...";
        assert_eq!(compare_texts(ours, trial), Similarity::Same);
        assert_eq!(compare_texts("“Está listo” – come by", "The boiler is fixed"), Similarity::Different);
    }

    #[test]
    fn a_text_changed_by_any_published_replacement_is_the_same() {
        let published: Value = serde_json::from_str(include_str!("../../cases/smart_encoding.json")).unwrap();
        for (character, replacement) in published["map"].as_object().unwrap() {
            let listed = format!("Rent 1{}2 is due", replacement.as_str().unwrap());
            assert_eq!(
                compare_texts(&format!("Rent 1{character}2 is due"), &listed),
                Similarity::Same,
                "{character:?}"
            );
        }
        // Version 1.2.0 of the map replaces the angle quotation marks with the opposite signs.
        assert_eq!(compare_texts("Rent ‹now›", "Rent >now<"), Similarity::Same);
        assert_eq!(compare_texts("Man\u{303}ana", "Mañana"), Similarity::Same);
    }

    #[test]
    fn a_text_with_an_unknown_replacement_is_unclear() {
        for (ours, listed) in
            [("Rent ⅓ is due", "Rent 1/3 is due"), ("Rentʬ is due", "Rent?? is due"), ("好", "?")]
        {
            assert_eq!(compare_texts(ours, listed), Similarity::Unclear, "{ours} {listed}");
        }
        assert_eq!(compare_texts("Rent ⅓ is due", "Rent ⅓ was due"), Similarity::Different);
    }

    #[test]
    fn a_message_of_a_messaging_service_matches_with_any_sender_number() {
        let expected = ExpectedMessage { sender: Sender::MessagingService("MG1".to_owned()), ..expected() };
        let listed = |service: &str, from: Value| {
            let message = json!({"sid": "SM1", "direction": "outbound-api", "to": "+12025550143", "from": from,
                "body": "rent\nis due", "num_media": "0", "messaging_service_sid": service});
            expected.similarity(&Message::from_json(&message).unwrap())
        };
        assert_eq!(listed("MG1", Value::Null), Some(Similarity::Same));
        assert_eq!(listed("MG1", json!("+15005550009")), Some(Similarity::Same));
        assert_eq!(listed("MG2", Value::Null), None);
    }
}
