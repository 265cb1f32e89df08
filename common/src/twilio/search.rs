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
    /// When Twilio can have taken it at the latest, by our clock. A message with the same content is accepted later, too.
    pub until: Timestamp,
}

/// How the content of a message of Twilio's list compares with ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// It is the same, as far as a list can show: text and number of files.
    Same,
    /// It may be what Twilio made of ours, or it is gone: redacted, deleted, or replaced characters that we do not know.
    Unclear,
    /// Nothing that Twilio does to a text makes this one of ours.
    Different,
}

impl Sought {
    /// Compares a message of Twilio's list with this one: `None` if its direction, numbers or time exclude that a create of
    /// ours made it.
    #[must_use]
    pub fn likeness(&self, message: &Message) -> Option<Likeness> {
        let same_sender = match &self.sender {
            Sender::Number(number) => message.from.as_ref().is_none_or(|from| from == number),
            Sender::MessagingService(sid) => {
                message.messaging_service_sid.as_ref().is_none_or(|service| service == sid)
            }
        };
        let is_ours = matches!(message.direction.as_str(), "outbound-api" | "")
            && message.to.as_ref().is_none_or(|to| *to == self.to)
            && same_sender
            && message.created_at.is_none_or(|at| at >= self.since - CLOCK_MARGIN);
        let likeness = likeness(&self.body, self.num_media, message);
        let in_time = message.created_at.is_none_or(|at| at <= self.until + CLOCK_MARGIN);
        (is_ours && (in_time || likeness == Likeness::Same)).then_some(likeness)
    }
}

/// Shows no number and no text.
impl std::fmt::Debug for Sought {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sought")
            .field("since", &self.since)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// Compares our text and number of files with those of a message of Twilio's list.
///
/// Twilio ends lines its own way, trims, and replaces characters outside GSM-7 where Smart Encoding is on, as in every new
/// messaging service (<https://www.twilio.com/blog/copilot-just-got-even-smarter-announcing-smart-encoding-html>). Bodies and
/// media can be redacted or deleted afterwards (<https://www.twilio.com/docs/messaging/api/message-resource>).
#[must_use]
pub fn likeness(body: &str, num_media: usize, message: &Message) -> Likeness {
    let listed = message.body.as_deref().unwrap_or_default();
    let listed = listed.strip_prefix(TRIAL_PREFIX).unwrap_or(listed);
    if plain(body) == plain(listed) {
        let same_files = usize::try_from(message.num_media).is_ok_and(|files| files == num_media);
        return if same_files { Likeness::Same } else { Likeness::Unclear };
    }
    if listed.trim().is_empty() || may_become(body, listed) { Likeness::Unclear } else { Likeness::Different }
}

/// The text with everything replaced that Smart Encoding may replace, as far as we know its map. Of some spaces and tabs Twilio
/// makes several spaces, and of an angle quotation mark `>`, whichever it is.
fn plain(text: &str) -> String {
    let text = SmartEncoding::plainest(&text.replace("\r\n", "\n").replace('\0', "")).replace('<', ">");
    let lines: Vec<String> =
        text.trim().split('\n').map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.join("\n")
}

/// Tells whether `ours` may have become `listed` by a replacement of characters. Smart Encoding leaves ASCII letters and
/// digits alone, so the words that have no other character next to them must still be there in their order; a text of ASCII
/// only has no other words either.
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
            until: "2026-11-01T12:15:00Z".parse().unwrap(),
        }
    }

    fn likeness_of(changes: Value) -> Option<Likeness> {
        let mut message = json!({
            "sid": "SM1", "direction": "outbound-api", "to": "+12025550143", "from": "+15005550006",
            "body": "rent\r\nis due", "num_media": "0", "date_created": "Sun, 01 Nov 2026 12:00:00 +0000",
            "messaging_service_sid": null, "status": "queued",
        });
        message.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        sought().likeness(&Message::from_json(&message).unwrap())
    }

    #[test]
    fn a_candidate_has_our_direction_numbers_and_time() {
        for same in [
            json!({}),
            json!({"body": "Sent from your Twilio trial account - rent\nis due"}),
            // Clocks differ.
            json!({"date_created": "Sun, 01 Nov 2026 11:59:30 +0000"}),
            // The same content is ours also when Twilio took it late.
            json!({"date_created": "Sun, 01 Nov 2026 14:00:00 +0000"}),
        ] {
            assert_eq!(likeness_of(same.clone()), Some(Likeness::Same), "{same}");
        }
        for other in [
            json!({"direction": "inbound"}),
            json!({"direction": "outbound-reply"}),
            json!({"to": "+12025550144"}),
            json!({"from": "+15005550007"}),
            json!({"date_created": "Sun, 01 Nov 2026 11:58:59 +0000"}),
            json!({"body": "something else", "date_created": "Sun, 01 Nov 2026 12:16:01 +0000"}),
        ] {
            assert_eq!(likeness_of(other.clone()), None, "{other}");
        }
    }

    #[test]
    fn content_that_is_gone_or_has_other_files_is_unclear_and_another_text_is_different() {
        for unclear in [json!({"body": null}), json!({"body": ""}), json!({"num_media": "1"})] {
            assert_eq!(likeness_of(unclear.clone()), Some(Likeness::Unclear), "{unclear}");
        }
        for different in ["rent is overdue", "rent", "rent is due now", "The rent is due"] {
            let different = json!({"body": different});
            assert_eq!(likeness_of(different.clone()), Some(Likeness::Different), "{different}");
        }
    }

    fn texts(ours: &str, listed: &str) -> Likeness {
        likeness(ours, 0, &Message::from_json(&json!({"sid": "SM1", "body": listed})).unwrap())
    }

    #[test]
    fn a_text_is_known_after_twilios_smart_encoding() {
        let ours = "“Está listo” – it’s done…";
        for listed in [ours, "\"Está listo\" - it's done...", "\"Esta listo\" - it's done..."] {
            assert_eq!(texts(ours, listed), Likeness::Same, "{listed}");
        }
        assert_eq!(texts("Rent\u{a0}is\tdue ‹ now", "Rent  is       due > now"), Likeness::Same);
        let trial = "Sent from your Twilio trial account - \"Está listo\" - it's done...";
        assert_eq!(texts(ours, trial), Likeness::Same);
        assert_eq!(texts("“Está listo” – come by", "The boiler is fixed"), Likeness::Different);
    }

    #[test]
    fn a_text_is_known_after_each_replacement_of_twilios_map() {
        let published: Value = serde_json::from_str(include_str!("../../cases/smart_encoding.json")).unwrap();
        for (character, replacement) in published["map"].as_object().unwrap() {
            let listed = format!("Rent 1{}2 is due", replacement.as_str().unwrap());
            assert_eq!(
                texts(&format!("Rent 1{character}2 is due"), &listed),
                Likeness::Same,
                "{character:?}"
            );
        }
        // Version 1.2.0 of the map has the angle quotation marks the other way round.
        assert_eq!(texts("Rent ‹now›", "Rent >now<"), Likeness::Same);
        assert_eq!(texts("Man\u{303}ana", "Mañana"), Likeness::Same);
    }

    #[test]
    fn a_replacement_that_we_do_not_know_leaves_a_text_unclear() {
        for (ours, listed) in
            [("Rent ⅓ is due", "Rent 1/3 is due"), ("Rentʬ is due", "Rent?? is due"), ("好", "?")]
        {
            assert_eq!(texts(ours, listed), Likeness::Unclear, "{ours} {listed}");
        }
        assert_eq!(texts("Rent ⅓ is due", "Rent ⅓ was due"), Likeness::Different);
    }

    #[test]
    fn a_services_message_is_known_by_its_service_whatever_number_it_chose() {
        let sought = Sought { sender: Sender::MessagingService("MG1".to_owned()), ..sought() };
        let listed = |service: &str, from: Value| {
            let message = json!({"sid": "SM1", "direction": "outbound-api", "to": "+12025550143", "from": from,
                "body": "rent\nis due", "num_media": "0", "messaging_service_sid": service});
            sought.likeness(&Message::from_json(&message).unwrap())
        };
        assert_eq!(listed("MG1", Value::Null), Some(Likeness::Same));
        assert_eq!(listed("MG1", json!("+15005550009")), Some(Likeness::Same));
        assert_eq!(listed("MG2", Value::Null), None);
    }
}
