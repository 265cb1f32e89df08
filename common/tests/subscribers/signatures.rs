//! Signatures, verified with the official libraries of Rust, Python and JavaScript.

use crate::{LONG, deliver_to, local, url};
use common::config::Secret;
use common::subscribers::new_secret;
use serde_json::json;
use standardwebhooks::Webhook;
use std::path::Path;
use std::process::Command;
use testing::{Received, Receiver};

/// Delivers an event that is signed with these secrets.
async fn delivered(secrets: &[Secret]) -> Received {
    let receiver = Receiver::start().await;
    deliver_to(&local(), &url(&receiver.url("/")), secrets, LONG).await;
    receiver.received().remove(0)
}

fn verifies(request: &Received, secret: &Secret) -> bool {
    let webhook = Webhook::new(secret.expose()).unwrap();
    webhook.verify(request.body.as_bytes(), &request.headers).is_ok()
}

#[test]
fn a_secret_has_the_standard_form_and_is_random() {
    let (one, other) = (new_secret(), new_secret());
    assert_ne!(one, other);
    let encoded = one.expose().strip_prefix("whsec_").unwrap();
    use base64::Engine;
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(encoded).unwrap().len(), 32);
}

#[tokio::test]
async fn the_crate_verifies_and_only_with_the_secret_the_body_and_the_id() {
    let secret = new_secret();
    let request = delivered(std::slice::from_ref(&secret)).await;
    assert!(verifies(&request, &secret));
    assert!(!verifies(&request, &new_secret()));
    let mut other = request.clone();
    other.body.push(' ');
    assert!(!verifies(&other, &secret));
    let mut other = request.clone();
    other.headers.insert("webhook-id", "e-2".parse().unwrap());
    assert!(!verifies(&other, &secret));
}

#[tokio::test]
async fn during_a_rotation_both_secrets_verify() {
    let (new, old) = (new_secret(), new_secret());
    let request = delivered(&[new.clone(), old.clone()]).await;
    assert_eq!(request.header("webhook-signature").split(' ').count(), 2);
    assert!(verifies(&request, &new) && verifies(&request, &old) && !verifies(&request, &new_secret()));
}

#[tokio::test]
async fn each_attempt_has_its_own_timestamp() {
    let receiver = Receiver::start().await;
    let (subscribers, secret) = (local(), new_secret());
    let secrets = std::slice::from_ref(&secret);
    deliver_to(&subscribers, &url(&receiver.url("/")), secrets, LONG).await;
    testing::eventually("another second", async || {
        deliver_to(&subscribers, &url(&receiver.url("/")), secrets, LONG).await;
        let received = receiver.received();
        let (first, last) = (received.first().unwrap(), received.last().unwrap());
        assert!(verifies(last, &secret));
        assert_eq!(last.header("webhook-id"), first.header("webhook-id"));
        let is_later = last.header("webhook-timestamp") != first.header("webhook-timestamp");
        assert_eq!(is_later, last.header("webhook-signature") != first.header("webhook-signature"));
        is_later.then_some(())
    })
    .await;
}

/// The input of the programs in other languages: requests, and the secrets that must or must not verify them.
async fn cases() -> String {
    let (new, old, other) = (new_secret(), new_secret(), new_secret());
    let single = delivered(std::slice::from_ref(&new)).await;
    let rotation = delivered(&[new.clone(), old.clone()]).await;
    let case = |request: &Received, valid: &[&Secret], invalid: &[&Secret]| {
        let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), json!(request.header(name)))).collect();
        let exposed = |secrets: &[&Secret]| secrets.iter().map(|s| s.expose().to_owned()).collect::<Vec<_>>();
        json!({
            "headers": headers, "body": request.body, "valid": exposed(valid), "invalid": exposed(invalid),
        })
    };
    let cases = json!([case(&single, &[&new], &[&old, &other]), case(&rotation, &[&new, &old], &[&other])]);
    cases.to_string()
}

fn run(mut command: Command, script: &str, cases: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/subscribers").join(script);
    let output = command.arg(script).arg(cases).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.trim() == "verified 6 secrets", "{out}{err}");
}

#[tokio::test]
async fn the_python_library_verifies() {
    let Some(python) = testing::python("the_python_library_verifies") else { return };
    run(Command::new(python), "verify.py", &cases().await);
}

#[tokio::test]
async fn the_javascript_library_verifies() {
    let Some(modules) = testing::node_modules("the_javascript_library_verifies") else { return };
    let mut node = Command::new("node");
    node.env("NODE_PATH", modules);
    run(node, "verify.cjs", &cases().await);
}
