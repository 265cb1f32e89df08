//! The trained table: the weight of each feature for the three classes.
//!
//! `learning` writes `model.bin`. It contains a fingerprint of the material, the kinds of words (an open-addressing
//! hash table with a 24-bit check and a number per word), and three weights per feature hash.

use super::features;
use super::fold::Token;

/// Opt-out, unsure, neither.
pub(super) const CLASSES: usize = 3;
/// The fingerprint of the material, little-endian.
pub(super) const HEADER_BYTES: usize = 8;
/// A power of two.
pub(super) const KIND_SLOTS: usize = 1 << 12;
/// The check and the number.
pub(super) const KIND_BYTES: usize = 4;
/// A power of two.
pub(super) const FEATURE_SLOTS: usize = 1 << 17;
/// The length of the table: 410 kB.
pub(super) const MODEL_BYTES: usize = WEIGHTS_AT + FEATURE_SLOTS * CLASSES;
/// Weights are stored as multiples of 1 / `SCALE`.
pub(super) const SCALE: f32 = 20.0;

const WEIGHTS_AT: usize = HEADER_BYTES + KIND_SLOTS * KIND_BYTES;

pub(super) static MODEL: &[u8; MODEL_BYTES] = include_bytes!("model.bin");

/// Returns the kind of a folded word.
pub(super) fn kind_of(table: &[u8], word: &str) -> Option<u8> {
    let (mut slot, check) = place_of_kind(word);
    loop {
        let entry = table.get(HEADER_BYTES + slot * KIND_BYTES..)?.first_chunk::<KIND_BYTES>()?;
        match *entry {
            [_, _, _, 0] => return None,
            [a, b, c, kind] if [a, b, c] == check => return Some(kind),
            _ => slot = (slot + 1) % KIND_SLOTS,
        }
    }
}

/// Returns the first slot of a word and its check value.
pub(super) fn place_of_kind(word: &str) -> (usize, [u8; 3]) {
    let hash = features::hash(word.as_bytes());
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [a, b, c, ..] = hash.to_be_bytes();
    ((hash ^ (hash >> 29)) as usize % KIND_SLOTS, [a, b, c])
}

/// Returns the slot of a feature's weights.
pub(super) fn place_of_feature(hash: u64) -> usize {
    hash as usize % FEATURE_SLOTS
}

/// Returns the factor for the sum of the weights, because longer texts have more features.
pub(super) fn length_scale(features: usize) -> f32 {
    (features.max(1) as f32).powf(-0.6)
}

/// Returns the probability of each class.
pub(super) fn probabilities(table: &[u8], tokens: &[Token<'_>]) -> [f32; CLASSES] {
    let mut sums = [0_i32; CLASSES];
    let mut count = 0;
    features::for_each(table, tokens, |hash| {
        let start = WEIGHTS_AT + place_of_feature(hash) * CLASSES;
        if let Some(weights) = table.get(start..).and_then(<[u8]>::first_chunk::<CLASSES>) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += i32::from(i8::from_le_bytes([*weight]));
            }
        }
        count += 1;
    });
    let scale = length_scale(count) / SCALE;
    softmax(sums.map(|sum| sum as f32 * scale))
}

pub(super) fn softmax(scores: [f32; CLASSES]) -> [f32; CLASSES] {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let odds = scores.map(|score| (score - most).exp());
    let sum: f32 = odds.iter().sum();
    odds.map(|odd| odd / sum)
}
