//! Changes to the opt-out ledger.

use super::named::named_enum;

named_enum! {
    /// What a change does.
    pub enum OptOutAction: "an opt-out action" {
        /// The number refuses further messages.
        OptOut = "opt_out",
        /// The number wants messages again.
        OptIn = "opt_in",
    }
}

named_enum! {
    /// How a change was detected.
    pub enum OptOutSource: "the source of an opt-out" {
        /// The message is a keyword such as STOP.
        Keyword = "keyword",
        /// A sentence refuses messages.
        FreeText = "free_text",
        /// Twilio's parameter `OptOutType`.
        OptOutType = "opt_out_type",
        /// An error code of Twilio.
        TwilioError = "twilio_error",
        /// Consent that was given or revoked elsewhere, and recorded through the API.
        Consent = "consent",
    }
}
