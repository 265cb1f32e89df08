//! Encodings and segment counts, compared with the rules of GSM 03.38.

use std::path::Path;

use common::domain::segments::count;
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Tally, read};

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    id: Value,
    body: String,
    encoding: String,
    segments: usize,
    #[serde(default)]
    units: Option<usize>,
}

pub fn run(file: &Path) -> Result<Tally, Error> {
    let mut tally = Tally::requiring(1.0);
    for case in read::<Case>(file)? {
        let got = count(&case.body);
        let expected = (case.encoding.as_str(), case.segments, case.units.unwrap_or(got.units));
        tally.check(&case.id, &case.body, (got.encoding.as_str(), got.segments, got.units), expected);
    }
    Ok(tally)
}
