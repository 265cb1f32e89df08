//! What `template.yaml` declares for each function is what that function reads: no variable is missing, and none is there
//! for nobody.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use common::config::{ConfigError, Configuration};
use local::template::Template;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// A table of variables.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A function's `Config::from_lookup`.
type Read = fn(Lookup<'_>) -> Result<(), ConfigError>;

macro_rules! readers {
    ($($function:ident),* $(,)?) => {
        [$((stringify!($function), (|lookup| $function::Config::from_lookup(lookup).map(drop)) as Read)),*]
    };
}

/// Every function that reads its environment; `openapi` reads nothing.
fn functions() -> BTreeMap<String, Option<Read>> {
    let readers = readers![
        authorize,
        cancel_message,
        delivery_status,
        get_conversation,
        get_message,
        health,
        identify_tenant,
        inbound_sms,
        manage_keys,
        manage_sends,
        migrate,
        reconcile_twilio,
        record_inbound,
        reconcile_tenants,
        record_status,
        resolve_unknown,
        retry_sends,
        send_outbound,
        send_sms,
        update_conversation,
    ];
    let mut functions: BTreeMap<String, Option<Read>> =
        readers.into_iter().map(|(name, read)| (name.replace('_', "-"), Some(read))).collect();
    functions.insert("openapi".to_owned(), None);
    functions
}

fn template() -> Template {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml");
    Template::parse(&std::fs::read_to_string(path).unwrap(), "us-east-1").unwrap()
}

/// The variables of all functions that no configuration reads: telemetry reads the stack's name, and the version of the
/// secrets is only there to change.
const OF_ALL: [&str; 2] = ["SECRETS_VERSION", "STACK_NAME"];

/// The names that a function asks for.
fn asked(read: Option<Read>) -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::new());
    if let Some(read) = read {
        // What is missing or wrong does not matter: a configuration reads all before it judges.
        let _ = read(&|name| {
            asked.borrow_mut().insert(name.to_owned());
            None
        });
    }
    asked.borrow_mut().extend(OF_ALL.map(str::to_owned));
    asked.into_inner()
}

fn declared(template: &Template, name: &str) -> BTreeSet<String> {
    let none = BTreeMap::new();
    let function = template.function(name).unwrap();
    let any = |_: &str| Some("x".to_owned());
    template.environment(function, any, &none, &none).unwrap().into_keys().collect()
}

/// A number that the template gives a function; 0 for a variable that it does not get.
fn given(template: &Template, name: &str, variable: &str) -> u64 {
    let none = BTreeMap::new();
    let function = template.function(name).unwrap();
    // What the template refers to is known in a deployment only, and is no time.
    let others = |name: &str| (name != variable).then(|| "x".to_owned());
    let given = template.environment(function, others, &none, &none).unwrap();
    given.get(variable).map_or(0, |value| value.parse().unwrap())
}

#[test]
fn the_template_declares_for_each_function_exactly_what_it_reads() {
    let template = template();
    let functions = functions();
    let known: BTreeSet<&String> = functions.keys().collect();
    let deployed: BTreeSet<&String> = template.functions.iter().map(|function| &function.name).collect();
    assert_eq!(known, deployed, "the list above and the template name other functions");
    let mut wrong = Vec::new();
    for (name, read) in &functions {
        let (asked, declared) = (asked(*read), declared(&template, name));
        wrong.extend(
            asked
                .difference(&declared)
                .map(|variable| format!("{name} reads {variable}, which it does not get")),
        );
        wrong.extend(
            declared
                .difference(&asked)
                .map(|variable| format!("{name} gets {variable}, which it does not read")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Variables that hold times, and how often each may pass.
type Waits = &'static [(&'static str, u64)];

/// How long a function takes when each of its peers takes all the time that it is given: for how long it begins anything,
/// in milliseconds, and how many of these times one after the other follow on that. What has a budget of its own for
/// Postgres needs no other time for it.
const AT_WORST: &[(&str, u64, Waits)] = &[
    ("inbound-sms", 0, &[("SQS_SEND_BUDGET_MS", 1), ("SPOOL_WRITE_BUDGET_MS", 1)]),
    ("delivery-status", 0, &[("SQS_SEND_BUDGET_MS", 1), ("SPOOL_WRITE_BUDGET_MS", 1)]),
    ("authorize", 0, &[("DATABASE_BUDGET_MS", 1)]),
    ("send-sms", 0, &[("DATABASE_BUDGET_MS", 1), ("SQS_SEND_BUDGET_MS", 1)]),
    ("get-conversation", 0, ANSWERS),
    ("update-conversation", 0, ANSWERS),
    ("get-message", 0, ANSWERS),
    ("cancel-message", 0, ANSWERS),
    ("manage-keys", 0, &[POSTGRES[0], POSTGRES[1]]),
    ("manage-sends", 0, &[POSTGRES[0], POSTGRES[1]]),
    ("health", 0, &[("HEALTH_CHECK_TIMEOUT_MS", 1)]),
    // What is owed to others, and what is handed out again.
    ("record-inbound", 0, &[POSTGRES[0], POSTGRES[1], ("SQS_SEND_BUDGET_MS", 3)]),
    ("record-status", 0, &[POSTGRES[0], POSTGRES[1], ("SQS_SEND_BUDGET_MS", 1)]),
    // The claim, three tries, the record.
    (
        "send-outbound",
        0,
        &[("DATABASE_CONNECT_TIMEOUT_MS", 2), ("DATABASE_STATEMENT_TIMEOUT_MS", 2), ("TWILIO_TIMEOUT_MS", 3)],
    ),
    (
        "identify-tenant",
        0,
        &[
            ("DATABASE_CONNECT_TIMEOUT_MS", 2),
            ("DATABASE_STATEMENT_TIMEOUT_MS", 2),
            ("MONITOR_BUDGET_MS", 1),
            ("TENANT_PROFILE_TIMEOUT_MS", 1),
        ],
    ),
    // A page is looked up in two rounds.
    (
        "reconcile-tenants",
        20_000,
        &[POSTGRES[0], POSTGRES[1], ("MONITOR_BUDGET_MS", 2), ("TENANT_PROFILE_TIMEOUT_MS", 1)],
    ),
    ("retry-sends", 0, &[POSTGRES[0], POSTGRES[1], ("SQS_SEND_BUDGET_MS", 1)]),
    ("resolve-unknown", 30_000, &[POSTGRES[0], POSTGRES[1], ("TWILIO_TIMEOUT_MS", 1)]),
    ("reconcile-twilio", 80_000, &[POSTGRES[0], POSTGRES[1], ("TWILIO_TIMEOUT_MS", 1)]),
    ("migrate", 0, &[POSTGRES[0]]),
    ("openapi", 0, &[]),
];

/// A TCP connection, the rest of its handshake, and a statement.
const ANSWERS: Waits = &[("DATABASE_CONNECT_TIMEOUT_MS", 1), ("DATABASE_STATEMENT_TIMEOUT_MS", 2)];

/// A connection and a statement.
const POSTGRES: [(&str, u64); 2] = [("DATABASE_CONNECT_TIMEOUT_MS", 1), ("DATABASE_STATEMENT_TIMEOUT_MS", 1)];

#[test]
fn no_function_is_ended_while_it_waits_for_a_peer_as_long_as_it_may() {
    let template = template();
    let listed: BTreeSet<&str> = AT_WORST.iter().map(|(name, ..)| *name).collect();
    let deployed: BTreeSet<&str> = template.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(listed, deployed, "the list above and the template name other functions");
    for (name, begins_for, waits) in AT_WORST {
        let waits: u64 = waits.iter().map(|(variable, times)| given(&template, name, variable) * times).sum();
        let timeout = template.function(name).unwrap().timeout.as_millis();
        let longest = u128::from(begins_for + waits);
        assert!(longest < timeout, "{name} may take {longest} ms, and is ended after {timeout} ms");
    }
}

#[test]
fn no_claim_is_given_up_while_its_function_may_still_run() {
    let template = template();
    let claims_last = given(&template, "retry-sends", "SEND_CLAIM_TIMEOUT_SECONDS");
    assert!(claims_last > template.function("send-outbound").unwrap().timeout.as_secs());
}
