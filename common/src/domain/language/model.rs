//! The learnt table: what a word, or failing that its letter sequences, says about the language.
//!
//! `model.bin` is written by `learning` (see `material/README.md`) and holds three parts: a fingerprint of the
//! material it was learnt from, the words (an open-addressing hash table of a 16-bit check and four weights each)
//! and the letter sequences (four weights for each hash). The four weights are for English, Spanish, Portuguese
//! and none of them, in sixteenths of a natural logarithm: adding them up multiplies odds.

use super::words::{NUMBER, Word};

/// English, Spanish, Portuguese, none.
pub(super) const CLASSES: usize = 4;
/// Weights are kept as whole sixteenths.
pub(super) const SCALE: f32 = 16.0;

/// The fingerprint of the material, little-endian.
pub(super) const HEADER_BYTES: usize = 8;
/// A power of two, at most two thirds full.
pub(super) const WORD_SLOTS: usize = 1 << 15;
/// The check and the weights.
pub(super) const WORD_BYTES: usize = 2 + CLASSES;
/// A power of two.
pub(super) const SEQUENCE_SLOTS: usize = 1 << 15;
/// The length of the table: 328 kB.
pub(super) const MODEL_BYTES: usize = HEADER_BYTES + WORD_SLOTS * WORD_BYTES + SEQUENCE_SLOTS * CLASSES;

/// The longest letter sequence that is looked at, counting the marks for a word's beginning and end.
const LONGEST_SEQUENCE: usize = 5;
/// What stands for a word's beginning and end in a sequence.
const EDGE: u8 = b' ';

static MODEL: &[u8; MODEL_BYTES] = include_bytes!("model.bin");

/// Probabilities are drawn towards each other by this much, as the held-out texts ask for.
const TEMPERATURE: f32 = 0.55;
/// The weights of names that belong to no language.
const NEUTRAL: [f32; CLASSES] = [0.0; CLASSES];
/// The word that every text begins with: what is likely before anything was read.
pub(super) const NO_LETTERS: &[u8] = b"";
/// The word that goes, once a text, with a known one written with a capital inside a sentence: "Main" of "Main Street".
pub(super) const CAPITAL: &[u8] = b"^";
/// The word that goes with each word that had to be judged by its sequences: how likely that is in each language.
pub(super) const UNKNOWN: &[u8] = b"?";
/// The word that goes, once a text, with one whose words all begin with a capital while some aren't known: a name.
pub(super) const ALL_CAPITALS: &[u8] = b"^^";
/// The evidence of a word with a letter that none of our languages has: of another alphabet, or of Vietnamese, Polish or
/// Turkish. Two natural logarithms, so that a name so written doesn't outweigh a sentence.
const FOREIGN: [f32; CLASSES] = [0.0, 0.0, 0.0, 2.0 * SCALE];

/// Evidence for each class, added up word by word.
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
    /// Begins with no evidence, to be judged by the compiled-in table.
    pub(super) fn new() -> Self {
        Evidence::by(MODEL)
    }
}

impl<'a> Evidence<'a> {
    /// Begins with no evidence, to be judged by another table.
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

    /// Adds what a word says.
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
            // An unknown name in the middle of a text says nothing.
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

    /// Adds what a number says, once: an address has several.
    fn add_number(&mut self) {
        if !self.has_number {
            self.has_number = true;
            self.add_known(&[NUMBER]);
        }
    }

    /// Looks a word up as it is, then without its accents, then without the letters that are doubled ("holaa").
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

    /// Tells whether no word has said anything: there were none, or numbers, names and single letters alone.
    pub(super) const fn is_empty(&self) -> bool {
        !self.says_something
    }

    /// Adds what can only be said of a whole text.
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

/// Looks a word up; `None` if it isn't known.
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

/// Judges an unknown word: the sum of its sequences' weights over the root of their number.
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

/// Returns what a word's summed sequences are multiplied by.
pub(super) fn sequence_scale(count: u16) -> f32 {
    1.0 / f32::from(count.max(1)).sqrt()
}

/// Calls `visit` with the slot of every letter sequence of a word: one to five letters, its edges included.
pub(super) fn for_each_sequence(letters: &[u8], mut visit: impl FnMut(usize)) {
    let marked = |index: usize| match index.checked_sub(1) {
        Some(inner) => letters.get(inner).copied().unwrap_or(EDGE),
        None => EDGE,
    };
    for start in 0..letters.len() + 1 {
        let mut hash = FNV_OFFSET;
        for end in start..(start + LONGEST_SEQUENCE).min(letters.len() + 2) {
            hash = step(hash, marked(end));
            // A lone edge is part of every word.
            if end > 0 {
                visit(mix(hash) as usize % SEQUENCE_SLOTS);
            }
        }
    }
}

/// Returns the slot a word is looked for first, and the check that tells it from others. The check is never 0,
/// which marks a free slot.
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

/// Spreads a hash over all its bits: FNV alone leaves the low ones of short words alike.
const fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

fn signed(weight: u8) -> f32 {
    f32::from(i8::from_le_bytes([weight]))
}

/// Returns the fingerprint of the material that the table was learnt from.
#[cfg(test)]
pub(super) fn fingerprint() -> u64 {
    u64::from_le_bytes(*MODEL.first_chunk().unwrap())
}
