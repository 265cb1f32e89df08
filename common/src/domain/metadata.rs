//! A JSON object that the API client stores with a message. Numbers are returned exactly as written.
//!
//! Postgres stores it as `jsonb`, which keeps the digits of a decimal number but expands exponents and drops the sign
//! of a negative zero. Numbers that `jsonb` would change are rejected.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

/// The longest number that is accepted, in characters. `jsonb` holds 16,383 digits behind the point, and far more
/// before it.
const MAX_NUMBER: usize = 100;

/// How much of a number an error quotes.
const MAX_QUOTED: usize = 40;

/// A JSON object as the caller wrote it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(Box<RawValue>);

/// Why an object cannot be stored unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Postgres cannot store a NUL character.
    #[error("contains a NUL character")]
    Nul,
    /// `jsonb` would expand the exponent of a number.
    #[error(
        "holds the number {0}, which can't be kept exactly; write it without an exponent, or as a string"
    )]
    Exponent(String),
    /// `jsonb` has no negative zero.
    #[error("holds the number {0}, which can't be kept exactly; write 0, or a string")]
    NegativeZero(String),
    /// A number is too long.
    #[error("holds a number of more than {MAX_NUMBER} characters; write it as a string")]
    LongNumber,
    /// `jsonb` keeps only one of several fields with the same name.
    #[error("has an object in which a field is given more than once")]
    Repeated,
    /// A string or the nesting is not valid.
    #[error("is not JSON: {0}")]
    Json(String),
}

impl Metadata {
    /// Checks an object that is known to be well-formed JSON.
    ///
    /// # Errors
    ///
    /// [`MetadataError`], to be shown to the caller.
    pub fn new(object: Box<RawValue>) -> Result<Self, MetadataError> {
        let scanned = Scanned::of(object.get())?;
        let value: Value = serde_json::from_str(&scanned.exact).map_err(|error| {
            let text = error.to_string();
            MetadataError::Json(text.split(" at line ").next().unwrap_or_default().to_owned())
        })?;
        if fields_of(&value) != scanned.fields {
            return Err(MetadataError::Repeated);
        }
        Ok(Self(object))
    }

    /// Returns a value that is equal for two objects only if all their numbers are written alike: those that a 64-bit
    /// integer or double would change are strings that begin with a NUL, which no string of the caller's does.
    #[must_use]
    pub fn exact(&self) -> Value {
        let exact = Scanned::of(self.0.get()).ok().map(|scanned| scanned.exact);
        exact.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// Properties that are lost when the object is parsed.
struct Scanned {
    /// The same text with numbers that [`Number`] would change as strings.
    exact: String,
    /// How many fields its objects have in all.
    fields: usize,
}

impl Scanned {
    fn of(text: &str) -> Result<Self, MetadataError> {
        let mut scanned = Self { exact: String::with_capacity(text.len()), fields: 0 };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '"' => string_length(rest)?,
                '-' | '0'..='9' => rest.find(|c: char| !is_of_number(c)).unwrap_or(rest.len()),
                _ => first.len_utf8(),
            };
            let (token, after) = rest.split_at(length);
            match first {
                '-' | '0'..='9' => scanned.number(token)?,
                _ => scanned.exact.push_str(token),
            }
            scanned.fields += usize::from(first == ':');
            rest = after;
        }
        Ok(scanned)
    }

    fn number(&mut self, token: &str) -> Result<(), MetadataError> {
        let quoted = || token.chars().take(MAX_QUOTED).collect();
        if token.contains(['e', 'E']) {
            return Err(MetadataError::Exponent(quoted()));
        }
        if token.len() > MAX_NUMBER {
            return Err(MetadataError::LongNumber);
        }
        if token.starts_with('-') && !token.contains(|c: char| c.is_ascii_digit() && c != '0') {
            return Err(MetadataError::NegativeZero(quoted()));
        }
        let is_exact = token.parse::<Number>().is_ok_and(|number| number.to_string() == token);
        if is_exact {
            self.exact.push_str(token);
        } else {
            self.exact.push_str("\"\\u0000");
            self.exact.push_str(token);
            self.exact.push('"');
        }
        Ok(())
    }
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')
}

/// Returns the length of the string that the text begins with, quotes included.
fn string_length(text: &str) -> Result<usize, MetadataError> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' if text[at..].starts_with("\\u0000") => return Err(MetadataError::Nul),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Ok(text.len())
}

fn fields_of(value: &Value) -> usize {
    match value {
        Value::Array(entries) => entries.iter().map(fields_of).sum(),
        Value::Object(fields) => fields.len() + fields.values().map(fields_of).sum::<usize>(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(text: &str) -> Result<Metadata, MetadataError> {
        Metadata::new(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn numbers_are_stored_as_written_or_rejected() {
        for kept in [
            r#"{"a":123456789012345678901234567890}"#,
            r#"{"a":18446744073709551616,"b":[-9223372036854775809]}"#,
            r#"{"a":1250.00,"b":1.10,"c":0.1000000000000000055511151231257827}"#,
            r#"{"a":0,"b":0.0,"c":-0.5,"1e2":"1e-400, -0: \"2e3\" \\"}"#,
            r#"{}"#,
        ] {
            assert_eq!(serde_json::to_string(&metadata(kept).unwrap()).unwrap(), kept);
        }
        for exponent in ["1e400", "1e-400", "1E2", "0.1e1", "-2.5e+3"] {
            let error = metadata(&format!("{{\"a\":[1,{{\"b\":{exponent}}}]}}")).unwrap_err();
            assert_eq!(error, MetadataError::Exponent(exponent.to_owned()));
        }
        for zero in ["-0", "-0.0", "-0.00"] {
            let error = metadata(&format!("{{\"a\": {zero} }}")).unwrap_err();
            assert_eq!(error, MetadataError::NegativeZero(zero.to_owned()));
        }
        let long = |digits: usize| metadata(&format!("{{\"a\":{}}}", "1".repeat(digits)));
        assert!(long(100).is_ok());
        assert_eq!(long(101), Err(MetadataError::LongNumber));
    }

    #[test]
    fn duplicate_fields_are_rejected_at_any_depth() {
        for repeated in [r#"{"a":1,"a":1}"#, r#"{"a":[{"b":{"c":1,"d":2,"\u0063":3}}]}"#] {
            assert_eq!(metadata(repeated), Err(MetadataError::Repeated), "{repeated}");
        }
        assert!(metadata(r#"{"a":{"a":[{"a":":"},{"a":"{\"a\":1}"}]}}"#).is_ok());
    }

    #[test]
    fn nul_characters_and_invalid_json_are_rejected() {
        for nul in [r#"{"a":[{"b":"\u0000"}]}"#, r#"{"a":{"\u0000":1}}"#] {
            assert_eq!(metadata(nul), Err(MetadataError::Nul));
        }
        assert!(metadata(r#"{"a":"\\u0000"}"#).is_ok());
        let surrogate = metadata(r#"{"a":"\ud800"}"#).unwrap_err();
        assert_eq!(surrogate.to_string(), "is not JSON: unexpected end of hex escape");
        let nested = metadata(&format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200))).unwrap_err();
        assert_eq!(nested.to_string(), "is not JSON: recursion limit exceeded");
    }

    #[test]
    fn numbers_that_differ_have_different_exact_values() {
        let exact = |text: &str| metadata(text).unwrap().exact();
        for (one, other) in [
            ("123456789012345678901234567890", "123456789012345678901234567891"),
            ("18446744073709551616", "18446744073709551617"),
            ("0.1", "0.1000000000000000055511151231257827"),
            ("1.1", "1.10"),
        ] {
            assert_ne!(exact(&format!("{{\"a\":{one}}}")), exact(&format!("{{\"a\":{other}}}")));
        }
        assert_eq!(exact(r#"{"a": 1, "b": "\u0078"}"#), exact(r#"{"b":"x","a":1}"#));
    }
}
