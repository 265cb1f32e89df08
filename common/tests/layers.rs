//! Imports only go down: functions, services, adapters, domain. The shared base (clock, configuration, …) is below all
//! of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources must fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that every other module may use. They use only each other.
const BASE: &[&str] = &[
    "addresses",
    "aws",
    "clock",
    "config",
    "error",
    "retry_after",
    "runtime",
    "secrets",
    "telemetry",
    "tls",
];
/// Modules that talk to one other system. They use the base and the domain, but no other adapter.
const ADAPTERS: &[&str] =
    &["db", "http", "invoke", "monitor", "queue", "storage", "subscribers", "topic", "twilio"];

/// Imports that the layers do not allow, each with its reason: (module, imported module, reason).
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("domain", "clock", "a test checks the age of the numbering plan; clock itself imports nothing")];

/// The function that may depend on others: the document contains the schemas of the endpoints in its folder.
const DOCUMENT: &str = "openapi";

fn may_import(module: &str, imported: &str) -> bool {
    if module == imported || BASE.contains(&imported) && module != "domain" {
        return true;
    }
    let is_allowed = match module {
        "service" => imported == "domain" || ADAPTERS.contains(&imported),
        _ if ADAPTERS.contains(&module) => imported == "domain",
        _ => false,
    };
    is_allowed || EXCEPTIONS.iter().any(|(from, to, _)| (*from, *to) == (module, imported))
}

/// Returns the top-level modules of `common` that the source of a file at `depth` imports.
fn imports(source: &str, depth: usize) -> BTreeSet<String> {
    let code: String = source.lines().map(without_comment).collect::<Vec<_>>().join("\n");
    let mut paths = Vec::new();
    for (position, _) in code.match_indices("crate::") {
        if !code[..position].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            paths.push(&code[position + "crate::".len()..]);
        }
    }
    let root = "super::".repeat(depth);
    for (position, _) in code.match_indices(&root) {
        if !code[..position].ends_with("super::") {
            paths.push(&code[position + root.len()..]);
        }
    }
    paths.into_iter().flat_map(first_segments).collect()
}

fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Returns the first segment of a path, or those of all paths in a group such as `{db::Db, queue}`.
fn first_segments(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else { return vec![identifier(path)] };
    let mut depth = 0;
    let mut paths = vec![String::new()];
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => paths.push(String::new()),
            _ => {
                depth += i32::from(character == '{') - i32::from(character == '}');
                paths.last_mut().unwrap().push(character);
            }
        }
    }
    paths.iter().map(|path| identifier(path.trim())).filter(|segment| !segment.is_empty()).collect()
}

fn identifier(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files(directory: &Path, name: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, name, found);
        } else if name(&path) {
            found.push(path);
        }
    }
}

#[test]
fn modules_of_common_only_import_lower_layers() {
    let source = repository().join("common/src");
    let mut paths = Vec::new();
    files(&source, &|path| path.extension().is_some_and(|extension| extension == "rs"), &mut paths);
    let (mut violations, mut used) = (Vec::new(), BTreeSet::new());
    for path in paths.iter().filter(|path| !path.ends_with("src/lib.rs")) {
        let relative = path.strip_prefix(&source).unwrap().with_extension("");
        let mut segments: Vec<_> = relative.iter().map(|segment| segment.to_str().unwrap()).collect();
        segments.pop_if(|segment| *segment == "mod");
        let module = segments[0];
        let is_known = ["domain", "service"].contains(&module) || BASE.contains(&module);
        assert!(is_known || ADAPTERS.contains(&module), "add the module {module} to a layer in this test");
        for imported in imports(&fs::read_to_string(path).unwrap(), segments.len()) {
            used.insert((module.to_owned(), imported.clone()));
            let is_module = imported.starts_with(|c: char| c.is_lowercase());
            if is_module && !may_import(module, &imported) {
                violations.push(format!("{} imports {imported}", relative.display()));
            }
        }
    }
    assert!(violations.is_empty(), "imports that go up or sideways: {violations:#?}");
    for (module, imported, reason) in EXCEPTIONS {
        let is_used = used.contains(&((*module).to_owned(), (*imported).to_owned()));
        assert!(is_used, "delete the unused exception: {module} imports {imported} ({reason})");
    }
}

/// Returns the names in the `[dependencies]` section of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let name = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or_default().to_owned();
    lines.map(name).filter(|name| !name.is_empty() && !name.starts_with('#')).collect()
}

fn crates(directory: &str) -> Vec<(String, Vec<String>)> {
    let mut manifests = Vec::new();
    let is_manifest = |path: &Path| path.ends_with("Cargo.toml");
    files(&repository().join(directory), &is_manifest, &mut manifests);
    let read = |path: &PathBuf| {
        let name = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        (name, dependencies(&fs::read_to_string(path).unwrap()))
    };
    manifests.iter().map(read).collect()
}

#[test]
fn functions_do_not_depend_on_functions_and_common_depends_on_none() {
    let (functions, endpoints) = (crates("functions"), crates("functions/api"));
    assert!(functions.len() > 20, "found {} functions", functions.len());
    let names: BTreeSet<&str> = functions.iter().map(|(name, _)| name.as_str()).collect();
    let forbidden = |name: &str| names.contains(name) || ["local", "template", "testing"].contains(&name);
    let mut violations = Vec::new();
    for (function, dependencies) in &functions {
        for dependency in dependencies.iter().filter(|name| forbidden(name)) {
            let is_endpoint = endpoints.iter().any(|(name, _)| name == dependency);
            if function != DOCUMENT || !is_endpoint {
                violations.push(format!("{function} depends on {dependency}"));
            }
        }
    }
    let common = fs::read_to_string(repository().join("common/Cargo.toml")).unwrap();
    violations.extend(
        dependencies(&common)
            .iter()
            .filter(|name| forbidden(name))
            .map(|name| format!("common depends on {name}")),
    );
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn imports_are_found_in_paths_groups_and_super_chains() {
    let source = "use crate::db::{Db, DbError};\nuse crate::{queue::{Batch, Record}, clock};\n\
        let now = super::super::twilio::x(); // crate::http\npub(crate) fn f() { crate::monitor::g() }";
    assert_eq!(
        imports(source, 2).into_iter().collect::<Vec<_>>(),
        ["clock", "db", "monitor", "queue", "twilio"]
    );
    assert!(!imports("use super::twilio::X;", 2).contains("twilio"), "super is the own module here");
}

#[test]
fn layers_only_allow_imports_that_go_down() {
    for (module, imported) in
        [("service", "db"), ("service", "domain"), ("db", "domain"), ("queue", "runtime")]
    {
        assert!(may_import(module, imported), "{module} imports {imported}");
    }
    for (module, imported) in [
        ("db", "queue"),
        ("db", "service"),
        ("domain", "db"),
        ("domain", "config"),
        ("clock", "db"),
        ("tls", "domain"),
    ] {
        assert!(!may_import(module, imported), "{module} imports {imported}");
    }
}
