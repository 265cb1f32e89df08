//! Phone numbers in any spelling, compared with Google's library.

use std::path::Path;

use common::domain::phone::{E164, NumberingPlan, PhoneError, Region};
use rlibphonenumber::PhoneNumberUtil;
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Tally, read};

/// The required share of agreeing cases. The others must not be messages to a wrong number.
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
    let library = PhoneNumberUtil::new()?;
    // Group by region, because loading a plan takes milliseconds.
    cases.sort_by(|a, b| a.region.cmp(&b.region));
    for cases in cases.chunk_by(|a, b| a.region == b.region) {
        let region = cases[0].region.as_deref().map_or(Ok(Region::US), str::parse)?;
        let plan = NumberingPlan::load(region)?;
        for case in cases {
            judge(&plan, &library, case, &mut tally);
        }
    }
    Ok(tally)
}

/// Returns whether a US or Canadian area code is missing in the library.
///
/// The cases come from an older version of its metadata. `common/src/domain/phone/nanp.txt` has newer area codes.
fn is_in_newer_area_code(library: &PhoneNumberUtil, number: &E164) -> bool {
    let Some(area_code) = number.national().get(..3).filter(|_| number.country_code() == "1") else {
        return false;
    };
    let sample = library.parse(format!("+1{area_code}5550144"), None);
    sample.is_ok_and(|sample| !library.is_valid_number(&sample))
}

fn judge(plan: &NumberingPlan, library: &PhoneNumberUtil, case: &Case, tally: &mut Tally) {
    let got = plan.recipient(&case.input);
    // A number with an extension is valid, but cannot receive text messages.
    if got == Err(PhoneError::Extension) {
        return tally.agree();
    }
    let number = got.as_ref().ok().map(|recipient| recipient.e164());
    let same_e164 = number.map(AsRef::as_ref) == case.e164.as_deref();
    let same_national =
        number.is_none() || case.nsn.as_deref().is_none_or(|nsn| Some(nsn) == number.map(|n| n.national()));
    if same_e164 && same_national {
        return tally.agree();
    }
    if let Some(number) = number
        && case.e164.is_none()
        && is_in_newer_area_code(library, number)
    {
        let area_code = &number.national()[..3];
        tally.notes.push(format!(
            "id={} input={:?}: area code {area_code} is newer than the metadata of the cases",
            case.id, case.input
        ));
        return tally.agree();
    }
    if number.is_some() {
        tally.unmet.push(format!("a message to a wrong recipient, id={}", case.id));
    }
    let got = got.map(|recipient| recipient.e164().as_str().to_owned()).map_err(|error| error.to_string());
    tally.disagree(&case.id, &case.input, got, &case.e164);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(input: &str, e164: Option<&str>) -> Tally {
        let case = Case {
            id: Value::Null,
            input: input.to_owned(),
            region: None,
            e164: e164.map(str::to_owned),
            nsn: None,
        };
        let mut tally = Tally::requiring(1.0);
        let plan = NumberingPlan::load(Region::US).unwrap();
        judge(&plan, &PhoneNumberUtil::new().unwrap(), &case, &mut tally);
        tally
    }

    #[test]
    fn a_number_that_the_case_rejects_agrees_only_if_its_area_code_is_newer_than_the_metadata() {
        let newer = judged("924-369-2202", None);
        assert_eq!((newer.agreeing(), newer.notes.len(), newer.unmet.len()), (1, 1, 0));
        for (input, e164) in
            [("203-555-0123", None), ("924-369-2202", Some("+12035550123")), ("+44 7911 123456", None)]
        {
            let wrong = judged(input, e164);
            assert_eq!((wrong.agreeing(), wrong.notes.len(), wrong.unmet.len()), (0, 0, 1), "{input}");
        }
    }
}
