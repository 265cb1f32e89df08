//! Compares a function's environment variables and timeout in `template.yaml` with its configuration.

use common::config::Configuration;
use common::secrets::variables_of;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use template::Template;

/// A timeout variable, and how many times in a row the function may wait for that long.
///
/// A variable `…_BUDGET_MS` bounds all attempts together, so its function needs no further time for the same service.
pub type Wait = (&'static str, u64);

/// Opening a connection to Postgres.
pub const CONNECT: Wait = ("DATABASE_CONNECT_TIMEOUT_MS", 1);
/// One statement in Postgres.
pub const STATEMENT: Wait = ("DATABASE_STATEMENT_TIMEOUT_MS", 1);
/// An API request that runs one statement: connecting, the rest of the handshake, and the statement.
pub const API: &[Wait] = &[CONNECT, ("DATABASE_STATEMENT_TIMEOUT_MS", 2)];
/// A webhook: the queue, or else the spool.
pub const WEBHOOK: &[Wait] = &[("SQS_SEND_BUDGET_MS", 1), ("SPOOL_WRITE_BUDGET_MS", 1)];

/// Variables of all functions that no configuration reads: telemetry reads the stack's name and those of traces, and
/// the client of Secrets Manager how often it may fetch a secret again.
const COMMON_VARIABLES: [&str; 6] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "SECRETS_REFETCH_SECONDS",
    "STACK_NAME",
];

const TEMPLATE: &str = include_str!("../../../template.yaml");

/// Checks that the template declares exactly the variables that the configuration reads, directly or as the ARN of a
/// secret, and that the function's timeout exceeds `starts_work_for`, during which it starts new work, plus the longest
/// waits that follow.
///
/// # Panics
///
/// When the template and the configuration differ, or when the timeout is too short.
pub fn check<C: Configuration>(function: &str, starts_work_for: Duration, waits: &[Wait]) {
    let template = Template::parse(TEMPLATE, "us-east-1").expect("a template");
    let function = template.function(function).expect("a function of the template");
    let none = BTreeMap::new();
    // Variables may refer to values that only a deployment knows.
    let declared = template.environment(function, |_| Some("x".to_owned()), &none, &none);
    let declared = declared.expect("an environment").into_keys();
    let read = variables::<C>();
    assert_eq!(
        declared.flat_map(|name| stands_for(name, &read)).collect::<BTreeSet<String>>(),
        read,
        "left: declared in the template; right: read by the configuration"
    );

    let value = |variable: &str| {
        let others = |name: &str| (name != variable).then(|| "x".to_owned());
        let environment = template.environment(function, others, &none, &none).expect("an environment");
        environment.get(variable).map_or(0, |value| value.parse().expect("a number"))
    };
    let waits: u64 = waits.iter().map(|(variable, times)| value(variable) * times).sum();
    let longest = starts_work_for + Duration::from_millis(waits);
    assert!(longest < function.timeout, "may run for {longest:?}, but the timeout is {:?}", function.timeout);
}

/// Returns the variables that a configuration reads from a secret, or else the variable itself.
fn stands_for(declared: String, read: &BTreeSet<String>) -> Vec<String> {
    let Some(variables) = variables_of(&declared) else { return vec![declared] };
    let used: Vec<_> = variables.into_iter().filter(|name| read.contains(*name)).map(str::to_owned).collect();
    assert!(!used.is_empty(), "the configuration reads nothing from the secret of {declared}");
    used
}

/// Returns the names of the variables that a configuration reads.
fn variables<C: Configuration>() -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::from(COMMON_VARIABLES.map(str::to_owned)));
    // The result does not matter: a configuration reads all variables before it reports errors.
    let _ = C::from_lookup(&|name| {
        names.borrow_mut().insert(name.to_owned());
        None
    });
    names.into_inner()
}
