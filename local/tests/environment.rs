//! Compares the environment variables in `template.yaml` with the configuration that each function reads.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use common::config::{ConfigError, Configuration};
use local::template::Template;

/// Looks up an environment variable.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A function of the template.
struct Function {
    name: String,
    read: fn(Lookup<'_>) -> Result<(), ConfigError>,
    /// How long the function starts new work, in milliseconds.
    starts_work_for_ms: u64,
    waits: &'static [Wait],
}

/// A timeout variable, and how many times in a row the function may wait for that long.
type Wait = (&'static str, u64);

macro_rules! functions {
    ($($function:ident: $starts_work_for_ms:expr, $waits:expr;)*) => {
        [$(Function {
            name: stringify!($function).replace('_', "-"),
            read: |lookup| $function::Config::from_lookup(lookup).map(drop),
            starts_work_for_ms: $starts_work_for_ms,
            waits: $waits,
        }),*]
    };
}

const CONNECT: Wait = ("DATABASE_CONNECT_TIMEOUT_MS", 1);
const STATEMENT: Wait = ("DATABASE_STATEMENT_TIMEOUT_MS", 1);
/// An API request: connecting, the rest of the handshake, and a statement.
const API: &[Wait] = &[CONNECT, ("DATABASE_STATEMENT_TIMEOUT_MS", 2)];
const WEBHOOK: &[Wait] = &[("SQS_SEND_BUDGET_MS", 1), ("SPOOL_WRITE_BUDGET_MS", 1)];

/// The functions without a configuration of their own.
const WITHOUT_CONFIG: [&str; 1] = ["openapi"];

/// All functions with a configuration: how long each starts new work, and the longest waits that follow.
///
/// A variable `…_BUDGET_MS` bounds all attempts together, so its function needs no further time for the same service.
fn functions() -> impl IntoIterator<Item = Function> {
    functions! {
        authorize: 0, &[("DATABASE_BUDGET_MS", 1)];
        cancel_message: 0, API;
        delivery_status: 0, WEBHOOK;
        get_conversation: 0, API;
        get_message: 0, API;
        health: 0, &[("HEALTH_CHECK_TIMEOUT_MS", 1)];
        identify_tenant: 0, &[
            ("DATABASE_CONNECT_TIMEOUT_MS", 2),
            ("DATABASE_STATEMENT_TIMEOUT_MS", 2),
            ("MONITOR_BUDGET_MS", 1),
            ("TENANT_PROFILE_TIMEOUT_MS", 1),
        ];
        inbound_sms: 0, WEBHOOK;
        manage_keys: 0, &[CONNECT, STATEMENT];
        manage_sends: 0, &[CONNECT, STATEMENT];
        migrate: 0, &[CONNECT];
        // The tenants of a page are looked up in two rounds.
        reconcile_tenants: 20_000, &[CONNECT, STATEMENT, ("MONITOR_BUDGET_MS", 2), ("TENANT_PROFILE_TIMEOUT_MS", 1)];
        reconcile_twilio: 80_000, &[CONNECT, STATEMENT, ("TWILIO_TIMEOUT_MS", 1)];
        // Publishes replies and identification requests, and makes poison messages visible again.
        record_inbound: 0, &[CONNECT, STATEMENT, ("SQS_SEND_BUDGET_MS", 3)];
        // Makes poison messages visible again.
        record_status: 0, &[CONNECT, STATEMENT, ("SQS_SEND_BUDGET_MS", 1)];
        resolve_unknown: 30_000, &[CONNECT, STATEMENT, ("TWILIO_TIMEOUT_MS", 1)];
        retry_sends: 0, &[CONNECT, STATEMENT, ("SQS_SEND_BUDGET_MS", 1)];
        // The claim, up to three attempts, and the record of the outcome.
        send_outbound: 0, &[
            ("DATABASE_CONNECT_TIMEOUT_MS", 2),
            ("DATABASE_STATEMENT_TIMEOUT_MS", 2),
            ("TWILIO_TIMEOUT_MS", 3),
        ];
        send_sms: 0, &[("DATABASE_BUDGET_MS", 1), ("SQS_SEND_BUDGET_MS", 1)];
        update_conversation: 0, API;
    }
}

fn template() -> Template {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml");
    Template::parse(&std::fs::read_to_string(path).unwrap(), "us-east-1").unwrap()
}

/// Variables of all functions that no configuration reads: telemetry reads the stack's name, and a new version of the
/// secrets only forces a deployment.
const COMMON_VARIABLES: [&str; 2] = ["SECRETS_VERSION", "STACK_NAME"];

/// Returns the names of the variables that a function reads.
fn read_by(function: &Function) -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::from(COMMON_VARIABLES.map(str::to_owned)));
    // The result does not matter: a configuration reads all variables before it reports errors.
    let _ = (function.read)(&|name| {
        names.borrow_mut().insert(name.to_owned());
        None
    });
    names.into_inner()
}

/// Returns the names of the variables that the template declares for a function.
fn declared_for(template: &Template, name: &str) -> BTreeSet<String> {
    let none = BTreeMap::new();
    let any = |_: &str| Some("x".to_owned());
    template.environment(template.function(name).unwrap(), any, &none, &none).unwrap().into_keys().collect()
}

/// Returns the template's value of a numeric variable, or 0 if the function does not have the variable.
fn value(template: &Template, name: &str, variable: &str) -> u64 {
    let none = BTreeMap::new();
    // Other variables may refer to values that only a deployment knows.
    let others = |name: &str| (name != variable).then(|| "x".to_owned());
    let environment = template.environment(template.function(name).unwrap(), others, &none, &none).unwrap();
    environment.get(variable).map_or(0, |value| value.parse().unwrap())
}

#[test]
fn each_function_has_exactly_the_variables_that_it_reads() {
    let template = template();
    let mut errors = Vec::new();
    let mut tested: BTreeSet<String> = WITHOUT_CONFIG.map(str::to_owned).into();
    for function in functions() {
        let (read, declared) = (read_by(&function), declared_for(&template, &function.name));
        let name = &function.name;
        let missing = read.difference(&declared);
        errors.extend(
            missing.map(|variable| format!("{name} reads {variable}, which the template does not declare")),
        );
        let unused = declared.difference(&read);
        errors.extend(
            unused.map(|variable| format!("the template declares {variable}, which {name} does not read")),
        );
        tested.insert(function.name);
    }
    let deployed: BTreeSet<String> =
        template.functions.iter().map(|function| function.name.clone()).collect();
    assert_eq!(tested, deployed, "update the list of functions in this file");
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn each_function_timeout_exceeds_the_longest_possible_run() {
    let template = template();
    for Function { name, starts_work_for_ms, waits, .. } in functions() {
        let waits: u64 =
            waits.iter().map(|(variable, times)| value(&template, &name, variable) * times).sum();
        let timeout = template.function(&name).unwrap().timeout.as_millis();
        let longest = u128::from(starts_work_for_ms + waits);
        assert!(longest < timeout, "{name} may run for {longest} ms, but its timeout is {timeout} ms");
    }
}

#[test]
fn a_send_claim_lasts_longer_than_the_timeout_of_send_outbound() {
    let template = template();
    let claim_timeout = value(&template, "retry-sends", "SEND_CLAIM_TIMEOUT_SECONDS");
    assert!(claim_timeout > template.function("send-outbound").unwrap().timeout.as_secs());
}
