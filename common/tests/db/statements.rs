//! Prepares every statement of `src/db` against the migrated schema.

use common::db::{Described, Type, all_statements};
use std::path::Path;
use testing::Database;
use tokio_postgres::Statement as Prepared;

/// Returns the differences between the columns of a statement and those of its struct.
fn differences(statement: &Described, prepared: &Prepared) -> Vec<String> {
    let read = statement.columns();
    let mut found = Vec::new();
    for column in &read {
        match prepared.columns().iter().find(|returned| returned.name() == column.name) {
            None => found.push(format!("the struct reads {}, which is not returned", column.name)),
            Some(returned) if !(column.accepts)(returned.type_()) => {
                found.push(format!("the field of {} does not accept {}", column.name, returned.type_()));
            }
            Some(_) => {}
        }
    }
    for (position, returned) in prepared.columns().iter().enumerate() {
        let name = returned.name();
        if !read.iter().any(|column| column.name == name) {
            found.push(format!("{name} is returned, but not read"));
        }
        if prepared.columns()[..position].iter().any(|other| other.name() == name) {
            found.push(format!("{name} is returned twice"));
        }
        // Another query would be needed for the type, which does not work behind a transaction pooler.
        if Type::from_oid(returned.type_().oid()).is_none() {
            found.push(format!("{name} has the type {}, which is not built in", returned.type_()));
        }
    }
    found
}

#[tokio::test]
async fn every_statement_matches_the_schema_and_its_row_struct() {
    let database = Database::create().await;
    let mut problems = Vec::new();
    for statement in all_statements() {
        match database.client.prepare(&statement.sql()).await {
            Ok(prepared) => {
                let found = differences(&statement, &prepared).into_iter();
                problems.extend(found.map(|difference| format!("{}: {difference}", statement.name)));
            }
            Err(error) => problems.push(format!("{}: {}", statement.name, common::error::chain(&error))),
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Returns the names of the constants in the sources: `const NAME: Statement<…>`.
fn declared(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.append(&mut declared(&path));
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let source: String = source.lines().filter(is_code).map(|line| format!("{line}\n")).collect();
        let declarations = source.split("const ").skip(1).filter_map(|rest| rest.split_once(": Statement<"));
        names
            .extend(declarations.map(|(name, _)| name.to_owned()).filter(|name| !name.contains(['\n', ' '])));
    }
    names
}

#[test]
fn every_statement_is_in_the_list() {
    let mut declared = declared(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/db")));
    let names = all_statements().into_iter().map(|statement| statement.name);
    let mut listed: Vec<String> =
        names.map(|name| name.rsplit("::").next().unwrap_or(name).to_owned()).collect();
    declared.sort();
    listed.sort();
    assert!(declared.len() > 50, "{declared:?}");
    assert_eq!(listed, declared);
}
