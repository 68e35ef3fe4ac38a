//! The `millrace-hub` program: see the library of the same crate.

fn main() -> std::process::ExitCode {
    millrace_hub::cli::main()
}
