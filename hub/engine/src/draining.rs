//! Draining: agents are moved to other hubs before this one stops.
//!
//! Promise: they go one after the other over [`SPREAD`], so that the others are not stormed; nobody is taken in meanwhile.
//! Absent: waiting until they are gone (the daemon), and where they go (agents).

use std::collections::BTreeSet;
use std::time::Duration;

use millrace_model::Moment;
use millrace_wire::GoodbyeCode;

use crate::link::Stage;
use crate::{Engine, LinkId};

/// Over how long agents are sent away.
const SPREAD: Duration = Duration::from_secs(5);

const REASON: &str = "this hub drains: another one takes over";

/// Who is still to be sent away, and when.
#[derive(Debug, Default)]
pub(crate) struct Draining {
    pub(crate) on: bool,
    due: BTreeSet<(Moment, LinkId)>,
}

impl Engine {
    pub(crate) fn drain(&mut self, on: bool, now: Moment) {
        if on == self.draining.on {
            return;
        }
        self.draining = Draining { on, due: BTreeSet::new() };
        if !on {
            return;
        }
        let stays = self.links.iter().filter(|(_, link)| link.stage != Stage::Closing);
        let links: Vec<LinkId> = stays.map(|(id, _)| *id).collect();
        let step = SPREAD / u32::try_from(links.len()).unwrap_or(u32::MAX).max(1);
        let at = |turn: usize| now + step.saturating_mul(u32::try_from(turn).unwrap_or(u32::MAX));
        self.draining.due = links.into_iter().enumerate().map(|(turn, link)| (at(turn), link)).collect();
    }

    pub(crate) fn drain_due(&self) -> Option<Moment> {
        self.draining.due.first().map(|(at, _)| *at)
    }

    /// Those whose turn it is are sent away.
    pub(crate) fn drain_some(&mut self, now: Moment) {
        while let Some((_, link)) = self.draining.due.first().copied().filter(|(at, _)| *at <= now) {
            self.draining.due.pop_first();
            self.close(link, GoodbyeCode::Moved, REASON, now);
        }
    }

    /// Somebody came while this hub drains.
    pub(crate) fn turn_away(&mut self, link: LinkId, now: Moment) {
        self.close(link, GoodbyeCode::Moved, REASON, now);
    }
}
