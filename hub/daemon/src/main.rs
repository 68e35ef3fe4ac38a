//! The millrace-hub program: listeners, journals, API, CLI.

fn main() {}
