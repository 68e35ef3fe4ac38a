//! What the engine knows of one journal: which records are here, which are safe at the hubs, which were sent.
//!
//! Promise: a few range sets, whatever the length of the journal.

use std::time::Duration;

use millrace_model::digest::Summary;
use millrace_model::store::JournalState;
use millrace_model::{JournalId, Ledger, Moment, Ordinal, RangeSet, RecordCheck, SegmentName, Seq, SeqRange};

/// How finely the age of acks is known: a grace period is cut into this many steps, so that the list of
/// waiting acks stays short.
const GRACE_STEPS: u32 = 8;

/// Ranges kept of what was ever acked or sent. A hub's head lies among the newest.
const VOUCHED_RANGES_MAX: usize = 1_024;

/// One journal, as far as deciding needs it.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// Which journal.
    pub journal: JournalId,
    /// Whether it takes no more records.
    pub retired: bool,
    /// Whether it came back from the hubs: an older life wrote it, on a disk that is gone.
    pub restored: bool,
    /// First record that is kept.
    pub floor: Seq,
    /// Last record that was written.
    pub head: Seq,
    /// The check of the record at `head`, when known.
    pub head_check: Option<RecordCheck>,
    /// What is here.
    pub present: RangeSet,
    /// What is safe at the hubs, as far as it is here.
    pub acked: RangeSet,
    /// Acked in memory, and not yet written down.
    pub unwritten: RangeSet,
    /// Sent in this session, or held by its hub when it began.
    pub sent: RangeSet,
    /// Of a journal that takes no more records: what the hub of this session lost and wants again, under the names that it had.
    pub wanted: RangeSet,
    /// From here on, records are live in this session.
    pub live_from: Seq,
    /// Whether this session may ship: the hub's copy was found to be a part of ours.
    pub verified: bool,
    /// The count of everything, as the store last said, kept up by outcomes.
    pub ledger: Ledger,
    /// Segments whose records may have gone out unsealed: the hub is told when it has them all.
    pub seals: Vec<SegmentName>,
    /// Segments below this ordinal were sealed by an earlier process.
    pub inherited: Ordinal,
    /// Of those, the hub was told of the ones below this again.
    pub renewed: Ordinal,
    /// What the hubs may hold of this journal by this directory's own doing, whether or not it is still here: acked at any time, or
    /// sent by this process.
    vouched: RangeSet,
    graced: RangeSet,
    waiting: Vec<(Moment, RangeSet)>,
}

impl Shelf {
    /// What the store says of a journal at start. The grace of what is acked already begins now.
    #[must_use]
    pub fn new(state: JournalState, now: Moment) -> Self {
        let acked = state.acked.intersection(&state.present);
        let vouched = state.acked;
        let waiting = if acked.is_empty() { Vec::new() } else { vec![(now, acked.clone())] };
        Self {
            journal: state.journal,
            retired: state.retired,
            restored: state.restored,
            floor: state.floor,
            head: state.head,
            head_check: state.head_check,
            present: state.present,
            acked,
            unwritten: RangeSet::new(),
            sent: RangeSet::new(),
            wanted: RangeSet::new(),
            live_from: state.head + 1,
            verified: false,
            ledger: state.ledger,
            seals: Vec::new(),
            inherited: state.next_ordinal,
            renewed: 0,
            vouched,
            graced: RangeSet::new(),
            waiting,
        }
    }

    /// A journal that begins with the next append.
    #[must_use]
    pub fn empty(journal: JournalId, now: Moment) -> Self {
        Self::new(
            JournalState {
                journal,
                retired: false,
                restored: false,
                floor: 1,
                head: 0,
                head_check: None,
                present: RangeSet::new(),
                acked: RangeSet::new(),
                declared: RangeSet::new(),
                tail_first: 1,
                next_ordinal: 0,
                first_ordinal: 0,
                summary: Summary::default(),
                ledger: Ledger::default(),
                stored_bytes: 0,
            },
            now,
        )
    }

    /// Records were appended.
    pub fn appended(&mut self, range: SeqRange) {
        self.present.insert(range);
        self.head = self.head.max(range.last());
        self.head_check = None;
        self.ledger.ingested += range.count();
        self.ledger.pending += range.count();
    }

    /// Records came back from the hubs, and are acked. `counted` of them had never been counted here, and `recovered` as evicted.
    pub fn came_back(&mut self, stored: &RangeSet, counted: u64, recovered: u64) {
        self.present.extend(stored);
        self.acked.extend(stored);
        self.vouch(stored);
        self.head = self.head.max(stored.last().unwrap_or(0));
        self.ledger.ingested += counted;
        self.ledger.evicted = self.ledger.evicted.saturating_sub(recovered);
        self.ledger.acked += counted + recovered;
    }

    /// Records are safe at the hubs. Returns how many of them were not known to be.
    pub fn acknowledged(&mut self, ranges: &RangeSet, now: Moment, grace: Duration) -> u64 {
        let fresh = ranges.intersection(&self.present).difference(&self.acked);
        if fresh.is_empty() {
            return 0;
        }
        let count = fresh.count();
        self.acked.extend(&fresh);
        self.vouch(&fresh);
        self.unwritten.extend(&fresh);
        self.ledger.acked += count;
        self.ledger.pending = self.ledger.pending.saturating_sub(count);
        self.begin_grace(fresh, now, grace);
        count
    }

    /// What is acked from now on may go when a grace period is over.
    pub fn begin_grace(&mut self, fresh: RangeSet, now: Moment, grace: Duration) {
        // Journals whose oldest segment cannot go are never asked what is trimmable, so the list is kept short here.
        self.end_grace(now, grace);
        match self.waiting.last_mut() {
            _ if grace.is_zero() => self.graced.extend(&fresh),
            Some((since, young)) if now.since(*since) * GRACE_STEPS < grace => young.extend(&fresh),
            _ => self.waiting.push((now, fresh)),
        }
    }

    /// The hubs lost these, of a journal that takes no more records: what was acked is theirs by name, and is sent again as it is.
    /// Its grace begins anew. Returns what that is.
    pub fn want_back(&mut self, ranges: &RangeSet, now: Moment, grace: Duration) -> RangeSet {
        let back = ranges.intersection(&self.present).intersection(&self.acked);
        self.wanted.extend(&back);
        self.forget_grace(&back);
        if !back.is_empty() {
            self.begin_grace(back.clone(), now, grace);
        }
        back
    }

    /// Records went: everything below `floor`.
    pub fn dropped(&mut self, floor: Seq, evicted: u64) {
        self.floor = self.floor.max(floor);
        if let Some(below) = SeqRange::new(0, self.floor.saturating_sub(1)) {
            self.gone(&below.into(), evicted);
        }
    }

    /// Records are not here any more, dropped or put aside as damaged; the store counted `evicted` of them as evicted, and its count stands: where the hubs
    /// have records whose acks it had not heard of then, it has opened a gap, and only a gap too many can come of that.
    pub fn gone(&mut self, ranges: &RangeSet, evicted: u64) {
        let unacked = self.present.intersection(ranges).difference(&self.acked).count();
        let sent = self.sent.intersection(ranges);
        self.vouch(&sent);
        for set in [&mut self.present, &mut self.sent, &mut self.wanted] {
            set.subtract(ranges);
        }
        self.unack(ranges);
        self.ledger.evicted += evicted;
        self.ledger.pending = self.ledger.pending.saturating_sub(unacked);
        self.ledger.acked = (self.ledger.acked + unacked).saturating_sub(evicted);
    }

    /// What is acked and past its grace period.
    pub fn trimmable(&mut self, now: Moment, grace: Duration) -> &RangeSet {
        self.end_grace(now, grace);
        &self.graced
    }

    fn end_grace(&mut self, now: Moment, grace: Duration) {
        // A step's first ack stands for all of them, so a step is waited for in addition.
        let due = grace + grace / GRACE_STEPS;
        let past = self.waiting.iter().take_while(|(since, _)| now.since(*since) >= due).count();
        for (_, ranges) in self.waiting.drain(..past) {
            self.graced.extend(&ranges);
        }
    }

    /// Records that are here, not safe yet, and not sent in this session.
    #[must_use]
    pub fn unsent(&self) -> RangeSet {
        self.present.difference(&self.acked).difference(&self.sent)
    }

    /// How many records are here and not safe yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.present.count().saturating_sub(self.acked.count())
    }

    /// Whether the hubs can have record `seq` from this directory. When they hold one that is not here and cannot, then another
    /// history used this journal's name.
    #[must_use]
    pub fn vouches_for(&self, seq: Seq) -> bool {
        self.vouched.contains(seq) || self.sent.contains(seq)
    }

    fn vouch(&mut self, ranges: &RangeSet) {
        self.vouched.extend(ranges);
        while self.vouched.range_count() > VOUCHED_RANGES_MAX {
            let Some(oldest) = self.vouched.iter().next() else { break };
            self.vouched.remove(oldest);
        }
    }

    /// Whether the hubs had anything of it, ever.
    #[must_use]
    pub fn was_acked(&self) -> bool {
        !self.vouched.is_empty()
    }

    /// What the hubs may have had by this directory's doing, and is not here any more.
    #[must_use]
    pub fn vouched_and_gone(&self) -> RangeSet {
        self.vouched.difference(&self.present)
    }

    /// The hubs lost these: they wait again.
    pub fn take_back(&mut self, ranges: &RangeSet) {
        let count = self.acked.intersection(ranges).count();
        self.unack(ranges);
        self.ledger.acked = self.ledger.acked.saturating_sub(count);
        self.ledger.pending += count;
    }

    /// These have no ack any more, neither a noted one nor one whose grace runs.
    fn unack(&mut self, ranges: &RangeSet) {
        for set in [&mut self.acked, &mut self.unwritten] {
            set.subtract(ranges);
        }
        self.forget_grace(ranges);
    }

    fn forget_grace(&mut self, ranges: &RangeSet) {
        self.graced.subtract(ranges);
        self.waiting.iter_mut().for_each(|(_, waiting)| waiting.subtract(ranges));
        self.waiting.retain(|(_, waiting)| !waiting.is_empty());
    }

    /// A hub holds these already: they need not be sent in this session.
    pub fn held(&mut self, ranges: &RangeSet) {
        self.sent.extend(&ranges.intersection(&self.present).difference(&self.acked));
    }

    /// Forgets what belongs to a session.
    pub fn session_ended(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        self.vouch(&sent);
        (self.verified, self.wanted) = (false, RangeSet::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::{DeviceId, Incarnation, Lane};

    #[test]
    fn the_list_of_acks_that_wait_for_their_grace_stays_short_for_any_grace() {
        let device = DeviceId::from_bytes([1; 16]);
        let journal = JournalId { device, incarnation: Incarnation::new(1), lane: Lane::Normal };
        for grace in [0, 1, 60, 3_600].map(Duration::from_secs) {
            let mut shelf = Shelf::empty(journal, Moment(0));
            let mut now = Moment(0);
            for seq in 1..10_000 {
                now = now + Duration::from_secs(1);
                shelf.appended(SeqRange::only(seq));
                shelf.acknowledged(&SeqRange::only(seq).into(), now, grace);
                assert!(shelf.waiting.len() <= GRACE_STEPS as usize + 2, "{} steps", shelf.waiting.len());
            }
            let later = now + grace * 2;
            assert!(shelf.trimmable(later, grace).covers(SeqRange::new(1, 9_999).unwrap()));
        }
    }
}
