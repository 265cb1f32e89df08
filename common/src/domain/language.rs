//! Which language a text is written in, and how sure that is.
//!
//! Tenants write "si", "ok gracias", "yes the sink again": too little for a general language detector. This one
//! knows the words tenants use in English, Spanish and Portuguese (and names, streets and other languages, which
//! count for none), judges a word it doesn't know by its letter sequences, and adds up the evidence. Its table is
//! learnt from the material in `language/material/` and compiled in: nothing is built at run time or allocated.
//!
//! The confidence is the probability that the answer is right, for [`Language::Unknown`] as well: of messages given
//! 0.9, about nine in ten are. What becomes of an answer in a conversation is [`decide`]'s rule.

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

/// A language that tenants are answered in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    En,
    /// Spanish.
    Es,
    /// Portuguese.
    Pt,
    /// None of the three, or not to be told: emoji, numbers, addresses, names, "ok".
    Unknown,
}

impl Language {
    /// Returns the name that the API and the database use: an ISO 639-1 code, or `unknown`.
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

/// The text names no language of ours.
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

/// What one text says about its writer's language.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Detection {
    /// The language that the text is most probably written in.
    pub language: Language,
    /// The probability that this is right, 0 to 1, in hundredths and never quite 1.
    pub confidence: f32,
}

/// Below this probability no language is named: another answer is about as likely, or more so all together.
const NAMED_FROM: f32 = 0.5;
/// No evidence is more than this.
const MOST_SURE: f32 = 0.99;
/// A text without a single word that says anything: digits, emoji, links, names.
const NO_WORDS: f32 = 0.98;

/// How the line begins that phones and mail programs add below a text, in the language of their menus.
const ADDED_BY_DEVICES: [&str; 4] =
    ["sent from my ", "enviado desde mi ", "enviado do meu ", "get outlook for "];

/// Detects the language of a text.
#[must_use]
pub fn detect(text: &str) -> Detection {
    weigh(written(text), model::Evidence::new())
}

/// Leaves out a last line that a device added.
fn written(text: &str) -> &str {
    let Some((above, last)) = text.trim_end().rsplit_once('\n') else { return text };
    let begins_with = |beginning: &str| {
        last.get(..beginning.len()).is_some_and(|found| found.eq_ignore_ascii_case(beginning))
    };
    if ADDED_BY_DEVICES.into_iter().any(begins_with) { above } else { text }
}

/// Adds up what the words of a text say, and gives the verdict.
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
