//! Switchyard.
fn main() {}
