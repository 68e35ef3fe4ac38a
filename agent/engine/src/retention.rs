//! Retention: what is trimmed because it is safe at the hubs, and what is evicted because the disk budget is full.
//!
//! Acknowledged records go first, oldest first, whatever their lane. Then each lane's policy decides, `bulk` before
//! `normal` before `urgent`. What is evicted is declared as a gap by the store, in the same commit.
//!
//! What came back from the hubs is history, and has no grace: no time trims it, for it was asked for. It goes when the budget needs the room, as
//! everything acked does, oldest first; and before a lane begins to thin.
//!
//! Promise (P3): without need, nothing is trimmed before it is acked and its grace period is over, and nothing at all while it is not
//! known what hubs that were made anew still hold ([`crate::epoch`]).
//! Absent: deleting. The store drops whole segments.

use std::collections::BTreeMap;

use millrace_model::notice::GapReason;
use millrace_model::store::{Change, SegmentInfo};
use millrace_model::{JournalId, Lane, Moment, Seq, SeqRange};

use crate::committing::Purpose;
use crate::intake::Pressure;
use crate::{Alarm, Command, Config, Engine, Policy};

/// Segments looked at per journal and survey. The next survey sees the next ones.
const SEGMENTS_PER_SURVEY: usize = 32;

/// How much below the high-water mark to come, in hundredths of it, so that not every record evicts one.
const SLACK_PERCENT: u64 = 3;

/// When to look next.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    look_at: Moment,
    surveying: bool,
    hurried: bool,
    alarmed: bool,
}

impl Retention {
    pub(crate) const fn new(look_at: Moment) -> Self {
        Self { look_at, surveying: false, hurried: false, alarmed: false }
    }

    /// The disk is full: look as soon as possible.
    pub(crate) const fn hurry(&mut self) {
        self.hurried = true;
    }

    /// Acks were written down: when nothing could go before, something may now.
    pub(crate) const fn acked(&mut self) {
        self.hurried |= self.alarmed;
    }

    pub(crate) fn due(&self) -> Option<Moment> {
        (!self.surveying).then_some(self.look_at)
    }
}

/// How far each journal may be dropped, and why what is not acked may go.
type Cuts = BTreeMap<JournalId, (Seq, Option<GapReason>)>;

impl Engine {
    /// Asks for a survey when it is time, or when there is need.
    pub(crate) fn retain(&mut self, now: Moment) {
        if self.retention.surveying || self.committing.has(Purpose::Drop) {
            return;
        }
        let pressed = self.pressure() == Pressure::Full;
        if !pressed {
            self.retention.alarmed = false;
        }
        // Under pressure with nothing to drop, only time or new acks can help: look again when due.
        let need = self.retention.hurried || (pressed && !self.retention.alarmed);
        if need || self.retention.look_at <= now {
            self.retention.hurried = false;
            self.retention.surveying = true;
            self.retention.look_at = now + self.config.trim_interval;
            self.commands.push_back(Command::Survey { per_journal: SEGMENTS_PER_SURVEY });
        }
    }

    /// The oldest segments are known: decide which go.
    pub(crate) fn surveyed(&mut self, segments: &[SegmentInfo], now: Moment) {
        self.retention.surveying = false;
        self.renew_seals(segments);
        // What hubs that were made anew lost can be sent again as long as it is here.
        let mut cuts = if self.epoch.is_unsettled() { Cuts::new() } else { self.past_grace(segments, now) };
        // A journal whose whole list goes may have more to give: do not wait for the next interval.
        let all_of =
            |cut: &JournalId| segments.iter().filter(|s| s.journal == *cut && cut_covers(&cuts, s)).count();
        self.retention.hurried |= cuts.keys().any(|journal| all_of(journal) == SEGMENTS_PER_SURVEY);
        let pressed = self.pressure() == Pressure::Full;
        if pressed {
            let slack = self.config.high_water_bytes() / 100 * SLACK_PERCENT;
            let target = self.config.high_water_bytes().saturating_sub(slack);
            // A disk that is full below the budget says how much there is by how much is used.
            let needed = slack.min(self.usage.used_bytes / 100 * SLACK_PERCENT);
            let refused = if self.committing.is_refused() { needed } else { 0 };
            let excess = self.usage.used_bytes.saturating_sub(target).max(refused).max(1);
            make_room(&mut cuts, segments, excess, &self.config);
            if cuts.is_empty() {
                self.cut_tails(&mut cuts);
            }
        }
        if self.pressure() == Pressure::High {
            self.thin_history(&mut cuts, segments);
        }
        if cuts.is_empty() && pressed && !self.retention.alarmed {
            self.retention.alarmed = true;
            self.retention.look_at = now + self.config.trim_interval.min(std::time::Duration::from_secs(1));
            self.alarm(Alarm::Full);
        }
        for (journal, (through, evict)) in cuts {
            // What the hub has is not evicted only because nobody wrote that down yet.
            self.write_acks_of(journal);
            self.committing.add(Purpose::Drop, Change::Drop { journal, through, evict });
        }
    }

    /// History gives way before any lane thins.
    fn thin_history(&self, cuts: &mut Cuts, segments: &[SegmentInfo]) {
        if !self.config.policies.iter().any(|policy| matches!(policy, Policy::Thin(_))) {
            return;
        }
        let restored =
            |info: &&SegmentInfo| self.shelves.get(&info.journal).is_some_and(|shelf| shelf.restored);
        let history: Vec<SegmentInfo> = segments.iter().filter(restored).copied().collect();
        let mark = self.config.disk_budget_bytes / 100 * self.config.thin_at;
        make_room(cuts, &history, self.usage.used_bytes.saturating_sub(mark), &self.config);
    }

    /// The last resort when no segment may go: rows at the floor that are safe, though they never were sealed. Without it a
    /// small budget could be full of them, and a lane that blocks would never seal another segment.
    fn cut_tails(&self, cuts: &mut Cuts) {
        for shelf in self.shelves.values() {
            // Only what the store knows to be acked: else it would drop nothing, and be asked again at once.
            let safe = shelf.acked.difference(&shelf.unwritten);
            // What came back, and what damage left, begins anywhere.
            if let Some(safe) = shelf.present.first().and_then(|first| safe.range_of(first)) {
                cuts.insert(shelf.journal, (safe.last(), None));
            }
        }
    }

    fn past_grace(&mut self, segments: &[SegmentInfo], now: Moment) -> Cuts {
        let grace = self.config.grace;
        let mut cuts = Cuts::new();
        let mut stopped: Vec<JournalId> = Vec::new();
        for segment in segments {
            let journal = segment.journal;
            let Some(range) = segment.name.range() else { continue };
            let Some(shelf) = self.shelves.get_mut(&journal) else { continue };
            // Rows that stand before it go with it: what damage took and came back as rows has a grace of its own.
            let goes = shelf.present.within(SeqRange::new(1, range.last()).unwrap_or(range));
            let safe = !shelf.restored && segment.unacked == 0;
            let ripe = safe && goes.difference(shelf.trimmable(now, grace)).is_empty();
            if ripe && !stopped.contains(&journal) {
                cuts.insert(journal, (range.last(), None));
            } else {
                stopped.push(journal);
            }
        }
        cuts
    }

    pub(crate) fn declare_gaps_if_due(&mut self, now: Moment) {
        if self.gaps_due.is_some_and(|at| at <= now) && !self.committing.has(Purpose::DeclareGaps) {
            self.gaps_due = None;
            let (wall, mono) = self.clocks(now);
            self.committing.add(Purpose::DeclareGaps, Change::DeclareGaps { wall, mono });
        }
    }
}

/// Adds to `cuts` until about `excess` bytes go, in the order that the page above describes.
fn make_room(cuts: &mut Cuts, segments: &[SegmentInfo], excess: u64, config: &Config) {
    let already = segments.iter().filter(|s| cut_covers(cuts, s)).map(|s| s.stored_bytes).sum::<u64>();
    let mut left = excess.saturating_sub(already);
    let mut safe: Vec<&SegmentInfo> = at_the_floor(segments, |segment| segment.unacked == 0);
    safe.sort_by_key(|segment| (segment.max_wall, segment.journal, segment.name.ordinal));
    cut(cuts, &safe, &mut left, None);
    for lane in Lane::ALL.into_iter().rev() {
        let evicts = matches!(config.policy(lane), Policy::DropOldest | Policy::Thin(_));
        if evicts && left > 0 {
            let lost = at_the_floor(segments, |segment| segment.journal.lane == lane);
            cut(cuts, &lost, &mut left, Some(GapReason::DropOldest));
        }
    }
}

fn cut_covers(cuts: &Cuts, segment: &SegmentInfo) -> bool {
    let last = segment.name.range().map_or(0, SeqRange::last);
    cuts.get(&segment.journal).is_some_and(|(through, _)| last <= *through)
}

/// The segments of each journal up to the first that does not fit: only what stands at the floor can go.
fn at_the_floor(segments: &[SegmentInfo], fits: impl Fn(&SegmentInfo) -> bool) -> Vec<&SegmentInfo> {
    let mut stopped: Vec<JournalId> = Vec::new();
    let goes = |segment: &&SegmentInfo| {
        if !fits(segment) && !stopped.contains(&segment.journal) {
            stopped.push(segment.journal);
        }
        !stopped.contains(&segment.journal)
    };
    segments.iter().filter(goes).collect()
}

fn cut(cuts: &mut Cuts, segments: &[&SegmentInfo], left: &mut u64, evict: Option<GapReason>) {
    for segment in segments {
        if *left == 0 {
            return;
        }
        if cut_covers(cuts, segment) {
            continue;
        }
        let Some(range) = segment.name.range() else { continue };
        *left = left.saturating_sub(segment.stored_bytes);
        cuts.insert(segment.journal, (range.last(), evict));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::{DeviceId, Incarnation, SegmentHash, SegmentName, Wall};

    fn journal(lane: Lane) -> JournalId {
        JournalId { device: DeviceId::from_bytes([1; 16]), incarnation: Incarnation::new(1), lane }
    }

    fn segment(lane: Lane, ordinal: u64, unacked: u64) -> SegmentInfo {
        let name = SegmentName { ordinal, first: ordinal * 100 + 1, count: 100, hash: SegmentHash([0; 32]) };
        let max_wall = Wall(i64::try_from(ordinal).unwrap());
        SegmentInfo { journal: journal(lane), name, max_wall, stored_bytes: 1_000, unacked }
    }

    fn config() -> Config {
        Config::new(DeviceId::from_bytes([1; 16]), "test")
    }

    #[test]
    fn acked_records_go_before_any_is_evicted() {
        let segments = [
            segment(Lane::Urgent, 0, 0),
            segment(Lane::Bulk, 0, 100),
            segment(Lane::Bulk, 1, 0),
            segment(Lane::Normal, 0, 0),
        ];
        let mut cuts = Cuts::new();
        make_room(&mut cuts, &segments, 1_500, &config());
        let expected = [(journal(Lane::Urgent), (100, None)), (journal(Lane::Normal), (100, None))];
        assert_eq!(cuts, Cuts::from(expected));
    }

    #[test]
    fn bulk_is_evicted_before_normal_and_a_blocking_lane_never() {
        let segments = [segment(Lane::Urgent, 0, 9), segment(Lane::Normal, 0, 9), segment(Lane::Bulk, 0, 9)];
        let mut cuts = Cuts::new();
        make_room(&mut cuts, &segments, 1_001, &config());
        let reason = Some(GapReason::DropOldest);
        let expected = [(journal(Lane::Normal), (100, reason)), (journal(Lane::Bulk), (100, reason))];
        assert_eq!(cuts, Cuts::from(expected));
        let mut cuts = Cuts::new();
        make_room(&mut cuts, &segments, 1_000_000, &config());
        assert!(!cuts.contains_key(&journal(Lane::Urgent)));
    }
}
