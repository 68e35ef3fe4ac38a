//! P1: a publisher is told only of what is on disk.

use std::collections::BTreeSet;

use super::{Verdict, Violation};
use crate::model::Told;
use crate::publication::Attempt;

/// A publisher is told about its attempt; `durable` is what was flushed at the site in this life of the process.
///
/// # Errors
/// When it is not on disk.
pub fn told(attempt: Attempt, told: Told, durable: &BTreeSet<Attempt>, rejected_room: u64) -> Verdict {
    match told {
        Told::Stored if !durable.contains(&attempt) => {
            Err(Violation::new("puback", format!("{attempt} was acknowledged and is not on disk")))
        }
        Told::Rejected if rejected_room == 0 => Err(Violation::new(
            "puback",
            format!("{attempt} was refused and its loss is not counted on disk"),
        )),
        _ => Ok(()),
    }
}
