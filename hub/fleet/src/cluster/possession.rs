//! The truth about devices' disks: what is damaged there, what damage took, what came back, and what was let go.
//!
//! Promise: as for [`super::truth`]: it learns from damage that is done, from what is moved aside, and from commits.

use std::collections::BTreeMap;

use millrace_model::store::Quarantined;
use millrace_model::{DeviceId, JournalId, RangeSet, Seq, SeqRange};

use super::truth::Truth;

/// Records by journal.
type Records = BTreeMap<JournalId, RangeSet>;

/// What is known of one device's disk.
#[derive(Clone, Debug, Default)]
pub struct Possession {
    /// Not what it was, and not moved aside yet.
    pub damaged: Records,
    /// Moved aside, and not here again.
    pub gone: Records,
    /// Of that, what the device had heard no ack of: it declares it as lost.
    pub slipped: Records,
    /// Whatever was ever moved aside.
    pub lost: Records,
    /// Whether it may have to go on under a new incarnation: it lost records that a hub may have got, and does not know that it wrote them.
    pub turns: bool,
    /// First records that are kept.
    pub floors: BTreeMap<JournalId, Seq>,
}

/// Takes `ranges` from a journal's records; how many of them were among these.
fn take(records: &mut Records, journal: &JournalId, ranges: &RangeSet) -> u64 {
    let Some(known) = records.get_mut(journal) else { return 0 };
    let count = known.intersection(ranges).count();
    known.subtract(ranges);
    if known.is_empty() {
        records.remove(journal);
    }
    count
}

fn add(records: &mut Records, journal: JournalId, ranges: &RangeSet) {
    if !ranges.is_empty() {
        records.entry(journal).or_default().extend(ranges);
    }
}

impl Possession {
    /// This, of a copy, in the place of what is `now`.
    #[must_use]
    pub fn put_back(mut self, now: &Self) -> Self {
        for (journal, lost) in &now.lost {
            add(&mut self.lost, *journal, lost);
        }
        self.turns = true;
        self
    }

    /// The first record of a journal that is kept.
    #[must_use]
    pub fn floor(&self, journal: &JournalId) -> Seq {
        self.floors.get(journal).copied().unwrap_or(1)
    }
}

impl Truth {
    /// What is known of a device's disk, to be changed.
    fn possession(&mut self, device: DeviceId) -> &mut Possession {
        self.devices.entry(device).or_default()
    }

    /// What of a journal is damaged on its device's disk, and not moved aside.
    #[must_use]
    pub fn unsound(&self, journal: &JournalId) -> RangeSet {
        let of_device = self.devices.get(&journal.device);
        of_device.and_then(|of_device| of_device.damaged.get(journal)).cloned().unwrap_or_default()
    }

    /// Records on a device's disk are not what they were; `ranges` are here as far as the store knows.
    pub fn device_harmed(&mut self, journal: JournalId, ranges: &RangeSet) {
        let fresh = ranges.difference(&self.unsound(&journal));
        self.wear.device_damaged += fresh.count();
        add(&mut self.possession(journal.device).damaged, journal, &fresh);
    }

    /// A device moved records aside, of which it had heard that `acked` are on a quorum. The others it declares as lost: no hub waits for
    /// them.
    pub fn device_lost(&mut self, aside: &Quarantined, acked: &RangeSet) {
        let Quarantined { journal, ranges, .. } = aside;
        self.wear.device_found += 1;
        let slipped = ranges.difference(acked);
        self.wear.device_slipped += slipped.count();
        let possession = self.possession(journal.device);
        take(&mut possession.damaged, journal, ranges);
        add(&mut possession.gone, *journal, ranges);
        add(&mut possession.lost, *journal, ranges);
        add(&mut possession.slipped, *journal, &slipped);
        possession.turns |= !slipped.is_empty();
        add(&mut self.forgiven, *journal, &slipped);
        take(&mut self.back, journal, &slipped);
    }

    /// A device got records back.
    pub fn device_regained(&mut self, journal: JournalId, stored: &RangeSet) {
        let possession = self.possession(journal.device);
        let back = take(&mut possession.gone, &journal, stored);
        let declared = possession.slipped.get(&journal).map(|slipped| slipped.intersection(stored));
        take(&mut possession.slipped, &journal, stored);
        self.wear.device_regained += back;
        add(&mut self.back, journal, &declared.unwrap_or_default());
    }

    /// A device let everything below `floor` go.
    pub fn device_dropped(&mut self, journal: JournalId, floor: Seq) {
        let possession = self.possession(journal.device);
        let known = possession.floors.entry(journal).or_insert(1);
        *known = floor.max(*known);
        if let Some(below) = SeqRange::new(1, floor.saturating_sub(1)).map(RangeSet::from) {
            take(&mut possession.damaged, &journal, &below);
            take(&mut possession.gone, &journal, &below);
        }
    }

    /// Whether a device may have to go on under a new incarnation.
    #[must_use]
    pub fn may_turn(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(|of_device| of_device.turns)
    }

    /// What a device's store claims of a journal now: what it does not claim any more is not damaged there.
    pub fn device_claims(&mut self, journal: &JournalId, present: &RangeSet) {
        if let Some(of_device) = self.devices.get_mut(&journal.device)
            && let Some(damaged) = of_device.damaged.get(journal)
        {
            let left = damaged.intersection(present);
            of_device.damaged.remove(journal);
            add(&mut of_device.damaged, *journal, &left);
        }
    }

    /// Records moved to another journal: under the name that they had no hub waits for them.
    pub fn moved(&mut self, journal: JournalId, ranges: &RangeSet) {
        add(&mut self.forgiven, journal, ranges);
        take(&mut self.back, &journal, ranges);
    }

    /// Whether damage took all of these from their device, now or before.
    #[must_use]
    pub fn was_lost(&self, journal: &JournalId, range: SeqRange) -> bool {
        let of_device = self.devices.get(&journal.device);
        of_device.is_some_and(|of_device| of_device.lost.get(journal).is_some_and(|lost| lost.covers(range)))
    }

    /// Whether a record may be missing on a hub, because its device declared it as lost and did not get it back.
    #[must_use]
    pub fn may_lack(&self, journal: &JournalId, seq: Seq) -> bool {
        let among = |records: &Records| records.get(journal).is_some_and(|ranges| ranges.contains(seq));
        among(&self.forgiven) && !among(&self.back)
    }
}
