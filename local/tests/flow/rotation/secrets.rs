//! Values of secrets, and what the functions log about them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Rotation;
use crate::stack::Stack;

/// Logged when a fetched secret differs from the former one.
const CHANGED: &str = "secret has changed";
/// Logged when Secrets Manager did not respond in time.
const FAILED: &str = "could not fetch a secret again";
/// Logged after other fetches.
const NOT_CHANGED: [&str; 2] = ["secret has not changed", FAILED];

/// Returns Twilio's secret.
pub fn twilio(auth_tokens: &[&str], api_key: Option<&Value>) -> Value {
    let mut secret = json!({ "auth_token": auth_tokens.join(",") });
    if let Some(key) = api_key {
        secret["api_key_sid"] = key["sid"].clone();
        secret["api_key_secret"] = key["secret"].clone();
    }
    secret
}

/// Returns a database URL with another password.
pub fn with_password(url: &str, password: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_password(Some(password)).unwrap();
    url.into()
}

/// Returns whether a log line reports that a secret was fetched again.
pub fn is_fetch(line: &Value) -> bool {
    let message = line["message"].as_str().unwrap_or_default();
    message == CHANGED || NOT_CHANGED.contains(&message)
}

/// Returns how many fetches failed, as on a machine that is too busy. Webhooks are refused until the next one.
pub fn failed_fetches(stack: &Stack) -> usize {
    let failed =
        |function: &String| stack.log(function).iter().filter(|line| line["message"] == FAILED).count();
    stack.info.functions.keys().map(failed).sum()
}

/// Returns how many processes have fetched the value of a rotation, how many of them after the former one had become
/// invalid, and when the last one did.
pub fn switched(stack: &Stack, rotation: &Rotation, all: &[Rotation]) -> String {
    let next = all.iter().map(|other| other.at).filter(|at| *at > rotation.at).min();
    let mut times: Vec<(Timestamp, String)> = Vec::new();
    for function in stack.info.functions.keys() {
        for line in stack.log(function) {
            let at: Timestamp = line["timestamp"].as_str().unwrap_or_default().parse().unwrap_or_default();
            let is_of_rotation = at >= rotation.at && next.is_none_or(|next| at < next);
            if is_of_rotation && line["message"] == CHANGED && line["secret"] == rotation.secret {
                times.push((at, function.clone()));
            }
        }
    }
    let last = times.iter().max().map(|(at, function)| (at.duration_since(rotation.at), function));
    let last = last
        .map_or("none".to_owned(), |(after, function)| format!("{function} after {} ms", after.as_millis()));
    format!("rotation {} processes_switched={} last={last}", rotation.what, times.len())
}
