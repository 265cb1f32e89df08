//! Trains the table on the material, and measures it on held-out texts.
//!
//! Both are ignored tests, so that they use the detector's code:
//!
//! ```text
//! cargo test -p common --lib -- --ignored --nocapture language::learning::measuring
//! cargo test -p common --lib -- --ignored language::learning::writes_the_table
//! ```
//!
//! The model is a softmax regression over words. The score of a text is the sum of the weights of its words. The weight
//! of an unknown word is the sum of the weights of its letter sequences. To train the sequences, some words of each
//! text are treated as unknown, and some are misspelled in typical ways.

use std::collections::HashMap;
use std::path::PathBuf;

use super::model::{self, CLASSES, SCALE, SEQUENCE_SLOTS, WORD_BYTES, WORD_SLOTS};
use super::words::{NUMBER, Word, Words};

mod material;
mod measuring;

use material::{NONE, Text, fingerprint, material};

/// The SplitMix64 generator, so that the table is the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// A weight vector and its AdaGrad state.
#[derive(Clone, Default)]
struct Weights {
    value: [f32; CLASSES],
    squares: [f32; CLASSES],
}

impl Weights {
    fn learn(&mut self, gradient: &[f32; CLASSES], scale: f32, rate: f32, decay: f32) {
        for ((value, squares), slope) in self.value.iter_mut().zip(&mut self.squares).zip(gradient) {
            let slope = slope * scale + decay * *value;
            *squares += slope * slope;
            *value -= rate * slope / (squares.sqrt() + 1e-6);
        }
    }
}

/// The model during training.
struct Learner {
    index: HashMap<Vec<u8>, usize>,
    /// Names and brands that are in no language's word list. Their weight is 0, so that the other words decide.
    neutral: Vec<bool>,
    words: Vec<Weights>,
    sequences: Vec<Weights>,
}

/// A part of a text.
enum Part {
    Neutral,
    Number,
    Known(usize),
    Sequences(Vec<usize>),
}

const ROUNDS: usize = 24;
const RATE: f32 = 0.25;
const WORD_DECAY: f32 = 0.0007;
const SEQUENCE_DECAY: f32 = 0.0005;
/// One in this number of words is treated as unknown in training.
const UNKNOWN_ONE_IN: usize = 4;
/// One in this number of words is misspelled in training.
const MISSPELLED_ONE_IN: usize = 12;

impl Learner {
    fn learn(texts: &[Text]) -> Self {
        let mut learner = Self {
            index: HashMap::new(),
            neutral: Vec::new(),
            words: Vec::new(),
            sequences: vec![Weights::default(); SEQUENCE_SLOTS],
        };
        for letters in [model::NO_LETTERS, model::CAPITAL, model::ALL_CAPITALS, model::UNKNOWN, &[NUMBER]] {
            learner.add_word(letters);
        }
        for text in texts.iter().map(|text| text.text.as_str()).chain(SIGNATURES) {
            for word in Words::of(text).filter(|word| !word.foreign) {
                for spelling in [Some(word.clone()), word.without_accents()].into_iter().flatten() {
                    learner.add_word(spelling.letters());
                }
            }
        }
        learner.neutral = learner.neutral_words(texts);
        let mut random = Random(1);
        let mut order: Vec<usize> = (0..texts.len()).collect();
        for round in 0..ROUNDS {
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last + 1));
            }
            let rate = RATE * (1.0 - 0.8 * round as f32 / ROUNDS as f32);
            for &at in &order {
                learner.learn_text(&texts[at], rate, &mut random);
            }
        }
        learner
    }

    fn neutral_words(&self, texts: &[Text]) -> Vec<bool> {
        let mut neutral = vec![false; self.words.len()];
        for is_name in [true, false] {
            for text in texts
                .iter()
                .filter(|text| text.is_word && text.is_name == is_name && (is_name || text.class != NONE))
            {
                for word in Words::of(&text.text).filter(|word| !word.foreign) {
                    for spelling in [Some(word.clone()), word.without_accents()].into_iter().flatten() {
                        neutral[self.index[spelling.letters()]] = is_name;
                    }
                }
            }
        }
        neutral
    }

    fn add_word(&mut self, letters: &[u8]) {
        let next = self.words.len();
        if let std::collections::hash_map::Entry::Vacant(place) = self.index.entry(letters.to_vec()) {
            place.insert(next);
            self.words.push(Weights::default());
        }
    }

    fn learn_text(&mut self, text: &Text, rate: f32, random: &mut Random) {
        let Some(parts) = self.parts(text, random) else { return };
        let scores = self.scores(&parts);
        let mut gradient = softmax(scores);
        gradient[text.class] -= 1.0;
        for part in &parts {
            match part {
                Part::Neutral | Part::Number => {}
                Part::Known(at) => {
                    self.words[*at].learn(&gradient, text.weight, rate, WORD_DECAY * text.weight)
                }
                Part::Sequences(slots) => {
                    let scale = model::sequence_scale(slots.len() as u16) * text.weight;
                    for &slot in slots {
                        self.sequences[slot].learn(&gradient, scale, rate, SEQUENCE_DECAY * text.weight);
                    }
                }
            }
        }
    }

    /// Splits a text like `model::Evidence`. Returns `None` if it has no evidence.
    fn parts(&self, text: &Text, random: &mut Random) -> Option<Vec<Part>> {
        let without_accents = random.chance(3);
        let mut parts = vec![self.known(model::NO_LETTERS)];
        let (mut has_number, mut has_capital) = (false, false);
        let (mut words, mut capitals, mut has_plain, mut has_unknown_name) = (0, 0, false, false);
        for word in Words::of(&varied(&text.text, text.class != NONE && !text.is_word, random))
            .filter(|word| !word.foreign)
        {
            let word = if without_accents { word.without_accents().unwrap_or(word) } else { word };
            let part = self.part(&word, text.is_name, random);
            if matches!(part, Part::Number) {
                if !std::mem::replace(&mut has_number, true) {
                    parts.push(self.known(&[NUMBER]));
                }
                continue;
            }
            if word.named && matches!(part, Part::Known(_)) && !std::mem::replace(&mut has_capital, true) {
                parts.push(self.known(model::CAPITAL));
            }
            capitals += usize::from(word.capital);
            has_plain |= !word.capital;
            if matches!(part, Part::Sequences(_)) {
                parts.push(self.known(model::UNKNOWN));
            }
            match part {
                Part::Neutral => has_unknown_name = true,
                Part::Sequences(_) => has_unknown_name |= word.capital,
                _ => {}
            }
            words += usize::from(!matches!(part, Part::Neutral));
            parts.push(part);
        }
        if words == 0 {
            return None;
        }
        if capitals > 1 && !has_plain && has_unknown_name {
            parts.push(self.known(model::ALL_CAPITALS));
        }
        Some(parts)
    }

    fn known(&self, letters: &[u8]) -> Part {
        Part::Known(self.index[letters])
    }

    fn part(&self, word: &Word, is_name: bool, random: &mut Random) -> Part {
        let misspelled =
            if random.chance(MISSPELLED_ONE_IN) { misspell(word.letters(), random) } else { None };
        let letters = misspelled.as_deref().unwrap_or(word.letters());
        match self.index.get(letters) {
            Some(&at) if self.neutral[at] && is_name && random.chance(2) => {
                Part::Sequences(sequences(letters))
            }
            Some(&at) if self.neutral[at] => Part::Neutral,
            _ if word.is_number() => Part::Number,
            None if word.numbered => Part::Number,
            None if word.named => Part::Neutral,
            Some(&at) if word.numbered => Part::Known(at),
            Some(&at) if !random.chance(UNKNOWN_ONE_IN) => Part::Known(at),
            _ => Part::Sequences(sequences(letters)),
        }
    }

    fn scores(&self, parts: &[Part]) -> [f32; CLASSES] {
        let mut scores = [0.0; CLASSES];
        for part in parts {
            match part {
                Part::Neutral | Part::Number => {}
                Part::Known(at) => add(&mut scores, &self.words[*at].value, 1.0),
                Part::Sequences(slots) => {
                    let scale = model::sequence_scale(slots.len() as u16);
                    slots.iter().for_each(|&slot| add(&mut scores, &self.sequences[slot].value, scale));
                }
            }
        }
        scores
    }

    /// Returns the table in the format of `model`.
    fn table(&self) -> Vec<u8> {
        let mut words = vec![0; WORD_SLOTS * WORD_BYTES];
        let mut sorted: Vec<_> = self.index.iter().collect();
        sorted.sort();
        assert!(sorted.len() * 3 < WORD_SLOTS * 2, "the table of words is too full: {}", sorted.len());
        for (letters, &at) in sorted {
            let (mut slot, check) = model::place_of_word(letters);
            while words[slot * WORD_BYTES..][..2] != [0, 0] {
                slot = (slot + 1) % WORD_SLOTS;
            }
            let entry = &mut words[slot * WORD_BYTES..][..WORD_BYTES];
            entry[..2].copy_from_slice(&check.to_le_bytes());
            entry[2..].copy_from_slice(&quantized(&self.words[at].value));
        }
        let mut table = fingerprint().to_le_bytes().to_vec();
        table.extend(words);
        self.sequences.iter().for_each(|weights| table.extend(quantized(&weights.value)));
        table
    }
}

fn sequences(letters: &[u8]) -> Vec<usize> {
    let mut slots = Vec::new();
    model::for_each_sequence(letters, |slot| slots.push(slot));
    slots
}

/// Misspells a word: drops, doubles or swaps a letter, or writes it as it sounds.
fn misspell(letters: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    if letters.len() < 4 {
        return None;
    }
    let mut word = letters.to_vec();
    let at = random.below(word.len());
    match random.below(5) {
        0 => drop(word.remove(at)),
        1 => word.insert(at, word[at]),
        2 if at + 1 < word.len() => word.swap(at, at + 1),
        _ => {
            const SOUNDS: [(u8, u8); 10] = [
                (b'c', b's'),
                (b's', b'c'),
                (b'z', b's'),
                (b'v', b'b'),
                (b'b', b'v'),
                (b'y', b'i'),
                (b'g', b'j'),
                (b'c', b'k'),
                (b'i', b'e'),
                (b'o', b'u'),
            ];
            let (from, to) = SOUNDS[random.below(SOUNDS.len())];
            let place = word.iter().position(|&letter| letter == from)?;
            word[place] = to;
        }
    }
    Some(word)
}

/// Signatures below a message. They must not change its language.
const SIGNATURES: [&str; 10] = [
    "John Smith",
    "Maria Lopez\n123 Main St apt 4",
    "apt 4B",
    "Unit 12",
    "Carlos, 45 Oak Ave",
    "Ana Silva 305-555-0100",
    "John Smith\n901 Park Road, Los Angeles CA",
    "Room 5, Building 2",
    "Apartment 7, 1200 N Broadway",
    "Section 8",
];

/// Varies some texts: all words capitalized, all in lower case, or with a signature.
fn varied(text: &str, is_signed: bool, random: &mut Random) -> String {
    match random.below(12) {
        0 => text.to_lowercase(),
        2 if is_signed && random.chance(2) => {
            format!("{text}\n{}", SIGNATURES[random.below(SIGNATURES.len())])
        }
        1 => {
            let mut begins = true;
            let capitalise = |c: char| {
                let capital = if begins { c.to_ascii_uppercase() } else { c };
                begins = c.is_whitespace();
                capital
            };
            text.chars().map(capitalise).collect()
        }
        _ => text.to_owned(),
    }
}

fn add(sum: &mut [f32; CLASSES], value: &[f32; CLASSES], scale: f32) {
    for (sum, value) in sum.iter_mut().zip(value) {
        *sum += value * scale;
    }
}

fn softmax(scores: [f32; CLASSES]) -> [f32; CLASSES] {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let odds = scores.map(|score| (score - most).exp());
    let sum: f32 = odds.iter().sum();
    odds.map(|odd| odd / sum)
}

fn quantized(value: &[f32; CLASSES]) -> [u8; CLASSES] {
    value.map(|value| (value * SCALE).round().clamp(-127.0, 127.0) as i8 as u8)
}

/// Writes `model.bin` from all the material.
#[test]
#[ignore = "writes a file of the repository"]
fn writes_the_table() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/domain/language/model.bin");
    std::fs::write(path, Learner::learn(&material()).table()).unwrap();
}

#[test]
fn the_table_was_trained_on_the_current_material() {
    assert_eq!(model::fingerprint(), fingerprint(), "run the ignored test writes_the_table");
}
