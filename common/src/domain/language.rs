//! Detects the language of a text.
//!
//! Texts such as "si", "ok gracias" or "yes the sink again" are too short for general language detectors. This one
//! knows the words that tenants use in English, Spanish and Portuguese, and names, streets and words of other
//! languages, which count for none. It scores unknown words by their letter sequences and sums the evidence. Its table
//! is trained on `language/material/` and compiled in; nothing is allocated at run time.
//!
//! The confidence is the probability that the result is right, also for [`Language::Unknown`]: of results with 0.9,
//! about nine in ten are right. [`decide`] updates a conversation's language.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

mod decision;
#[cfg(test)]
mod learning;
mod model;
#[cfg(test)]
mod tests;
mod words;

pub use decision::{Evidence, PUSH_CONFIDENCE, Source, Strength, decide};

/// A supported language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    En,
    /// Spanish.
    Es,
    /// Portuguese.
    Pt,
    /// Another language, or not detectable: emoji, numbers, addresses, names, "ok".
    Unknown,
}

impl Language {
    /// Returns the name in the API and the database: an ISO 639-1 code or `unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Es => "es",
            Self::Pt => "pt",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a supported language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the language is none of en, es, pt and unknown")]
pub struct UnknownLanguageName;

impl FromStr for Language {
    type Err = UnknownLanguageName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::En, Self::Es, Self::Pt, Self::Unknown]
            .into_iter()
            .find(|language| language.as_str() == name)
            .ok_or(UnknownLanguageName)
    }
}

/// The detected language of a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Detection {
    /// The most probable language.
    pub language: Language,
    /// The probability that this is right, 0 to 0.99, rounded to hundredths.
    pub confidence: f32,
}

/// Below this probability the result is `Unknown`, because the other results together are at least as likely.
const NAMED_FROM: f32 = 0.5;
/// The highest confidence.
const MOST_SURE: f32 = 0.99;
/// The confidence for a text without any word that counts: digits, emoji, links, names.
const NO_WORDS: f32 = 0.98;

/// Beginnings of the line that phones and mail programs add to a text, in the language of their menus.
const ADDED_BY_DEVICES: [&str; 4] =
    ["sent from my ", "enviado desde mi ", "enviado do meu ", "get outlook for "];

/// Detects the language of a text.
#[must_use]
pub fn detect(text: &str) -> Detection {
    weigh(written(text), model::Evidence::new())
}

/// Removes a last line that a device added.
fn written(text: &str) -> &str {
    let Some((above, last)) = text.trim_end().rsplit_once('\n') else { return text };
    let begins_with = |beginning: &str| {
        last.get(..beginning.len()).is_some_and(|found| found.eq_ignore_ascii_case(beginning))
    };
    if ADDED_BY_DEVICES.into_iter().any(begins_with) { above } else { text }
}

/// Sums the evidence of all words.
fn weigh(text: &str, mut evidence: model::Evidence<'_>) -> Detection {
    for word in words::Words::of(text) {
        evidence.add(&word);
    }
    evidence.end();
    if evidence.is_empty() {
        return Detection { language: Language::Unknown, confidence: NO_WORDS };
    }

    let probabilities = evidence.probabilities();
    let candidates =
        [Language::En, Language::Es, Language::Pt, Language::Unknown].into_iter().zip(probabilities);
    let (best, probability) =
        candidates.fold((Language::Unknown, 0.0), |best, next| if next.1 > best.1 { next } else { best });
    let (language, probability) = match best {
        Language::Unknown => (Language::Unknown, probability),
        _ if probability < NAMED_FROM => (Language::Unknown, NAMED_FROM),
        named => (named, probability),
    };
    Detection { language, confidence: (probability.min(MOST_SURE) * 100.0).round() / 100.0 }
}
