//! Nobody spins: after a wake-up the next one lies in the future, or a program would burn its processor until something
//! else happens.

use std::fmt::Debug;

use millrace_model::Moment;

use super::{Verdict, Violation};

/// An engine was woken at `now` and asks for `next`.
///
/// # Errors
/// When that is not later.
pub fn sleeps<R: Debug>(who: &str, next: Option<(Moment, R)>, now: Moment) -> Verdict {
    match next {
        Some((at, reason)) if at <= now => {
            Err(Violation::new("wakefulness", format!("{who} was woken and asks again at once: {reason:?}")))
        }
        _ => Ok(()),
    }
}
