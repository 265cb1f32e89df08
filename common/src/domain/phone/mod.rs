//! Phone numbers, stored as E.164.
//!
//! There are three ways to parse a number:
//!
//! - From **Twilio**, it is E.164 or not a phone number: [`InboundSender::from_twilio`] needs no numbering plan.
//! - A **recipient** must be valid in the numbering plan ([`NumberingPlan::recipient`]), or have sent us a message
//!   ([`NumberingPlan::unlisted_recipient`]).
//! - A **lookup** accepts any spelling: [`NumberingPlan::lookup_variants`].
//!
//! No type has a `Display`, and `Debug` does not show whole numbers. Logs use [`last_four`].

mod e164;
pub(crate) mod nanp;
mod plan;
mod sender;
mod spelling;

pub use e164::{E164, NotE164};
pub use plan::{InvalidRegion, LoadError, NumberingPlan, PhoneError, Recipient, Region};
pub use sender::InboundSender;

/// Returns the last four characters of an address. Logs must not contain more of it.
#[must_use]
pub fn last_four(address: &str) -> &str {
    let start = address.char_indices().nth_back(3).map_or(0, |(index, _)| index);
    &address[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_four_characters_are_logged() {
        assert_eq!(last_four("+12035550123"), "0123");
        assert_eq!(last_four("TWILIO"), "ILIO");
        assert_eq!(last_four("ação🏠"), "ção🏠");
        assert_eq!(last_four("40"), "40");
        assert_eq!(last_four(""), "");
    }
}
