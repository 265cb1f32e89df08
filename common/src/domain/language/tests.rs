//! The detector against texts that it has not learnt from, and its edges.

use std::collections::BTreeMap;

use super::*;

/// Written by others than the material (see `common/cases/`), and a sample of what the service is measured on.
#[derive(serde::Deserialize)]
struct Case {
    text: String,
    lang: String,
    category: String,
}

#[test]
fn the_cases_are_detected_as_often_as_is_asked() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/language.jsonl");
    let cases = std::fs::read_to_string(path).unwrap();
    let mut tally: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut mistakes = Vec::new();
    for line in cases.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let detection = detect(&case.text);
        let right = detection.language.as_str() == case.lang;
        for key in ["all".to_owned(), case.category] {
            let entry = tally.entry(key).or_default();
            *entry = (entry.0 + usize::from(right), entry.1 + 1);
        }
        if !right {
            mistakes.push((case.text, case.lang, detection));
        }
    }
    let share = |kind: &str| tally[kind].0 as f32 / tally[kind].1 as f32;
    println!("{tally:?} {mistakes:#?}");
    assert!(share("all") >= 0.97, "{tally:?} {mistakes:#?}");
    assert!(share("short") >= 0.95, "{tally:?} {mistakes:#?}");
    assert!(share("unknown") >= 0.90, "{tally:?} {mistakes:#?}");
}
