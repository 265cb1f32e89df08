//! Whether a text opts out of messages, in again, or asks for help.
//!
//! Three layers, from certain to judged:
//!
//! 1. **Words** (`alone`): the message is one of the words that Twilio acts on (TWILIO.md §8,
//!    <https://help.twilio.com/articles/223134027>), or one of their Spanish and Portuguese counterparts: alone, with a
//!    courtesy, a greeting or a signature, misspelt, or spaced out.
//! 2. **Reactions** ([`is_reaction`]): `Liked “Reply STOP to opt out”` quotes a text of ours and asks for nothing.
//! 3. **A learned model** (`model`) for all other texts: regulators ask for any reasonable means (47 CFR
//!    64.1200(a)(10)), so a sentence that refuses messages opts out as well. It gives the probabilities of *refusal*,
//!    *doubt* and *neither*. It is learned from the labelled texts in `material/`; among its features are `signs` of a
//!    text that speaks about opting out ("don't unsubscribe me").
//!
//! A false opt-out does harm as well, so where the model isn't sure, the result is [`OptOut::Unsure`], which stops
//! nothing. Method, data and figures: `docs/decisions/0014-opt-out-classifier.md`.
//!
//! What the ledger makes of it:
//!
//! - `YES` is a word that opts in, since Twilio unblocks the handset on it. From somebody who is not opted out it
//!   changes nothing, so the ledger records no entry and no event for it.
//! - On a **toll-free** number Twilio acts on STOP, START and UNSTOP only. A refusal in other words counts in our
//!   ledger all the same: that errs towards silence. `YES` does not opt in there, since Twilio would go on
//!   blocking: see [`Keyword::on_toll_free`].
//! - There are no opt-in words but Twilio's. A message sent against somebody's will can't be taken back; one that
//!   is held back can.

use std::borrow::Cow;

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

/// What a message asks of the opt-out ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyword {
    /// The writer wants no more messages.
    Stop {
        /// The words that said so, in lower case and without accents: evidence for the ledger.
        words: Cow<'static, str>,
        /// How they said it.
        kind: StopKind,
    },
    /// The writer wants messages again.
    Start {
        /// The opt-in word, in lower case.
        word: &'static str,
    },
    /// The writer may want no more messages; a person would ask.
    Unsure,
    /// The writer asks who this is.
    Help,
}

/// Whether a text refuses messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptOut {
    /// It refuses them.
    OptOut,
    /// It may refuse them. Messages continue.
    Unsure,
    /// It doesn't.
    None,
}

impl OptOut {
    /// Returns the result for a text that was read by [`classify`].
    #[must_use]
    pub const fn of(keyword: Option<&Keyword>) -> Self {
        match keyword {
            Some(Keyword::Stop { .. }) => Self::OptOut,
            Some(Keyword::Unsure) => Self::Unsure,
            Some(Keyword::Start { .. } | Keyword::Help) | None => Self::None,
        }
    }

    /// Returns the result's name in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OptOut => "opt_out",
            Self::Unsure => "unsure",
            Self::None => "none",
        }
    }
}

/// How a refusal was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopKind {
    /// The whole message is an opt-out word.
    Word,
    /// A sentence refuses messages. Twilio knows nothing of it, so nothing has confirmed it to the writer.
    FreeText,
}

impl StopKind {
    /// Returns the kind's name in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Word => "word",
            Self::FreeText => "free_text",
        }
    }
}

impl Keyword {
    /// Returns what the keyword means when it was sent to a toll-free number, where Twilio's opt-in words are fewer.
    #[must_use]
    pub fn on_toll_free(self) -> Option<Self> {
        match self {
            Self::Start { word } if !TOLL_FREE_START_WORDS.contains(&word) => None,
            keyword => Some(keyword),
        }
    }

    /// Tells whether it is a word that our texts and Twilio's tell everybody to use ("Reply STOP"), whatever they speak.
    /// YES is said by itself as well.
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

/// A refusal is at least this probable. Chosen by cross-validation over the material, so that of the texts that are
/// neither about 1 % count as refusals.
const REFUSAL_FROM: f32 = 0.65;
/// In a long text, a sentence that is a refusal with this probability makes the text one in doubt.
const SENTENCE_FROM: f32 = 0.5;
/// A text that is neither is at least this probable; otherwise it is in doubt.
const NEITHER_FROM: f32 = 0.8;

/// The North American toll-free area codes (Somos, in service in 2025).
const TOLL_FREE_AREA_CODES: &[&str] = &["800", "833", "844", "855", "866", "877", "888"];

/// Tells whether an E.164 number is a North American toll-free one.
#[must_use]
pub fn is_toll_free(e164: &str) -> bool {
    e164.strip_prefix("+1")
        .is_some_and(|national| TOLL_FREE_AREA_CODES.iter().any(|code| national.starts_with(code)))
}

/// Reads what a message asks of the opt-out ledger; `None` for nearly every message.
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

/// Tells whether a sentence of a long text refuses by itself: the rest may hide it from the model.
fn has_refusing_sentence(table: &[u8], folded: &str) -> bool {
    sentences(folded).any(|sentence| {
        let [refusal, ..] = model::probabilities(table, &tokens(sentence));
        refusal >= SENTENCE_FROM
    })
}

/// Cuts a folded text into sentences.
fn sentences(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(['.', '!', '?', '\n', ';']).map(str::trim).filter(|sentence| !sentence.is_empty())
}

/// Returns the sentence of a folded text that refuses most clearly, as evidence for the ledger.
fn refusing_words(table: &[u8], folded: &str) -> String {
    let rated = sentences(folded).map(|sentence| (model::probabilities(table, &tokens(sentence)), sentence));
    let best = rated.max_by(|([a, ..], _), ([b, ..], _)| a.total_cmp(b));
    best.map_or(folded, |(_, sentence)| sentence).chars().take(MOST_EVIDENCE).collect()
}

/// A text of more words and marks is long.
const LONG: usize = 20;

/// The ledger keeps so many characters of a refusal in free text.
const MOST_EVIDENCE: usize = 160;
