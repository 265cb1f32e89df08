//! Values that must not be in any output, and the search for them in every spelling.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// The shortest part of a secret that is searched for.
const PART: usize = 12;

/// A planted value in one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spelling {
    /// What was planted.
    value: String,
    /// How it is written, in lower case.
    text: String,
    /// Whether a letter or digit before it means that it is part of something else, such as an id.
    needs_boundary: bool,
}

/// Planted values.
#[derive(Debug, Default)]
pub struct Planted(Vec<Spelling>);

impl Planted {
    /// Adds a phone number in E.164 with ten national digits. Its last four digits are allowed.
    pub fn number(&mut self, e164: &str) {
        let digits = e164.trim_start_matches('+');
        let (area, exchange, line) = (&digits[1..4], &digits[4..7], &digits[7..]);
        for text in [
            format!("{area}{exchange}{line}"),
            format!("{area}-{exchange}-{line}"),
            format!("{area}.{exchange}.{line}"),
            format!("{area} {exchange} {line}"),
            format!("{area}+{exchange}+{line}"),
            format!("{area}%20{exchange}%20{line}"),
            format!("({area}) {exchange}-{line}"),
            format!("{area}%29%20{exchange}-{line}"),
            format!("{exchange}-{line}"),
        ] {
            self.add(e164, &text, false);
        }
        // E.164 contains the ten digits in plain text, but not in base64.
        for text in [e164, digits, &digits[1..]] {
            self.base64(e164, text);
        }
        // Seven digits can be part of a longer number by chance.
        self.add(e164, &format!("{exchange}{line}"), true);
    }

    /// Adds words that appear nowhere else. Each is searched for alone.
    pub fn text(&mut self, text: &str) {
        let is_letter = |c: char| c.is_alphanumeric();
        for word in text.split(|c| !is_letter(c)).filter(|word| word.chars().count() >= 8) {
            self.add(text, word, false);
            self.add(text, &form_urlencoded::byte_serialize(word.as_bytes()).collect::<String>(), false);
            self.base64(text, word);
        }
    }

    /// Adds a secret, its first and its last characters.
    pub fn secret(&mut self, secret: &str) {
        assert!(secret.is_ascii() && secret.len() >= PART, "{secret} is too short to be searched for");
        for text in [secret, &secret[..PART], &secret[secret.len() - PART..]] {
            self.add(secret, text, false);
        }
        self.add(secret, &form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>(), false);
        self.base64(secret, secret);
    }

    fn add(&mut self, value: &str, text: &str, needs_boundary: bool) {
        let (value, text) = (value.to_owned(), text.to_lowercase());
        let spelling = Spelling { value, text, needs_boundary };
        if !self.0.contains(&spelling) {
            self.0.push(spelling);
        }
    }

    /// Adds the base64 of a text, as it appears after any number of other bytes.
    fn base64(&mut self, value: &str, text: &str) {
        for before in 0..3 {
            let bytes = [vec![0; before], text.as_bytes().to_vec()].concat();
            // The first characters depend on the bytes before, the last ones on the bytes after.
            let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
            for engine in [STANDARD, URL_SAFE] {
                self.add(value, &engine.encode(&bytes)[first..end], false);
            }
        }
    }

    /// Returns each spelling that a text contains, with its surroundings.
    pub fn find(&self, text: &str) -> Vec<String> {
        let lower = text.to_lowercase();
        let found = self.0.iter().filter_map(|spelling| {
            let at = lower.match_indices(&spelling.text).map(|(at, _)| at).find(|at| {
                let before = lower[..*at].chars().next_back();
                !spelling.needs_boundary || !before.is_some_and(char::is_alphanumeric)
            })?;
            let from = lower.floor_char_boundary(at.saturating_sub(200));
            let to = lower.floor_char_boundary((at + 200).min(lower.len()));
            Some(format!("{:?} as {:?} in …{}…", spelling.value, spelling.text, &lower[from..to]))
        });
        found.collect()
    }
}

#[test]
fn every_spelling_of_a_planted_value_is_found() {
    let mut planted = Planted::default();
    planted.number("+12025557341");
    planted.text("the Schlüsseldienst comes");
    planted.secret("0123456789abcdef0123");
    let encoded = |text: &str| STANDARD.encode(text);
    for leak in [
        "to +12025557341.",
        "to=%2B12025557341&",
        "12025557341",
        "(202) 555-7341",
        "202.555.7341",
        "…5557341",
        "555-7341",
        "Schlüsseldienst",
        "SCHLÜSSELDIENST",
        "Schl%C3%BCsseldienst",
        "key 0123456789ab…",
        "…cdef01234567: 89abcdef0123",
        &encoded("+12025557341"),
        &encoded("a+12025557341&x"),
        &encoded("ab+12025557341"),
        &encoded("the Schlüsseldienst comes"),
        &encoded("user:0123456789abcdef0123"),
    ] {
        assert!(!planted.find(leak).is_empty(), "{leak:?} is not found");
    }
    for allowed in ["…7341", "the key comes", "1795555734100", "id a5557341b", "0123456789"] {
        assert_eq!(planted.find(allowed), Vec::<String>::new(), "{allowed:?}");
    }
}
