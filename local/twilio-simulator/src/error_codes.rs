//! Twilio's error codes with their HTTP status and text.
//!
//! <https://www.twilio.com/docs/api/errors>

/// Returns the HTTP status of an error code.
pub(crate) fn status(code: u32) -> u16 {
    match code {
        20003 => 401,
        20004 => 405,
        20404 => 404,
        20009 | 30409 => 409,
        20429 | 21611 => 429,
        20500 => 500,
        20503 => 503,
        _ => 400,
    }
}

/// Returns the text of an error code. Twilio changes texts, but not codes.
pub(crate) fn text(code: u32) -> &'static str {
    match code {
        11200 => "HTTP retrieval failure",
        11205 => "HTTP connection failure",
        14107 => "Message rate limit exceeded",
        20001 => "Invalid parameter",
        20003 => "Authenticate",
        20004 => "Method not allowed",
        20009 => "Cannot delete or redact a message that is still in progress",
        20404 => "The requested resource was not found",
        20429 => "Too Many Requests",
        20500 => "An internal server error has occurred",
        20503 => "Service unavailable",
        21211 => "Invalid 'To' Phone Number",
        21212 => "Invalid 'From' Phone Number",
        21408 => "Permission to send an SMS has not been enabled for the region indicated by the 'To' number",
        21602 => "Message body is required.",
        21603 => "A 'From' phone number is required.",
        21604 => "A 'To' phone number is required.",
        21606 => "The 'From' phone number provided is not a valid message-capable Twilio phone number",
        21608 => "The 'To' number is unverified. Trial accounts cannot send messages to unverified numbers",
        21609 => "Invalid 'StatusCallback' URL",
        21610 => "Attempt to send to unsubscribed recipient",
        21611 => "This 'From' number has exceeded the maximum number of queued messages",
        21612 => "The 'To' phone number is not currently reachable via SMS or MMS",
        21614 => "'To' number is not a valid mobile number",
        21617 => "The concatenated message body exceeds the 1600 character limit",
        21620 => "Invalid media URL(s)",
        21623 => "Number of media files exceeds allowed limit",
        21701 => "The Messaging Service does not exist",
        21703 => "The Messaging Service does not have a phone number available to send a message",
        21704 => "The Messaging Service contains no phone numbers",
        21705 => "The Messaging Service is invalid",
        30001 => "Queue overflow",
        30002 => "Account suspended",
        30003 => "Unreachable destination handset",
        30004 => "Message blocked",
        30005 => "Unknown destination handset",
        30006 => "Landline or unreachable carrier",
        30007 => "Message filtered",
        30008 => "Unknown error",
        30017 => "Carrier network congestion",
        30019 => "Content size exceeds carrier limit",
        30022 => "US A2P 10DLC: rate limits exceeded",
        30023 => "US A2P 10DLC: daily message cap reached",
        30032 => "Toll-free phone number has not been verified",
        30034 => "US A2P 10DLC: message from an unregistered number",
        30036 => "Validity period expired",
        30409 => "This message cannot be canceled",
        30410 => "Provider timeout error",
        30500 => "Provider internal error",
        35111 => "SendAt timestamp is missing",
        35114 => {
            "SendAt time must be between 300 seconds and 35 days (3024000 seconds) in the future, inclusive"
        }
        35118 => "MessagingServiceSid is required to schedule a message",
        63017 | 63018 => "Rate limit exceeded for channel",
        63038 => "Account exceeded the daily messages limit",
        _ => "Unknown error",
    }
}
