//! Reads a JSON object field by field, so that all problems are reported at once.

use super::ValidationError;
use crate::domain::instant;
use crate::domain::metadata::Metadata;
use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::fmt;
use std::ops::RangeInclusive;
use uuid::Uuid;

/// The largest accepted request body, in bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// The largest accepted body of endpoints that take lists, in bytes. Lambda accepts events of 6 MB.
pub const MAX_LIST_BYTES: usize = 5_000_000;

/// How many unknown fields an error lists, so that its size is limited.
const MAX_UNKNOWN: usize = 20;

/// The field name that stands for the whole body in an error.
pub(super) const WHOLE: &str = "request body";

/// The fields of a JSON object. Each is read once; fields that were not read are reported as unknown.
///
/// A field that is `null` counts as absent, except for [`Fields::change`]. An unknown field is an error even if it is
/// `null`. Every reader returns `None` for a field that is absent or has the wrong type. A wrong type is recorded, and
/// [`Fields::finish`] returns all recorded problems.
#[derive(Debug)]
pub struct Fields {
    fields: Vec<(String, Box<RawValue>)>,
    problems: ValidationError,
}

impl Fields {
    /// Parses a request body.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] when it is not a JSON object, with the line and column of a syntax error. A duplicate field
    /// is an error too, because parsers disagree about which one counts.
    pub fn from_slice(body: &[u8]) -> Result<Self, ValidationError> {
        if let Some(reason) = not_text(body) {
            return Err(ValidationError::field(WHOLE, reason));
        }
        let object: Object = serde_json::from_slice(body).map_err(|error| {
            ValidationError::field(
                WHOLE,
                match error.classify() {
                    serde_json::error::Category::Data => "is not a JSON object".to_owned(),
                    _ if body.is_empty() => "is missing".to_owned(),
                    // The messages of serde_json contain positions and expectations but no content.
                    _ => format!("is not JSON: {error}"),
                },
            )
        })?;
        Ok(Self::new(object.0))
    }

    /// Uses a parsed value, such as the payload of an invocation.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] when it is not an object.
    pub fn from_value(value: Value) -> Result<Self, ValidationError> {
        match value {
            Value::Object(map) => {
                let raw =
                    map.into_iter().filter_map(|(name, value)| Some((name, to_raw_value(&value).ok()?)));
                Ok(Self::new(raw.collect()))
            }
            _ => Err(ValidationError::field(WHOLE, "is not a JSON object")),
        }
    }

    fn new(mut all: Vec<(String, Box<RawValue>)>) -> Self {
        let mut problems = ValidationError::default();
        let mut fields: Vec<(String, Box<RawValue>)> = Vec::with_capacity(all.len());
        // Sorted so that duplicates are neighbours: searching would be quadratic.
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, value) in all {
            match fields.last() {
                Some((last, _)) if *last == name => {
                    if !problems.fields().iter().any(|problem| problem.field == name) {
                        problems.add(name, "is given more than once");
                    }
                }
                _ => fields.push((name, value)),
            }
        }
        Self { fields, problems }
    }

    /// Records a problem that only the caller can detect.
    pub fn problem(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.problems.add(field, reason);
    }

    /// Returns whether a field is given and was not read yet.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, value)| field == name && !is_null(value))
    }

    /// Returns whether a problem was recorded for a field.
    #[must_use]
    pub fn has_problem(&self, name: &str) -> bool {
        self.problems.fields().iter().any(|problem| problem.field == name)
    }

    /// Reads a field of any type.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let raw = self.take_raw(name)?;
        match serde_json::from_str(raw.get()) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(name, unreadable(raw.get(), &error));
                None
            }
        }
    }

    fn take_raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.remove(name).filter(|value| !is_null(value))
    }

    fn remove(&mut self, name: &str) -> Option<Box<RawValue>> {
        let position = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.swap_remove(position).1)
    }

    /// Reads a change: `Some(Some(text))` sets the field, `Some(None)` (null) clears it, `None` leaves it unchanged.
    pub fn change(&mut self, name: &str) -> Option<Option<String>> {
        let is_cleared = self.fields.iter().any(|(field, value)| field == name && is_null(value));
        if is_cleared {
            self.remove(name);
            return Some(None);
        }
        self.text(name).map(Some)
    }

    /// Reads a string without NUL characters, which Postgres cannot store.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if text.contains('\0') => {
                self.problem(name, "contains a NUL character");
                None
            }
            Value::String(text) => Some(text),
            other => {
                self.wrong_type(name, "a string", &other);
                None
            }
        }
    }

    /// Records that a field is missing, unless another problem was recorded for it.
    pub fn missing(&mut self, name: &str) {
        if !self.problems.fields().iter().any(|problem| problem.field.starts_with(name)) {
            self.problem(name, "is missing");
        }
    }

    /// Reads a string like [`Fields::text`], and records if it is missing.
    pub fn required_text(&mut self, name: &str) -> Option<String> {
        let text = self.text(name);
        if text.is_none() {
            self.missing(name);
        }
        text
    }

    /// Reads an RFC 3339 timestamp, rounded to microseconds like those of Postgres.
    pub fn instant(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        instant::parse(&text).map_err(|error| self.problem(name, error.to_string())).ok()
    }

    /// Reads a UUID.
    pub fn id(&mut self, name: &str) -> Option<Uuid> {
        let id = self.text(name)?.parse().ok();
        if id.is_none() {
            self.problem(name, "is not a UUID");
        }
        id
    }

    /// Reads `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.take(name)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.wrong_type(name, "true or false", &value);
        }
        flag
    }

    /// Reads a whole number between two bounds.
    pub fn number(&mut self, name: &str, range: RangeInclusive<i32>) -> Option<i32> {
        let value = self.take(name)?;
        // JSON does not tell 7 from 7.0.
        let whole = || value.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64);
        let number = value.as_i64().or_else(whole).and_then(|number| i32::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(name, format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// Reads a list of strings. Errors name the position of a wrong entry.
    pub fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let entries = match self.take(name)? {
            Value::Array(entries) => entries,
            other => {
                self.wrong_type(name, "a list of strings", &other);
                return None;
            }
        };
        let mut texts = Vec::with_capacity(entries.len());
        for (position, entry) in entries.into_iter().enumerate() {
            match entry {
                Value::String(text) => texts.push(text),
                other => {
                    self.wrong_type(&format!("{name}[{position}]"), "a string", &other);
                    return None;
                }
            }
        }
        Some(texts)
    }

    /// Reads a list as JSON texts, which keeps the digits of numbers.
    pub fn list(&mut self, name: &str) -> Option<Vec<Box<RawValue>>> {
        let raw = self.take_raw(name)?;
        if let Ok(entries) = serde_json::from_str(raw.get()) {
            return Some(entries);
        }
        match serde_json::from_str(raw.get()) {
            Ok(value) => self.wrong_type(name, "a list", &value),
            Err(error) => self.problem(name, unreadable(raw.get(), &error)),
        }
        None
    }

    /// Reads an object as its names and JSON texts.
    pub fn entries(&mut self, name: &str) -> Option<Fields> {
        let raw = self.take_raw(name)?;
        match serde_json::from_str::<Object>(raw.get()) {
            Ok(object) => Some(Self::new(object.0)),
            Err(_) => {
                match serde_json::from_str(raw.get()) {
                    Ok(value) => self.wrong_type(name, "an object", &value),
                    Err(error) => self.problem(name, unreadable(raw.get(), &error)),
                }
                None
            }
        }
    }

    /// Returns the names of the fields that were not read yet.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.fields.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Reads a value that is inserted into a text: a string, or a number as it is written.
    pub fn insertable(&mut self, name: &str) -> Option<String> {
        let is_number =
            |raw: &RawValue| raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
        match self.fields.iter().find(|(field, _)| field == name) {
            Some((_, raw)) if is_number(raw) => self.take_raw(name).map(|raw| raw.get().to_owned()),
            _ => self.text(name),
        }
    }

    /// Reads an object that is stored unchanged.
    pub fn object(&mut self, name: &str) -> Option<Metadata> {
        let raw = self.take_raw(name)?;
        if !raw.get().starts_with('{') {
            let value = serde_json::from_str(raw.get());
            match value {
                Ok(value) => self.wrong_type(name, "an object", &value),
                Err(error) => self.problem(name, unreadable(raw.get(), &error)),
            }
            return None;
        }
        Metadata::new(raw).map_err(|error| self.problem(name, error.to_string())).ok()
    }

    fn wrong_type(&mut self, name: &str, expected: &str, value: &Value) {
        let given = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.problem(name, format!("must be {expected}, not {given}"));
    }

    /// Returns `made` if there are no problems.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with all problems.
    pub fn finish_with<T>(self, made: Option<T>) -> Result<T, ValidationError> {
        let problems = self.finish();
        match made {
            Some(made) if problems.is_empty() => Ok(made),
            _ => Err(problems),
        }
    }

    /// Returns all problems: the recorded ones and the unknown fields.
    #[must_use]
    pub fn finish(mut self) -> ValidationError {
        let mut unknown: Vec<String> = self.fields.into_iter().map(|(name, _)| name).collect();
        unknown.sort();
        let more = unknown.len().saturating_sub(MAX_UNKNOWN);
        for name in unknown.into_iter().take(MAX_UNKNOWN) {
            self.problems.add(name, "is not a field of this request");
        }
        if more > 0 {
            self.problems.add(WHOLE, format!("has {more} more fields that this request does not have"));
        }
        self.problems
    }
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// Returns why a well-formed JSON value cannot be parsed: a number too large for a double, half a surrogate pair, or
/// too many levels.
fn unreadable(text: &str, error: &serde_json::Error) -> String {
    if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return "is a number that is out of range".to_owned();
    }
    let error = error.to_string();
    // The position is relative to the start of the value.
    format!("is not JSON: {}", error.split(" at line ").next().unwrap_or_default())
}

/// Returns the reason why a body is not UTF-8 text, if it is in a known other format.
fn not_text(body: &[u8]) -> Option<&'static str> {
    match body {
        [0xef, 0xbb, 0xbf, ..] => Some("begins with a byte order mark (BOM); send UTF-8 without it"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Some("is not UTF-8, but looks like UTF-16")
        }
        [0x1f, 0x8b, ..] => Some("is compressed with gzip; send it uncompressed"),
        _ => None,
    }
}

/// The fields of an object in their order, including duplicates.
struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listed(error: &ValidationError) -> Vec<String> {
        error.fields().iter().map(|problem| format!("{} {}", problem.field, problem.reason)).collect()
    }

    fn whole(body: &str) -> String {
        listed(&Fields::from_slice(body.as_bytes()).unwrap_err()).join("; ")
    }

    #[test]
    fn a_body_that_is_not_an_object_is_refused_with_its_position() {
        assert_eq!(whole(""), "request body is missing");
        assert_eq!(whole("[]"), "request body is not a JSON object");
        assert_eq!(whole("\"to\""), "request body is not a JSON object");
        assert_eq!(
            whole("{\"to\":\n \"1\" \"2\"}"),
            "request body is not JSON: expected `,` or `}` at line 2 column 6"
        );
        assert_eq!(
            whole("{\"to\": \"1\"} x"),
            "request body is not JSON: trailing characters at line 1 column 13"
        );
        assert_eq!(
            listed(&Fields::from_slice(b"{\"a\":\"\xff\"}").unwrap_err()),
            ["request body is not JSON: invalid unicode code point at line 1 column 7"]
        );
    }

    #[test]
    fn all_problems_are_reported() {
        let body = r#"{"to": 1, "body": "a\u0000b", "media_urls": ["x", 2], "metadata": [], "to": 2, "x": 1, "y": null,
            "from": null}"#;
        let mut fields = Fields::from_slice(body.as_bytes()).unwrap();
        assert_eq!(fields.text("to"), None);
        assert_eq!(fields.text("body"), None);
        assert_eq!(fields.texts("media_urls"), None);
        assert_eq!(fields.object("metadata"), None);
        assert_eq!(fields.text("from"), None);
        assert_eq!(
            listed(&fields.finish()),
            [
                "to is given more than once",
                "to must be a string, not a number",
                "body contains a NUL character",
                "media_urls[1] must be a string, not a number",
                "metadata must be an object, not a list",
                "x is not a field of this request",
                "y is not a field of this request",
            ]
        );
    }

    #[test]
    fn a_change_distinguishes_absent_from_null() {
        let body = br#"{"set": "x", "cleared": null, "wrong": 1, "unknown": null}"#;
        let mut fields = Fields::from_slice(body).unwrap();
        assert_eq!(fields.change("set"), Some(Some("x".to_owned())));
        assert_eq!(fields.change("cleared"), Some(None));
        assert_eq!(fields.change("left out"), None);
        assert_eq!(fields.change("wrong"), None);
        assert_eq!(
            listed(&fields.finish()),
            ["wrong must be a string, not a number", "unknown is not a field of this request"]
        );
    }

    #[test]
    fn a_body_that_is_not_utf_8_is_refused_with_its_format() {
        let refused = |body: &[u8]| listed(&Fields::from_slice(body).unwrap_err()).join("; ");
        assert_eq!(
            refused(b"\xef\xbb\xbf{}"),
            "request body begins with a byte order mark (BOM); send UTF-8 without it"
        );
        for utf16 in [b"\xff\xfe{\0}\0".as_slice(), b"\xfe\xff\0{\0}", b"{\0}\0", b"\0{\0}"] {
            assert_eq!(refused(utf16), "request body is not UTF-8, but looks like UTF-16");
        }
        assert_eq!(refused(b"\x1f\x8b\x08\0"), "request body is compressed with gzip; send it uncompressed");
    }

    #[test]
    fn a_value_that_cannot_be_parsed_is_reported_with_its_field() {
        let body =
            r#"{"to": 1e400, "from": "\ud800", "media_urls": [1e400], "metadata": -1e400, "x": 1e400}"#;
        let mut fields = Fields::from_slice(body.as_bytes()).unwrap();
        assert_eq!((fields.text("to"), fields.text("from"), fields.texts("media_urls")), (None, None, None));
        assert_eq!(fields.object("metadata"), None);
        assert_eq!(
            listed(&fields.finish()),
            [
                "to is a number that is out of range",
                "from is not JSON: unexpected end of hex escape",
                "media_urls is not JSON: number out of range",
                "metadata is a number that is out of range",
                "x is not a field of this request",
            ]
        );
    }

    #[test]
    fn flags_and_numbers_have_their_type_and_bounds() {
        let body =
            br#"{"yes": true, "no": 1, "least": 1, "most": 7, "below": 0, "above": 99999999999, "part": 1.5,
            "float": 7.0, "huge": 1e300,
            "text": "1", "null": null}"#;
        let mut fields = Fields::from_slice(body).unwrap();
        assert_eq!((fields.flag("yes"), fields.flag("no"), fields.flag("absent")), (Some(true), None, None));
        let numbers = ["least", "most", "float", "below", "above", "part", "huge", "text", "null"]
            .map(|name| fields.number(name, 1..=7));
        assert_eq!(numbers, [Some(1), Some(7), Some(7), None, None, None, None, None, None]);
        assert_eq!(
            listed(&fields.finish()),
            [
                "no must be true or false, not a number",
                "below must be a whole number from 1 to 7",
                "above must be a whole number from 1 to 7",
                "part must be a whole number from 1 to 7",
                "huge must be a whole number from 1 to 7",
                "text must be a whole number from 1 to 7",
            ]
        );
    }

    #[test]
    fn an_error_lists_a_limited_number_of_unknown_fields() {
        let fields: serde_json::Map<_, _> = (0..1000).map(|n| (format!("f{n:04}"), json!(1))).collect();
        let problems = listed(&Fields::from_value(Value::Object(fields)).unwrap().finish());
        assert_eq!(problems.len(), 21);
        assert_eq!(problems[20], "request body has 980 more fields that this request does not have");
    }
}
