//! Measures the table on unseen texts, and the training with five-fold cross-validation.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::material::{NONE, Text, material};
use super::{CLASSES, Learner, Words, model, softmax};
use crate::domain::language::model::SCALE;
use crate::domain::language::{Detection, Language, detect, weigh};

fn class_of(language: Language) -> usize {
    match language {
        Language::En => 0,
        Language::Es => 1,
        Language::Pt => 2,
        Language::Unknown => NONE,
    }
}

/// Correct results by kind of text and by confidence.
#[derive(Default)]
struct Tally {
    by_kind: BTreeMap<String, (usize, usize)>,
    by_confidence: [(usize, usize, f32); 10],
    mistakes: Vec<String>,
    scores: Vec<([f32; CLASSES], usize)>,
}

impl Tally {
    fn count(&mut self, kind: &str, text: &str, classes: &[usize], detection: Detection) {
        let right = classes.contains(&class_of(detection.language));
        for kind in [kind, "all"] {
            let entry = self.by_kind.entry(kind.to_owned()).or_default();
            entry.0 += usize::from(right);
            entry.1 += 1;
        }
        let bin = &mut self.by_confidence[((detection.confidence * 10.0) as usize).min(9)];
        bin.0 += usize::from(right);
        bin.1 += 1;
        bin.2 += detection.confidence;
        if !right {
            self.mistakes
                .push(format!("{classes:?} {} {:.2} {text:?}", detection.language, detection.confidence));
        }
    }

    /// Returns the percentage of correct results in the kinds that `belongs` selects.
    fn share(&self, belongs: impl Fn(&str) -> bool) -> f32 {
        let picked = self.by_kind.iter().filter(|(kind, _)| belongs(kind)).map(|(_, counts)| *counts);
        let (right, all) = picked.fold((0, 0), |sum, (right, all)| (sum.0 + right, sum.1 + all));
        100.0 * right as f32 / all as f32
    }

    fn print_temperatures(&self) {
        for temperature in [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3] {
            let loss: f32 = self
                .scores
                .iter()
                .map(|(scores, class)| {
                    -softmax(scores.map(|s| s / SCALE / temperature))[*class].max(1e-6).ln()
                })
                .sum();
            println!("temperature {temperature}: loss {:.4}", loss / self.scores.len() as f32);
        }
    }

    fn print(&self) {
        for (kind, (right, all)) in &self.by_kind {
            println!("{kind:24} {right:5} of {all:5} = {:.1} %", 100.0 * *right as f32 / *all as f32);
        }
        println!("confidence: given, right, texts");
        for (right, all, given) in self.by_confidence.iter().filter(|bin| bin.1 > 0) {
            println!("  {:.3} {:.3} {all}", given / *all as f32, *right as f32 / *all as f32);
        }
    }
}

const NAMES: [&str; CLASSES] = ["en", "es", "pt", "unknown"];

fn is_short(text: &str) -> bool {
    text.split_whitespace().count() <= 2
}

#[test]
fn unseen_texts_meet_the_targets() {
    assert_meets_the_targets(include_str!("../unseen.tsv"));
}

/// By another author. Also checks the calibration: of results with a confidence of 0.9 or more, nine in ten are right.
#[test]
fn fresh_texts_meet_the_targets() {
    let tally = assert_meets_the_targets(include_str!("../fresh.tsv"));
    let (right, all, _) = tally.by_confidence[9];
    assert!(right * 10 >= all * 9, "{right} of {all}");
}

/// By a third author.
#[test]
fn third_texts_meet_the_targets() {
    assert_meets_the_targets(include_str!("../third.tsv"));
}

/// Checks the targets that were set before the detector was written: for all texts, for texts of one or two words in
/// the three languages, and for texts without a language.
fn assert_meets_the_targets(texts: &str) -> Tally {
    let material: HashSet<String> =
        material().into_iter().filter(|text| !text.is_word).map(|text| text.text.to_lowercase()).collect();
    let mut tally = Tally::default();
    let mut not_in_material = Tally::default();
    for line in texts.lines().filter(|line| !line.starts_with("# ")) {
        let (name, text) = line.split_once('\t').unwrap();
        let text = text.replace("\\n", "\n");
        let class = NAMES.iter().position(|&known| known == name).unwrap();
        let kind = format!("{name} {}", if is_short(&text) { "short" } else { "longer" });
        tally.count(&kind, &text, &[class], detect(&text));
        if !material.contains(&text.to_lowercase()) {
            not_in_material.count(&kind, &text, &[class], detect(&text));
        }
    }
    tally.print();
    println!("texts that are not in the material:");
    not_in_material.print();
    for tally in [&tally, &not_in_material] {
        assert!(tally.share(|kind| kind == "all") >= 97.0);
        assert!(tally.share(|kind| kind.ends_with("short") && !kind.starts_with("unknown")) >= 95.0);
        assert!(tally.share(|kind| kind.starts_with("unknown")) >= 90.0);
    }
    tally
}

/// Five-fold cross-validation. For a text of two languages, both results are correct.
#[test]
#[ignore = "measures; takes minutes without optimization"]
fn measures() {
    let texts = material();
    let mut languages: HashMap<&str, BTreeSet<usize>> = HashMap::new();
    for text in texts.iter().filter(|text| !text.is_word) {
        languages.entry(&text.text).or_default().insert(text.class);
    }
    let mut tally = Tally::default();
    const FOLDS: usize = 5;
    for fold in 0..FOLDS {
        let is_held_out = |at: usize, text: &Text| !text.is_word && !text.is_name && at % FOLDS == fold;
        let kept: Vec<Text> = texts
            .iter()
            .enumerate()
            .filter(|(at, text)| !is_held_out(*at, text))
            .map(|(_, text)| text.clone())
            .collect();
        let table = Learner::learn(&kept).table();
        for (_, text) in texts.iter().enumerate().filter(|(at, text)| is_held_out(*at, text)) {
            let detection = weigh(&text.text, model::Evidence::by(&table));
            let mut evidence = model::Evidence::by(&table);
            Words::of(&text.text).for_each(|word| evidence.add(&word));
            evidence.end();
            tally.scores.push((evidence.scores(), text.class));
            let short = if is_short(&text.text) { "short" } else { "longer" };
            let classes: Vec<usize> = languages[text.text.as_str()].iter().copied().collect();
            let kind = if classes.len() > 1 { "shared" } else { NAMES[text.class] };
            tally.count(&format!("{kind} {short}"), &text.text, &classes, detection);
        }
    }
    tally.print_temperatures();
    tally.print();
    tally.mistakes.iter().for_each(|line| println!("  mistaken: {line}"));
}
