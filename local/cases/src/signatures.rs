//! Webhook signatures, compared with Twilio's own validator.

use std::path::Path;

use common::twilio::Form;
use common::twilio::signature::{Payload, algorithm_of, verify};
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Tally, read};

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    id: Value,
    url: String,
    #[serde(default)]
    params: Vec<(String, String)>,
    auth_token: String,
    #[serde(default)]
    signature: String,
    valid: bool,
    #[serde(default)]
    algorithm: Option<String>,
    #[serde(default)]
    signature_settings_header: Option<String>,
    #[serde(default, alias = "body")]
    json_body: Option<String>,
}

pub fn run(file: &Path) -> Result<Tally, Error> {
    let mut tally = Tally::requiring(1.0);
    for case in read::<Case>(file)? {
        let form = Form::from_iter(case.params);
        let body = case.json_body.as_deref().map(str::as_bytes);
        let payload = body.map_or(Payload::Form(&form), Payload::Body);
        let settings = case.signature_settings_header.as_deref();
        let algorithm = settings.map_or(case.algorithm.as_deref(), |header| algorithm_of(Some(header)));
        let got = verify(&case.url, payload, &case.auth_token, &case.signature, algorithm);
        tally.check(&case.id, &case.url, got, case.valid);
    }
    Ok(tally)
}
