//! How mending ends: everything is back, or nobody has the rest any more, or it takes too long.
//!
//! Promise: what is declared as lost every replica said that it has not got, and any other hub that was known to have it, and the device
//! said so as well or was revoked. It may have been wrong: whoever has it all the same is asked for it by the next comparison.

use std::time::Duration;

use millrace_model::limits::RANGES_MAX;
use millrace_model::store::Change;
use millrace_model::{JournalId, Moment, RangeSet};

use super::Source;
use crate::reception::Origin;
use crate::{Alarm, Command, Engine};

/// What was lost is not given up before this: whoever has it may be about to connect.
const HOPE: Duration = Duration::from_secs(60);

impl Engine {
    /// Declares as lost what nobody has any more: every replica said so, and the device, which is here or will never be.
    pub(super) fn declare_if_hopeless(&mut self, journal: JournalId, now: Moment) {
        let waited = self.mending.work.get(&journal).is_some_and(|work| now.since(work.began) >= HOPE);
        let under_way = self.mending.declaring.values().any(|(declared, _)| *declared == journal);
        if !waited || under_way {
            return;
        }
        let Some(shelf) = self.shelves.get(&journal) else { return };
        let (mut lost, aged) = (shelf.lost.clone(), shelf.lost.intersection(&shelf.passed));
        let declared = shelf.declared.range_count();
        // Another hub let these go for their age, and no hub has them any more: they are no loss.
        if !aged.is_empty() && self.no_hub_has(journal, &aged) {
            lost.subtract(&aged);
            if let Some(shelf) = self.shelves.get_mut(&journal) {
                shelf.lost.clone_from(&lost);
            }
            self.mending.hurry();
        }
        if lost.is_empty() || !self.nobody_has(journal, &lost) {
            return;
        }
        // The store notes so many; the rest stays lost, and overdue.
        let room = RANGES_MAX.saturating_sub(declared);
        let lost: RangeSet = lost.iter().take(room).collect();
        if lost.is_empty() {
            return;
        }
        let change = Change::DeclareLost { journal, ranges: lost.clone() };
        let number = self.reception.take(0, Origin::Repair, 0, None, change);
        self.mending.declaring.insert(number, (journal, lost));
    }

    /// Whether each of the other replicas is here, and no hub has any of these by what it said.
    fn no_hub_has(&self, journal: JournalId, lost: &RangeSet) -> bool {
        let known = !self.config.clustered || self.replication.placed.is_some();
        let hubs = self.replication.recipients(journal).into_iter().all(|node| {
            let answers = self.guests.values().any(|guest| guest.node == node && guest.greeted);
            answers && self.replication.standing(node) == Some(true)
        });
        known && hubs && !self.is_known_elsewhere(journal, lost)
    }

    /// Whether any hub, a replica or not and connected or not, was heard to have any of these and has not taken it back.
    fn is_known_elsewhere(&self, journal: JournalId, lost: &RangeSet) -> bool {
        self.replication.peers.keys().any(|node| {
            let has = self.replication.holds_of(*node, journal, lost);
            !self.mending.without_denied(journal, Source::Hub(*node), has).is_empty()
        })
    }

    fn nobody_has(&self, journal: JournalId, lost: &RangeSet) -> bool {
        let of_device = self.mending.without_denied(journal, Source::Device, lost.clone());
        self.no_hub_has(journal, lost) && (of_device.is_empty() || self.retention.is_gone(&journal.device))
    }

    /// A change that this hub made by itself is flushed.
    pub(crate) fn repaired(&mut self, number: u64) {
        let Some((journal, lost)) = self.mending.declaring.remove(&number) else { return };
        if let Some(shelf) = self.shelves.get_mut(&journal) {
            let lost = lost.intersection(&shelf.lost);
            shelf.lost.subtract(&lost);
            shelf.declared.extend(&lost);
        }
        if let Some(work) = self.mending.work.get_mut(&journal) {
            work.declared = work.declared.saturating_add(lost.count());
        }
        self.commands.push_back(Command::Alarm(Alarm::Irreparable { journal, ranges: lost }));
        self.mending.hurry();
    }

    /// Changes that waited were dropped: they are asked for again.
    pub(crate) fn repairs_dropped(&mut self) {
        self.mending.declaring.clear();
    }

    pub(super) fn warn_if_overdue(&mut self, journal: JournalId, now: Moment) {
        let timeout = self.config.consistency_timeout;
        let Some(work) = self.mending.work.get_mut(&journal) else { return };
        if now.since(work.began) >= timeout && !std::mem::replace(&mut work.overdue, true) {
            let left = self.shelves.get(&journal).map_or(0, |shelf| shelf.lost.count());
            self.commands.push_back(Command::Alarm(Alarm::Overdue { journal, records: left }));
        }
    }

    pub(super) fn finish_if_mended(&mut self, journal: JournalId, now: Moment) {
        if self.shelves.get(&journal).is_some_and(|shelf| !shelf.lost.is_empty()) {
            return;
        }
        if let Some(work) = self.mending.work.remove(&journal) {
            self.mending.denied.retain(|(denied, _), _| *denied != journal);
            let mend = work.told(journal, 0, (now, self.wall(now)));
            self.commands.push_back(Command::Mended(mend));
        }
    }
}
