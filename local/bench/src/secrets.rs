//! Cold starts with the ARNs of secrets, next to cold starts with plain variables, in turns.
//!
//! The server that stands for Secrets Manager responds at once, without TLS. So the difference is the work of the
//! function itself. On AWS, the round trips of a TLS connection and of the call come on top.

use crate::cluster::Database;
use crate::function::Function;
use crate::http::{self, Response};
use crate::statistics::{median, milliseconds};
use crate::traffic;
use crate::world::World;
use serde_json::{Value, json};
use testing::AUTH_TOKEN;

const DATABASE_ARN: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:database-AbCdEf";
const TWILIO_ARN: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:twilio-AbCdEf";

/// Functions with both secrets (Postgres only on demand), with one, and with both.
const FUNCTIONS: [&str; 3] = ["inbound-sms", "record-inbound", "send-outbound"];

#[derive(Debug, Default)]
struct Measured {
    first_next: Vec<f64>,
    cpu: Vec<f64>,
    peak_memory: Vec<f64>,
}

/// Prints a line for each function.
pub fn measure(world: &World, database: &Database<'_>, rounds: usize) {
    let manager = start_manager(database.url.clone());
    for name in FUNCTIONS {
        let plain = world.environment(&database.url);
        let fetched = with_arns(&plain, name, &manager);
        let mut measured = [Measured::default(), Measured::default()];
        // The first round only fills the page cache.
        for round in 0..=rounds {
            for (environment, measured) in [&plain, &fetched].into_iter().zip(&mut measured) {
                let function =
                    Function::start(&world.binary(name), environment, vec![event(name, round as u64)]);
                let first_next = function.first_next();
                function.first_response();
                if round > 0 {
                    measured.first_next.push(milliseconds(first_next));
                    measured.cpu.push(milliseconds(function.cpu()));
                    measured.peak_memory.push(function.peak_memory_kib() as f64 / 1024.0);
                }
            }
        }
        let [plain, fetched] = measured.map(|measured| {
            [median(&measured.first_next), median(&measured.cpu), median(&measured.peak_memory)]
        });
        println!(
            "secrets {name} first_next_ms={:.2} with_plain_variables={:.2} cpu_ms={:.2} with_plain_variables={:.2} \
             peak_memory_mb={:.1} with_plain_variables={:.1} runs={rounds}",
            fetched[0], plain[0], fetched[1], plain[1], fetched[2], plain[2],
        );
    }
}

/// Replaces the secrets in the environment of a function by the ARNs that the template gives it.
fn with_arns(plain: &[(String, String)], name: &str, manager: &str) -> Vec<(String, String)> {
    let mut environment: Vec<_> = plain
        .iter()
        .filter(|(variable, _)| variable != "DATABASE_URL" && variable != "TWILIO_AUTH_TOKEN")
        .cloned()
        .collect();
    let mut arns = vec![("DATABASE_SECRET_ARN", DATABASE_ARN)];
    if name != "record-inbound" {
        arns.push(("TWILIO_SECRET_ARN", TWILIO_ARN));
    }
    arns.push(("AWS_ENDPOINT_URL_SECRETS_MANAGER", manager));
    environment.extend(arns.into_iter().map(|(variable, value)| (variable.to_owned(), value.to_owned())));
    environment
}

/// Starts a server that responds to `GetSecretValue`, and returns its URL.
fn start_manager(database_url: String) -> String {
    let address = http::serve(move |request| {
        let asked: Value = serde_json::from_slice(&request.body).expect("a JSON request");
        let (arn, secret) = match asked["SecretId"].as_str() {
            Some(DATABASE_ARN) => (DATABASE_ARN, json!({ "url": database_url })),
            Some(TWILIO_ARN) => (TWILIO_ARN, json!({ "auth_token": AUTH_TOKEN })),
            other => panic!("unknown secret {other:?}"),
        };
        let body = json!({ "ARN": arn, "Name": arn, "SecretString": secret.to_string() });
        Some(Response { status: "200 OK", headers: String::new(), body: body.to_string().into() })
    });
    format!("http://{}", address.expect("a port"))
}

fn event(name: &str, round: u64) -> Vec<u8> {
    let inbound = traffic::inbound(3, round);
    match name {
        "inbound-sms" => traffic::webhook("/webhook/twilio/sms", "", &inbound),
        _ => traffic::batch("inbound", &[(inbound, String::new())]),
    }
}
