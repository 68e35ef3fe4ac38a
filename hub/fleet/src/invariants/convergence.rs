//! Liveness: once faults have stopped, everything arrives within a bounded time.

use super::{Verdict, Violation};

/// The time to converge is over; `waiting` says who still waits for what.
///
/// # Errors
/// When anybody does.
pub fn reached(waiting: &[String]) -> Verdict {
    if waiting.is_empty() {
        return Ok(());
    }
    Err(Violation::new("convergence", format!("still waiting: {}", waiting.join("; "))))
}
