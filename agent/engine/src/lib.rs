//! What an agent decides: intake, retention, uplink. Pure.
