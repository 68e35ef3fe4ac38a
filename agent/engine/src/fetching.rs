//! Fetching: a hub brings records that this device wrote and does not have any more.
//!
//! ```text
//!  what a new disk lacks (restoring) ─┐                     ┌─ Run… ─▶ the store, as one commit may take
//!                                     ├─ one Fetch at a time ┤
//!  what damage took     (regaining) ──┘                     └─ Fetched: what this hub has not got
//! ```
//!
//! What waits for the hub goes before: nothing is fetched while there is a backlog, while each byte costs money, or while the disk is
//! nearly full. What damage took goes before history.
//!
//! Promise: one question is under way at a time, and in memory is one answer at most. A hub that lies costs the records that it lies about,
//! nothing else.
//! Absent: what is to be fetched ([`crate::restoring`], [`crate::regaining`]).

use std::collections::{BTreeMap, VecDeque};

use millrace_model::store::{Change, Outcome};
use millrace_model::{JournalId, Moment, RangeSet, Run, SeqRange};
use millrace_wire::limits::{FETCH_BYTES_MAX, RUN_BODY_MAX};
use millrace_wire::{Fetch, Fetched, Frame, RunFrame};

use crate::committing::Purpose;
use crate::intake::Pressure;
use crate::shipping::FRAME_OVERHEAD_BYTES;
use crate::{Alarm, Channel, Engine};

/// Separate ranges that one Fetch names; the newest, so that the rest follows later.
const FETCH_RANGES_MAX: usize = 256;

/// Bytes of one Fetch on a road with a bandwidth budget: what it saves up in a second, within these bounds.
const FETCH_BYTES_MIN: u64 = 64 << 10;

/// What something is fetched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// Damage took it here.
    Lost,
    /// It stood on a disk that is gone.
    History,
}

/// A Fetch that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Asked {
    cause: Cause,
    journal: JournalId,
    /// What has not come of what was asked for.
    ranges: RangeSet,
    /// Bytes that came.
    bytes: usize,
}

/// What is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetching {
    asked: Option<Asked>,
    /// What came, and is not handed to the store.
    queue: VecDeque<(Cause, Run)>,
    /// What was handed to the store, in order.
    handed: VecDeque<(Cause, JournalId, SeqRange)>,
    /// What the hub of this session brought, and did not fit: it is not asked for it again.
    unfit: BTreeMap<JournalId, RangeSet>,
}

impl Fetching {
    pub(crate) fn session_ended(&mut self) {
        self.asked = None;
        // It is asked for again, perhaps of another hub.
        self.queue.clear();
        self.unfit.clear();
    }

    /// What did not fit is asked for again.
    pub(crate) fn forgive(&mut self) {
        self.unfit.clear();
    }

    /// What damage took is not stored now: the disk is full.
    pub(crate) fn drop_lost(&mut self) {
        self.queue.retain(|(cause, _)| *cause != Cause::Lost);
        self.handed.retain(|(cause, ..)| *cause != Cause::Lost);
    }

    /// What of `ranges` has not been brought as something that it is not.
    pub(crate) fn fit(&self, journal: JournalId, ranges: &RangeSet) -> RangeSet {
        self.unfit.get(&journal).map_or_else(|| ranges.clone(), |unfit| ranges.difference(unfit))
    }

    fn waiting_bytes(&self) -> u64 {
        self.queue.iter().map(|(_, run)| run.body.len() as u64).sum()
    }
}

impl Engine {
    /// Asks for what is to be fetched next, if anything may be.
    pub(crate) fn fetch_when_due(&mut self, now: Moment) {
        let has_tokens = self.bucket.allows(now);
        self.hand_over();
        let may_ask = has_tokens && !self.is_fetching() && !self.restoring.asks() && self.may_fetch();
        let lost = if may_ask { self.next_lost() } else { None };
        if let Some((journal, ranges)) = lost {
            self.fetch(Cause::Lost, journal, &ranges, u64::MAX);
        }
        self.restore(may_ask, now);
        self.tell_of_regained();
    }

    /// Whether anything was asked for that is not in the store.
    pub(crate) fn is_fetching(&self) -> bool {
        self.fetching.asked.is_some() || !self.fetching.queue.is_empty() || self.is_storing()
    }

    fn is_storing(&self) -> bool {
        self.committing.has(Purpose::Restore) || self.committing.has(Purpose::Regain)
    }

    /// Whether nothing goes before.
    pub(crate) fn may_fetch(&self) -> bool {
        self.holds_up_fetching().is_none()
    }

    /// Why nothing may be fetched now, for people.
    pub(crate) fn holds_up_fetching(&self) -> Option<&'static str> {
        if !self.session.is_open() {
            Some("there is no session with a hub")
        } else if !self.session.recalls {
            Some("this hub is too old to bring anything back")
        } else if self.metered {
            Some("each byte costs money on this road")
        } else if self.pressure() != Pressure::Low {
            Some("the store takes more than 80 % of its budget")
        } else if self.recovery.is_at_work() || self.has_backlog() {
            Some("what waits for the hub goes first")
        } else {
            None
        }
    }

    /// When to be woken for it.
    pub(crate) fn fetch_due(&self) -> Option<Moment> {
        if !self.session.is_open() || !self.session.recalls || self.metered {
            return None;
        }
        let history = self.restoring.waits() && self.config.history_max() > 0;
        let tokens = self.bucket.ready_at().filter(|_| history || self.regaining.waits());
        self.restoring.rests_until().into_iter().chain(tokens).min()
    }

    /// Asks for the newest of `ranges`, at most `room` bytes.
    pub(crate) fn fetch(&mut self, cause: Cause, journal: JournalId, ranges: &RangeSet, room: u64) {
        let ranges: RangeSet = ranges.iter().rev().take(FETCH_RANGES_MAX).collect();
        let rate = self.bucket.rate().map_or(u64::MAX, |rate| rate.max(FETCH_BYTES_MIN));
        let most = room.min(rate).min(FETCH_BYTES_MAX as u64);
        let bytes_max = u32::try_from(most).unwrap_or(u32::MAX);
        let fetch = Fetch { journal: journal.into(), ranges: ranges.clone(), bytes_max };
        self.fetching.asked = Some(Asked { cause, journal, ranges, bytes: 0 });
        self.send(Channel::Control, Frame::Fetch(fetch));
    }

    /// Records come.
    pub(crate) fn brought(&mut self, run: RunFrame, now: Moment) {
        let run = run.into_run(self.config.device);
        let cost = run.body.len();
        let Some(asked) = &mut self.fetching.asked else { return };
        let wanted =
            |range: &SeqRange| run.journal == asked.journal && !asked.ranges.within(*range).is_empty();
        let Some(range) = run.range().filter(wanted) else { return };
        asked.bytes = asked.bytes.saturating_add(cost);
        // One run may stand over the limit, for segments are not cut.
        if asked.bytes > FETCH_BYTES_MAX + RUN_BODY_MAX {
            return;
        }
        asked.ranges.remove(range);
        let cause = asked.cause;
        let waiting = self.fetching.waiting_bytes();
        if cause == Cause::Lost || self.takes_history(range, cost as u64, waiting) {
            self.fetching.queue.push_back((cause, run));
        }
        self.bucket.spend(cost as u64 + FRAME_OVERHEAD_BYTES, now);
    }

    /// That was all for now.
    pub(crate) fn fetched(&mut self, fetched: &Fetched, now: Moment) {
        let answers = |asked: &mut Asked| fetched.journal.of(self.config.device) == asked.journal;
        let Some(Asked { cause, journal, ranges, bytes }) = self.fetching.asked.take_if(answers) else {
            return;
        };
        let absent = fetched.absent.intersection(&ranges);
        let moved = bytes > 0 || !absent.is_empty();
        match cause {
            Cause::Lost => self.regaining.fetched(journal, &absent, moved),
            Cause::History => self.fetched_history(&absent, moved, now),
        }
    }

    /// Hands as much to the store as one commit may bring; with history, the note of how far that comes.
    fn hand_over(&mut self) {
        if self.fetching.queue.is_empty() || self.is_storing() || self.recovery.is_breaking() {
            return;
        }
        let (most, mut bytes, mut counted) = (self.config.commit_bytes_max(), 0_usize, false);
        while let Some((cause, run)) = self.fetching.queue.pop_front() {
            if bytes > 0 && bytes.saturating_add(run.body.len()) > most {
                self.fetching.queue.push_front((cause, run));
                break;
            }
            bytes = bytes.saturating_add(run.body.len()).max(1);
            self.fetching.handed.extend(run.range().map(|range| (cause, run.journal, range)));
            let purpose = match cause {
                Cause::Lost => Purpose::Regain,
                Cause::History => {
                    self.count_history(&run);
                    counted = true;
                    Purpose::Restore
                }
            };
            self.committing.add(purpose, Change::Restore(run));
        }
        if counted {
            self.remember_restore();
        }
    }

    /// The store says what became of a run.
    pub(crate) fn restored(&mut self, outcome: Outcome, now: Moment) {
        let Outcome::Restored { journal, stored, counted, recovered, conflict, refused, .. } = outcome else {
            return;
        };
        let handed = self.fetching.handed.pop_front();
        if let Some((_, journal, range)) = handed {
            self.regaining.give_up(journal, &range.into());
        }
        if !stored.is_empty() {
            let (current, grace) = (journal.incarnation == self.incarnation, self.config.grace);
            let shelf = self.shelf(journal, now);
            shelf.came_back(&stored, counted, recovered);
            if current {
                shelf.begin_grace(stored.clone(), now, grace);
            } else {
                (shelf.retired, shelf.restored) = (true, true);
            }
            if handed.is_some_and(|(cause, ..)| cause == Cause::Lost) {
                self.regaining.add(stored.count());
            }
        }
        let reason = refused.or_else(|| {
            let differ = conflict.count();
            (differ > 0).then(|| format!("{differ} records are here with other content"))
        });
        if let (Some(reason), Some((_, _, range))) = (reason, handed) {
            self.fetching.unfit.entry(journal).or_default().insert(range);
            self.alarm(Alarm::Unrestorable { journal, reason });
        }
    }
}
