//! Rebuilds the crate when a migration is added: `include_dir!` notices only changed files.
fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
