//! Intake: which publications are stored, refused or held back, and who is told when.
//!
//! Promise: a publication is acknowledged only by [`Intake::settled`], which takes the proof of its commit (P1).
//! Absent: what MQTT does with an acknowledgement.

use std::collections::VecDeque;

use millrace_model::notice::GapReason;
use millrace_model::store::Change;
use millrace_model::{Durable, Lane, Record, Wall};

use crate::committing::{Committing, Purpose};
use crate::{Config, Policy, Receipts, Ticket};

/// Records of one commit. More would keep the first publisher waiting for the last one's bytes.
const COMMIT_RECORDS_MAX: usize = 16_384;

/// How full the store is, as far as policies care.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pressure {
    /// There is room.
    Low,
    /// It is time to thin.
    High,
    /// The budget is used up, or the disk is full.
    Full,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    lane: Lane,
    record: Record,
}

/// Publications between arrival and flush.
#[derive(Debug, Default)]
pub struct Intake {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    refused: Vec<(Ticket, Lane, GapReason, Wall)>,
    in_commit: Vec<(Ticket, Lane)>,
    refused_in_commit: Vec<(Ticket, Lane, GapReason, Wall)>,
    in_commit_bytes: usize,
    thinned: [u32; Lane::ALL.len()],
    blocked: bool,
}

impl Intake {
    /// A publication arrived.
    pub fn arrived(
        &mut self,
        ticket: Ticket,
        lane: Lane,
        record: Record,
        pressure: Pressure,
        config: &Config,
    ) {
        let reason = match config.policy(lane) {
            Policy::DropNewest if pressure == Pressure::Full => Some(GapReason::DropNewest),
            Policy::Thin(keep) if pressure >= Pressure::High && !self.keeps(lane, keep) => {
                Some(GapReason::Thin)
            }
            _ => None,
        };
        match reason {
            Some(reason) => self.unfit(ticket, lane, reason, record.wall),
            None => {
                self.waiting_bytes += record.weight();
                self.waiting.push_back(Waiting { ticket, lane, record });
            }
        }
    }

    /// A publication arrived that is not to be stored.
    pub fn unfit(&mut self, ticket: Ticket, lane: Lane, reason: GapReason, wall: Wall) {
        self.refused.push((ticket, lane, reason, wall));
    }

    fn keeps(&mut self, lane: Lane, keep: u32) -> bool {
        let Some(count) = self.thinned.get_mut(usize::from(lane.code())) else { return true };
        *count += 1;
        if *count >= keep {
            *count = 0;
            return true;
        }
        false
    }

    /// Whether more publications may be handed in. When not, the daemon stops reading MQTT.
    ///
    /// A lane that blocks holds its own publishers back by their windows. What waits for it may take half of the room here;
    /// beyond that, nothing is read for any lane until it moves.
    #[must_use]
    pub fn has_room(&self, config: &Config) -> bool {
        let held = self.blocked
            && (self.waiting.len() * 2 >= config.intake_records_max
                || self.waiting_bytes * 2 >= config.intake_bytes_max);
        !held
            && self.waiting.len() + self.in_commit.len() < config.intake_records_max
            && self.waiting_bytes + self.in_commit_bytes < config.intake_bytes_max
            && self.refused.len() + self.refused_in_commit.len() < config.intake_records_max
    }

    /// Moves what waits into the next commit, as far as policies let it: a lane that blocks gets what fits into
    /// `room_bytes`. (What waits does not count against itself, or a burst larger than the budget would wait for ever.)
    pub fn fill(&mut self, committing: &mut Committing, room_bytes: u64, config: &Config) {
        if !committing.is_idle() {
            return;
        }
        if committing.is_refused() {
            // Nothing is stored until the pause is over or room was made; refusals can be counted all the same.
            self.blocked = !self.waiting.is_empty();
            self.fill_refused(committing);
            return;
        }
        let bytes_max = config.commit_bytes_max();
        let mut lanes: [Vec<Record>; Lane::ALL.len()] = Default::default();
        let mut blocked = [false; Lane::ALL.len()];
        let mut held = VecDeque::new();
        while let Some(waiting) = self.waiting.pop_front() {
            let enough = self.in_commit.len() >= COMMIT_RECORDS_MAX || self.in_commit_bytes >= bytes_max;
            if enough {
                held.push_back(waiting);
                break;
            }
            let weight = waiting.record.weight();
            let full = (self.in_commit_bytes + weight) as u64 > room_bytes;
            if let Some(blocked) = blocked.get_mut(usize::from(waiting.lane.code()))
                && (*blocked || full && config.policy(waiting.lane) == Policy::Block)
            {
                // Held in its place: later ones of other lanes may pass, later ones of its own lane may not.
                *blocked = true;
                held.push_back(waiting);
                continue;
            }
            self.waiting_bytes = self.waiting_bytes.saturating_sub(weight);
            self.in_commit_bytes += weight;
            self.in_commit.push((waiting.ticket, waiting.lane));
            if let Some(records) = lanes.get_mut(usize::from(waiting.lane.code())) {
                records.push(waiting.record);
            }
        }
        held.append(&mut self.waiting);
        self.waiting = held;
        self.blocked = blocked.contains(&true);
        for (lane, records) in Lane::ALL.into_iter().zip(lanes) {
            if !records.is_empty() {
                committing.add(Purpose::Append, Change::Append { lane, records });
            }
        }
        self.fill_refused(committing);
    }

    fn fill_refused(&mut self, committing: &mut Committing) {
        for (ticket, lane, reason, wall) in std::mem::take(&mut self.refused) {
            self.refused_in_commit.push((ticket, lane, reason, wall));
            // Neighbours with one lane and reason make one change.
            if let Some(Change::Reject { lane: last, count, reason: why, to, .. }) = committing.last_mut()
                && (*last, *why) == (lane, reason)
            {
                *count += 1;
                *to = wall.max(*to);
                continue;
            }
            let change = Change::Reject { lane, count: 1, reason, from: wall, to: wall };
            committing.add(Purpose::Reject, change);
        }
    }

    /// The commit that [`Self::fill`] went into was flushed: who may be told now, and how many were refused by lane.
    pub fn settled(&mut self, durable: Durable) -> (Receipts, [u64; Lane::ALL.len()]) {
        self.in_commit_bytes = 0;
        let stored = std::mem::take(&mut self.in_commit).into_iter().map(|(ticket, _)| ticket).collect();
        let mut by_lane = [0; Lane::ALL.len()];
        let mut rejected = Vec::with_capacity(self.refused_in_commit.len());
        for (ticket, lane, reason, _) in self.refused_in_commit.drain(..) {
            rejected.push((ticket, reason));
            if let Some(count) = by_lane.get_mut(usize::from(lane.code())) {
                *count += 1;
            }
        }
        (Receipts::new(durable, stored, rejected), by_lane)
    }

    /// The commit that [`Self::fill`] went into was refused because the disk is full: what was to be appended waits again,
    /// or is refused where the lane drops the newest. Nobody was told anything yet.
    pub fn take_back(&mut self, changes: Vec<Change>, config: &Config) {
        let mut lanes: [VecDeque<Record>; Lane::ALL.len()] = Default::default();
        for change in changes {
            if let Change::Append { lane, records } = change
                && let Some(waiting) = lanes.get_mut(usize::from(lane.code()))
            {
                waiting.extend(records);
            }
        }
        let mut again = VecDeque::with_capacity(self.in_commit.len() + self.waiting.len());
        for (ticket, lane) in std::mem::take(&mut self.in_commit) {
            let record = lanes.get_mut(usize::from(lane.code())).and_then(VecDeque::pop_front);
            again.extend(record.map(|record| Waiting { ticket, lane, record }));
        }
        again.append(&mut self.waiting);
        let mut refused: Vec<_> = self.refused_in_commit.drain(..).collect();
        (self.waiting_bytes, self.in_commit_bytes) = (0, 0);
        for waiting in again {
            let Waiting { ticket, lane, record } = &waiting;
            if config.policy(*lane) == Policy::DropNewest {
                refused.push((*ticket, *lane, GapReason::DropNewest, record.wall));
            } else {
                self.waiting_bytes += record.weight();
                self.waiting.push_back(waiting);
            }
        }
        refused.append(&mut self.refused);
        self.refused = refused;
    }

    /// Whether anything waits for a commit.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.refused.is_empty()
    }

    /// Whether a lane is held back because the store is full.
    #[must_use]
    pub const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Bytes that wait for a flush.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.waiting_bytes + self.in_commit_bytes
    }
}
