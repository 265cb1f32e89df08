//! Classifies inbound texts: opt-out, opt-in, help.
//!
//! Three layers, from exact to learned:
//!
//! 1. **Words** (`alone`): the message is one of the words that Twilio acts on
//!    (<https://help.twilio.com/articles/223134027>), or one of their Spanish and Portuguese counterparts: alone, with
//!    a courtesy, a greeting or a signature, misspelled, or with spaces between the letters.
//! 2. **Reactions** ([`is_reaction`]): `Liked “Reply STOP to opt out”` quotes one of our texts and is not a request.
//! 3. **A learned model** (`model`) for all other texts: regulators ask for any reasonable means (47 CFR
//!    64.1200(a)(10)), so a sentence that refuses messages opts out as well. It gives the probabilities of *refusal*,
//!    *doubt* and *neither*. It is learned from the labelled texts in `material/`; among its features are `signs` of a
//!    text that speaks about opting out ("don't unsubscribe me").
//!
//! A false opt-out does harm too, so a doubtful text is [`OptOut::Unsure`], which stops nothing. Method, data and
//! figures: `docs/decisions/0014-opt-out-classifier.md`.
//!
//! Special cases in the opt-out ledger:
//!
//! - `YES` opts in, because Twilio unblocks the handset. From a handset that is not opted out it changes nothing, so
//!   the ledger gets no entry.
//! - On a **toll-free** number, Twilio acts on STOP, START and UNSTOP only. Other opt-outs count in our ledger anyway.
//!   `YES` does not opt in, because Twilio would continue to block: see [`Keyword::on_toll_free`].
//! - Only Twilio's words opt in: an unwanted message cannot be undone.

use std::borrow::Cow;

use super::named::named_enum;
use alone::{Alone, TWILIO_STOP_WORDS};
use fold::{Kind, fold, tokens};

mod alone;
mod features;
mod fold;
mod kinds;
#[cfg(test)]
mod learning;
mod model;
mod reaction;
mod signs;
#[cfg(test)]
mod tests;

pub use reaction::is_reaction;

/// The meaning of a text for the opt-out ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyword {
    /// The sender refuses further messages.
    Stop {
        /// The text of the refusal, in lower case without accents: evidence for the ledger.
        words: Cow<'static, str>,
        /// Whether it is a keyword or free text.
        kind: StopKind,
    },
    /// The sender wants messages again.
    Start {
        /// The opt-in word, in lower case.
        word: &'static str,
    },
    /// The sender may refuse further messages.
    Unsure,
    /// The sender asks for help.
    Help,
}

named_enum! {
    /// Whether a text refuses messages.
    #[derive(PartialOrd, Ord)]
    pub enum OptOut: "an opt-out result" {
        /// It does.
        OptOut = "opt_out",
        /// Perhaps. Messages continue.
        Unsure = "unsure",
        /// It does not.
        None = "none",
    }
}

impl OptOut {
    /// Returns the result for the keyword that [`classify`] found.
    #[must_use]
    pub const fn of(keyword: Option<&Keyword>) -> Self {
        match keyword {
            Some(Keyword::Stop { .. }) => Self::OptOut,
            Some(Keyword::Unsure) => Self::Unsure,
            Some(Keyword::Start { .. } | Keyword::Help) | None => Self::None,
        }
    }
}

/// The kind of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopKind {
    /// The whole message is an opt-out keyword.
    Word,
    /// A sentence refuses messages. Twilio does not react to it, so the sender got no confirmation.
    FreeText,
}

impl StopKind {
    /// Returns the name in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Word => "word",
            Self::FreeText => "free_text",
        }
    }
}

impl Keyword {
    /// Returns the meaning on a toll-free number, where Twilio knows fewer opt-in keywords.
    #[must_use]
    pub fn on_toll_free(self) -> Option<Self> {
        match self {
            Self::Start { word } if !TOLL_FREE_START_WORDS.contains(&word) => None,
            keyword => Some(keyword),
        }
    }

    /// Returns whether it is a keyword from the instructions in messages ("Reply STOP"), in any language.
    /// YES is also a common answer.
    #[must_use]
    pub fn is_a_command(&self) -> bool {
        match self {
            Self::Stop { words, kind: StopKind::Word } => TWILIO_STOP_WORDS.contains(&words.as_ref()),
            Self::Stop { kind: StopKind::FreeText, .. } | Self::Unsure => false,
            Self::Start { word } => *word != "yes",
            Self::Help => true,
        }
    }
}

const TOLL_FREE_START_WORDS: &[&str] = &["start", "unstop"];

/// The lowest probability of a refusal. Chosen by cross-validation, so that about 1 % of other texts count as refusals.
const REFUSAL_FROM: f32 = 0.65;
/// The lowest probability of a refusal with which one sentence makes a long text `Unsure`.
const SENTENCE_FROM: f32 = 0.5;
/// The lowest probability of an unrelated text; below it, the text is `Unsure`.
const NEITHER_FROM: f32 = 0.8;

/// The North American toll-free area codes (Somos, in service in 2025).
const TOLL_FREE_AREA_CODES: &[&str] = &["800", "833", "844", "855", "866", "877", "888"];

/// Returns whether an E.164 number is a North American toll-free number.
#[must_use]
pub fn is_toll_free(e164: &str) -> bool {
    e164.strip_prefix("+1")
        .is_some_and(|national| TOLL_FREE_AREA_CODES.iter().any(|code| national.starts_with(code)))
}

/// Classifies a text; `None` for nearly every one.
#[must_use]
pub fn classify(body: &str) -> Option<Keyword> {
    read_with(model::MODEL, body)
}

fn read_with(table: &[u8], body: &str) -> Option<Keyword> {
    let folded = fold(body);
    let tokens = tokens(&folded);
    match alone::find(body, &tokens) {
        Some(Alone::Stop(word)) => {
            return Some(Keyword::Stop { words: Cow::Borrowed(word), kind: StopKind::Word });
        }
        Some(Alone::Joke) => return Some(Keyword::Unsure),
        Some(Alone::Start(word)) => return Some(Keyword::Start { word }),
        Some(Alone::Help) => return Some(Keyword::Help),
        None => {}
    }
    if !tokens.iter().any(|token| matches!(token.kind, Kind::Word | Kind::Hand)) || is_reaction(body) {
        return None;
    }
    let [refusal, _, neither] = model::probabilities(table, &tokens);
    if refusal >= REFUSAL_FROM {
        let words = Cow::Owned(refusing_words(table, &folded));
        return Some(Keyword::Stop { words, kind: StopKind::FreeText });
    }
    let in_doubt = neither < NEITHER_FROM || (tokens.len() > LONG && has_refusing_sentence(table, &folded));
    in_doubt.then_some(Keyword::Unsure)
}

/// Returns whether one sentence of a long text refuses messages. The rest of the text may hide it from the model.
fn has_refusing_sentence(table: &[u8], folded: &str) -> bool {
    sentences(folded).any(|sentence| {
        let [refusal, ..] = model::probabilities(table, &tokens(sentence));
        refusal >= SENTENCE_FROM
    })
}

/// Splits a folded text into sentences.
fn sentences(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(['.', '!', '?', '\n', ';']).map(str::trim).filter(|sentence| !sentence.is_empty())
}

/// Returns the sentence with the highest probability of a refusal, as evidence for the ledger.
fn refusing_words(table: &[u8], folded: &str) -> String {
    let mut all = sentences(folded);
    if let (Some(only), None) = (all.next(), all.next()) {
        return only.chars().take(MOST_EVIDENCE).collect();
    }
    let rated = sentences(folded).map(|sentence| (model::probabilities(table, &tokens(sentence)), sentence));
    let best = rated.max_by(|([a, ..], _), ([b, ..], _)| a.total_cmp(b));
    best.map_or(folded, |(_, sentence)| sentence).chars().take(MOST_EVIDENCE).collect()
}

/// A text with more tokens is long.
const LONG: usize = 20;

/// The ledger stores this many characters of a free-text refusal.
const MOST_EVIDENCE: usize = 160;
