//! Repair: rounds in which this hub compares what it has with another holder, and sees to what differs.
//!
//! ```text
//!  due ─▶ begin ─▶ survey (hubs): which journals differ ─▶ comparison of each, some at a time
//!                  the device's journals (agents) ────────▶      │
//!                                                                ▼
//!                              differs once: it may be on its way ─ a pause ─▶ differs still
//!                                                                                   │
//!            mending ◀─ they have it ─┬─ seal ─┬─ they lack it ─▶ owed ◀────────────┘
//!                                     └─ other bytes ─▶ both read theirs: damage is moved aside, and mended
//! ```
//!
//! Every question goes to the own store and to the peer alike; nobody but the round remembers anything.
//!
//! Promise: bounded in what is asked at a time and in what is kept ([`round`]); what lies below a floor is never fetched. Nothing is
//! done about what differs only for a moment.
//! Absent: what is asked and how two answers are compared (`millrace-merkle`); fetching ([`crate::mending`]).
//!
//! | room | what is decided there |
//! |---|---|
//! | [`agenda`] | which rounds are to come, and when |
//! | [`round`] | one round: what is asked next |
//! | [`acting`] | what is done about a difference |
//! | [`answering`] | what others are answered, and this hub itself |

pub mod acting;
mod agenda;
pub mod answering;
pub mod round;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_merkle::{PartitionSet, Sums};
use millrace_model::digest::Summary;
use millrace_model::{JournalId, Moment, NodeId, Partition, RangeSet, Wall};

use crate::link::Stage;
use crate::{Command, Engine, LinkId};
use agenda::{Agenda, Planned};
use round::Round;

/// A round begins so long after another hub has told all that it holds: what it missed comes first, by ranges.
const AFTER_GREETING: Duration = Duration::from_secs(5);

/// The same after an agent's session has begun.
const AFTER_WELCOME: Duration = Duration::from_secs(30);

/// A round that may not begin yet is tried again after this.
const POSTPONED: Duration = Duration::from_secs(15);

/// Journals that are known to differ from another holder's, all partners together; what is more than that is known by the round that
/// finds it.
const STANDING_MAX: usize = 4_096;

/// Rounds with agents at once.
const AGENT_ROUNDS_MAX: usize = 16;

/// With whom this hub compares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Partner {
    /// Another hub.
    Hub(NodeId),
    /// An agent, by its connection.
    Agent(LinkId),
}

impl std::fmt::Display for Partner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub(node) => write!(out, "hub {node}"),
            Self::Agent(_) => out.write_str("the device"),
        }
    }
}

/// Why a round began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trigger {
    /// Somebody asked for it.
    Demand,
    /// The round before found something.
    Recheck,
    /// The other one is back.
    Reconnect,
    /// It was time.
    Interval,
}

impl Trigger {
    /// A stable word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Demand => "demand",
            Self::Recheck => "recheck",
            Self::Reconnect => "reconnect",
            Self::Interval => "interval",
        }
    }
}

/// What a round found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoundReport {
    /// With whom.
    pub partner: Partner,
    /// Whose journals, if an agent's.
    pub device: Option<millrace_model::DeviceId>,
    /// Why.
    pub trigger: Trigger,
    /// Whether nothing was to be done.
    pub dry_run: bool,
    /// When it began.
    pub at: Wall,
    /// How long it took.
    pub took: Duration,
    /// What it found.
    pub findings: Findings,
    /// Why it ended early, if it did.
    pub ended: Option<String>,
}

/// The count of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Findings {
    /// Journals whose digests were compared one by one.
    pub journals: u64,
    /// Of these, journals that differed for longer than a moment.
    pub differing: u64,
    /// Records that the other one has and this hub fetches.
    pub pulled: u64,
    /// Records that this hub has and the other one gets; a device fetches them when it can.
    pub pushed: u64,
    /// Journals that one of both could not read to the end: they are looked at again soon.
    pub unread: u64,
    /// Segments that were sealed from records that were here.
    pub sealed: u64,
    /// Segments and rows that were different at both.
    pub contested: u64,
    /// Hashes of what was let go here that were taken over.
    pub adopted: u64,
    /// Hashes of what a device let go that it was told.
    pub given: u64,
    /// Questions: each went to the other one and back.
    pub questions: u64,
    /// Bytes of questions and answers, about.
    pub bytes: u64,
}

/// Rounds under way, and when the next ones are due.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    pub(crate) sums: Sums,
    /// The journals of each partition.
    by_partition: BTreeSet<(Partition, JournalId)>,
    rounds: BTreeMap<Partner, Round>,
    agenda: Agenda,
    /// Records that two holders have differently although both have read them: doubted once, and by the next round forked.
    suspects: BTreeMap<(Partner, JournalId), Suspect>,
    /// Journals that differed when a round looked last.
    standing: BTreeMap<(Partner, JournalId), Standing>,
    /// Inquiries so far.
    asked: u64,
}

/// A difference that stands.
#[derive(Clone, Copy, Debug)]
struct Standing {
    since: Moment,
    /// People were told.
    told: bool,
}

/// Records of one journal that two holders have differently.
#[derive(Debug, Default)]
struct Suspect {
    /// Read again at both.
    doubted: RangeSet,
    /// Sound at both, and told to people.
    forked: RangeSet,
}

impl Repair {
    /// The store says what a journal's digest is now.
    pub(crate) fn measured(&mut self, journal: JournalId, old: &Summary, new: &Summary) {
        self.sums.replace(&journal, old, new);
        self.by_partition.insert((Partition::of(&journal.device), journal));
    }

    /// The journals of a partition, in order.
    fn journals(&self, partition: Partition) -> impl Iterator<Item = JournalId> + '_ {
        let all = self.by_partition.range((partition, FIRST)..);
        all.take_while(move |(of, _)| *of == partition).map(|(_, journal)| *journal)
    }

    /// The partner is gone: whatever was asked of it is not answered.
    pub(crate) fn left(&mut self, partner: Partner) {
        self.agenda.left(partner);
        self.rounds.remove(&partner);
        self.suspects.retain(|(of, _), _| *of != partner);
        // An agent comes back under another number; a hub that is away still differs.
        if matches!(partner, Partner::Agent(_)) {
            self.standing.retain(|(of, _), _| *of != partner);
        }
    }
}

/// Before every journal.
const FIRST: JournalId = JournalId {
    device: millrace_model::DeviceId::from_bytes([0; 16]),
    incarnation: millrace_model::Incarnation::new(0),
    lane: millrace_model::Lane::Urgent,
};

impl Engine {
    /// Another hub has told all: it is compared with soon.
    pub(crate) fn repair_after_greeting(&mut self, node: NodeId, now: Moment) {
        let round = Planned::mending(Partner::Hub(node));
        self.repair.agenda.schedule(round, now + AFTER_GREETING, Trigger::Reconnect);
    }

    /// A session has begun: its device is compared with when nothing comes any more.
    pub(crate) fn repair_after_welcome(&mut self, link: LinkId, now: Moment) {
        let round = Planned::mending(Partner::Agent(link));
        self.repair.agenda.schedule(round, now + AFTER_WELCOME, Trigger::Reconnect);
    }

    /// Somebody asks for rounds with these, now.
    pub(crate) fn repair_on_demand(&mut self, wanted: &Wanted, now: Moment) {
        for partner in self.partners(wanted) {
            self.repair.agenda.schedule(Planned { partner, dry_run: wanted.dry_run }, now, Trigger::Demand);
        }
        self.repair_when_due(now);
    }

    /// With whom rounds begin when somebody wants this: those who are connected.
    #[must_use]
    pub fn partners(&self, wanted: &Wanted) -> Vec<Partner> {
        // Whoever is away or was let go would never answer, and be waited for.
        let placed = |node: &NodeId| {
            self.replication.placed.as_ref().is_some_and(|placed| placed.hubs.contains_key(node))
        };
        let here = |node: &NodeId| self.replication.standing(*node).is_some() && placed(node);
        let hubs = self.replication.peers.keys().copied().filter(here);
        let hubs = hubs.filter(|node| wanted.takes_hub(*node));
        let mut partners: Vec<Partner> = hubs.map(Partner::Hub).collect();
        let links = self.links.iter().filter(|(_, link)| matches!(link.stage, Stage::Open { .. }));
        partners.extend(
            links.filter(|(_, link)| wanted.takes_device(link.device)).map(|(id, _)| Partner::Agent(*id)),
        );
        partners
    }

    /// When the next round begins, or a second look is due.
    pub(crate) fn repair_due(&self) -> Option<Moment> {
        if self.is_stopping() {
            return None;
        }
        let looks = self.repair.rounds.values().filter_map(Round::due);
        self.repair.agenda.begins_at().into_iter().chain(looks).min()
    }

    /// Begins the rounds that are due.
    pub(crate) fn repair_when_due(&mut self, now: Moment) {
        if self.is_stopping() {
            return;
        }
        while let Some(planned) = self.repair.agenda.next(now) {
            let partner = planned.partner;
            if self.repair.rounds.contains_key(&partner) || !self.may_begin(planned, now) {
                self.repair.agenda.postpone(planned, now + POSTPONED);
                continue;
            }
            let Some(trigger) = self.repair.agenda.settle(planned) else { continue };
            self.begin_round(planned, trigger, now);
        }
        let looking: Vec<Partner> = self.repair.rounds.keys().copied().collect();
        for partner in looking {
            let Some(round) = self.repair.rounds.get_mut(&partner) else { continue };
            if round.is_overdue(now) {
                self.end_round(partner, Some("it did not answer in time".to_owned()), now);
            } else if round.due().is_some_and(|at| at <= now) {
                round.look_again(now);
                self.advance(partner, now);
            }
        }
    }

    /// Whether what may be on its way has arrived: comparing before that finds what is known already.
    fn may_begin(&self, planned: Planned, now: Moment) -> bool {
        match planned.partner {
            Partner::Hub(node) => {
                let full = |node, placed: &crate::Placed| {
                    placed.hubs.get(&node).is_some_and(|standing| standing.full)
                };
                let placed = self.replication.placed.as_ref();
                placed.is_some_and(|placed| full(placed.me, placed) && full(node, placed))
                    && self.replication.standing(node) == Some(true)
                    && self.replication.owes_nothing(node)
            }
            Partner::Agent(link) => {
                let with_agents = self.repair.rounds.keys().filter(|one| matches!(one, Partner::Agent(_)));
                let Some(link) = self.links.get(&link) else { return false };
                let quiet = link.waiting == 0 && link.stored_at.is_none_or(|at| now.since(at) >= POSTPONED);
                (quiet || self.repair.agenda.is_hurried(planned)) && with_agents.count() < AGENT_ROUNDS_MAX
            }
        }
    }

    /// The partitions that this hub and another one both keep.
    pub(crate) fn shared_with(&self, node: NodeId) -> PartitionSet {
        let Some(placed) = &self.replication.placed else { return PartitionSet::default() };
        let both = placed.placement.assignments().filter(|(_, assignment)| {
            assignment.replicas.contains(&placed.me) && assignment.replicas.contains(&node)
        });
        both.map(|(partition, _)| partition).collect()
    }

    fn begin_round(&mut self, planned: Planned, trigger: Trigger, now: Moment) {
        let (Planned { partner, dry_run }, at) = (planned, self.wall(now));
        let round = match partner {
            Partner::Hub(node) => Round::with_hub(self.shared_with(node)),
            Partner::Agent(link) => {
                let Some(device) = self.links.get(&link).map(|link| link.device) else { return };
                Round::with_agent(device, self.written_by(link))
            }
        };
        self.repair.rounds.insert(partner, round.begun(trigger, dry_run, now, at));
        self.advance(partner, now);
    }

    /// The journals that the session on `link` writes, as far as anything of them is here.
    fn written_by(&self, link: LinkId) -> Vec<JournalId> {
        let Some(found) = self.links.get(&link) else { return Vec::new() };
        let here = self.journals_of(found.device).filter(|(_, shelf)| shelf.head > 0);
        here.map(|(journal, _)| *journal).filter(|journal| found.writes(journal.incarnation)).collect()
    }

    /// A round is over.
    fn end_round(&mut self, partner: Partner, ended: Option<String>, now: Moment) {
        let Some(round) = self.repair.rounds.remove(&partner) else { return };
        let (acted, dry_run) = (round.acted, round.dry_run);
        let report = round.report(partner, ended, now);
        // One that only looked leaves the one that mends where it stands.
        if !dry_run {
            self.repair.agenda.again(partner, acted, self.config.repair_interval, now);
        }
        self.commands.push_back(Command::Compared(Box::new(report)));
    }

    /// How many rounds that somebody asked for are not over.
    #[must_use]
    pub fn demanded(&self) -> usize {
        self.repair.agenda.demanded()
            + self.repair.rounds.values().filter(|round| round.is_demanded()).count()
    }

    /// What rounds have found so far.
    #[must_use]
    pub fn rounds(&self, now: Moment) -> Vec<RoundReport> {
        self.repair.rounds.iter().map(|(partner, round)| round.report_so_far(*partner, now)).collect()
    }
}

/// With whom somebody wants rounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Only this device; its session must be here.
    pub device: Option<millrace_model::DeviceId>,
    /// Only this hub.
    pub hub: Option<NodeId>,
    /// Nothing is to be done about what is found.
    pub dry_run: bool,
}

impl Wanted {
    fn takes_hub(&self, node: NodeId) -> bool {
        self.hub.is_none_or(|hub| hub == node) && self.device.is_none()
    }

    fn takes_device(&self, device: millrace_model::DeviceId) -> bool {
        self.device.is_none_or(|wanted| wanted == device) && self.hub.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_a_hub_that_leaves_still_differs_and_an_agent_is_forgotten() {
        let (hub, agent) = (Partner::Hub(NodeId(2)), Partner::Agent(7));
        let mut repair = Repair::default();
        for partner in [hub, agent] {
            repair.agenda.schedule(Planned::mending(partner), Moment(1), Trigger::Reconnect);
            repair.standing.insert((partner, FIRST), Standing { since: Moment(0), told: false });
            repair.left(partner);
        }
        assert_eq!(repair.agenda.begins_at(), None);
        assert_eq!(repair.standing.into_keys().collect::<Vec<_>>(), [(hub, FIRST)]);
    }
}
