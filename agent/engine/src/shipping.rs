//! Shipping: which records go next, on which channel.
//!
//! Live records, the newest, have a channel of their own and go first; the backlog fills behind them, by lane, oldest first, within
//! credit and bandwidth. There is no queue of records: what a hub lacks is computed from ranges, and the drain is
//! driven by "something is unsent", not by new arrivals.
//!
//! Promise: only flushed records are sent; in memory are at most a few reads, whatever the backlog.

use millrace_model::store::{Change, Quarantined, SegmentInfo};
use millrace_model::{JournalId, Lane, Moment, RangeSet, Run, SegmentName, SeqRange};
use millrace_wire::{Frame, Lodging, RunFrame, Seal};

use crate::allowance::{Credit, LIVE_RESERVE_BYTES};
use crate::committing::Purpose;
use crate::{Alarm, Channel, Command, Engine, LoadRequest, shelf::Shelf};

/// Newest records of a lane that go as live at the start of a session, so that people see the present at once.
pub(crate) const FRESH_RECORDS: u64 = 16;

/// Records that live may lag behind before the older ones are left to the backlog: live is the newest, always. A road
/// that carries 50,000 records a second stays below it.
const LIVE_LAG_MAX: u64 = 1_024;

/// Seals of one journal that wait for their records to be acked. The oldest go first: a hub that misses one keeps rows for
/// longer, and nothing else.
const SEALS_MAX: usize = 1_024;

/// What is kept of the lag when that happens.
const LIVE_LAG_KEPT: u64 = 128;

/// Bytes of bodies of the backlog that wait in the transport before no more is read for it: some segments, so that
/// reading and sending overlap.
const BACKLOG_WINDOW_BYTES: u64 = 1 << 20;

/// The same for live records. Little, because what waits there when the road comes back goes before anything newer.
const LIVE_WINDOW_BYTES: u64 = 64 << 10;

/// Bytes asked for with one read.
const READ_BYTES: usize = 256 << 10;

/// Rough cost of a frame beside its body: frame header, QUIC and UDP.
pub(crate) const FRAME_OVERHEAD_BYTES: u64 = 96;

/// What is under way in a session.
#[derive(Clone, Debug, Default)]
pub struct Shipping {
    pub(crate) credit: Credit,
    session: u64,
    live: Stream,
    backlog: Stream,
    lingering_since: Option<Moment>,
    /// Since when the hub owes an ack.
    unanswered_since: Option<Moment>,
}

/// One channel's read and transport queue.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    loading: bool,
    queued_bytes: u64,
}

impl Shipping {
    pub(crate) fn begin(&mut self, session: u64, credit: Credit) {
        *self = Self { credit, session, ..Self::default() };
    }

    pub(crate) fn session_ended(&mut self) {
        *self = Self::default();
    }

    fn channel(&mut self, channel: Channel) -> &mut Stream {
        if channel == Channel::Live { &mut self.live } else { &mut self.backlog }
    }

    /// The hub owes an ack.
    pub(crate) fn await_answer(&mut self, now: Moment) {
        self.unanswered_since.get_or_insert(now);
    }

    /// The transport took bytes.
    pub(crate) fn sent(&mut self, channel: Channel, bytes: u64) {
        let channel = self.channel(channel);
        channel.queued_bytes = channel.queued_bytes.saturating_sub(bytes);
    }

    const fn live_is_free(&self) -> bool {
        !self.live.loading && self.live.queued_bytes < LIVE_WINDOW_BYTES
    }

    const fn backlog_is_free(&self) -> bool {
        !self.backlog.loading && self.backlog.queued_bytes < BACKLOG_WINDOW_BYTES
    }
}

impl Shelf {
    /// A session begins: the newest few records and all that come are live.
    pub(crate) fn go_live(&mut self) {
        self.live_from = (self.head + 1).saturating_sub(FRESH_RECORDS).max(1);
    }

    /// The next live records to go, newest first when there are too many.
    fn next_live(&mut self) -> Option<SeqRange> {
        let window = SeqRange::new(self.live_from, self.head)?;
        let mut unsent = self.unsent().within(window);
        if unsent.count() > LIVE_LAG_MAX {
            self.live_from = self.head.saturating_sub(LIVE_LAG_KEPT - 1);
            unsent = unsent.within(SeqRange::new(self.live_from, self.head)?);
        }
        let next = unsent.iter().next();
        if next.is_none() {
            self.live_from = self.head + 1;
        }
        next
    }

    /// The next missed records to go, oldest first.
    fn next_backlog(&self) -> Option<SeqRange> {
        let below = SeqRange::new(self.floor, self.live_from.checked_sub(1)?)?;
        self.unsent().within(below).iter().next()
    }

    fn ships(&self) -> bool {
        self.verified && !self.retired
    }

    /// Whether records wait that were missed; when the hub's copy is not compared yet, all that wait may be.
    fn is_behind(&self) -> bool {
        !self.retired && if self.verified { self.next_backlog().is_some() } else { self.pending() > 0 }
    }
}

impl Engine {
    /// Reads what is to go next, as far as channels, credit and bandwidth allow.
    pub(crate) fn ship(&mut self, now: Moment) {
        if !self.session.is_open() || self.recovery.is_breaking() {
            return;
        }
        self.send_seals();
        if self.shipping.live_is_free() && self.shipping.credit.left() > 0 && self.linger_is_over(now) {
            let wanted =
                self.lanes(|lane| self.live_may_go(lane)).find_map(|j| Some((j, self.next_live(j)?)));
            match wanted {
                Some((journal, range)) => self.load(Channel::Live, journal, range),
                None => self.shipping.lingering_since = None,
            }
        }
        if self.shipping.backlog_is_free()
            && self.shipping.credit.left() > LIVE_RESERVE_BYTES
            && self.bucket.allows(now)
        {
            let metered = self.metered;
            // What the hub lost of an older life comes in small batches: it waits for no backlog.
            let may_go = |lane: Lane| !metered || lane == Lane::Urgent;
            let next = self.next_wanted(may_go).or_else(|| {
                self.lanes(may_go).find_map(|j| {
                    Some((j, self.shelves.get(&j).filter(|shelf| shelf.ships())?.next_backlog()?))
                })
            });
            if let Some((journal, range)) = next {
                self.load(Channel::Backlog, journal, range);
            }
        }
    }

    /// Whether anything waits to be sent behind what is live.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.shipping.backlog_is_free() || self.shelves.values().any(Shelf::is_behind)
    }

    fn live_may_go(&self, lane: Lane) -> bool {
        match lane {
            Lane::Urgent => true,
            Lane::Normal => self.bucket.rate() != Some(0),
            Lane::Bulk => self.bucket.rate() != Some(0) && !self.metered,
        }
    }

    /// The next that the hub wants again of journals that take no more records.
    fn next_wanted(&self, may_go: impl Fn(Lane) -> bool) -> Option<(JournalId, SeqRange)> {
        let mut asked = self.shelves.values().filter(|shelf| may_go(shelf.journal.lane));
        asked.find_map(|shelf| Some((shelf.journal, shelf.wanted.iter().next()?)))
    }

    fn lanes(&self, may_go: impl Fn(Lane) -> bool) -> std::vec::IntoIter<JournalId> {
        let lanes = Lane::ALL.into_iter().filter(|lane| may_go(*lane)).map(|lane| self.current(lane));
        lanes.collect::<Vec<_>>().into_iter()
    }

    fn next_live(&mut self, journal: JournalId) -> Option<SeqRange> {
        self.shelves.get_mut(&journal).filter(|shelf| shelf.ships())?.next_live()
    }

    fn load(&mut self, channel: Channel, journal: JournalId, range: SeqRange) {
        self.shipping.channel(channel).loading = true;
        let session = self.shipping.session;
        let request = LoadRequest { session, channel, journal, range, bytes_max: READ_BYTES };
        self.commands.push_back(Command::Load(request));
    }

    /// Records were read: send them.
    pub(crate) fn loaded(&mut self, request: LoadRequest, runs: Vec<Run>, now: Moment) {
        if request.session != self.shipping.session || !self.session.is_open() {
            return;
        }
        self.shipping.channel(request.channel).loading = false;
        let Some(shelf) = self.shelves.get_mut(&request.journal) else { return };
        if runs.is_empty() && shelf.retired {
            return self.went(request.journal, request.range);
        }
        if runs.is_empty() {
            // The range went between asking and reading: trimmed or evicted, which a commit will say. It is not asked for
            // again meanwhile.
            shelf.sent.insert(request.range);
        }
        // One read may be more than one run; each needs credit, or the hub would call it dishonest.
        let reserve = if request.channel == Channel::Live { 0 } else { LIVE_RESERVE_BYTES };
        for run in runs {
            let Some(range) = run.range() else { continue };
            if self.shipping.credit.left() <= reserve {
                break;
            }
            if let Some(shelf) = self.shelves.get_mut(&request.journal) {
                shelf.sent.insert(range);
                shelf.wanted.remove(range);
                if run.is_whole_segment() {
                    shelf.seals.retain(|name| Some(*name) != run.segment);
                }
            }
            let frame = RunFrame::of(run);
            let cost = frame.cost();
            self.shipping.credit.spend(cost);
            self.shipping.await_answer(now);
            self.bucket.spend(cost + FRAME_OVERHEAD_BYTES, now);
            self.shipping.channel(request.channel).queued_bytes += cost;
            self.send(request.channel, Frame::Run(frame));
        }
        if request.channel == Channel::Live {
            self.shipping.lingering_since = None;
            self.note_live(now);
        }
    }

    /// A read met damage.
    pub(crate) fn damaged(&mut self, request: Option<LoadRequest>, aside: &Quarantined, now: Moment) {
        if let Some(request) = request.filter(|request| request.session == self.shipping.session) {
            self.shipping.channel(request.channel).loading = false;
        }
        self.lost(aside, now);
    }

    /// Damaged records leave the shelf; the store has put them aside and counted them.
    pub(crate) fn lost(&mut self, aside: &Quarantined, now: Moment) {
        let Quarantined { journal, ranges, evicted } = aside;
        for range in ranges.iter() {
            self.alarm(Alarm::Damaged { journal: *journal, range });
        }
        if let Some(shelf) = self.shelves.get_mut(journal) {
            shelf.gone(ranges, *evicted);
        }
        if self.session.is_open() {
            self.regain_own(*journal);
        }
        if *evicted > 0 {
            self.expect_gap(now);
        }
    }

    /// New live records exist from now on.
    pub(crate) fn note_live(&mut self, now: Moment) {
        if self.session.is_open() {
            self.shipping.lingering_since.get_or_insert(now);
        }
    }

    fn linger_is_over(&self, now: Moment) -> bool {
        self.shipping.lingering_since.is_none_or(|since| now.since(since) >= self.config.linger)
    }

    pub(crate) fn linger_over(&self) -> Option<Moment> {
        let free = self.session.is_open()
            && !self.recovery.is_breaking()
            && self.shipping.live_is_free()
            && self.shipping.credit.left() > 0;
        self.shipping.lingering_since.filter(|_| free).map(|since| since + self.config.linger)
    }

    pub(crate) fn tokens_ready(&self) -> Option<Moment> {
        let ships = self.session.is_open() && !self.recovery.is_breaking();
        let waits = ships && self.shipping.backlog_is_free();
        self.bucket.ready_at().filter(|_| waits && self.shipping.credit.left() > LIVE_RESERVE_BYTES)
    }

    /// Segments were sealed: a hub that has their records as a tail must hear of it.
    pub(crate) fn note_seals(&mut self, journal: JournalId, sealed: &[SegmentName]) {
        let open = self.session.is_open();
        if let Some(shelf) = self.shelves.get_mut(&journal) {
            for name in sealed {
                // Whatever is sent from now on names its segment.
                let known = |range| open || !shelf.acked.within(range).is_empty();
                if name.range().is_some_and(known) {
                    shelf.seals.push(*name);
                }
            }
            let surplus = shelf.seals.len().saturating_sub(SEALS_MAX);
            shelf.seals.drain(..surplus);
        }
    }

    /// Segments of an earlier process were found: the hub may have their records as a tail still.
    pub(crate) fn renew_seals(&mut self, segments: &[SegmentInfo]) {
        for SegmentInfo { journal, name, .. } in segments {
            if let Some(shelf) = self.shelves.get_mut(journal)
                && (shelf.renewed..shelf.inherited).contains(&name.ordinal)
                && name.range().is_some_and(|range| shelf.acked.covers(range))
            {
                shelf.renewed = name.ordinal + 1;
                shelf.seals.push(*name);
            }
        }
    }

    fn send_seals(&mut self) {
        let mut seals = Vec::new();
        for shelf in self.shelves.values_mut().filter(|shelf| shelf.ships()) {
            shelf.seals.retain(|segment| match segment.range() {
                // Only when the hub has all of it can it seal it.
                Some(range) if shelf.acked.covers(range) => {
                    seals.push(Seal { journal: Lodging::from(shelf.journal), segment: *segment });
                    false
                }
                Some(range) => shelf.present.covers(range),
                None => false,
            });
        }
        for seal in seals {
            self.send(Channel::Live, Frame::Seal(seal));
        }
    }

    /// Acks came in: does the hub owe more?
    pub(crate) fn answered(&mut self, now: Moment) {
        let owed = self
            .shelves
            .values()
            .any(|shelf| !shelf.sent.intersection(&shelf.present).difference(&shelf.acked).is_empty());
        self.shipping.unanswered_since = owed.then_some(now);
    }

    /// When a session whose hub acknowledges nothing is given up.
    pub(crate) fn answer_due(&self) -> Option<Moment> {
        let since = self.shipping.unanswered_since.filter(|_| self.session.is_open())?;
        Some(since + self.config.answer_timeout)
    }

    /// Records of a journal are safe at the hubs.
    pub(crate) fn safe(&mut self, journal: JournalId, ranges: &RangeSet, now: Moment) {
        let grace = self.config.grace;
        let fresh = self.shelves.get_mut(&journal).map_or(0, |shelf| shelf.acknowledged(ranges, now, grace));
        if fresh > 0 {
            self.acks_due.get_or_insert(now + self.config.ack_write_delay);
        }
    }

    pub(crate) fn write_acks_if_due(&mut self, now: Moment) {
        // When a commit begins anyway the acks ride along at no cost.
        let due = self.acks_due.is_some_and(|at| at <= now);
        if !due || self.committing.has(Purpose::Acknowledge) {
            return;
        }
        self.acks_due = None;
        let journals: Vec<JournalId> = self.shelves.keys().copied().collect();
        journals.into_iter().for_each(|journal| self.write_acks_of(journal));
    }

    /// Asks for the acks of one journal to be written down with the next commit.
    pub(crate) fn write_acks_of(&mut self, journal: JournalId) {
        let shelf = self.shelves.get_mut(&journal).filter(|shelf| !shelf.unwritten.is_empty());
        if let Some(shelf) = shelf {
            let ranges = std::mem::take(&mut shelf.unwritten);
            self.committing.add(Purpose::Acknowledge, Change::Acknowledge { journal, ranges });
        }
    }
}
