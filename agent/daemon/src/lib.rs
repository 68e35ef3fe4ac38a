//! The parts of the millrace-agent program, so that tests can hold each of them.
//!
//! | room | what stands there |
//! |---|---|
//! | [`mqtt`] | readings in, acknowledgements out after the flush |
//!
//! Absent: decisions (`millrace-agent-engine`), the wiring (`main.rs`).

pub mod mqtt;
