//! Every statement of `src/db` against the migrated schema, whether or not a test runs it.

use std::path::Path;
use testing::Database;

/// Reads the SQL constants out of the sources, so that none can be forgotten: `const NAME: &str = "…";`.
fn statements(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut statements(&path));
            continue;
        }
        // Its statements are parts of scripts, and so of no parameters and no results.
        if path.ends_with("migrations.rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for declaration in source.split("const ").skip(1) {
            let Some((name, rest)) = declaration.split_once(": &str =") else { continue };
            let Some(sql) = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
            else {
                continue;
            };
            if ["select", "with", "insert", "update", "delete"]
                .iter()
                .any(|verb| sql.trim_start().starts_with(verb))
            {
                found.push((format!("{}::{name}", path.file_stem().unwrap().display()), sql.to_owned()));
            }
        }
    }
    found
}

#[tokio::test]
async fn every_statement_fits_the_schema_and_returns_no_type_that_needs_another_query() {
    let database = Database::create().await;
    let statements = statements(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/db")));
    assert!(statements.len() >= 22, "the constants are no longer found: {statements:?}");
    for (name, sql) in statements {
        let prepared = match database.client.prepare(&sql).await {
            Ok(prepared) => prepared,
            Err(error) => panic!("{name}: {}", common::error::chain(&error)),
        };
        for column in prepared.columns() {
            let kind = column.type_().kind();
            let simple = matches!(kind, tokio_postgres::types::Kind::Simple);
            assert!(simple, "{name} returns {} as {}", column.name(), column.type_());
        }
    }
}
