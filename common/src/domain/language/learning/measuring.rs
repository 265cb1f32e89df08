//! Measures the learner: five times, it learns from four fifths of the sentences and judges the rest.

use std::collections::BTreeMap;

use super::{CLASSES, Learner, NONE, Text, Words, material, model, softmax};
use crate::domain::language::model::SCALE;
use crate::domain::language::{Detection, Language, weigh};

fn class_of(language: Language) -> usize {
    match language {
        Language::En => 0,
        Language::Es => 1,
        Language::Pt => 2,
        Language::Unknown => NONE,
    }
}

/// What was right, by kind of text and by confidence.
#[derive(Default)]
struct Tally {
    by_kind: BTreeMap<String, (usize, usize)>,
    by_confidence: [(usize, usize, f32); 10],
    mistakes: Vec<String>,
    scores: Vec<([f32; CLASSES], usize)>,
}

impl Tally {
    fn count(&mut self, kind: &str, text: &str, class: usize, detection: Detection) {
        let right = class_of(detection.language) == class;
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
                .push(format!("{class} {} {:.2} {text:?}", detection.language, detection.confidence));
        }
    }

    fn print(&self) {
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
        for (kind, (right, all)) in &self.by_kind {
            println!("{kind:24} {right:5} of {all:5} = {:.1} %", 100.0 * *right as f32 / *all as f32);
        }
        println!("confidence: given, right, texts");
        for (right, all, given) in self.by_confidence.iter().filter(|bin| bin.1 > 0) {
            println!("  {:.3} {:.3} {all}", given / *all as f32, *right as f32 / *all as f32);
        }
        self.mistakes.iter().for_each(|line| println!("  mistaken: {line}"));
    }
}

/// Five times, learns from four fifths of the sentences and judges the rest.
#[test]
#[ignore = "measures; takes minutes unoptimised"]
fn measures() {
    let texts = material();
    let mut tally = Tally::default();
    const FOLDS: usize = 5;
    for fold in 0..FOLDS {
        let is_held_out = |at: usize, text: &Text| !text.is_word && at % FOLDS == fold;
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
            tally.scores.push((evidence.scores(), text.class));
            let names = ["en", "es", "pt", "unknown"];
            let short = if text.text.split_whitespace().count() <= 2 { "1-2 words" } else { "longer" };
            tally.count(&format!("{} {short}", names[text.class]), &text.text, text.class, detection);
        }
    }
    tally.print();
}
