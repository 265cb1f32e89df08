//! A JSON object from a caller, read field by field so that everything wrong with it is told at once.

use super::ValidationError;
use jiff::{Timestamp, Unit};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;
use uuid::Uuid;

/// The largest request that the API takes, in bytes (SPEC §6).
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// How many unknown fields are named, each; a request made of nothing else would grow its refusal without limit.
const MAX_UNKNOWN: usize = 20;

/// The field that stands for the whole request in an error.
const WHOLE: &str = "request body";

/// The fields of a JSON object, each to be taken once; what is left in the end nobody knows.
///
/// A field that is `null` counts as left out, except where it is to be [changed](Fields::change); one that nobody knows is
/// refused all the same. Every reader returns `None` for a field that is left out or of the wrong type; the latter is
/// noted, and [`Fields::finish`] returns what was noted.
#[derive(Debug)]
pub struct Fields {
    fields: Vec<(String, Value)>,
    problems: ValidationError,
}

impl Fields {
    /// Reads a request's body.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] naming the line and column of what isn't JSON, or saying that it is no object. A field that
    /// stands there twice is refused: readers disagree about which one counts, and a message goes to only one number.
    pub fn from_slice(body: &[u8]) -> Result<Self, ValidationError> {
        let object: Object = serde_json::from_slice(body).map_err(|error| {
            ValidationError::field(
                WHOLE,
                match error.classify() {
                    serde_json::error::Category::Data => "is not a JSON object".to_owned(),
                    _ if body.is_empty() => "is missing".to_owned(),
                    // serde_json's messages name places and expectations, and quote nothing.
                    _ => format!("is not JSON: {error}"),
                },
            )
        })?;
        Ok(Self::new(object.0))
    }

    /// Takes a value that was read already, such as the payload of an invocation.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] when it is no object.
    pub fn from_value(value: Value) -> Result<Self, ValidationError> {
        match value {
            Value::Object(map) => Ok(Self::new(map.into_iter().collect())),
            _ => Err(ValidationError::field(WHOLE, "is not a JSON object")),
        }
    }

    fn new(mut all: Vec<(String, Value)>) -> Self {
        let mut problems = ValidationError::default();
        let mut fields: Vec<(String, Value)> = Vec::with_capacity(all.len());
        // Sorted, so that a request of 100,000 fields takes no time: equal names are neighbours.
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

    /// Notes a problem that only the caller of this reader can see.
    pub fn problem(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.problems.add(field, reason);
    }

    /// Takes a field of any type.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.remove(name).filter(|value| !value.is_null())
    }

    fn remove(&mut self, name: &str) -> Option<Value> {
        let position = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.swap_remove(position).1)
    }

    /// Takes a field that is to be set to a text as [`Fields::text`] takes it, or to be cleared by `null`.
    pub fn change(&mut self, name: &str) -> Option<Option<String>> {
        let is_cleared = self.fields.iter().any(|(field, value)| field == name && value.is_null());
        if is_cleared {
            self.remove(name);
            return Some(None);
        }
        self.text(name).map(Some)
    }

    /// Takes a field that must be a text without a NUL, which Postgres can't hold.
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

    /// Notes that a field is missing, unless something else was noted about it.
    pub fn missing(&mut self, name: &str) {
        if !self.problems.fields().iter().any(|problem| problem.field.starts_with(name)) {
            self.problem(name, "is missing");
        }
    }

    /// Takes a text as [`Fields::text`] does, and notes when it is missing.
    pub fn required_text(&mut self, name: &str) -> Option<String> {
        let text = self.text(name);
        if text.is_none() {
            self.missing(name);
        }
        text
    }

    /// Takes an instant as RFC 3339 writes it, rounded to the microseconds that Postgres keeps.
    pub fn instant(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        let instant = text.parse::<Timestamp>().ok().and_then(|at| at.round(Unit::Microsecond).ok());
        if instant.is_none() {
            self.problem(name, "is not an instant with its offset, such as 2026-11-23T10:00:00Z");
        }
        instant
    }

    /// Takes the id of something of ours.
    pub fn id(&mut self, name: &str) -> Option<Uuid> {
        let id = self.text(name)?.parse().ok();
        if id.is_none() {
            self.problem(name, "is not a UUID");
        }
        id
    }

    /// Takes a list of texts; each is named by its position when it isn't one.
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

    /// Takes an object that is kept as it is, without NULs, which Postgres can't hold.
    pub fn object(&mut self, name: &str) -> Option<Value> {
        let value = self.take(name)?;
        if !value.is_object() {
            self.wrong_type(name, "an object", &value);
            return None;
        }
        if has_nul(&value) {
            self.problem(name, "contains a NUL character");
            return None;
        }
        Some(value)
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

    /// Returns what was made of the fields, unless something is wrong with them.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with everything that is wrong.
    pub fn finish_with<T>(self, made: Option<T>) -> Result<T, ValidationError> {
        let problems = self.finish();
        match made {
            Some(made) if problems.is_empty() => Ok(made),
            _ => Err(problems),
        }
    }

    /// Returns everything that is wrong: what was noted, and each field that nobody took.
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

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(entries) => entries.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// An object's fields in their order, the repeated ones too.
struct Object(Vec<(String, Value)>);

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
    fn what_is_no_object_is_refused_with_its_place() {
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
    fn every_problem_is_gathered() {
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
    fn a_change_tells_what_is_left_out_from_what_is_cleared() {
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
    fn a_nul_is_found_however_deep_it_lies() {
        for metadata in [json!({"a": [{"b": "\0"}]}), json!({"a": {"\0": 1}})] {
            let mut fields = Fields::from_value(json!({"metadata": metadata})).unwrap();
            assert_eq!(fields.object("metadata"), None);
            assert_eq!(listed(&fields.finish()), ["metadata contains a NUL character"]);
        }
    }

    #[test]
    fn a_request_of_unknown_fields_is_refused_in_few_words() {
        let fields: serde_json::Map<_, _> = (0..1000).map(|n| (format!("f{n:04}"), json!(1))).collect();
        let problems = listed(&Fields::from_value(Value::Object(fields)).unwrap().finish());
        assert_eq!(problems.len(), 21);
        assert_eq!(problems[20], "request body has 980 more fields that this request does not have");
    }
}
