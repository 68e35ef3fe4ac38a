//! Journals in SQLite: the only crate that names rusqlite. Used by agent and hub alike.
