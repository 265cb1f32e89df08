//! Secrets are rotated while webhooks, sends and status callbacks flow.
//!
//! Four rotations follow each other: the Auth Token, which also signs webhooks; from the Auth Token to an API key; the
//! API key; and the password of Postgres. Each follows the steps of `common/docs/deployment.md`. No function is
//! restarted. During three of them, an attacker posts webhooks with wrong signatures. Each of them could make
//! a function fetch the secret again.
//!
//! `SMS_ROTATION_SECONDS` is the time between two steps. `make rotation` uses the interval of a deployment.

mod load;
mod secrets;

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::load::Load;
use crate::client::{request, send_request};
use crate::oracle;
use crate::stack::{DEADLINE, Setup, Stack, eventually};

/// The time between two steps, for the run that is part of every test run.
const PAUSE_SECONDS: u64 = 4;
/// How often a function may fetch a secret again in that run.
const REFETCH_SECONDS: u64 = 2;

/// The functions that verify webhooks.
const RECEIVERS: [&str; 2] = ["inbound-sms", "delivery-status"];

#[tokio::test(flavor = "multi_thread")]
async fn rotations_under_load_lose_no_webhook_and_lose_or_double_no_send() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (pause, refetch) = match number("SMS_ROTATION_SECONDS") {
        Some(pause) => (pause, 30),
        None => (PAUSE_SECONDS, REFETCH_SECONDS),
    };
    // Otherwise a function may have fetched the value of the step before less than an interval ago.
    assert!(pause > refetch, "SMS_ROTATION_SECONDS={pause}: must be more than {refetch}");
    let pause = Duration::from_secs(pause);
    let mut stack = Setup::fast()
        .with("SECRETS_REFETCH_SECONDS", &refetch.to_string())
        // A sender is held if Twilio refuses its credentials while Secrets Manager is too slow.
        .with("SENDER_HOLD_SECONDS", "5")
        .start()
        .await;
    let load = Load::default();
    let rotate = async {
        let rotations = rotate_all(&stack, &load, pause).await;
        load.stop();
        rotations
    };
    let (rotations, ()) = tokio::join!(rotate, load.run(&stack));
    let last = rotations.last().unwrap();
    stack.info.auth_token = last.auth_token.clone();
    stack.info.database_url = last.database_url.clone();
    oracle::wait_until_idle(&stack, DEADLINE).await;
    let sends = std::mem::take(&mut *load.sends.lock().unwrap());
    let figures = oracle::check(&stack, &sends, oracle::IDLE).await;

    let report = Report::of(&stack, &load, &rotations).await;
    report.print(&format!("{figures}"), refetch);
    // The oracle has compared each accepted webhook and send with the database and the handsets.
    // Twilio does not repeat a status callback that was refused because Secrets Manager did not respond in time.
    let failed_fetches = secrets::failed_fetches(&stack);
    if failed_fetches == 0 {
        assert_eq!(report.lost_webhooks, 0, "webhooks without a 2xx response");
        assert_eq!(figures.delivered, sends.len(), "each send is delivered");
    }
    assert!(report.lost_webhooks <= failed_fetches * 10, "{} lost", report.lost_webhooks);
    assert_eq!(figures.creates, sends.len(), "each send is created once");
    assert_eq!(load.forgeries_accepted.load(Ordering::Relaxed), 0, "wrong signatures are refused");
    assert!(load.forgeries.load(Ordering::Relaxed) > report.fetches as usize, "{}", report.fetches);
    let allowed = report.receivers * (1.0 + report.seconds / refetch as f64);
    assert!(report.fetches <= allowed, "{} fetches, but {allowed:.0} are allowed", report.fetches);
}

/// A completed rotation.
struct Rotation {
    what: &'static str,
    /// When the former value became invalid.
    at: Timestamp,
    /// The secret that has changed: the variable with its ARN.
    secret: &'static str,
    auth_token: String,
    database_url: String,
}

#[expect(clippy::disallowed_methods, reason = "tests do not use the service's clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

async fn rotate_all(stack: &Stack, load: &Load, pause: Duration) -> Vec<Rotation> {
    let first = stack.info.auth_token.as_str();
    let (second, third) = ("5b1c0e7d2a9f4c83b6e1d0a7f3c25948", "9e4f7a1b3c6d8205e7f9a1b2c3d4e5f6");
    let key = |n: u32| json!({ "sid": format!("SK{n:032x}"), "secret": format!("secret of key {n}") });
    let (one, two) = (key(1), key(2));
    let mut rotations = Vec::new();
    let mut completed = |what, secret, at, auth_token: &str, database_url: &str| {
        let (auth_token, database_url) = (auth_token.to_owned(), database_url.to_owned());
        rotations.push(Rotation { what, at, secret, auth_token, database_url });
    };
    let url = stack.info.database_url.as_str();
    load.has_sent(10).await;

    // Twilio's secondary token: both are valid, and the first one signs until the second is promoted.
    stack.set_twilio_credentials(&[first, second], &[]).await;
    stack.put_secret("twilio", &secrets::twilio(&[second, first], None)).await;
    tokio::time::sleep(pause).await;
    stack.set_twilio_credentials(&[second], &[]).await;
    completed("auth_token", "TWILIO_SECRET_ARN", now(), second, url);
    load.set_calm(true);
    tokio::time::sleep(pause).await;
    stack.put_secret("twilio", &secrets::twilio(&[second], None)).await;

    // Without an attack, no function has fetched the secret when Twilio promotes the token: the first webhook with the
    // new signature makes it do so. Calls use the API key when Twilio refuses the token.
    stack.set_twilio_credentials(&[second, third], &[&one]).await;
    stack.put_secret("twilio", &secrets::twilio(&[third, second], Some(&one))).await;
    stack.set_twilio_credentials(&[third], &[&one]).await;
    completed("auth_token_to_api_key", "TWILIO_SECRET_ARN", now(), third, url);
    tokio::time::sleep(pause).await;
    load.set_calm(false);

    stack.set_twilio_credentials(&[third], &[&one, &two]).await;
    stack.put_secret("twilio", &secrets::twilio(&[third], Some(&two))).await;
    tokio::time::sleep(pause).await;
    stack.set_twilio_credentials(&[third], &[&two]).await;
    completed("api_key", "TWILIO_SECRET_ARN", now(), third, url);
    tokio::time::sleep(pause).await;

    let sql = stack.sql().await;
    let renewed = secrets::with_password(url, "the next password");
    stack.put_secret("database", &json!({ "url": renewed })).await;
    sql.client.batch_execute("alter role sms password 'the next password'").await.unwrap();
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
               where application_name = 'sms-foundation'";
    assert!(sql.count(cut, &[]).await > 0, "functions are connected");
    completed("database_password", "DATABASE_SECRET_ARN", now(), third, &renewed);
    tokio::time::sleep(pause).await;
    rotations
}

/// The figures of a run.
struct Report {
    webhooks: usize,
    /// Webhooks of which an attempt was refused with 403, and which Twilio repeated.
    refused_first: usize,
    lost_webhooks: usize,
    /// REST calls that Twilio answered with 401.
    refused_calls: usize,
    /// How often the receivers fetched the Auth Token again.
    fetches: f64,
    /// The number of processes of the receivers.
    receivers: f64,
    seconds: f64,
    sends: String,
    /// Per rotation: how many processes have fetched the new value, and when the last one did.
    switched: Vec<String>,
}

impl Report {
    async fn of(stack: &Stack, load: &Load, rotations: &[Rotation]) -> Self {
        let list = async |path: &str| {
            let url = format!("{}/simulator/{path}", stack.info.twilio_api_url);
            send_request(request("GET", &url)).await.json().as_array().unwrap().clone()
        };
        let webhooks = list("webhooks").await;
        let attempts = |webhook: &Value| webhook["attempts"].as_array().unwrap().clone();
        let refused = |webhook: &&Value| attempts(webhook).iter().any(|attempt| attempt["status"] == 403);
        let mut fetches = 0;
        let mut receivers = 0.0;
        for function in RECEIVERS {
            fetches += stack.log(function).iter().filter(|line| secrets::is_fetch(line)).count();
            receivers += stack.cold_starts(function).await;
        }
        Self {
            refused_first: webhooks.iter().filter(refused).count(),
            lost_webhooks: webhooks
                .iter()
                .filter(|webhook| webhook["delivered"] != true)
                .inspect(|webhook| eprintln!("lost: {webhook}"))
                .count(),
            webhooks: webhooks.len(),
            refused_calls: list("refusals").await.len(),
            fetches: fetches as f64,
            receivers,
            seconds: load.seconds(),
            sends: load.figures(),
            switched: rotations
                .iter()
                .map(|rotation| secrets::switched(stack, rotation, rotations))
                .collect(),
        }
    }

    fn print(&self, oracle: &str, refetch: u64) {
        let Self { webhooks, refused_first, lost_webhooks, refused_calls, fetches, receivers, .. } = self;
        // Written directly to stderr, because the test harness captures `println` until the test ends.
        let _ = writeln!(
            std::io::stderr(),
            "rotation refetch_seconds={refetch} seconds={:.0} webhooks={webhooks} \
             webhooks_refused_first={refused_first} webhooks_lost={lost_webhooks} {} \
             refused_rest_calls={refused_calls} receivers={receivers} \
             fetches_by_receivers={fetches}\nrotation {oracle}\n{}",
            self.seconds,
            self.sends,
            self.switched.join("\n")
        );
    }
}

impl Stack {
    /// Replaces the credentials that Twilio accepts. The first token signs.
    async fn set_twilio_credentials(&self, auth_tokens: &[&str], api_keys: &[&Value]) {
        let url = format!("{}/simulator/credentials", self.info.twilio_api_url);
        let credentials = json!({ "auth_tokens": auth_tokens, "api_keys": api_keys });
        let response = send_request(request("PUT", &url).json(&credentials)).await;
        assert_eq!(response.status, 204, "{response:?}");
    }

    /// Stores a new version of a secret, as an operator does.
    async fn put_secret(&self, name: &str, value: &Value) {
        let input = json!({ "SecretId": format!("sms/local/{name}"), "SecretString": value.to_string() });
        let request = request("POST", &self.info.aws_endpoint_url)
            .header("x-amz-target", "secretsmanager.PutSecretValue")
            .header("content-type", "application/x-amz-json-1.1")
            .body(input.to_string());
        let response = send_request(request).await;
        assert_eq!(response.status, 200, "{response:?}");
    }

    /// Returns how many processes of a function have started.
    async fn cold_starts(&self, function: &str) -> f64 {
        let line = format!("lambda_cold_starts_total{{function=\"{function}\"}} ");
        eventually("the function has started", async || {
            let metrics = send_request(request("GET", &format!("{}/metrics", self.info.api_url))).await.text;
            metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok())
        })
        .await
    }
}
