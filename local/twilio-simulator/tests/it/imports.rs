//! The modules of the crate form layers, and no import closes a cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The layers from bottom to top. A module may import its own layer and the layers before it.
const LAYERS: [&[&str]; 5] =
    [&["clock", "config", "error_codes"], &["state"], &["faults"], &["delivery"], &["api"]];

/// Source files by module path, such as `state::store`.
type Sources = BTreeMap<String, String>;

fn sources() -> Sources {
    let mut sources = Sources::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut sources);
    // The crate root and the binary import everything, and no module imports them.
    sources.retain(|module, _| !matches!(module.as_str(), "lib" | "main"));
    sources
}

fn collect(folder: &Path, prefix: &str, sources: &mut Sources) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}::"), sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "mod" {
            sources.insert(format!("{prefix}{name}"), std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Returns the modules that `source` names with `crate::`. Paths with `super::` are not allowed outside tests.
fn imports(module: &str, source: &str, sources: &Sources) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap();
    assert!(!code.contains("super::"), "{module}: write `crate::` paths, which this test reads");
    let paths = code.split("crate::").skip(1);
    paths
        .map(|path| {
            let known = sources.keys().filter(|known| {
                path.strip_prefix(known.as_str())
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            });
            let longest = known.max_by_key(|known| known.len());
            let line = path.lines().next().unwrap();
            longest.unwrap_or_else(|| panic!("{module}: `crate::{line}` names no module of its own")).clone()
        })
        .collect()
}

fn layer(module: &str) -> usize {
    let top = module.split("::").next().unwrap();
    LAYERS.iter().position(|layer| layer.contains(&top)).unwrap_or_else(|| panic!("{module} has no layer"))
}

/// Returns modules in an order in which each follows its imports, or those left over because of a cycle.
fn sorted(mut graph: BTreeMap<String, BTreeSet<String>>) -> Result<Vec<String>, Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    while !graph.is_empty() {
        let ready = graph.iter().find(|(_, imports)| imports.iter().all(|module| order.contains(module)));
        let Some(module) = ready.map(|(module, _)| module.clone()) else {
            return Err(graph.into_keys().collect());
        };
        graph.remove(&module);
        order.push(module);
    }
    Ok(order)
}

#[test]
fn imports_form_no_cycle_and_only_go_down() {
    let sources = sources();
    let graph: BTreeMap<_, _> =
        sources.iter().map(|(module, source)| (module.clone(), imports(module, source, &sources))).collect();
    for (module, imports) in &graph {
        for import in imports {
            assert!(layer(import) <= layer(module), "{module} imports {import}, which is in a higher layer");
        }
    }
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > 20, "the test finds the imports");
    if let Err(cycle) = sorted(graph) {
        panic!("an import cycle includes some of {cycle:?}");
    }
}

#[test]
fn a_cycle_is_found() {
    let graph = [("a", "b"), ("b", "a"), ("c", "a")];
    let graph = graph.map(|(module, import)| (module.to_owned(), BTreeSet::from([import.to_owned()])));
    assert!(sorted(graph.into()).is_err());
}

#[test]
fn the_crate_uses_no_code_of_the_service() {
    let manifest = include_str!("../../Cargo.toml");
    let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
    for forbidden in ["common", "testing", "path ="] {
        assert!(!dependencies.contains(forbidden), "{forbidden} in Cargo.toml");
    }
}
