//! Generates the list of the document's endpoints: the dependencies in this folder, in the order of the manifest.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=Cargo.toml");
    let manifest = fs::read_to_string("Cargo.toml")?;
    let endpoints = manifest.lines().filter_map(|line| line.split_once(" = { path = \"../"));
    let handlers: Vec<String> =
        endpoints.map(|(name, _)| format!("{}::handle", name.replace('-', "_"))).collect();
    let code = format!("#[derive(OpenApi)]\n#[openapi(paths({}))]\nstruct Endpoints;\n", handlers.join(", "));
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("endpoints.rs"), code)?;
    Ok(())
}
