//! Greeting: who is taken in, and what is said of its journals.
//!
//! Promise: one session for each incarnation of a device, the newest; a rollback or a fork is named before any record flows.

use millrace_model::{DeviceId, Incarnation, JournalId, Moment, RecordCheck, Seq, SeqRange};
use millrace_wire::{Frame, GoodbyeCode, Hello, Holding, JournalSummary, Lodging, Verdict, Welcome};

use crate::credit::Account;
use crate::link::{Greeting, Link, Stage};
use crate::shelf::Shelf;
use crate::{Alarm, Command, Engine, LinkId};

impl Engine {
    pub(crate) fn opened(&mut self, link: LinkId, device: DeviceId, now: Moment) {
        let stage = Stage::Silent { deadline: now + self.config.greeting_timeout };
        self.links.insert(link, Link { device, stage, account: Account::default(), comparing: None });
        if self.links.len() > self.config.links_max {
            self.close(
                link,
                GoodbyeCode::Unavailable,
                "this hub has all the agents that it can take: try another",
            );
        } else if self.is_full() {
            self.close(link, GoodbyeCode::Unavailable, "this hub's disk budget is used up: try another");
        }
    }

    /// An agent says what it has.
    pub(crate) fn hello(&mut self, id: LinkId, hello: Hello, now: Moment) {
        let Some(link) = self.links.get(&id) else { return };
        let device = link.device;
        if let Err(reason) = self.within_quota(device, &hello) {
            self.commands.push_back(Command::Alarm(Alarm::Quota { device, reason: reason.clone() }));
            self.close(id, GoodbyeCode::Quota, &reason);
            return;
        }
        let mut awaited = Vec::new();
        for summary in &hello.journals {
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
        let greeting = Box::new(Greeting { hello, awaited, found: Vec::new() });
        if let Some(link) = self.links.get_mut(&id) {
            link.stage = Stage::Greeting(greeting);
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
        let waiting: Vec<LinkId> =
            self.links.iter().filter(|(_, l)| l.device == journal.device).map(|(id, _)| *id).collect();
        for id in waiting {
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
        if !greeting.awaited.is_empty() {
            return;
        }
        let greeting = std::mem::replace(
            greeting.as_mut(),
            Greeting {
                hello: Hello {
                    software: String::new(),
                    incarnation: Incarnation::new(0),
                    level: millrace_model::AckLevel::Hub,
                    journals: Vec::new(),
                },
                awaited: Vec::new(),
                found: Vec::new(),
            },
        );
        let incarnation = greeting.hello.incarnation;
        if !self.take_over(id, device, incarnation) {
            return;
        }
        let holdings =
            greeting.hello.journals.iter().map(|summary| self.holding(device, summary, &greeting)).collect();
        self.fence += 1;
        let fence = self.fence;
        let window = self.window();
        if let Some(link) = self.links.get_mut(&id) {
            link.stage = Stage::Open { fence, incarnation };
            link.account = Account::new(window);
        }
        let welcome = Welcome {
            session: fence,
            hub: self.config.hub,
            name: self.config.name.clone(),
            region: self.config.region.clone(),
            time: self.wall(now),
            holdings,
            credit: window,
            hubs: self.config.hubs.clone(),
        };
        self.send(id, Frame::Welcome(Box::new(welcome)));
        let software = greeting.hello.software;
        self.commands.push_back(Command::SessionOpened { link: id, device, fence, software });
    }

    /// Ends an older session of the same incarnation; notices clones. `false` when the newcomer is refused.
    fn take_over(&mut self, id: LinkId, device: DeviceId, incarnation: Incarnation) -> bool {
        let others: Vec<(LinkId, Incarnation)> = self
            .links
            .iter()
            .filter(|(other, link)| **other != id && link.device == device)
            .filter_map(|(other, link)| match link.stage {
                Stage::Open { incarnation, .. } => Some((*other, incarnation)),
                _ => None,
            })
            .collect();
        let mut online = vec![incarnation];
        for (other, theirs) in others {
            if theirs == incarnation {
                self.close(other, GoodbyeCode::Superseded, "a newer session of this device took over");
            } else {
                online.push(theirs);
            }
        }
        if online.len() > self.config.incarnations_online_max {
            let reason = format!("{} incarnations of this device are connected: it was cloned", online.len());
            self.commands.push_back(Command::Alarm(Alarm::Quota { device, reason: reason.clone() }));
            self.close(id, GoodbyeCode::Quota, &reason);
            return false;
        }
        if online.len() > 1 {
            self.commands.push_back(Command::Alarm(Alarm::Cloned { device, incarnations: online }));
        }
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
        let holding = Holding {
            incarnation,
            lane,
            held: shelf.held(),
            head: shelf.head,
            head_check: check_at(shelf.head),
            verdict,
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

const fn journal_of(device: DeviceId, summary: &JournalSummary) -> JournalId {
    JournalId { device, incarnation: summary.incarnation, lane: summary.lane }
}
