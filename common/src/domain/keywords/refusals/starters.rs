//! The words that a refusal can begin with, as a table of bits made at compile time, so that other words cost a
//! look at one bit instead of a comparison with every pattern.

use super::rules::{Rule, Set, Step};

/// Sixty-four words of sixty-four bits: enough that few other words share a bit with one that matters.
const WORDS: usize = 64;

/// A set that may hold a word too many, and never one too few.
pub(super) struct Starters([u64; WORDS]);

impl Starters {
    /// Collects the words that any of the rules can begin with.
    pub(super) const fn of(rules: &[&[Rule]]) -> Self {
        let mut bits = [0; WORDS];
        let mut languages = rules;
        while let Some((language, others)) = languages.split_first() {
            let mut left = *language;
            while let Some((rule, rest)) = left.split_first() {
                bits = add_rule(bits, rule.steps);
                left = rest;
            }
            languages = others;
        }
        Self(bits)
    }

    /// Tells whether a match may begin with the word.
    pub(super) fn may_have(&self, word: &str) -> bool {
        let (index, bit) = place(word);
        self.0.get(index).is_some_and(|bits| bits & bit != 0)
    }
}

/// Adds the words of a pattern's steps up to the first that must be there.
const fn add_rule(mut bits: [u64; WORDS], steps: &[Step]) -> [u64; WORDS] {
    let mut left = steps;
    while let Some((step, rest)) = left.split_first() {
        match *step {
            Step::Is(words) => return add_words(bits, words),
            Step::May(words) | Step::Many(words) => bits = add_words(bits, words),
            Step::Not(_) | Step::End => {}
        }
        left = rest;
    }
    bits
}

const fn add_words(mut bits: [u64; WORDS], words: Set) -> [u64; WORDS] {
    let mut left = words;
    while let Some((word, rest)) = left.split_first() {
        let (index, bit) = place(word);
        bits[index] |= bit;
        left = rest;
    }
    bits
}

/// Returns where a word's bit stands: FNV-1a, its upper half folded in.
const fn place(word: &str) -> (usize, u64) {
    let mut hash: u32 = 0x811c_9dc5;
    let mut bytes = word.as_bytes();
    while let Some((byte, rest)) = bytes.split_first() {
        hash = (hash ^ *byte as u32).wrapping_mul(0x0100_0193);
        bytes = rest;
    }
    let hash = hash ^ (hash >> 16);
    ((hash / 64) as usize % WORDS, 1 << (hash % 64))
}
