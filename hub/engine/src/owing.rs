//! Owing: the streams to other hubs. This hub dialled, says who it is, hears what they hold, and sends what they have not.
//!
//! Promise: what is told is read from disk or came in just now; it is never kept in memory. A hub that breaks the protocol loses its
//! stream, and what it is owed stays owed.
//! Absent: what is owed ([`crate::replication`]).

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{JournalId, Moment, NodeId, RangeSet, Run, SeqRange};
use millrace_wire::peer::{Held, Holds, Lacks, Offer, PeerRun, PeerSeal};
use millrace_wire::{Ack, Conflict, Frame, PeerFrame, RunFrame, Seal};

use crate::replication::Ranges;
use crate::shelf::Shelf;
use crate::{Alarm, Command, Engine, LinkId, Placed, Source};

/// Bytes asked for with one read.
const LOAD_BYTES: usize = 1 << 20;

/// Ranges in one frame between hubs, of all its journals together: 18 bytes each at most, so that the frame stays far below
/// [`millrace_wire::limits::BODY_MAX`].
pub(crate) const FRAME_RANGES_MAX: usize = 4_096;

/// Journals in one frame between hubs: 64 bytes each at most, beside their ranges.
const FRAME_JOURNALS_MAX: usize = millrace_wire::limits::HELD_JOURNALS_MAX;

impl Engine {
    /// The committed table or placement changed.
    pub(crate) fn be_placed(&mut self, placed: Placed, now: Moment) {
        let version = placed.placement.version;
        let known = self.replication.placed.as_ref().map(|placed| placed.placement.version);
        self.config.epoch = placed.epoch;
        let gone = self.replication.placed(placed, &self.shelves);
        // Whoever learns what this hub knows, learns it before anything that it flushes from now on.
        if known != Some(version) {
            self.tell_version();
        }
        self.greet_guests();
        let nodes: Vec<NodeId> = self.replication.peers.keys().copied().collect();
        for node in nodes {
            self.offer(node);
            self.supply(node, now);
        }
        for (node, ranges) in gone {
            self.tell_gone(node, ranges);
        }
        self.pass_over();
        self.keep(self.awaited());
        self.directory.moved |= known != Some(version);
    }

    /// My stream to another hub stands.
    pub(crate) fn peer_up(&mut self, node: NodeId) {
        self.replication.connected(node);
        self.offer(node);
    }

    /// Says who this hub is, as soon as it knows.
    fn offer(&mut self, node: NodeId) {
        let Some(placed) = &self.replication.placed else { return };
        let offer = Offer { epoch: placed.epoch, node: placed.me, store: placed.store };
        let road = self.replication.peers.get_mut(&node).and_then(|peer| peer.road.as_mut());
        if road.is_some_and(|road| !std::mem::replace(&mut road.offered, true)) {
            self.tell(node, PeerFrame::Offer(offer));
        }
    }

    pub(crate) fn peer_said(&mut self, node: NodeId, frame: PeerFrame, now: Moment) {
        let Some(greeted) = self.replication.standing(node) else { return };
        match frame {
            PeerFrame::Holds(holds) if greeted => self.heard(node, &holds, false, now),
            PeerFrame::Holds(holds) => {
                let fits = holds
                    .held
                    .iter()
                    .all(|Held { journal, ranges }| self.replication.tells(node, *journal, ranges));
                if !fits {
                    self.part(node, "it tells of more journals than there may be");
                }
            }
            PeerFrame::Told(told) => {
                let heard = self.replication.told(node, told.store, told.version, &self.shelves);
                let records = heard.lost.values().map(RangeSet::count).fold(0, u64::saturating_add);
                if records > 0 {
                    self.commands.push_back(Command::Alarm(Alarm::Regressed { node, records }));
                }
                each_frame(heard.lost, |held| {
                    held.into_iter().for_each(|held| self.tell(node, PeerFrame::Lost(held)));
                });
                self.tell_gone(node, heard.gone);
                self.keep(self.awaited());
                self.mending.returned(Source::Hub(node), None);
                self.repair_after_greeting(node, now);
            }
            PeerFrame::Flushed(holds) if greeted => self.heard(node, &holds, true, now),
            PeerFrame::Declined(declined) if greeted => match declined.range() {
                Some(range) => {
                    let (journal, reason) = (declined.journal, declined.reason);
                    self.commands.push_back(Command::Alarm(Alarm::Declined { journal, reason }));
                    self.replication.declined(node, journal, range, now);
                }
                None => self.part(node, "it declined a run that names no records"),
            },
            PeerFrame::Clash(held) if greeted => self.clash(node, &held),
            PeerFrame::Reply(reply) if greeted => self.peer_replied(node, reply, now),
            PeerFrame::Lacks(Lacks { journal, ranges, bring: true }) if greeted => {
                self.bring(node, journal, &ranges);
            }
            PeerFrame::Lacks(Lacks { journal, ranges, .. }) => self.replication.lacks(node, journal, &ranges),
            frame => self.part(node, &format!("a {} frame came out of turn", frame.name())),
        }
        self.supply(node, now);
    }

    /// A hub has records, by their numbers alone or compared with ours.
    fn heard(&mut self, node: NodeId, holds: &Holds, proved: bool, now: Moment) {
        for Held { journal, ranges } in &holds.held {
            if proved {
                self.replication.proved(node, *journal, ranges);
            } else {
                self.replication.holds(node, *journal, ranges);
            }
        }
        self.keep(holds.held.iter().map(|held| held.journal));
        self.supply(node, now);
    }

    /// A hub holds another history: the author, if it is here, begins a new incarnation.
    pub(crate) fn clash(&mut self, node: NodeId, held: &Held) {
        let Held { journal, ranges } = held;
        self.replication.clashed(node, *journal, ranges);
        let alarm = Alarm::Forked { journal: *journal, ranges: ranges.clone() };
        self.commands.push_back(Command::Alarm(alarm));
        let here = self.shelves.get(journal).map(Shelf::held).unwrap_or_default();
        for link in self.links_of(journal.device) {
            let Some(found) = self.links.get(&link) else { continue };
            let safe = self.replication.safe(*journal, found.level, &here, ranges);
            let doubtful = if found.level > millrace_model::AckLevel::Hub {
                ranges.difference(&safe)
            } else {
                ranges.clone()
            };
            if found.writes(journal.incarnation) && !doubtful.is_empty() {
                let conflict = Conflict { journal: (*journal).into(), ranges: doubtful };
                self.send(link, Frame::Conflict(conflict));
            }
        }
        self.answer_comparisons(*journal);
    }

    /// A hub asks for what it lost. What is here is owed to it; of the rest it hears at once, so that it can ask another: what went for
    /// its age is no loss, and everything before that went as well.
    fn bring(&mut self, node: NodeId, journal: JournalId, ranges: &RangeSet) {
        let none = RangeSet::new();
        let present = self.shelves.get(&journal).map_or(&none, |shelf| &shelf.present);
        let mut absent = self.replication.asked(node, journal, ranges, present);
        let below = self.shelves.get(&journal).and_then(Shelf::let_go);
        if let Some(below) = below.filter(|below| !absent.within(*below).is_empty()) {
            absent.remove(below);
            self.tell(node, PeerFrame::Gone(Held { journal, ranges: below.into() }));
        }
        if !absent.is_empty() {
            self.tell(node, PeerFrame::Lacks(Lacks { journal, ranges: absent, bring: false }));
        }
    }

    /// Sends a run that came from an agent on to its replicas, while it is flushed here.
    pub(crate) fn forward(&mut self, journal: JournalId, range: SeqRange, run: &RunFrame) {
        for node in self.replication.forward(journal, range, run.cost()) {
            let run = PeerRun { device: journal.device, run: run.clone() };
            self.tell(node, PeerFrame::Run(run));
        }
    }

    /// Sends a seal on to those that have its records.
    pub(crate) fn forward_seal(&mut self, journal: JournalId, seal: &Seal) {
        let Some(range) = seal.segment.range() else { return };
        for node in self.replication.sealed(journal, range) {
            self.tell(node, PeerFrame::Seal(PeerSeal { device: journal.device, seal: *seal }));
        }
    }

    /// Reads the next that a hub is owed, if it has room.
    pub(crate) fn supply(&mut self, node: NodeId, now: Moment) {
        if self.is_stopping() {
            return;
        }
        if let Some((journal, range)) = self.replication.next(node, now) {
            self.commands.push_back(Command::Load { node, journal, range, bytes_max: LOAD_BYTES });
        }
    }

    /// The same for all.
    pub(crate) fn supply_all(&mut self, now: Moment) {
        let nodes: Vec<NodeId> = self.replication.peers.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.supply(node, now));
    }

    /// What a hub is owed was read.
    pub(crate) fn loaded(&mut self, node: NodeId, asked: (JournalId, SeqRange), runs: Vec<Run>, now: Moment) {
        let named = |run: Run| run.range().filter(|_| run.journal == asked.0).map(|range| (range, run));
        let runs: Vec<(SeqRange, Run)> = runs.into_iter().filter_map(named).collect();
        let sizes: Vec<(SeqRange, u64)> =
            runs.iter().map(|(range, run)| (*range, run.body.len() as u64)).collect();
        let Some(gone) = self.replication.loaded(node, asked, &sizes) else { return };
        for (_, run) in runs {
            let device = run.journal.device;
            self.tell(node, PeerFrame::Run(PeerRun { device, run: RunFrame::of(run) }));
        }
        if !gone.is_empty() {
            self.tell_gone(node, [(asked.0, gone)].into());
        }
        self.supply(node, now);
    }

    fn tell_gone(&mut self, node: NodeId, gone: Ranges) {
        each_frame(gone, |held| {
            held.into_iter().for_each(|held| self.tell(node, PeerFrame::Gone(held)));
        });
    }

    pub(crate) fn tell(&mut self, node: NodeId, frame: PeerFrame) {
        self.commands.push_back(Command::Tell { node, frame });
    }

    fn part(&mut self, node: NodeId, reason: &str) {
        let reason = reason.to_owned();
        self.commands.push_back(Command::Alarm(Alarm::Peer { node, reason: reason.clone() }));
        self.commands.push_back(Command::Part { node, reason });
        self.replication.disconnected(node);
    }

    /// Journals of which any agent waits to hear.
    fn awaited(&self) -> BTreeSet<JournalId> {
        let compared = self.links.values().filter_map(|link| {
            link.comparing.as_ref().map(|comparing| comparing.asked.journal.of(link.device))
        });
        compared.chain(self.replication.promised()).collect()
    }

    /// Tells agents what has become safe of these journals.
    pub(crate) fn keep(&mut self, journals: impl IntoIterator<Item = JournalId>) {
        let mut acks: BTreeMap<LinkId, Vec<Ack>> = BTreeMap::new();
        for journal in journals {
            let Some(shelf) = self.shelves.get(&journal) else { continue };
            for (link, level, ranges) in self.replication.kept(journal, &shelf.held()) {
                acks.entry(link).or_default().push(Ack { journal: journal.into(), level, ranges });
            }
            self.answer_comparisons(journal);
        }
        for (link, acks) in acks {
            self.send_acks(link, &acks);
        }
    }
}

/// Calls `send` for as many lists as it takes to say all this in frames between hubs.
pub(crate) fn each_frame(ranges: Ranges, mut send: impl FnMut(Vec<Held>)) {
    let (mut held, mut count) = (Vec::new(), 0);
    for (journal, ranges) in ranges {
        let all: Vec<SeqRange> = ranges.iter().collect();
        for some in all.chunks(FRAME_RANGES_MAX) {
            if count + some.len() > FRAME_RANGES_MAX || held.len() >= FRAME_JOURNALS_MAX {
                send(std::mem::take(&mut held));
                count = 0;
            }
            count += some.len();
            held.push(Held { journal, ranges: some.iter().copied().collect() });
        }
    }
    if !held.is_empty() {
        send(held);
    }
}
