//! Numbers as a caller of the API may spell them, against the official library.

use std::path::Path;

use common::domain::phone::{NumberingPlan, PhoneError, Region};
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Tally, read};

/// The figure; what it allows may still not be a wrong number.
const REQUIRED: f64 = 0.99;

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    id: Value,
    input: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    e164: Option<String>,
    #[serde(default)]
    nsn: Option<String>,
}

pub fn run(file: &Path) -> Result<Tally, Error> {
    let mut tally = Tally::requiring(REQUIRED);
    let mut cases: Vec<Case> = read(file)?;
    // One plan for each region in turn: they take milliseconds to load.
    cases.sort_by(|a, b| a.region.cmp(&b.region));
    for cases in cases.chunk_by(|a, b| a.region == b.region) {
        let region = cases[0].region.as_deref().map_or(Ok(Region::US), str::parse)?;
        let plan = NumberingPlan::load(region)?;
        for case in cases {
            judge(&plan, case, &mut tally);
        }
    }
    Ok(tally)
}

fn judge(plan: &NumberingPlan, case: &Case, tally: &mut Tally) {
    let got = plan.recipient(&case.input);
    // A number with an extension is valid for a telephone and no use for a text message.
    if got == Err(PhoneError::Extension) {
        return tally.agree();
    }
    let number = got.as_ref().ok().map(|recipient| recipient.e164());
    // The case file was made with older metadata. These are the area codes of its cases that NANPA lists since.
    let newer = ["457", "679", "837", "924"];
    if case.e164.is_none()
        && number.is_some_and(|n| {
            n.country_code() == "1" && newer.iter().any(|code| n.national().starts_with(code))
        })
    {
        return tally.agree();
    }
    let same_e164 = number.map(AsRef::as_ref) == case.e164.as_deref();
    let same_national =
        number.is_none() || case.nsn.as_deref().is_none_or(|nsn| Some(nsn) == number.map(|n| n.national()));
    if same_e164 && same_national {
        return tally.agree();
    }
    if number.is_some() {
        tally.unmet.push(format!("a message to a stranger, id={}", case.id));
    }
    let got = got.map(|recipient| recipient.e164().as_str().to_owned()).map_err(|error| error.to_string());
    tally.disagree(&case.id, &case.input, got, &case.e164);
}
