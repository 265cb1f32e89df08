//! Cases from public bug reports about similar services, with one tally per kind.
//!
//! Texts, encodings and quiet hours are checked with the domain functions. Requests and callbacks go through the
//! functions' handlers, with a database for each case.

use std::collections::BTreeMap;
use std::path::Path;

use common::domain::keywords::{OptOut, classify};
use common::domain::message::Purpose;
use common::domain::quiet_hours::{QuietHours, Table};
use common::domain::segments::count;
use common::domain::smart_encoding::SmartEncoding;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::world::{Callback, World};
use crate::{Error, Tally, read};

/// The required share of correctly classified texts. All other cases must agree.
const REQUIRED_TEXTS: f64 = 0.85;

/// Keys of `expected` that are not compared. `or` is an alternative status.
const NOTES: [&str; 2] = ["or", "zones_of_code"];

#[derive(Deserialize)]
struct Case {
    kind: String,
    #[serde(default)]
    id: Value,
    input: Value,
    expected: Map<String, Value>,
}

/// The input of a case. Its fields determine the variant, whatever the name of its kind.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Lookup {
        #[serde(rename = "GET")]
        path: String,
    },
    Metadata {
        metadata_json: String,
    },
    Reply {
        inbound_from: String,
        then_send_to: String,
    },
    QuietHours {
        #[serde(rename = "QUIET_HOURS")]
        window: String,
        to: String,
        at: Timestamp,
    },
    Send {
        to: String,
    },
    SendAt {
        send_at: String,
    },
    Text {
        #[serde(rename = "Body")]
        body: String,
    },
    Encoding {
        body: String,
        smart_encoding: String,
    },
    Callbacks {
        callbacks_in_order: Vec<Callback>,
    },
}

/// Returns a tally for each kind in the file.
pub fn run(file: &Path) -> Result<BTreeMap<String, Tally>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut tallies = BTreeMap::new();
    for case in read::<Case>(file)? {
        let tally: &mut Tally = tallies.entry(case.kind).or_insert_with(|| Tally::requiring(1.0));
        let text = case.input.to_string();
        let Ok(input) = serde_json::from_value::<Input>(case.input) else {
            tally.disagree(&case.id, &text, "an unknown kind of case", &case.expected);
            continue;
        };
        if matches!(input, Input::Text { .. }) {
            tally.required = REQUIRED_TEXTS;
        }
        let got =
            runtime.block_on(judge(input, &case.expected)).map_err(|error| format!("{text}: {error}"))?;
        if agrees(&got, &case.expected) {
            tally.agree();
        } else {
            tally.disagree(&case.id, &text, got.to_string(), Value::Object(case.expected).to_string());
        }
    }
    Ok(tallies)
}

fn agrees(got: &Value, expected: &Map<String, Value>) -> bool {
    let or = expected.get("or").and_then(Value::as_str);
    if or.is_some_and(|status| got["status"].as_u64() == status.parse().ok()) {
        return true;
    }
    let mut required = expected.iter().filter(|(key, _)| !NOTES.contains(&key.as_str())).peekable();
    required.peek().is_some() && required.all(|(key, value)| got[key] == *value)
}

/// Returns the service's result for an input, with at least the fields that `expected` may have.
async fn judge(input: Input, expected: &Map<String, Value>) -> Result<Value, Error> {
    Ok(match input {
        Input::Lookup { path } => {
            let expected = expected.get("phone_number_canonical").and_then(Value::as_str);
            let world = World::start().await?;
            // The conversation must exist.
            world.receive(expected.unwrap_or("+12025550123")).await?;
            world.get(&path).await?
        }
        Input::Metadata { metadata_json } => World::start().await?.keep(&metadata_json).await?,
        Input::Reply { inbound_from, then_send_to } => {
            let world = World::start().await?;
            world.receive(&inbound_from).await?;
            world.send(&json!({"to": then_send_to, "body": "x"}), "to").await?
        }
        Input::QuietHours { window, to, at } => {
            let quiet = QuietHours::new(window.parse::<Table>()?, "America/New_York");
            let quiet = quiet.ok_or("no default time zone")?;
            json!({"held": quiet.until(&to.parse()?, None, Purpose::Service, at).is_some()})
        }
        Input::Send { to } => World::start().await?.send(&json!({"to": to, "body": "x"}), "to").await?,
        Input::SendAt { send_at } => {
            let payload = json!({"to": "+12025550123", "body": "x", "send_at": send_at});
            World::start().await?.send(&payload, "send_at").await?
        }
        Input::Text { body } => json!({"opted_out": OptOut::of(classify(&body).as_ref()) == OptOut::OptOut}),
        Input::Encoding { body, smart_encoding } => {
            let sent = smart_encoding.parse::<SmartEncoding>()?.apply(&body).into_owned();
            let cost = count(&sent);
            json!({"body": sent, "encoding": cost.encoding.as_str(), "segments": cost.segments})
        }
        Input::Callbacks { callbacks_in_order } => World::start().await?.report(&callbacks_in_order).await?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_agreement(got: &Value, expected: &Value) -> bool {
        agrees(got, expected.as_object().unwrap())
    }

    #[test]
    fn all_expected_fields_must_match() {
        let got = json!({"status": 202, "to": "+12025550123"});
        assert!(is_agreement(&got, &json!({"status": 202})));
        assert!(!is_agreement(&got, &json!({"status": 202, "to": "+12025550124"})));
        assert!(!is_agreement(&got, &json!({"opted_out": false})));
        assert!(!is_agreement(&got, &json!({})), "a case without expectations must not agree");
        assert!(is_agreement(&json!({"status": 400}), &json!({"metadata_json": "{}", "or": "400"})));
        assert!(!is_agreement(&got, &json!({"metadata_json": "{}", "or": "400"})));
    }

    #[test]
    fn a_case_of_an_unknown_kind_is_a_disagreement() {
        let file = std::env::temp_dir().join(format!("reports-{}.jsonl", common::clock::new_id()));
        let case = json!({"kind": "new", "input": {"frequency": 7}, "expected": {"status": 200}});
        std::fs::write(&file, case.to_string()).unwrap();
        let tallies = run(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let tally = &tallies["new"];
        assert_eq!((tally.agreeing(), tally.total), (0, 1));
        assert!(tally.disagreements[0].contains("an unknown kind of case"), "{:?}", tally.disagreements);
    }
}
