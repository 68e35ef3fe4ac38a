//! The `millrace-agent` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_agent::cli::main().into()
}
