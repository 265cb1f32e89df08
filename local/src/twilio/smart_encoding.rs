//! Twilio's Smart Encoding: characters that GSM-7 lacks, replaced by what looks like them. Written apart from the service's own.
//!
//! <https://www.twilio.com/docs/messaging/services#smart-encoding>. The map is that of Twilio's segment calculator; like that,
//! this replaces whatever the map has, also in a text that stays UCS-2.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

#[derive(Deserialize)]
struct Published {
    map: HashMap<char, String>,
}

static MAP: LazyLock<HashMap<char, String>> = LazyLock::new(|| {
    let published: Result<Published, _> = serde_json::from_str(include_str!("smart_encoding.json"));
    published.map(|published| published.map).unwrap_or_default()
});

/// The text as Twilio sends and lists it.
pub(super) fn apply(body: &str) -> String {
    let mut encoded = String::with_capacity(body.len());
    for character in body.chars() {
        match MAP.get(&character) {
            Some(text) => encoded.push_str(text),
            None => encoded.push(character),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_whole_and_applied_to_each_character() {
        assert_eq!(MAP.len(), 271);
        assert_eq!(apply("“a”\u{a0}b\tc…‹d› ñ 🏠 e\u{303}"), "\"a\"  b       c...<d> ñ 🏠 e~");
    }
}
