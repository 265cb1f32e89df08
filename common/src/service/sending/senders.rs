//! The senders that are configured, and which of them sends a message.

use crate::db::conversations::LastSender;
use crate::domain::phone::NumberingPlan;
use crate::domain::sender::Sender;

/// The configured senders: phone numbers, and a messaging service, which chooses one of its own numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Senders {
    /// E.164 numbers or short codes.
    pub numbers: Vec<String>,
    /// `MG…`.
    pub messaging_service_sid: Option<String>,
}

/// The sender of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The sender.
    pub sender: Sender,
    /// The sender that the conversation used before, if it is not configured any more.
    pub replaced: Option<Sender>,
}

impl Senders {
    /// Returns the sender that a request names, if it is configured.
    #[must_use]
    pub fn named(&self, from: &str, plan: &NumberingPlan) -> Option<Choice> {
        let canonical = plan.canonical(from);
        let sender = self
            .service(Some(from))
            .or_else(|| self.number(Some(from)))
            .or_else(|| self.number(Some(&canonical)))?;
        Some(Choice { sender, replaced: None })
    }

    /// Returns the sender of a message whose request names none: our number that the conversation used last, or the
    /// messaging service through which its last message went. Else, and if that is not configured any more, the
    /// messaging service, which keeps using the number that a recipient already knows, or the first number.
    #[must_use]
    pub fn default(&self, last: Option<&LastSender>) -> Option<Choice> {
        let number = last.and_then(|last| last.our_number.as_deref());
        let service = last.and_then(|last| last.messaging_service_sid.as_deref());
        if let Some(sender) = self.number(number).or_else(|| self.service(service)) {
            return Some(Choice { sender, replaced: None });
        }
        let replaced = number.or(service).map(Sender::from);
        let first = self.numbers.first().map(String::as_str);
        let sender = self.service(self.messaging_service_sid.as_deref()).or_else(|| self.number(first))?;
        Some(Choice { sender, replaced })
    }

    fn number(&self, number: Option<&str>) -> Option<Sender> {
        self.numbers.iter().find(|own| Some(own.as_str()) == number).map(|own| Sender::Number(own.clone()))
    }

    fn service(&self, sid: Option<&str>) -> Option<Sender> {
        self.messaging_service_sid.as_deref().filter(|own| Some(*own) == sid).map(Sender::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "MG9752274e9e519418a7406176694466fa";
    const FORMER_SERVICE: &str = "MG00000000000000000000000000000000";

    fn senders(numbers: &[&str], service: Option<&str>) -> Senders {
        Senders {
            numbers: numbers.iter().map(|number| (*number).to_owned()).collect(),
            messaging_service_sid: service.map(str::to_owned),
        }
    }

    fn chosen(senders: &Senders, number: Option<&str>, service: Option<&str>) -> (String, Option<String>) {
        let last = LastSender {
            our_number: number.map(str::to_owned),
            messaging_service_sid: service.map(str::to_owned),
        };
        let choice = senders.default(Some(&last)).unwrap();
        (choice.sender.into(), choice.replaced.map(String::from))
    }

    #[test]
    fn a_conversation_keeps_its_number_or_its_service() {
        let all = senders(&["+18605550100", "74637"], Some(SERVICE));
        for (number, service, sender) in [
            (Some("74637"), None, "74637"),
            (Some("74637"), Some(SERVICE), "74637"),
            (Some("+18605550100"), Some(FORMER_SERVICE), "+18605550100"),
            // A number of the service's pool is not listed.
            (Some("+18605550177"), Some(SERVICE), SERVICE),
            (None, Some(SERVICE), SERVICE),
        ] {
            assert_eq!(chosen(&all, number, service), (sender.to_owned(), None), "{number:?} {service:?}");
        }
    }

    #[test]
    fn a_new_conversation_gets_the_service_or_the_first_number() {
        let default = |senders: &Senders| senders.default(None).unwrap();
        let with_service = default(&senders(&["+18605550100"], Some(SERVICE)));
        assert_eq!(with_service, Choice { sender: SERVICE.into(), replaced: None });
        let without = default(&senders(&["+18605550100", "74637"], None));
        assert_eq!(without, Choice { sender: "+18605550100".into(), replaced: None });
    }

    #[test]
    fn a_sender_that_is_not_configured_any_more_is_named() {
        let numbers = senders(&["+18605550100"], None);
        let both = senders(&["+18605550100"], Some(SERVICE));
        for (senders, number, service, sender, replaced) in [
            (&numbers, Some("+18605550177"), None, "+18605550100", "+18605550177"),
            (&numbers, Some("+18605550177"), Some(SERVICE), "+18605550100", "+18605550177"),
            (&numbers, None, Some(SERVICE), "+18605550100", SERVICE),
            (&both, Some("+18605550177"), None, SERVICE, "+18605550177"),
            (&both, None, Some(FORMER_SERVICE), SERVICE, FORMER_SERVICE),
        ] {
            let expected = (sender.to_owned(), Some(replaced.to_owned()));
            assert_eq!(chosen(senders, number, service), expected, "{number:?} {service:?}");
        }
    }
}
