//! Configuration files with anything in them.
//!
//! Promise: every text becomes a checked configuration or one mistake that can be shown; nothing on disk is touched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_host::config::{Source, parse};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let agent = parse(Source::named("agent.toml", text)).and_then(millrace_agent::config::Config::check);
    let hub =
        parse(Source::named("hub.toml", text)).and_then(|raw| millrace_hub::config::Config::check(&raw));
    for mistake in [agent.err(), hub.err()].into_iter().flatten() {
        assert!(!mistake.to_string().is_empty());
    }
});
