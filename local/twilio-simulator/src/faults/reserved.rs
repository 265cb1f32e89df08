//! Reserved recipients, which always meet a fault.

use crate::faults::fault::{CallbackFault, CallbackMode, Fault};

/// Returns the fault of a reserved recipient: Twilio's magic numbers and those of this simulator, +1 500 555 02xx and
/// +1 500 56, 57 or 58 followed by an error code. The README has the table.
pub(crate) fn reserved(to: &str) -> Option<Fault> {
    let digits = to.strip_prefix("+1500")?;
    if let Some(last_four) = digits.strip_prefix("555") {
        return numbered(last_four);
    }
    let code = digits.get(2..).filter(|code| code.len() == 5)?.parse().ok()?;
    match digits.get(..2)? {
        "56" => Some(Fault::Undelivered { code }),
        "57" => Some(Fault::Error { code, status: None }),
        "58" => Some(Fault::Failed { code }),
        _ => None,
    }
}

fn numbered(last_four: &str) -> Option<Fault> {
    let error = |code| Some(Fault::Error { code, status: None });
    let callbacks = |mode| Some(Fault::Callbacks(CallbackFault { mode, delay_ms: None, statuses: None }));
    match last_four {
        "0001" => error(21211),
        "0002" => error(21612),
        "0003" => error(21408),
        "0004" => error(21610),
        "0009" => error(21614),
        "0210" => Some(Fault::ResetBeforeRead {}),
        "0211" => Some(Fault::ResetAfterRead { accept: false }),
        "0212" => Some(Fault::ResetAfterRead { accept: true }),
        "0220" => Some(Fault::Hang { accept: false, seconds: None }),
        "0221" => Some(Fault::Hang { accept: true, seconds: None }),
        "0222" => Some(Fault::Slow { ms: 3_000 }),
        "0230" => Some(Fault::RateLimited { retry_after: Some(1) }),
        "0231" => Some(Fault::RateLimited { retry_after: None }),
        "0240" => Some(Fault::ServerError { accept: false, status: 500 }),
        "0241" => Some(Fault::ServerError { accept: true, status: 500 }),
        "0242" => Some(Fault::ServerError { accept: false, status: 503 }),
        "0250" => Some(Fault::Truncated {}),
        "0251" => Some(Fault::Garbled {}),
        "0260" => callbacks(CallbackMode::Late),
        "0261" => callbacks(CallbackMode::Doubled),
        "0262" => callbacks(CallbackMode::Reordered),
        "0263" => callbacks(CallbackMode::Lost),
        "0264" => callbacks(CallbackMode::Early),
        "0265" => Some(Fault::SentOnly {}),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_recipients_have_their_faults() {
        assert_eq!(reserved("+15005550004"), Some(Fault::Error { code: 21610, status: None }));
        assert_eq!(reserved("+15005550212"), Some(Fault::ResetAfterRead { accept: true }));
        assert_eq!(reserved("+15005630008"), Some(Fault::Undelivered { code: 30008 }));
        assert_eq!(reserved("+15005721610"), Some(Fault::Error { code: 21610, status: None }));
        assert_eq!(reserved("+15005830002"), Some(Fault::Failed { code: 30002 }));
        assert_eq!(reserved("+15005550006"), None);
        assert_eq!(reserved("+14155550001"), None);
        assert_eq!(reserved("+150056300"), None);
    }
}
