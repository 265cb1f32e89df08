//! Phone numbers: E.164 inside, every spelling outside.
//!
//! Three doors, by who speaks:
//!
//! - What **Twilio** gives is already E.164 or not a number at all: [`Sender::from_twilio`] looks at its shape and
//!   needs no numbering plan.
//! - What a **caller wants to send to** must be a number that the numbering plan allows:
//!   [`NumberingPlan::recipient`], or have written to us: [`NumberingPlan::unlisted_recipient`].
//! - What a **caller looks up** may be any spelling of what was once received: [`NumberingPlan::lookup_variants`].
//!
//! No type here shows a whole number through `Debug`, and none has a `Display`: logs get [`last_four`].

mod e164;
pub(crate) mod nanp;
mod plan;
mod sender;
mod spelling;

pub use e164::{E164, NotE164};
pub use plan::{InvalidRegion, LoadError, NumberingPlan, PhoneError, Recipient, Region};
pub use sender::Sender;

/// Returns the last four characters of an address: all of it that a log may show.
#[must_use]
pub fn last_four(address: &str) -> &str {
    let start = address.char_indices().nth_back(3).map_or(0, |(index, _)| index);
    &address[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_see_at_most_four_characters() {
        assert_eq!(last_four("+12035550123"), "0123");
        assert_eq!(last_four("TWILIO"), "ILIO");
        assert_eq!(last_four("ação🏠"), "ção🏠");
        assert_eq!(last_four("40"), "40");
        assert_eq!(last_four(""), "");
    }
}
