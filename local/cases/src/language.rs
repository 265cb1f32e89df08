//! Language detection, compared with human labels.

use std::collections::BTreeMap;
use std::path::Path;

use common::domain::language::detect;
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Tally, read};

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    id: Value,
    text: String,
    lang: String,
    #[serde(default)]
    category: String,
}

/// The required share of correct results for some categories.
const REQUIRED: [(&str, f64); 2] = [("short", 0.95), ("unknown", 0.9)];

pub fn run(file: &Path) -> Result<Tally, Error> {
    let mut tally = Tally::requiring(0.97);
    let mut by_category: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for case in read::<Case>(file)? {
        let got = detect(&case.text).language.as_str();
        tally.check(&case.id, &case.text, got, case.lang.as_str());
        let (right, all) = by_category.entry(case.category).or_default();
        *right += usize::from(got == case.lang);
        *all += 1;
    }
    for (category, required) in REQUIRED {
        let Some((right, all)) = by_category.get(category) else { continue };
        if (*right as f64) < required * *all as f64 {
            tally.unmet.push(format!("{right} of {all} {category} texts"));
        }
    }
    Ok(tally)
}
