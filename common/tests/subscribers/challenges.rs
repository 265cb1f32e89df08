//! The verification of a new destination.

use crate::{LONG, SHORT, local, server, start_response, url};
use common::subscribers::{Refusal, Subscribers, SubscribersConfig, new_secret};
use standardwebhooks::Webhook;
use testing::Receiver;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_receiver_that_returns_the_challenge_passes() {
    let receiver = Receiver::start().await;
    let secret = new_secret();
    local().challenge(&url(&receiver.url("/hook")), &secret, LONG).await.unwrap();
    let request = &receiver.received()[0];
    let body = request.json();
    assert_eq!(body["type"], "subscription.verification");
    assert!(body["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(body["data"]["challenge"].as_str().unwrap().len(), 32);
    assert_eq!(body.as_object().unwrap().len(), 3);
    let webhook = Webhook::new(secret.expose()).unwrap();
    webhook.verify(request.body.as_bytes(), &request.headers).unwrap();
}

#[tokio::test]
async fn every_challenge_is_another_one() {
    let receiver = Receiver::start().await;
    for _ in 0..2 {
        local().challenge(&url(&receiver.url("/")), &new_secret(), LONG).await.unwrap();
    }
    let [first, second] = [0, 1].map(|request| receiver.received()[request].json());
    assert_ne!(first["data"]["challenge"], second["data"]["challenge"]);
}

#[tokio::test]
async fn any_other_answer_is_refused_with_the_reason() {
    let receiver = Receiver::start().await;
    let wrong = "must respond to the verification request with {\"challenge\":\"…\"}, \
                 with data.challenge of the request";
    let status =
        |status: u16| format!("responded with status {status} to the verification request, instead of 2xx");
    for (code, body, reason) in [
        (200, "", wrong.to_owned()),
        (200, "{}", wrong.to_owned()),
        (200, r#"{"challenge":"00000000000000000000000000000000"}"#, wrong.to_owned()),
        (200, r#"{"challenge":null}"#, wrong.to_owned()),
        (200, r#"["challenge"]"#, wrong.to_owned()),
        (302, "", status(302)),
        (404, "", status(404)),
        (410, "", status(410)),
        (500, "", status(500)),
    ] {
        receiver.reply(code, &[], body);
        let refusal = local().challenge(&url(&receiver.url("/")), &new_secret(), LONG).await.unwrap_err();
        assert_eq!(refusal.to_string(), reason, "{code} {body}");
    }
    receiver.hang();
    let refusal = local().challenge(&url(&receiver.url("/")), &new_secret(), SHORT).await.unwrap_err();
    let reason = "did not accept the verification request: no response within 400 ms";
    assert_eq!(refusal.to_string(), reason);
}

#[tokio::test]
async fn a_challenge_that_arrives_slowly_is_read_until_the_deadline() {
    let address = server(|mut stream| async move {
        start_response(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 4000\r\n\r\n").await;
        let _ = stream.write_all(b"{").await;
        std::future::pending::<()>().await;
    })
    .await;
    let refusal = local().challenge(&url(&format!("http://{address}/")), &new_secret(), SHORT).await;
    assert_eq!(refusal.unwrap_err(), Refusal::WrongAnswer);
}

#[tokio::test]
async fn nothing_is_sent_to_a_forbidden_destination() {
    let receiver = Receiver::start().await;
    let subscribers = Subscribers::new(&SubscribersConfig::default()).unwrap();
    let kind = "must have public addresses only, but the host has a loopback address";
    for (to, reason) in [
        (receiver.url("/"), kind),
        (format!("https://127.0.0.1:{}/", receiver.port()), kind),
        (format!("https://localhost:{}/", receiver.port()), kind),
        ("http://subscriber.example/".to_owned(), "must be an https URL"),
        ("ftp://subscriber.example/".to_owned(), "must be an https URL"),
    ] {
        let refusal = subscribers.challenge(&url(&to), &new_secret(), LONG).await.unwrap_err();
        assert!(refusal.to_string().ends_with(reason), "{to}: {refusal}");
    }
    assert_eq!(receiver.received().len(), 0);
}
