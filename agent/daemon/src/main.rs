//! The millrace-agent program: MQTT in, SQLite, QUIC out.

fn main() {}
