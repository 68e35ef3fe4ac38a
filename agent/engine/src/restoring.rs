//! Restoring: a device with a new disk gets back what the hubs still have of its older incarnations.
//!
//! ```text
//!  Idle ──Recall──▶ Recalling ──Recalled──▶ Ready ──Fetch, Run…, Fetched──▶ Ready … ▶ over
//!   ▲                                         └── nothing lacks, but this hub may not have everything ──▶ Resting ─┐
//!   └──────────────────────────────────────────── a while later, perhaps another hub ◀──────────────────────────┘
//! ```
//!
//! The urgent lane first, and in each lane the newest first, up to as many bytes as the configuration says. How much came is remembered in the
//! commit that stores it, so a killed agent goes on where it was.
//!
//! Promise: what came back counts as acked at once; it is never shipped or re-authored.
//! Absent: fetching, and when it may be done ([`crate::fetching`]); how long it is kept ([`crate::retention`]): until the budget needs the room.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use millrace_model::store::Change;
use millrace_model::{JournalId, Moment, RangeSet, Run, SeqRange};
use millrace_wire::limits::JOURNALS_MAX;
use millrace_wire::{Frame, Kept, Recall, Recalled};

use crate::committing::Purpose;
use crate::fetching::Cause;
use crate::status::RestoreStatus;
use crate::{Alarm, Channel, Engine};

/// Under which name the store remembers how far it has come.
pub const RESTORE_NAME: &str = "restore";

/// How long until the hubs are asked again for what they could not bring: one that fills its store needs minutes. It doubles with each answer
/// that brings nothing in a session, up to about an hour: a hub that does not keep this device's readings never has anything.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// How often it doubles.
const DOUBLINGS_MAX: u32 = 6;

/// What stands in the store for a directory that is to get its history back. Written by whoever makes a new one.
#[must_use]
pub fn wanted_anew() -> Vec<u8> {
    Tally::default().to_bytes(true)
}

/// How much came, since the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tally {
    records: u64,
    bytes: u64,
}

impl Tally {
    /// A version, whether more is wanted, records, bytes; all big-endian.
    fn to_bytes(self, wanted: bool) -> Vec<u8> {
        let mut bytes = vec![1, u8::from(wanted)];
        bytes.extend_from_slice(&self.records.to_be_bytes());
        bytes.extend_from_slice(&self.bytes.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<(Self, bool)> {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let (records, rest) = rest.split_first_chunk::<8>()?;
        let bytes = rest.try_into().ok()?;
        let tally = Self { records: u64::from_be_bytes(*records), bytes: u64::from_be_bytes(bytes) };
        match head {
            [1, wanted @ (0 | 1)] => Some((tally, *wanted == 1)),
            _ => None,
        }
    }

    const fn add(&mut self, run: &Run) {
        self.records = self.records.saturating_add(run.count as u64);
        self.bytes = self.bytes.saturating_add(run.body.len() as u64);
    }
}

/// Where it stands in the session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Stage {
    /// Nothing was asked.
    #[default]
    Idle,
    /// Recall is sent.
    Recalling,
    /// It is known what lacks.
    Ready,
    /// The hub has brought what it can; it is asked again then.
    Resting(Moment),
}

/// What the hub has of a journal, and is not here.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Lacking {
    journal: JournalId,
    ranges: RangeSet,
}

/// How far it has come.
#[derive(Clone, Debug, Default)]
pub struct Restoring {
    wanted: bool,
    tally: Tally,
    stage: Stage,
    /// In the order in which it is asked for.
    lacking: VecDeque<Lacking>,
    /// What the hub said that lacks, about, when it was asked.
    expected: Tally,
    /// Rests in this session since anything came.
    rests: u32,
    /// Whether the hub may not have all of it, or lacked something that it had named.
    partial: bool,
    /// The next would be more than the configuration allows.
    full: bool,
    /// The disk needed the room of something that came.
    pressed: bool,
}

impl Restoring {
    pub(crate) fn session_ended(&mut self) {
        self.stage = Stage::Idle;
        self.lacking.clear();
        self.rests = 0;
        self.full = false;
    }

    /// The hub can bring nothing now.
    fn rest(&mut self, now: Moment) {
        self.lacking.clear();
        self.stage = Stage::Resting(now + ASK_AGAIN * 2_u32.pow(self.rests.min(DOUBLINGS_MAX)));
        self.rests = self.rests.saturating_add(1);
    }

    /// Until when the hub is left alone.
    pub(crate) const fn rests_until(&self) -> Option<Moment> {
        match self.stage {
            Stage::Resting(at) if self.wanted => Some(at),
            _ => None,
        }
    }

    /// Whether something is to be asked as soon as it may be.
    pub(crate) const fn waits(&self) -> bool {
        self.wanted && matches!(self.stage, Stage::Idle | Stage::Ready)
    }

    /// Whether the hub was asked what it has.
    pub(crate) fn asks(&self) -> bool {
        self.stage == Stage::Recalling
    }
}

impl Engine {
    /// What an earlier process remembered under [`RESTORE_NAME`]; call it before any event.
    pub fn recall_restore(&mut self, value: &[u8]) {
        if let Some((tally, wanted)) = Tally::from_bytes(value) {
            (self.restoring.tally, self.restoring.wanted) = (tally, wanted);
        }
    }

    /// Somebody wants the hubs asked again.
    pub(crate) fn restore_again(&mut self) {
        if !self.restoring.wanted {
            self.restoring = Restoring { wanted: true, tally: self.restoring.tally, ..Restoring::default() };
            self.fetching.forgive();
            self.remember_restore();
        }
    }

    /// Does what is due, when the hub may be asked.
    pub(crate) fn restore(&mut self, may_ask: bool, now: Moment) {
        if !self.restoring.wanted || self.config.history_max() == 0 {
            return;
        }
        // Time passes whatever else holds it up.
        if matches!(self.restoring.stage, Stage::Resting(at) if at <= now) {
            self.restoring.stage = Stage::Idle;
        }
        if self.is_fetching() || self.restoring.asks() {
            return;
        }
        if self.restoring.full || self.restoring.pressed {
            self.restored_all();
            return;
        }
        if !may_ask {
            return;
        }
        match self.restoring.stage {
            Stage::Idle => {
                self.restoring.stage = Stage::Recalling;
                let journals_max = u16::try_from(JOURNALS_MAX).unwrap_or(u16::MAX);
                self.send(Channel::Control, Frame::Recall(Recall { journals_max }));
            }
            Stage::Ready => self.fetch_history(now),
            _ => {}
        }
    }

    /// The hub says what it has.
    pub(crate) fn recalled(&mut self, recalled: Recalled) {
        if self.restoring.stage != Stage::Recalling {
            return;
        }
        self.restoring.stage = Stage::Ready;
        self.restoring.partial = !recalled.complete;
        self.restoring.expected = Tally::default();
        let mut journals: Vec<Kept> = recalled.journals;
        journals.sort_by_key(|kept| (kept.journal.lane, std::cmp::Reverse(kept.newest), kept.journal));
        let mut named = BTreeSet::new();
        for kept in journals {
            let journal = kept.journal.of(self.config.device);
            let ranges = self.lacking_of(journal, &kept.ranges);
            if ranges.is_empty() || !named.insert(journal) {
                continue;
            }
            let (part, all) = (u128::from(ranges.count()), u128::from(kept.ranges.count()).max(1));
            let bytes = u64::try_from(u128::from(kept.bytes) * part / all).unwrap_or(u64::MAX);
            let expected = &mut self.restoring.expected;
            expected.records = expected.records.saturating_add(ranges.count());
            expected.bytes = expected.bytes.saturating_add(bytes);
            self.restoring.lacking.push_back(Lacking { journal, ranges });
        }
    }

    /// What of `ranges` may come: not what is here, was let go, or did not verify; and nothing of a journal that was written here.
    fn lacking_of(&self, journal: JournalId, ranges: &RangeSet) -> RangeSet {
        if journal.incarnation == self.incarnation {
            return RangeSet::new();
        }
        let mut lacking = self.fetching.fit(journal, ranges);
        let mut below = 0;
        if let Some(shelf) = self.shelves.get(&journal) {
            if !shelf.restored {
                return RangeSet::new();
            }
            lacking = lacking.difference(&shelf.present);
            below = shelf.floor.saturating_sub(1);
        }
        if let Some(below) = SeqRange::new(0, below) {
            lacking.remove(below);
        }
        lacking
    }

    /// Asks for the next, or notes that the round is over.
    fn fetch_history(&mut self, now: Moment) {
        let Some(next) = self.restoring.lacking.front() else {
            if self.restoring.partial {
                self.restoring.rest(now);
            } else {
                self.restored_all();
            }
            return;
        };
        let (journal, ranges) = (next.journal, next.ranges.clone());
        let room = self.config.history_max().saturating_sub(self.restoring.tally.bytes);
        self.fetch(Cause::History, journal, &ranges, room);
    }

    /// A run of it came, and `waiting` bytes before it that are not counted yet; whether it may be stored.
    pub(crate) fn takes_history(&mut self, range: SeqRange, bytes: u64, waiting: u64) -> bool {
        let restoring = &mut self.restoring;
        if let Some(next) = restoring.lacking.front_mut() {
            next.ranges.remove(range);
        }
        let total = restoring.tally.bytes.saturating_add(waiting).saturating_add(bytes);
        restoring.full |= total > self.config.history_max();
        if !restoring.full {
            restoring.rests = 0;
        }
        !restoring.full
    }

    /// The hub has brought what it can of what was asked for; `absent` it has not got. `moved` when anything was brought, or is known now.
    pub(crate) fn fetched_history(&mut self, absent: &RangeSet, moved: bool, now: Moment) {
        let restoring = &mut self.restoring;
        restoring.partial |= !absent.is_empty();
        if let Some(next) = restoring.lacking.front_mut() {
            next.ranges = next.ranges.difference(absent);
        }
        if restoring.lacking.front().is_some_and(|next| next.ranges.is_empty()) {
            restoring.lacking.pop_front();
        }
        if restoring.full {
            restoring.lacking.clear();
        } else if !moved {
            restoring.rest(now);
        }
    }

    /// A run of it is handed to the store.
    pub(crate) fn count_history(&mut self, run: &Run) {
        self.restoring.tally.add(run);
    }

    /// Notes how far it has come, with the next commit.
    pub(crate) fn remember_restore(&mut self) {
        let value = self.restoring.tally.to_bytes(self.restoring.wanted);
        self.committing.add(Purpose::Restore, Change::Remember { name: RESTORE_NAME, value });
    }

    /// Something was dropped of what came back: there is no room for more.
    pub(crate) fn restored_dropped(&mut self) {
        if self.restoring.wanted {
            self.restoring.pressed = true;
            self.restoring.lacking.clear();
        }
    }

    /// Everything that may come has come.
    fn restored_all(&mut self) {
        self.restoring.wanted = false;
        self.restoring.lacking.clear();
        self.restoring.stage = Stage::Idle;
        self.remember_restore();
        let Tally { records, bytes } = self.restoring.tally;
        if records > 0 {
            self.alarm(Alarm::Restored { records, bytes });
        }
    }

    /// How far it has come, for people.
    pub(crate) fn restore_status(&self) -> RestoreStatus {
        let Restoring { wanted, tally, expected, lacking, stage, .. } = &self.restoring;
        let limit_bytes = self.config.history_max();
        let asked = *wanted && limit_bytes > 0;
        let state = match stage {
            _ if !asked => {
                if tally.records > 0 {
                    "done"
                } else {
                    "none"
                }
            }
            Stage::Resting(_) => "resting",
            _ if self.is_fetching() || self.may_fetch() => "running",
            _ => "waiting",
        };
        let left: u64 = lacking.iter().map(|lacking| lacking.ranges.count()).fold(0, u64::saturating_add);
        // In proportion: the hub said how much all of it takes.
        let all = u128::from(expected.records.max(1));
        let left_bytes =
            u64::try_from(u128::from(expected.bytes) * u128::from(left) / all).unwrap_or(u64::MAX);
        let room = limit_bytes.saturating_sub(tally.bytes);
        RestoreStatus {
            state,
            records: tally.records,
            bytes: tally.bytes,
            left_records: if asked { left } else { 0 },
            left_bytes: if asked { left_bytes.min(room) } else { 0 },
            limit_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_reads_back_and_anything_else_is_nothing() {
        let tally = Tally { records: 7, bytes: 1 << 40 };
        for wanted in [true, false] {
            assert_eq!(Tally::from_bytes(&tally.to_bytes(wanted)), Some((tally, wanted)));
        }
        assert_eq!(Tally::from_bytes(&wanted_anew()), Some((Tally::default(), true)));
        for other in [&[][..], &[1, 1], &[2; 18], &[1; 19]] {
            assert_eq!(Tally::from_bytes(other), None, "{other:?}");
        }
    }
}
