//! The trained table: weights of words and of letter sequences for each language.
//!
//! `model.bin` is written by `learning` (see `material/README.md`) and holds three parts: a fingerprint of the
//! training material, the words (an open-addressing hash table with a 16-bit check and four weights per word) and the
//! letter sequences (four weights per hash). The four weights are for English, Spanish, Portuguese and none of them, in
//! sixteenths of a natural logarithm. Adding weights multiplies odds.

use super::words::{NUMBER, Word};

/// English, Spanish, Portuguese, none.
pub(super) const CLASSES: usize = 4;
/// Weights are stored as whole sixteenths.
pub(super) const SCALE: f32 = 16.0;

/// The fingerprint of the material, little-endian.
pub(super) const HEADER_BYTES: usize = 8;
/// A power of two, at most two thirds full.
pub(super) const WORD_SLOTS: usize = 1 << 15;
/// The size of an entry: the check and the weights.
pub(super) const WORD_BYTES: usize = 2 + CLASSES;
/// A power of two.
pub(super) const SEQUENCE_SLOTS: usize = 1 << 15;
/// The length of the table: 328 kB.
pub(super) const MODEL_BYTES: usize = HEADER_BYTES + WORD_SLOTS * WORD_BYTES + SEQUENCE_SLOTS * CLASSES;

/// The maximum length of a letter sequence, including the marks at the edges of a word.
const LONGEST_SEQUENCE: usize = 5;
/// Marks the start and the end of a word in a sequence.
const EDGE: u8 = b' ';

static MODEL: &[u8; MODEL_BYTES] = include_bytes!("model.bin");

/// Softmax temperature, calibrated on the held-out texts.
const TEMPERATURE: f32 = 0.55;
/// The weights of names, which are evidence for no language.
const NEUTRAL: [f32; CLASSES] = [0.0; CLASSES];
/// Pseudo-word for the start of a text: the prior probability of each language.
pub(super) const NO_LETTERS: &[u8] = b"";
/// Pseudo-word for a known word with a capital inside a sentence, once per text: "Main" in "Main Street".
pub(super) const CAPITAL: &[u8] = b"^";
/// Pseudo-word for each word that is not in the table and is scored by its letter sequences.
pub(super) const UNKNOWN: &[u8] = b"?";
/// Pseudo-word for a text of capitalized words, some of them unknown: a name.
pub(super) const ALL_CAPITALS: &[u8] = b"^^";
/// The weights of a word with a letter outside our languages: another alphabet, Vietnamese, Polish or Turkish. Two
/// natural logarithms, so that a name with such a letter does not outweigh a sentence.
const FOREIGN: [f32; CLASSES] = [0.0, 0.0, 0.0, 2.0 * SCALE];

/// The sum of the evidence for each class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence<'a> {
    table: &'a [u8],
    scores: [f32; CLASSES],
    has_number: bool,
    has_capital: bool,
    capitals: usize,
    has_plain: bool,
    says_something: bool,
    has_unknown_name: bool,
}

impl Evidence<'static> {
    /// Creates empty evidence with the compiled-in table.
    pub(super) fn new() -> Self {
        Evidence::by(MODEL)
    }
}

impl<'a> Evidence<'a> {
    /// Creates empty evidence with another table.
    pub(super) fn by(table: &'a [u8]) -> Self {
        Self {
            table,
            scores: find(table, NO_LETTERS).unwrap_or_default(),
            has_number: false,
            has_capital: false,
            capitals: 0,
            has_plain: false,
            says_something: false,
            has_unknown_name: false,
        }
    }

    /// Adds the evidence of a word.
    pub(super) fn add(&mut self, word: &Word) {
        if word.foreign {
            self.says_something = true;
            self.add_weights(FOREIGN);
            return;
        }
        if word.is_number() {
            return self.add_number();
        }
        if word.capital {
            self.capitals += 1;
        } else {
            self.has_plain = true;
        }
        let weights = match self.look_up(word) {
            Some(weights) => weights,
            // "4B", "9am"
            None if word.numbered => return self.add_number(),
            // An unknown name within a text is no evidence.
            None if word.named => {
                self.has_unknown_name = true;
                return;
            }
            None => {
                self.has_unknown_name |= word.capital;
                self.add_known(UNKNOWN);
                by_sequences(self.table, word.letters())
            }
        };
        if weights == NEUTRAL {
            self.has_unknown_name = true;
            return;
        }
        self.says_something |= word.letters().len() > 1 || !word.letters().is_ascii();
        self.add_weights(weights);
        if word.named && !self.has_capital {
            self.has_capital = true;
            self.add_known(CAPITAL);
        }
    }

    /// Adds the evidence of a number, once per text, because an address has several.
    fn add_number(&mut self) {
        if !self.has_number {
            self.has_number = true;
            self.add_known(&[NUMBER]);
        }
    }

    /// Looks up a word as written, then without accents, then without doubled letters ("holaa").
    fn look_up(&self, word: &Word) -> Option<[f32; CLASSES]> {
        let look_up = |spelling: Word| find(self.table, spelling.letters());
        find(self.table, word.letters())
            .or_else(|| word.without_accents().and_then(look_up))
            .or_else(|| word.without_doubles().and_then(look_up))
    }

    fn add_known(&mut self, letters: &[u8]) {
        self.add_weights(find(self.table, letters).unwrap_or_default());
    }

    fn add_weights(&mut self, weights: [f32; CLASSES]) {
        for (score, weight) in self.scores.iter_mut().zip(weights) {
            *score += weight;
        }
    }

    #[cfg(test)]
    pub(super) fn scores(&self) -> [f32; CLASSES] {
        self.scores
    }

    /// Returns whether there is no evidence: no words, or only numbers, names and single letters.
    pub(super) const fn is_empty(&self) -> bool {
        !self.says_something
    }

    /// Adds the evidence of the text as a whole.
    pub(super) fn end(&mut self) {
        if self.capitals > 1 && !self.has_plain && self.has_unknown_name {
            self.add_known(ALL_CAPITALS);
        }
    }

    /// Returns the probability of each class.
    pub(super) fn probabilities(&self) -> [f32; CLASSES] {
        let most = self.scores.iter().copied().fold(f32::MIN, f32::max);
        let odds = self.scores.map(|score| ((score - most) / (SCALE * TEMPERATURE)).exp());
        let sum: f32 = odds.iter().sum();
        odds.map(|odd| odd / sum)
    }
}

/// Returns the weights of a word, or `None` if it is unknown.
fn find(table: &[u8], letters: &[u8]) -> Option<[f32; CLASSES]> {
    let (mut slot, check) = place_of_word(letters);
    loop {
        let entry = table.get(HEADER_BYTES + slot * WORD_BYTES..)?.first_chunk::<WORD_BYTES>()?;
        let [low, high, weights @ ..] = *entry;
        match u16::from_le_bytes([low, high]) {
            0 => return None,
            found if found == check => return Some(weights.map(signed)),
            _ => slot = (slot + 1) % WORD_SLOTS,
        }
    }
}

/// Scores an unknown word: the sum of its sequences' weights, divided by the square root of their number.
fn by_sequences(table: &[u8], letters: &[u8]) -> [f32; CLASSES] {
    let mut sums = [0.0; CLASSES];
    let mut count = 0_u16;
    for_each_sequence(letters, |slot| {
        let start = HEADER_BYTES + WORD_SLOTS * WORD_BYTES + slot * CLASSES;
        if let Some(weights) = table.get(start..).and_then(<[u8]>::first_chunk::<CLASSES>) {
            for (sum, weight) in sums.iter_mut().zip(weights.map(signed)) {
                *sum += weight;
            }
            count += 1;
        }
    });
    let scale = sequence_scale(count);
    sums.map(|sum| sum * scale)
}

/// Returns the factor for the sum of a word's sequences.
pub(super) fn sequence_scale(count: u16) -> f32 {
    1.0 / f32::from(count.max(1)).sqrt()
}

/// Calls `visit` with the slot of every letter sequence of a word. A sequence has one to five letters, including the
/// edges.
pub(super) fn for_each_sequence(letters: &[u8], mut visit: impl FnMut(usize)) {
    let marked = |index: usize| match index.checked_sub(1) {
        Some(inner) => letters.get(inner).copied().unwrap_or(EDGE),
        None => EDGE,
    };
    for start in 0..letters.len() + 1 {
        let mut hash = FNV_OFFSET;
        for end in start..(start + LONGEST_SEQUENCE).min(letters.len() + 2) {
            hash = step(hash, marked(end));
            // Every word has the sequence of the edge alone.
            if end > 0 {
                visit(mix(hash) as usize % SEQUENCE_SLOTS);
            }
        }
    }
}

/// Returns the first slot of a word and its check value. The check is never 0, which marks a free slot.
pub(super) fn place_of_word(letters: &[u8]) -> (usize, u16) {
    let hash = mix(letters.iter().fold(FNV_OFFSET, |hash, &letter| step(hash, letter)));
    let check = u16::try_from(hash >> 48).unwrap_or(u16::MAX).max(1);
    (hash as usize % WORD_SLOTS, check)
}

/// FNV-1a's 64-bit parameters.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

const fn step(hash: u64, letter: u8) -> u64 {
    (hash ^ letter as u64).wrapping_mul(FNV_PRIME)
}

/// Distributes a hash over all bits. With FNV alone, the low bits of short words are similar.
const fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

fn signed(weight: u8) -> f32 {
    f32::from(i8::from_le_bytes([weight]))
}

/// Returns the fingerprint of the material that the table was trained on.
#[cfg(test)]
pub(super) fn fingerprint() -> u64 {
    u64::from_le_bytes(*MODEL.first_chunk().unwrap())
}
