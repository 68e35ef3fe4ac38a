//! Greeting: who is taken in, and what is said of its journals.
//!
//! Promise: one session for each incarnation of a device, the newest; a rollback or a fork is named before any record flows.

use millrace_model::limits::RANGES_MAX;
use millrace_model::{
    AckLevel, DeviceId, Incarnation, JournalId, Moment, RangeSet, RecordCheck, Seq, SeqRange,
};
use millrace_wire::{Frame, GoodbyeCode, Hello, Holding, JournalSummary, Lodging, Verdict, Welcome};

use crate::credit::Account;
use crate::link::{Greeting, Link, Stage};
use crate::shelf::Shelf;
use crate::{Alarm, Command, Engine, LinkId, Source};

/// Ranges in one Welcome: as many as one set may have on the wire. Journals with more holes than that name the largest runs;
/// what is left out is sent once more, and known.
const HELD_RANGES_MAX: usize = RANGES_MAX;

impl Engine {
    pub(crate) fn opened(&mut self, link: LinkId, device: DeviceId, now: Moment) {
        let deadline = now + self.config.greeting_timeout;
        let stage = Stage::Silent { deadline };
        let fresh = Link {
            device,
            stage,
            account: Account::default(),
            waiting: 0,
            stored_at: None,
            credit_at: None,
            doubted_until: None,
            comparing: None,
            recalling: None,
            wanted: std::collections::BTreeSet::new(),
            level: AckLevel::Hub,
        };
        self.links.insert(link, fresh);
        self.by_device.entry(device).or_default().insert(link);
        self.silent_until.insert((deadline, link));
        if self.draining.on {
            self.turn_away(link, now);
        } else if self.config.clustered && self.replication.placed.is_none() {
            let reason = "this hub does not know its place in the cluster yet: try another";
            self.close(link, GoodbyeCode::Unavailable, reason, now);
        } else if self.is_stopping() {
            self.close(link, GoodbyeCode::Shutdown, "the hub stops", now);
        } else if self.links.len() > self.config.links_max {
            let reason = "this hub has all the agents that it can take: try another";
            self.close(link, GoodbyeCode::Unavailable, reason, now);
        } else if self.is_full() {
            let reason = "this hub's disk budget is used up: try another";
            self.close(link, GoodbyeCode::Unavailable, reason, now);
        }
    }

    /// An agent says what it has.
    pub(crate) fn hello(&mut self, id: LinkId, hello: Hello, now: Moment) {
        let Some(link) = self.links.get(&id) else { return };
        let device = link.device;
        if let Err(reason) = self.within_quota(device, &hello) {
            self.commands.push_back(Command::Alarm(Alarm::Quota { device, reason: reason.clone() }));
            self.close(id, GoodbyeCode::Quota, &reason, now);
            return;
        }
        self.rest(id, now);
        if !self.take_over(id, device, hello.incarnation, now) {
            return;
        }
        let after = self.reception.last_taken();
        let greeting = Box::new(Greeting { hello, awaited: Vec::new(), after, found: Vec::new() });
        if let Some(link) = self.links.get_mut(&id) {
            (link.level, link.stage) = (greeting.hello.level, Stage::Greeting(greeting));
        }
        match after {
            Some(_) => {
                self.settling.insert(id);
            }
            None => self.look_up(id, now),
        }
    }

    /// Something is flushed, or waits no more: greetings that waited for it go on.
    pub(crate) fn greet_settled(&mut self, now: Moment) {
        let first = self.reception.first_waiting();
        let waits = |id: &LinkId| match self.links.get(id).map(|link| &link.stage) {
            Some(Stage::Greeting(greeting)) => {
                greeting.after.is_some_and(|after| first.is_none_or(|first| after < first))
            }
            _ => false,
        };
        let ready: Vec<LinkId> = self.settling.iter().copied().filter(waits).collect();
        for id in ready {
            self.settling.remove(&id);
            self.look_up(id, now);
        }
    }

    /// Reads the checks that a Welcome needs. What older sessions sent is on disk now, and they send nothing more, so
    /// the agent's journals stay as they are until it is told of them.
    fn look_up(&mut self, id: LinkId, now: Moment) {
        let Some(Link { device, stage: Stage::Greeting(greeting), .. }) = self.links.get(&id) else { return };
        let device = *device;
        let mut awaited = Vec::new();
        for summary in &greeting.hello.journals {
            let journal = journal_of(device, summary);
            let Some(shelf) = self.shelves.get(&journal) else { continue };
            for seq in [summary.head, shelf.head] {
                let range = SeqRange::only(seq);
                if shelf.present.contains(seq) && !awaited.contains(&(journal, range)) {
                    awaited.push((journal, range));
                }
            }
        }
        for (journal, range) in &awaited {
            self.commands.push_back(Command::Check { journal: *journal, range: *range });
        }
        if let Some(Link { stage: Stage::Greeting(greeting), .. }) = self.links.get_mut(&id) {
            greeting.awaited = awaited;
            greeting.after = None;
        }
        self.welcome_if_ready(id, now);
    }

    fn within_quota(&self, device: DeviceId, hello: &Hello) -> Result<(), String> {
        let fresh =
            hello.journals.iter().filter(|summary| !self.shelves.contains_key(&journal_of(device, summary)));
        let journals = self.journals_of(device).count() + fresh.filter(|summary| summary.head > 0).count();
        let limit = self.config.device_journals_max;
        if journals > limit {
            return Err(format!(
                "the device has {journals} journals here, the limit is {limit}: look for clones"
            ));
        }
        self.bytes_within_quota(device)
    }

    pub(crate) fn bytes_within_quota(&self, device: DeviceId) -> Result<(), String> {
        let bytes: u64 = self.journals_of(device).map(|(_, shelf)| shelf.stored_bytes).sum();
        let limit = self.config.device_bytes_max;
        if bytes >= limit {
            return Err(format!("the device's journals take {bytes} bytes here, the limit is {limit}"));
        }
        Ok(())
    }

    /// A check was read that Welcomes may wait for.
    pub(crate) fn greeting_checked(
        &mut self,
        journal: JournalId,
        range: SeqRange,
        checks: &[(Seq, RecordCheck)],
        now: Moment,
    ) {
        for id in self.links_of(journal.device) {
            let Some(Link { stage: Stage::Greeting(greeting), .. }) = self.links.get_mut(&id) else {
                continue;
            };
            let before = greeting.awaited.len();
            greeting.awaited.retain(|awaited| *awaited != (journal, range));
            if greeting.awaited.len() < before {
                let check = checks.iter().find(|(seq, _)| *seq == range.first()).map(|(_, check)| *check);
                greeting.found.push((journal, range.first(), check));
                self.welcome_if_ready(id, now);
            }
        }
    }

    fn welcome_if_ready(&mut self, id: LinkId, now: Moment) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let device = link.device;
        let Stage::Greeting(greeting) = &mut link.stage else { return };
        if !greeting.awaited.is_empty() || greeting.after.is_some() {
            return;
        }
        let greeting = std::mem::replace(
            greeting.as_mut(),
            Greeting {
                hello: Hello {
                    software: String::new(),
                    incarnation: Incarnation::new(0),
                    level: AckLevel::Hub,
                    journals: Vec::new(),
                },
                awaited: Vec::new(),
                after: None,
                found: Vec::new(),
            },
        );
        let (incarnation, level) = (greeting.hello.incarnation, greeting.hello.level);
        let mut room = HELD_RANGES_MAX;
        let mut holdings = Vec::with_capacity(greeting.hello.journals.len());
        for summary in &greeting.hello.journals {
            let mut holding = self.holding(device, summary, &greeting);
            holding.held = largest(holding.held, room);
            holding.safe = holding.safe.intersection(&holding.held);
            room -= holding.held.iter().len();
            // The rest need not be sent, and is told of when it is safe.
            let unsafe_yet = holding.held.difference(&holding.safe);
            self.replication.promise(id, journal_of(device, summary), &unsafe_yet, level);
            holdings.push(holding);
        }
        self.fence += 1;
        let fence = self.fence;
        let credit = self.first_credit(device, now);
        let account = Account::new(credit);
        if let Some(link) = self.links.get_mut(&id) {
            link.stage = Stage::Open { fence, incarnation };
            link.account = account;
        }
        let welcome = Welcome {
            session: fence,
            hub: self.config.hub,
            name: self.config.name.clone(),
            region: self.config.region.clone(),
            time: self.wall(now),
            holdings,
            credit,
            hubs: self.hubs_for(device),
            epoch: self.config.epoch,
            complete: self.is_complete_for(device),
            recalls: true,
        };
        self.send(id, Frame::Welcome(Box::new(welcome)));
        let software = greeting.hello.software;
        self.commands.push_back(Command::SessionOpened { link: id, device, fence, software });
        self.raise_credit(id, now);
        self.mending.returned(Source::Device, Some(device));
        self.repair_after_welcome(id, now);
    }

    /// Whether what is here of a device is what the hubs have: this one keeps its readings, its store is full, and nothing is damaged.
    pub(crate) fn is_complete_for(&self, device: DeviceId) -> bool {
        self.replication.is_complete(&device)
            && self.journals_of(device).all(|(_, shelf)| shelf.lost.is_empty())
    }

    /// Ends an older session of the same incarnation; doubts those of others. `false` when the newcomer is refused.
    fn take_over(&mut self, id: LinkId, device: DeviceId, incarnation: Incarnation, now: Moment) -> bool {
        let theirs = |other: &LinkId| match &self.links.get(other)?.stage {
            Stage::Open { incarnation, .. } => Some((*other, *incarnation)),
            Stage::Greeting(greeting) => Some((*other, greeting.hello.incarnation)),
            _ => None,
        };
        let others: Vec<(LinkId, Incarnation)> =
            self.links_of(device).iter().filter(|other| **other != id).filter_map(theirs).collect();
        let mut older = Vec::new();
        for (other, theirs) in others {
            if theirs == incarnation {
                self.close(other, GoodbyeCode::Superseded, "a newer session of this device took over", now);
            } else {
                older.push(other);
            }
        }
        let online = older.len() + 1;
        if online > self.config.incarnations_online_max {
            let reason = format!("{online} incarnations of this device are connected: it was cloned");
            self.commands.push_back(Command::Alarm(Alarm::Quota { device, reason: reason.clone() }));
            self.close(id, GoodbyeCode::Quota, &reason, now);
            return false;
        }
        self.doubt(&older, now);
        true
    }

    fn holding(&mut self, device: DeviceId, summary: &JournalSummary, greeting: &Greeting) -> Holding {
        let journal = journal_of(device, summary);
        let Lodging { incarnation, lane } = Lodging::from(journal);
        let none = Shelf::default();
        let shelf = self.shelves.get(&journal).unwrap_or(&none);
        let check_at = |seq: Seq| {
            let found = greeting.found.iter().find(|(j, at, _)| *j == journal && *at == seq);
            found.and_then(|(_, _, check)| *check)
        };
        let differs = matches!((summary.head_check, check_at(summary.head)), (Some(a), Some(b)) if a != b);
        let verdict = if shelf.head > summary.head {
            Verdict::RolledBack
        } else if differs {
            Verdict::Forked
        } else {
            Verdict::Continues
        };
        // What was declared as lost is not here. Its author has not got it either, or else brings it after all.
        let held = shelf.had_or_passed();
        // What was let go is as safe as it will ever be.
        let mut safe = held.difference(&shelf.present);
        safe.extend(&self.replication.safe(journal, greeting.hello.level, &held, &shelf.present));
        let holding = Holding {
            incarnation,
            lane,
            held,
            head: shelf.head,
            head_check: check_at(shelf.head),
            verdict,
            safe,
        };
        // Only the journals that the agent writes to raise an alarm: retired ones have had theirs.
        let current = incarnation == greeting.hello.incarnation;
        match verdict {
            Verdict::RolledBack if current => {
                self.commands.push_back(Command::Alarm(Alarm::RolledBack { journal }));
            }
            Verdict::Forked if current => {
                let ranges = SeqRange::only(summary.head).into();
                self.commands.push_back(Command::Alarm(Alarm::Forked { journal, ranges }));
            }
            _ => {}
        }
        holding
    }
}

/// The `count` largest ranges of `held`, all when there are no more.
pub(crate) fn largest(held: RangeSet, count: usize) -> RangeSet {
    if held.iter().len() <= count {
        return held;
    }
    let mut ranges: Vec<SeqRange> = held.iter().collect();
    ranges.sort_by_key(|range| (std::cmp::Reverse(range.count()), range.first()));
    ranges.truncate(count);
    ranges.into_iter().collect()
}

const fn journal_of(device: DeviceId, summary: &JournalSummary) -> JournalId {
    JournalId { device, incarnation: summary.incarnation, lane: summary.lane }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_for_journals_full_of_holes_still_fits_into_its_frame() {
        let far = u64::MAX / 2;
        let holes: RangeSet =
            (0..100_000).filter_map(|n| SeqRange::new(far + 3 * n, far + 3 * n + 1)).collect();
        let long: RangeSet = SeqRange::new(1, 1_000).into_iter().collect();
        let held: RangeSet = holes.iter().chain(long.iter()).collect();
        let kept = largest(held, HELD_RANGES_MAX);
        assert!(kept.contains(1_000), "the longest one is among them");
        let holding = |held| Holding {
            incarnation: Incarnation::new(u64::MAX),
            lane: millrace_model::Lane::Bulk,
            held,
            head: u64::MAX,
            head_check: Some(RecordCheck(u64::MAX)),
            verdict: Verdict::Continues,
            safe: RangeSet::new(),
        };
        let none = (1..millrace_wire::limits::JOURNALS_MAX).map(|_| holding(RangeSet::new()));
        let welcome = Welcome {
            session: u64::MAX,
            hub: millrace_model::HubId::from_bytes([255; 16]),
            name: "x".repeat(512),
            region: "x".repeat(512),
            time: millrace_model::Wall(i64::MAX),
            holdings: std::iter::once(holding(kept)).chain(none).collect(),
            credit: u64::MAX,
            hubs: Vec::new(),
            epoch: u64::MAX,
            complete: true,
            recalls: true,
        };
        let bytes = millrace_wire::encode(&Frame::Welcome(Box::new(welcome))).unwrap();
        assert!(millrace_wire::decode(&bytes).is_ok(), "{:?}", millrace_wire::decode(&bytes).err());
    }
}
