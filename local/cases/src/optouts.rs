//! Opt-out detection, compared with human labels.

use std::path::Path;

use common::domain::keywords::{OptOut, classify};
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Tally, read};

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    id: Value,
    body: String,
    expected: String,
}

pub fn run(file: &Path) -> Result<Tally, Error> {
    let mut tally = Tally::requiring(0.85);
    let results: Vec<(String, &'static str)> = read::<Case>(file)?
        .into_iter()
        .map(|case| {
            let got = OptOut::of(classify(&case.body).as_ref()).as_str();
            tally.check(&case.id, &case.body, got, case.expected.as_str());
            (case.expected, got)
        })
        .collect();
    let count = |expected: &str, got: Option<&str>| {
        let same =
            |(label, result): &&(String, &str)| label == expected && got.is_none_or(|got| got == *result);
        results.iter().filter(same).count()
    };
    let (refusals, others) = (count("opt_out", None), count("none", None));
    let (found, missed) = (count("opt_out", Some("opt_out")), count("opt_out", Some("none")));
    let (mistaken, doubted) = (count("none", Some("opt_out")), count("unsure", Some("unsure")));
    tally.summary = Some(format!(
        "opt_out={found}/{refusals} missed={missed}/{refusals} false={mistaken}/{others} unsure={doubted}/{}",
        count("unsure", None)
    ));
    // The targets, with a tolerance for a sample of a hundred texts.
    if found * 100 < refusals * 93 || missed * 100 > refusals * 2 || mistaken * 100 > others * 2 {
        tally.unmet.extend(tally.summary.clone());
    }
    Ok(tally)
}
