//! The epoch: what happens when the hubs were made anew after a disaster, and may have lost what they acknowledged.
//!
//! ```text
//!  Welcome.epoch = the one remembered   whatever this hub lacks, other hubs have: nothing is taken back
//!                > the one remembered
//!                  by a complete hub    what is kept here and lacking there is not acknowledged any more, and goes again;
//!                                       what is not kept here and lacking there is declared as lost
//!                  by another hub       what it lacks the hubs may have: nothing is decided, and without need nothing trimmed,
//!                                       until a complete hub is met. After a while the session is given up to look for one
//!                < the one remembered,  a hub that was left behind: it is left, too
//!                  or than one heard of
//! ```
//!
//! Promise: an epoch is remembered in the same commit in which its consequences are written down, so they happen once. A hub that
//! merely lags behind, in the same epoch, leads to none of this: replication brings it what it lacks.

use std::time::Duration;

use millrace_model::notice::{Gap, GapReason};
use millrace_model::store::Change;
use millrace_model::{JournalId, Lane, Moment, RangeSet};
use millrace_wire::{Lodging, Welcome};

use crate::committing::Purpose;
use crate::{Alarm, Engine};

/// Under which name the store remembers the epoch: eight bytes, big-endian.
pub const EPOCH_NAME: &str = "cluster-epoch";

/// The first epoch: what an agent assumes that remembers none.
const FIRST: u64 = 1;

/// How long a session stays with a hub that cannot say what the hubs of a new epoch hold: long enough to deliver what waits, and for a
/// hub that fills itself to come further; short beside the grace of what was acknowledged.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which epoch of the cluster the agent has seen.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// The one whose consequences are written down.
    seen: u64,
    /// The newest that any hub said since the process began.
    heard: u64,
    /// When the session is given up to look for a complete hub.
    until: Option<Moment>,
    /// All journals are named in the next Hello, those too that wait for nothing: the hubs may have lost them.
    pub(crate) names_all: bool,
}

impl Default for Epoch {
    fn default() -> Self {
        Self { seen: FIRST, heard: FIRST, until: None, names_all: false }
    }
}

impl Epoch {
    /// Whether the hubs were made anew, and none of them could say yet what they still hold.
    pub(crate) const fn is_unsettled(&self) -> bool {
        self.seen < self.heard
    }
}

impl Engine {
    /// What an earlier process remembered under [`EPOCH_NAME`]; call it before any event.
    pub fn recall_epoch(&mut self, value: &[u8]) {
        if let Ok(bytes) = value.try_into() {
            self.epoch.seen = u64::from_be_bytes(bytes).max(FIRST);
            self.epoch.heard = self.epoch.seen;
        }
    }

    /// Whether the hubs were made anew, and it is not known yet what they still hold of this device's journals.
    #[must_use]
    pub const fn awaits_complete_hub(&self) -> bool {
        self.epoch.is_unsettled()
    }

    /// When a session that settles nothing is given up.
    pub(crate) fn renewal_due(&self) -> Option<Moment> {
        self.epoch.until.filter(|_| self.session.is_open())
    }

    /// Looks at the epoch of a Welcome. `false` when the session ends because of it.
    pub(crate) fn epoch_fits(&mut self, welcome: &Welcome, now: Moment) -> bool {
        // A hub that knows no epochs says 0.
        let (theirs, seen, heard) = (welcome.epoch.max(FIRST), self.epoch.seen, self.epoch.heard);
        self.epoch.until = None;
        if theirs < heard {
            let reason =
                format!("hub {} is of cluster epoch {theirs}, which {heard} has replaced", welcome.name);
            self.left_behind(reason);
            return false;
        }
        self.session.fits();
        self.epoch.heard = theirs;
        if theirs == seen {
            return true;
        }
        // An agent of which the hubs never had anything can lose nothing with them.
        // What came back from the hubs is not sent to them again, so it is none of this.
        let written = |shelf: &crate::shelf::Shelf| !shelf.restored && shelf.was_acked();
        if !welcome.complete && self.shelves.values().any(written) {
            self.epoch.until = Some(now + PATIENCE);
            return true;
        }
        let named = |shelf: &crate::shelf::Shelf| {
            let lodging = Lodging::from(shelf.journal);
            welcome.holdings.iter().any(|h| h.incarnation == lodging.incarnation && h.lane == lodging.lane)
        };
        let unnamed = self.shelves.values().any(|shelf| shelf.retired && written(shelf) && !named(shelf));
        if unnamed && !self.epoch.names_all {
            self.epoch.names_all = true;
            self.close("the hubs were made anew: all journals are to be named");
            return false;
        }
        self.renew(theirs, welcome, now);
        true
    }

    /// The hubs were made anew: takes back what they lost.
    fn renew(&mut self, epoch: u64, welcome: &Welcome, now: Moment) {
        self.epoch = Epoch { seen: epoch, heard: epoch, until: None, names_all: false };
        let (mut again, mut lost) = (0_u64, 0_u64);
        for holding in &welcome.holdings {
            let journal =
                Lodging { incarnation: holding.incarnation, lane: holding.lane }.of(self.config.device);
            let Some(shelf) = self.shelves.get_mut(&journal).filter(|shelf| !shelf.restored) else {
                continue;
            };
            let gone = shelf.vouched_and_gone().difference(&holding.held);
            let back = shelf.acked.difference(&holding.held);
            shelf.take_back(&back);
            again = again.saturating_add(back.count());
            lost = lost.saturating_add(gone.count());
            if !back.is_empty() {
                self.committing.add(Purpose::Epoch, Change::Reclaim { journal, ranges: back });
            }
            self.declare_lost(journal, &gone, now);
        }
        let value = epoch.to_be_bytes().to_vec();
        self.committing.add(Purpose::Epoch, Change::Remember { name: EPOCH_NAME, value });
        self.alarm(Alarm::HubsRenewed { epoch, again, lost });
    }

    /// Says that neither this device nor the hubs have these records any more.
    fn declare_lost(&mut self, journal: JournalId, gone: &RangeSet, now: Moment) {
        let (wall, mono) = self.clocks(now);
        let gaps = gone.iter().filter_map(|range| {
            let gap = Gap {
                incarnation: journal.incarnation,
                lane: journal.lane,
                range: Some((range.first(), range.last())),
                after: None,
                count: range.count(),
                reason: GapReason::HubsRenewed,
                from: wall,
                to: wall,
            };
            gap.to_record(wall, mono)
        });
        let records: Vec<_> = gaps.collect();
        if !records.is_empty() {
            self.committing.add(Purpose::Epoch, Change::Append { lane: Lane::Urgent, records });
        }
    }
}
