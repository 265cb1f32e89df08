//! Parses RFC 3339 timestamps with optional RFC 9557 suffixes.
//!
//! Stricter than jiff's own parser, which accepts offsets of a day and more, offsets with seconds and a second 60, and
//! ignores a time zone that contradicts the offset.

use super::quiet_hours;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Timestamp, Unit};

/// Why a timestamp is invalid. Each text completes a sentence that starts with the field name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstantError {
    /// The text is not RFC 3339, or the date or time does not exist.
    #[error("is not an instant with its offset, such as 2026-11-23T10:00:00Z")]
    Format,
    /// Postgres does not store leap seconds.
    #[error("has the second 60, and leap seconds are not supported")]
    LeapSecond,
    /// The UTC offset is outside -23:59 to +23:59.
    #[error("has an offset that is not between -23:59 and +23:59")]
    Offset,
    /// The instant is outside the supported range.
    #[error("is not between the years 0000 and 9999; the latest supported instant is 9999-12-30T22:00:00Z")]
    OutOfRange,
    /// The suffix names an unknown time zone.
    #[error("names a time zone that is not known")]
    Zone,
    /// The time zone in the suffix contradicts the offset.
    #[error("has an offset that its time zone does not have at that time")]
    Contradiction,
    /// A suffix is marked critical and is not supported.
    #[error("has a critical suffix that is not supported")]
    Critical,
}

/// Parses a timestamp and rounds it to microseconds, the precision of Postgres.
///
/// # Errors
///
/// Returns [`InstantError`]; show it to the API client.
pub fn parse(text: &str) -> Result<Timestamp, InstantError> {
    let (instant, suffix) = text.split_at(text.find('[').unwrap_or(text.len()));
    let (local, written) = match instant.strip_suffix(['Z', 'z']) {
        Some(local) => (local, None),
        None => {
            let at = instant.len().checked_sub("+00:00".len()).ok_or(InstantError::Format)?;
            let (local, offset) = instant.split_at_checked(at).ok_or(InstantError::Format)?;
            (local, Some(offset))
        }
    };
    let local = local_time(local)?;
    let offset = written.map_or(Ok(Offset::UTC), offset)?;
    let at = offset.to_timestamp(local).map_err(|_| InstantError::OutOfRange)?;
    // `Z` and `-00:00` both mean that the local offset is unknown (RFC 9557 §2.2, RFC 3339 §4.3).
    let known = written.filter(|written| *written != "-00:00").map(|_| offset);
    check_suffix(suffix, at, known)?;
    at.round(Unit::Microsecond).map_err(|_| InstantError::OutOfRange)
}

/// Reads `2026-11-23T10:00:00.123`. RFC 3339 §5.6 lets a space stand for the `T`.
fn local_time(text: &str) -> Result<DateTime, InstantError> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    /// Digits of a fraction that jiff parses; further digits are dropped.
    const NANOSECONDS: usize = 9;
    let (main, fraction) = text.split_at_checked(SHAPE.len()).ok_or(InstantError::Format)?;
    let has_shape = main.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        _ => byte == *shape,
    });
    let is_fraction = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !has_shape || !(fraction.is_empty() || fraction.strip_prefix('.').is_some_and(is_fraction)) {
        return Err(InstantError::Format);
    }
    if main.ends_with(":60") {
        return Err(InstantError::LeapSecond);
    }
    if main.get(11..13).is_some_and(|hour| hour > "23") {
        return Err(InstantError::Format);
    }
    let kept = text.get(..SHAPE.len() + 1 + NANOSECONDS).unwrap_or(text);
    kept.parse().map_err(|_| InstantError::Format)
}

/// Reads `+05:30`.
fn offset(text: &str) -> Result<Offset, InstantError> {
    let (sign, rest) = match text.as_bytes() {
        [b'+', ..] => (1, &text[1..]),
        [b'-', ..] => (-1, &text[1..]),
        _ => return Err(InstantError::Format),
    };
    let (hours, minutes) = rest.split_once(':').ok_or(InstantError::Format)?;
    let number = |text: &str| {
        let is_two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|_| is_two_digits).ok_or(InstantError::Format)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 23 || minutes > 59 {
        return Err(InstantError::Offset);
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).map_err(|_| InstantError::Offset)
}

/// Validates the RFC 9557 suffix: an optional time zone, then tags such as `[u-ca=gregory]`.
fn check_suffix(suffix: &str, at: Timestamp, known: Option<Offset>) -> Result<(), InstantError> {
    let mut rest = suffix;
    while !rest.is_empty() {
        let inner = rest.strip_prefix('[').ok_or(InstantError::Format)?;
        let (tag, after) = inner.split_once(']').ok_or(InstantError::Format)?;
        let is_first = rest.len() == suffix.len();
        rest = after;
        let (is_critical, tag) = tag.strip_prefix('!').map_or((false, tag), |tag| (true, tag));
        if tag.contains('=') {
            if is_critical {
                return Err(InstantError::Critical);
            }
            continue;
        }
        if !is_first {
            return Err(InstantError::Format);
        }
        let of_zone = match tag.as_bytes() {
            [b'+' | b'-', ..] => offset(tag)?,
            _ => quiet_hours::zone(tag).ok_or(InstantError::Zone)?.to_offset(at),
        };
        if known.is_some_and(|known| known != of_zone) {
            return Err(InstantError::Contradiction);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        parse(text).map_or_else(|error| format!("{error:?}"), |at| at.to_string())
    }

    #[test]
    fn valid_rfc_3339_and_rfc_9557_timestamps_are_parsed() {
        for (text, instant) in [
            ("2027-06-01T12:00:00Z", "2027-06-01T12:00:00Z"),
            ("2027-06-01t12:00:00z", "2027-06-01T12:00:00Z"),
            ("2027-06-01 12:00:00+00:00", "2027-06-01T12:00:00Z"),
            ("2027-06-01T12:00:00.5-04:00", "2027-06-01T16:00:00.5Z"),
            ("2027-06-01T12:00:00.1234565Z", "2027-06-01T12:00:00.123457Z"),
            ("2027-06-01T12:00:00.12345678901234567890Z", "2027-06-01T12:00:00.123457Z"),
            ("2027-06-01T12:00:00-00:00", "2027-06-01T12:00:00Z"),
            ("2027-06-01T12:00:00+23:59", "2027-05-31T12:01:00Z"),
            ("2027-06-01T12:00:00-04:00[America/New_York]", "2027-06-01T16:00:00Z"),
            ("2027-12-01T12:00:00-05:00[!America/New_York][u-ca=gregory]", "2027-12-01T17:00:00Z"),
            ("2027-06-01T12:00:00Z[America/New_York]", "2027-06-01T12:00:00Z"),
            ("2027-06-01T12:00:00-00:00[Europe/Paris]", "2027-06-01T12:00:00Z"),
            ("2027-06-01T12:00:00+05:30[+05:30]", "2027-06-01T06:30:00Z"),
            ("2027-06-01T12:00:00Z[u-ca=hebrew]", "2027-06-01T12:00:00Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(read(text), instant, "{text}");
        }
    }

    #[test]
    fn invalid_timestamps_are_rejected_with_the_reason() {
        for (text, reason) in [
            ("", "Format"),
            ("Z", "Format"),
            ("tomorrow", "Format"),
            ("2027-06-01", "Format"),
            ("2027-06-01T12:00:00", "Format"),
            ("2027-06-01T12:00Z", "Format"),
            ("2027-06-01T12Z", "Format"),
            ("20270601T120000Z", "Format"),
            ("2027-06-01T12:00:00,5Z", "Format"),
            ("2027-06-01T12:00:00.Z", "Format"),
            ("2027-06-01T24:00:00Z", "Format"),
            ("2027-06-01T12:60:00Z", "Format"),
            ("2027-06-01T12:00:61Z", "Format"),
            ("2027-02-29T12:00:00Z", "Format"),
            ("2027-152T12:00:00Z", "Format"),
            ("2027-W22-2T12:00:00Z", "Format"),
            ("+002027-06-01T12:00:00Z", "Format"),
            (" 2027-06-01T12:00:00Z", "Format"),
            ("2027-06-01T12:00:00Z ", "Format"),
            ("2027-06-01T12:00:00 Z", "Format"),
            ("2027-06-01T12:00:00+5:00", "Format"),
            ("2027-06-01T12:00:00+05", "Format"),
            ("2027-06-01T12:00:00+0530", "Format"),
            ("2027-06-01T12:00:00+05:30:15", "Format"),
            ("2027-06-01T12:00:00\u{2212}05:00", "Format"),
            ("2027-06-01T12:00:00-é1:00", "Format"),
            ("2027-06-01T12:00:00EST", "Format"),
            ("٢٠٢٧-06-01T12:00:00Z", "Format"),
            ("2027-06-01T14:53:60Z", "LeapSecond"),
            ("2027-06-30T23:59:60.5Z", "LeapSecond"),
            ("2027-06-01T12:00:00+25:00", "Offset"),
            ("2027-06-01T12:00:00-24:00", "Offset"),
            ("2027-06-01T12:00:00+05:60", "Offset"),
            ("9999-12-31T23:59:59Z", "OutOfRange"),
            ("2027-06-01T12:00:00-09:00[America/New_York]", "Contradiction"),
            ("2027-12-01T12:00:00-04:00[America/New_York]", "Contradiction"),
            ("2027-06-01T12:00:00+00:00[Europe/Paris]", "Contradiction"),
            ("2027-06-01T12:00:00+05:30[+05:45]", "Contradiction"),
            ("2027-06-01T12:00:00Z[Mars/Olympus]", "Zone"),
            ("2027-06-01T12:00:00Z[]", "Zone"),
            ("2027-06-01T12:00:00Z[!u-ca=hebrew]", "Critical"),
            ("2027-06-01T12:00:00Z[u-ca=gregory][America/New_York]", "Format"),
            ("2027-06-01T12:00:00Z[America/New_York", "Format"),
            ("2027-06-01T12:00:00Z[America/New_York]x", "Format"),
        ] {
            assert_eq!(read(text), reason, "{text}");
        }
    }
}
