//! Smart Encoding: replaces characters outside GSM-7 with similar ones. Independent of the code that the simulator
//! tests.
//!
//! <https://www.twilio.com/docs/messaging/services#smart-encoding>. The map is that of Twilio's segment calculator. As
//! there, characters are replaced even if the text stays UCS-2.

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

/// Returns the text with its characters replaced.
pub(crate) fn apply(body: &str) -> String {
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
    fn the_published_map_applies_to_each_character() {
        assert_eq!(MAP.len(), 271);
        assert_eq!(apply("“a”\u{a0}b\tc…‹d› ñ 🏠 e\u{303}"), "\"a\"  b       c...<d> ñ 🏠 e~");
    }
}
