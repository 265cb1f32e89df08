//! Trains the table on the material, and measures it.
//!
//! Both are ignored tests, so that they use the classifier's code. Use `--release`, because debug builds are slow:
//!
//! ```text
//! cargo test --release -p common --lib -- --ignored --nocapture keywords::learning::measures
//! cargo test --release -p common --lib -- --ignored keywords::learning::writes_the_model
//! ```
//!
//! The model is a softmax regression over hashed features, trained with AdaGrad. Each round varies the texts: it adds
//! greetings, signatures and everyday sentences to some, and misspells some words.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::fold::{fold, tokens};
use super::model::{self, CLASSES, FEATURE_SLOTS, HEADER_BYTES, KIND_BYTES, KIND_SLOTS, SCALE, softmax};
use super::{OptOut, features, read_with};

const KINDS: &str = include_str!("material/kinds.txt");
/// Files of labelled texts with their weights.
const MATERIAL: [(&str, f32); 5] = [
    (include_str!("material/en.tsv"), 1.0),
    (include_str!("material/es.tsv"), 1.0),
    (include_str!("material/pt.tsv"), 1.0),
    (include_str!("material/own.tsv"), 1.0),
    (include_str!("material/patterns.tsv"), 0.3),
];
/// Everyday messages of tenants, from the language detector's material.
const EVERYDAY: [(&str, &str); 3] = [
    ("en", include_str!("../language/material/sentences.en.txt")),
    ("es", include_str!("../language/material/sentences.es.txt")),
    ("pt", include_str!("../language/material/sentences.pt.txt")),
];

const RUNS: u64 = 4;
const ROUNDS: usize = 24;
const RATE: f32 = 0.3;
const DECAY: f32 = 0.0001;
/// The weight of an everyday text, relative to a labelled one.
const EVERYDAY_WEIGHT: f32 = 0.3;
const FOLDS: usize = 5;

/// A labelled text.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) class: usize,
    pub(super) language: String,
    pub(super) text: String,
    weight: f32,
}

/// Reads lines of label, language and text.
pub(super) fn read(lines: &str) -> Vec<Text> {
    let lines = lines.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
    let text = |line: &str| {
        let (label, rest) = line.split_once('\t').unwrap();
        let class = ["opt_out", "unsure", "none"].iter().position(|&name| name == label).unwrap();
        let language = rest.split('\t').next().unwrap().to_owned();
        let text = line.rsplit('\t').next().unwrap().replace("\\n", "\n");
        Text { class, language, text, weight: 1.0 }
    };
    lines.map(text).collect()
}

fn material() -> Vec<Text> {
    let mut seen = HashSet::new();
    let weighted = |(lines, weight)| read(lines).into_iter().map(move |text| Text { weight, ..text });
    let texts = MATERIAL.into_iter().flat_map(weighted);
    texts.filter(|text| seen.insert((text.class, fold(&text.text)))).collect()
}

fn everyday() -> Vec<Text> {
    let lines = |(language, content): (&'static str, &'static str)| {
        let lines = content.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
        lines.map(move |line| Text {
            class: 2,
            language: language.to_owned(),
            text: line.replace("\\n", "\n"),
            weight: EVERYDAY_WEIGHT,
        })
    };
    EVERYDAY.into_iter().flat_map(lines).collect()
}

pub(super) fn fingerprint() -> u64 {
    let bytes = MATERIAL
        .map(|(lines, _)| lines)
        .into_iter()
        .chain([KINDS])
        .chain(EVERYDAY.map(|(_, content)| content));
    features::hash(&bytes.flat_map(str::bytes).collect::<Vec<u8>>())
}

/// SplitMix64, so that the table is the same on every machine.
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

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

const GREETINGS: [&str; 8] =
    ["Hi, ", "Hello. ", "Hola, ", "Buenas tardes, ", "Oi, ", "Bom dia. ", "Good morning, ", "ok "];
const SIGNATURES: [&str; 11] = [
    "\nSent from my iPhone",
    " - Maria",
    "\nJohn Smith",
    "\nUnit 12",
    " apt 4B",
    "\nEnviado desde mi iPhone",
    "\nAna Silva 305-555-0100",
    "\nCarlos, 45 Oak Ave",
    " thanks",
    " gracias",
    " obrigado",
];

fn varied(text: &Text, everyday: &HashMap<&str, Vec<&str>>, random: &mut Random) -> String {
    let mut varied = text.text.clone();
    let long = varied.split_whitespace().count() >= 3;
    if long && random.below(100) < 12 {
        let other = ["en", "es"][random.below(2)];
        let list = everyday.get(text.language.as_str()).unwrap_or_else(|| &everyday[other]);
        let sentence = random.pick(list);
        let between = random.pick(&["\n", ". ", ", ", ". ", " "]);
        // Text after an opt-out or an unsure text could limit it to a topic.
        let after = text.class == 2 && random.one_in(3);
        varied = if after {
            format!("{varied}{between}{sentence}")
        } else {
            format!("{sentence}{between}{varied}")
        };
    }
    if random.one_in(16) {
        varied += random.pick(&SIGNATURES);
    }
    if random.one_in(16) {
        varied.insert_str(0, random.pick(&GREETINGS));
    }
    if random.one_in(4) {
        let words = varied.split(' ').map(|word| match random.one_in(14) {
            true => misspelled(word, random).unwrap_or_else(|| word.to_owned()),
            false => word.to_owned(),
        });
        varied = words.collect::<Vec<_>>().join(" ");
    }
    varied
}

fn misspelled(word: &str, random: &mut Random) -> Option<String> {
    if word.len() < 4 || !word.is_ascii() {
        return None;
    }
    let mut letters = word.as_bytes().to_vec();
    let at = random.below(letters.len());
    match random.below(4) {
        0 => drop(letters.remove(at)),
        1 => letters.insert(at, letters[at]),
        2 if at + 1 < letters.len() => letters.swap(at, at + 1),
        2 => {}
        _ => letters[at] = b'a' + random.below(26) as u8,
    }
    String::from_utf8(letters).ok()
}

/// Writes the header and the kinds of words; the weights are zero.
fn empty_table() -> Vec<u8> {
    let mut kinds = vec![0; KIND_SLOTS * KIND_BYTES];
    for (number, line) in KINDS.lines().enumerate() {
        for word in line.split_whitespace().skip(1).map(fold) {
            let (mut slot, check) = model::place_of_kind(&word);
            while kinds[slot * KIND_BYTES + 3] != 0 && kinds[slot * KIND_BYTES..][..3] != check {
                slot = (slot + 1) % KIND_SLOTS;
            }
            // A word in two kinds belongs to the first.
            if kinds[slot * KIND_BYTES + 3] == 0 {
                kinds[slot * KIND_BYTES..][..3].copy_from_slice(&check);
                kinds[slot * KIND_BYTES + 3] = u8::try_from(number + 1).unwrap();
            }
        }
    }
    let mut table = fingerprint().to_le_bytes().to_vec();
    table.extend(kinds);
    table.resize(HEADER_BYTES + KIND_SLOTS * KIND_BYTES + FEATURE_SLOTS * CLASSES, 0);
    table
}

/// Trains several times with different variations, and averages the weights.
fn learn(labelled: &[Text]) -> Vec<u8> {
    let everyday_texts = everyday();
    let mut sentences: HashMap<&str, Vec<&str>> = HashMap::new();
    for text in everyday_texts.iter().filter(|text| text.text.contains(' ')) {
        sentences.entry(&text.language).or_default().push(&text.text);
    }
    let texts: Vec<&Text> = labelled.iter().chain(&everyday_texts).collect();
    let mut table = empty_table();
    let runs: Vec<_> = std::thread::scope(|scope| {
        let (table, texts, sentences) = (&table, &texts, &sentences);
        let runs: Vec<_> =
            (0..RUNS).map(|run| scope.spawn(move || learn_once(run, table, texts, sentences))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let averages = (0..FEATURE_SLOTS * CLASSES)
        .map(|at| runs.iter().map(|run| run[at / CLASSES][at % CLASSES]).sum::<f32>() / RUNS as f32);
    let quantised: Vec<u8> =
        averages.map(|weight| (weight * SCALE).round().clamp(-127.0, 127.0) as i8 as u8).collect();
    let weights_at = table.len() - FEATURE_SLOTS * CLASSES;
    table.splice(weights_at.., quantised);
    table
}

fn learn_once(
    run: u64,
    table: &[u8],
    texts: &[&Text],
    sentences: &HashMap<&str, Vec<&str>>,
) -> Vec<[f32; CLASSES]> {
    let mut weights = vec![[0.0_f32; CLASSES]; FEATURE_SLOTS];
    let mut squares = vec![[0.0_f32; CLASSES]; FEATURE_SLOTS];
    let mut random = Random(run + 1);
    let mut order: Vec<usize> = (0..texts.len()).collect();
    let mut slots = Vec::new();
    for round in 0..ROUNDS {
        (1..order.len()).rev().for_each(|last| order.swap(last, random.below(last + 1)));
        let rate = RATE * (1.0 - 0.9 * round as f32 / ROUNDS as f32);
        for &at in &order {
            let text = texts[at];
            let folded = fold(&varied(text, sentences, &mut random));
            slots.clear();
            features::for_each(table, &tokens(&folded), |hash| slots.push(model::place_of_feature(hash)));
            let scale = model::length_scale(slots.len());
            let mut sums = [0.0; CLASSES];
            slots.iter().for_each(|&slot| (0..CLASSES).for_each(|class| sums[class] += weights[slot][class]));
            let mut gradient = softmax(sums.map(|sum| sum * scale));
            gradient[text.class] -= 1.0;
            for &slot in &slots {
                for class in 0..CLASSES {
                    let slope = gradient[class] * scale * text.weight + DECAY * weights[slot][class];
                    squares[slot][class] += slope * slope;
                    weights[slot][class] -= rate * slope / (squares[slot][class].sqrt() + 1e-4);
                }
            }
        }
    }
    weights
}

/// Writes `model.bin` from all the material.
#[test]
#[ignore = "writes a file of the repository"]
fn writes_the_model() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/domain/keywords/model.bin");
    std::fs::write(path, learn(&material())).unwrap();
}

/// Five-fold cross-validation.
#[test]
#[ignore = "measures; slow without optimization"]
fn measures() {
    let texts = material();
    let mut random = Random(7);
    let folds: Vec<usize> = texts.iter().map(|_| random.below(FOLDS)).collect();
    let mut tally = super::tests::Tally::default();
    for fold in 0..FOLDS {
        let of = |is_held_out: bool| {
            let texts = texts.iter().zip(&folds).filter(move |(_, at)| (**at == fold) == is_held_out);
            texts.map(|(text, _)| text.clone()).collect::<Vec<_>>()
        };
        let table = learn(&of(false));
        for text in of(true).into_iter().filter(|text| text.weight == 1.0) {
            tally.add(&text, OptOut::of(read_with(&table, &text.text).as_ref()));
        }
    }
    println!("cross-validated: {tally}");
    tally.mistakes.iter().for_each(|mistake| println!("  {mistake}"));
}

#[test]
fn signs_look_for_the_kinds_that_the_model_knows() {
    for (kind, word) in super::kinds::EXAMPLES {
        assert_eq!(model::kind_of(model::MODEL, word), Some(*kind), "{word}");
    }
}

#[test]
fn the_model_was_learned_from_the_material_beside_it() {
    let made_of = u64::from_le_bytes(*model::MODEL.first_chunk().unwrap());
    assert_eq!(made_of, fingerprint(), "run the ignored test writes_the_model");
}
