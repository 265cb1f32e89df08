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
    asked.into_inner()
}

fn declared(template: &Template, name: &str) -> BTreeSet<String> {
    let none = BTreeMap::new();
    let function = template.function(name).unwrap();
    let any = |_: &str| Some("x".to_owned());
    template.environment(function, any, &none, &none).unwrap().into_keys().collect()
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
