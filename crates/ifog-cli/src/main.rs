//! The `ifog` command.
fn main() {}
