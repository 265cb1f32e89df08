//! The parameters of a webhook, verbatim and in order.
//!
//! Twilio adds parameters without notice and signs all of them, so a form is a list of pairs and not a struct. The
//! types in [`super::webhook`] read single parameters from it.

use form_urlencoded::byte_serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt;

/// The parameters of one webhook in the received order, including repeated and empty ones.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// All keys and values, concatenated. One string, because separate strings for some twenty pairs would be a large
    /// part of all allocations of a webhook.
    text: String,
    /// The end offsets in `text` of the key and the value of each pair.
    ends: Vec<(usize, usize)>,
}

/// A body or query that is not a valid form. Contains no values, which can be message texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A `%` without two hexadecimal digits after it.
    #[error("parameter {parameter} contains a % without two hexadecimal digits after it")]
    PercentEncoding {
        /// The position of the parameter, starting at 1.
        parameter: usize,
    },
    /// A name or value that is not UTF-8.
    #[error("parameter {parameter} is not valid UTF-8")]
    Utf8 {
        /// The position of the parameter, starting at 1.
        parameter: usize,
    },
    /// A body that is not a JSON object.
    #[error("the body is not a JSON object (line {line}, column {column})")]
    Json {
        /// The line of the error.
        line: usize,
        /// The column of the error.
        column: usize,
    },
}

/// A form in the format of the `jsonb` column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawForm {
    /// An object. The values of a repeated key are an array; all other values are strings.
    pub value: Value,
    /// Whether NUL characters were removed, because Postgres cannot store them.
    pub nul_removed: bool,
}

impl Form {
    /// Reads an `application/x-www-form-urlencoded` body or a raw query string.
    ///
    /// Rejects invalid escapes and invalid UTF-8. Lenient parsers replace them, so we would store text that was not
    /// sent.
    ///
    /// # Errors
    ///
    /// [`FormError`] with the position of the first invalid parameter. Respond with 400; a retry cannot succeed.
    pub fn from_urlencoded(encoded: &[u8]) -> Result<Self, FormError> {
        let mut form = Self::with_capacity(encoded.len());
        let mut decoded = Vec::with_capacity(encoded.len());
        for (place, (key, value)) in split_pairs(encoded).enumerate() {
            decoded.clear();
            strict_decode(key, place + 1, &mut decoded)?;
            let end = decoded.len();
            strict_decode(value, place + 1, &mut decoded)?;
            let utf8 = |part| str::from_utf8(part).map_err(|_| FormError::Utf8 { parameter: place + 1 });
            form.push(utf8(&decoded[..end])?, utf8(&decoded[end..])?);
        }
        Ok(form)
    }

    /// Reads a form leniently: invalid escapes are kept as text, invalid UTF-8 becomes U+FFFD.
    ///
    /// The result differs from what was sent. Use it only to log a request that is rejected; never store it.
    #[must_use]
    pub fn from_urlencoded_lossy(encoded: &[u8]) -> Self {
        form_urlencoded::parse(encoded).collect()
    }

    /// Reads a JSON object. An array of scalars becomes a repeated key; other values that are not strings become their
    /// JSON text.
    ///
    /// # Errors
    ///
    /// [`FormError::Json`] if the body is not UTF-8, not JSON, or not an object. Respond with 400.
    pub fn from_json(body: &[u8]) -> Result<Self, FormError> {
        let JsonPairs(pairs) = serde_json::from_slice(body)
            .map_err(|error| FormError::Json { line: error.line(), column: error.column() })?;
        Ok(pairs.into_iter().collect())
    }

    /// Returns all pairs in the received order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut from = 0;
        self.ends.iter().map(move |&(key, value)| {
            let pair = (&self.text[from..key], &self.text[key..value]);
            from = value;
            pair
        })
    }

    /// Creates an empty form with capacity for an encoded form of this many bytes.
    fn with_capacity(encoded: usize) -> Self {
        Self { text: String::with_capacity(encoded), ends: Vec::with_capacity(24) }
    }

    fn push(&mut self, key: &str, value: &str) {
        self.text.push_str(key);
        let key = self.text.len();
        self.text.push_str(value);
        self.ends.push((key, self.text.len()));
    }

    /// Returns the first value of a parameter, which may be empty.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Returns the first value of a parameter unless it is empty. Twilio sends unknown values as empty strings.
    #[must_use]
    pub fn non_empty(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// Returns the first value of a parameter if it is a number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u32> {
        self.get(key)?.trim().parse().ok()
    }

    /// Returns whether the form has no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Encodes the form for a queue message, in ASCII, because SQS rejects some characters.
    ///
    /// [`Form::from_urlencoded`] returns an equal form.
    #[must_use]
    pub fn to_urlencoded(&self) -> String {
        let mut encoded = String::with_capacity(self.ends.len() * 32);
        for (place, (key, value)) in self.pairs().enumerate() {
            if place > 0 {
                encoded.push('&');
            }
            encoded.extend(byte_serialize(key.as_bytes()));
            encoded.push('=');
            encoded.extend(byte_serialize(value.as_bytes()));
        }
        encoded
    }

    /// Returns the form for the `jsonb` column, without NUL characters.
    #[must_use]
    pub fn to_jsonb(&self) -> RawForm {
        let mut nul_removed = false;
        let mut object = Map::new();
        for (key, value) in self.pairs() {
            nul_removed |= key.contains('\0') || value.contains('\0');
            let value = Value::String(value.replace('\0', ""));
            match object.entry(key.replace('\0', "")).or_insert(Value::Null) {
                first @ Value::Null => *first = value,
                Value::Array(values) => values.push(value),
                first => *first = Value::Array(vec![first.take(), value]),
            }
        }
        RawForm { value: Value::Object(object), nul_removed }
    }
}

/// Shows only the names, because values can be message texts and phone numbers.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.pairs().map(|(key, _)| key)).finish()
    }
}

/// Creates a form from decoded pairs.
impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Form {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut form = Self::default();
        for (key, value) in pairs {
            form.push(key.as_ref(), value.as_ref());
        }
        form
    }
}

/// Splits at `&` and at the first `=`. Skips empty pairs; a pair without `=` has an empty value.
pub(super) fn split_pairs(encoded: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    encoded.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=');
        equals.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]))
    })
}

/// Decodes a key or a value and appends it to `decoded`.
fn strict_decode(part: &[u8], parameter: usize, decoded: &mut Vec<u8>) -> Result<(), FormError> {
    let mut rest = part.iter();
    while let Some(&byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|&digit| char::from(digit).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(FormError::PercentEncoding { parameter });
                };
                // At most 255.
                (high << 4 | low) as u8
            }
            other => other,
        });
    }
    Ok(())
}

/// The pairs of a JSON object in their order, including duplicate names.
struct JsonPairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for JsonPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(JsonPairsVisitor)
    }
}

struct JsonPairsVisitor;

impl<'de> Visitor<'de> for JsonPairsVisitor {
    type Value = JsonPairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonPairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            for value in json_values(value).map_err(serde::de::Error::custom)? {
                pairs.push((key.clone(), value));
            }
        }
        Ok(JsonPairs(pairs))
    }
}

/// Converts a JSON value to parameter values. Numbers keep their notation.
fn json_values(value: &RawValue) -> Result<Vec<String>, serde_json::Error> {
    let is_nested = |item: &&RawValue| item.get().starts_with(['{', '[']);
    if value.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value.get())?;
        if !items.is_empty() && !items.iter().any(is_nested) {
            return items.into_iter().map(json_scalar).collect();
        }
    }
    Ok(vec![json_scalar(value)?])
}

fn json_scalar(value: &RawValue) -> Result<String, serde_json::Error> {
    if value.get().starts_with('"') { serde_json::from_str(value.get()) } else { Ok(value.get().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn form(pairs: &[(&str, &str)]) -> Form {
        pairs.iter().copied().collect()
    }

    #[test]
    fn pairs_keep_their_order_and_repeated_and_empty_values() {
        let read = Form::from_urlencoded(b"b=2&a=1&&b=&c&=x&a=1&d=1%3d2=3+%2B%20").unwrap();
        let expected =
            [("b", "2"), ("a", "1"), ("b", ""), ("c", ""), ("", "x"), ("a", "1"), ("d", "1=2=3 + ")];
        assert_eq!(read, form(&expected));
        assert_eq!(Form::from_urlencoded(b"").unwrap(), Form::default());
    }

    #[test]
    fn raw_and_percent_encoded_utf8_are_equal() {
        let raw = Form::from_urlencoded("Body=¿sí? 🏠".as_bytes()).unwrap();
        let encoded = Form::from_urlencoded(b"Body=%C2%BFs%c3%AD?+%F0%9F%8F%A0").unwrap();
        assert_eq!(raw, encoded);
        assert_eq!(raw.get("Body"), Some("¿sí? 🏠"));
    }

    #[test]
    fn an_invalid_form_is_rejected_with_position_and_reason() {
        let message = |body: &[u8]| Form::from_urlencoded(body).unwrap_err().to_string();
        let percent = |n| format!("parameter {n} contains a % without two hexadecimal digits after it");
        for body in ["a=%", "a=%4", "a=%4&b=1", "a=%zz", "%G1=1", "a=%+1", "a=100%"] {
            assert_eq!(message(body.as_bytes()), percent(1), "{body}");
        }
        assert_eq!(message(b"a=1&&b=%"), percent(2));
        for body in [&b"a=\xff"[..], b"a=%FF", b"a=%C3", b"%ED%A0%80=1", b"a=%C0%80"] {
            assert_eq!(message(body), "parameter 1 is not valid UTF-8");
        }
    }

    #[test]
    fn lenient_parsing_accepts_an_invalid_form() {
        let lenient = Form::from_urlencoded_lossy(b"a=%zz&b=%FF+%41&c");
        assert_eq!(lenient, form(&[("a", "%zz"), ("b", "\u{fffd} A"), ("c", "")]));
    }

    #[test]
    fn a_json_object_is_read_as_a_form() {
        let body = r#"{"MessageSid":"SM1","N":1.50,"big":12345678901234567890123,"t":true,"z":null,
            "o":{"a" : 1},"list":["x",2,null],"nested":["x",["y"]],"none":[],"a":"1","a":"\u00e92"}"#;
        let expected = [
            ("MessageSid", "SM1"),
            ("N", "1.50"),
            ("big", "12345678901234567890123"),
            ("t", "true"),
            ("z", "null"),
            ("o", r#"{"a" : 1}"#),
            ("list", "x"),
            ("list", "2"),
            ("list", "null"),
            ("nested", r#"["x",["y"]]"#),
            ("none", "[]"),
            ("a", "1"),
            ("a", "é2"),
        ];
        assert_eq!(Form::from_json(body.as_bytes()).unwrap(), form(&expected));
    }

    #[test]
    fn a_body_that_is_not_a_json_object_is_rejected() {
        for body in
            ["", "[]", "null", "\"a\"", "{", "{\"a\":1} x", "a=1", "{\"a\":\"\\ud800\"}", "{\"a\":[1}"]
        {
            let error = Form::from_json(body.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("the body is not a JSON object (line "), "{body}: {error}");
        }
        assert!(Form::from_json(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn jsonb_has_arrays_for_repeated_keys_and_strings_for_others() {
        let raw = form(&[("a", "1"), ("b", ""), ("a", "2"), ("c", "7"), ("a", "1")]).to_jsonb();
        assert_eq!(raw.value, json!({"a": ["1", "2", "1"], "b": "", "c": "7"}));
        assert!(!raw.nul_removed);
    }

    #[test]
    fn jsonb_has_no_nuls_and_reports_the_removal() {
        let read = Form::from_urlencoded(b"Body=a%00b&k%00=1&k=2").unwrap();
        assert_eq!(read.get("Body"), Some("a\0b"), "the form itself keeps the NUL");
        let raw = read.to_jsonb();
        assert_eq!(raw.value, json!({"Body": "ab", "k": ["1", "2"]}));
        assert!(raw.nul_removed);
    }

    #[test]
    fn debug_output_contains_names_but_no_values() {
        assert_eq!(format!("{:?}", form(&[("Body", "my secret")])), r#"{"Body"}"#);
    }

    proptest! {
        #[test]
        fn the_encoded_form_is_ascii_and_decodes_to_an_equal_form(pairs: Vec<(String, String)>) {
            let form: Form = pairs.into_iter().collect();
            let encoded = form.to_urlencoded();
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(Form::from_urlencoded(encoded.as_bytes()).unwrap(), form);
        }

        #[test]
        fn parsing_never_panics(bytes: Vec<u8>) {
            let _ = Form::from_urlencoded(&bytes);
            let _ = Form::from_json(&bytes);
        }

        #[test]
        fn the_raw_column_never_holds_a_nul(pairs in proptest::collection::vec(("[a\0]{0,3}", "[b\0]{0,3}"), 0..6)) {
            prop_assert!(!pairs.into_iter().collect::<Form>().to_jsonb().value.to_string().contains("\\u0000"));
        }
    }
}
