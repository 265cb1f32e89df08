//! The one-machine stack's command.
fn main() {}
