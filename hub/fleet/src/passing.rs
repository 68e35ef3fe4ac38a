//! How the time of a world passes: what comes next, from its network or from its timeline, and whether time still moves.
//!
//! Promise: the network goes first when both have something for one moment, so that one seed has one order.

use millrace_model::Moment;
use millrace_sim::{Network, Notice, Timeline};

use crate::invariants::{Verdict, Violation};

/// Events of one moment: more is an engine that talks to itself.
const EVENTS_PER_MOMENT_MAX: u32 = 100_000;

/// What comes next.
pub(crate) enum Next<Talk, Happening> {
    /// Somebody notices something of a connection.
    Noticed(Notice<Talk>),
    /// What was to happen.
    Happens(Happening),
    /// Nothing any more before the limit.
    OutOfTime,
}

/// What comes next, at the latest at `limit`, and when: `now` becomes that moment.
pub(crate) fn next<Talk: Clone, Happening>(
    network: &mut Network<Talk>,
    timeline: &mut Timeline<Happening>,
    limit: Moment,
    now: &mut Moment,
) -> Next<Talk, Happening> {
    let until = timeline.next_at().unwrap_or(limit).min(limit);
    if let Some((at, notice)) = network.poll(until) {
        *now = at;
        timeline.advance(at);
        Next::Noticed(notice)
    } else if let Some((at, happening)) = timeline.poll(limit) {
        *now = at;
        Next::Happens(happening)
    } else {
        *now = limit;
        Next::OutOfTime
    }
}

/// Counts the events of one moment.
#[derive(Default)]
pub(crate) struct Stillness {
    at_once: u32,
}

impl Stillness {
    /// An event moved time from `before` to `now`, or did not.
    ///
    /// # Errors
    /// When one moment has had too many.
    pub(crate) fn moved(&mut self, before: Moment, now: Moment) -> Verdict {
        self.at_once = if now == before { self.at_once + 1 } else { 0 };
        if self.at_once > EVENTS_PER_MOMENT_MAX {
            return Err(Violation::new("wakefulness", "time stands still"));
        }
        Ok(())
    }
}
