//! Who is who: every hub that gossip spoke of, how it seems to be, and what it said of itself.
//!
//! Promise: the newest profile of each hub, whatever the order in which they came; a state with the moment of its beginning.
//! Absent: deciding who is alive; foca does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use foca::{Member, State};
use millrace_model::{Moment, NodeId};
use serde::Serialize;

use super::peer::Peer;
use super::profile::{Announced, Edition, Profile};

/// Hubs that are remembered, those that are down included: four times what a cluster may have. News of further ones are
/// refused and counted, until a day has passed for one of those that are down.
pub const MEMBERS_MAX: usize = 256;

/// How a hub seems to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It answers, to us or to another hub.
    Alive,
    /// It did not answer; it is still given time to say so.
    Suspect,
    /// It left, or did not answer for too long.
    Down,
}

/// A hub as gossip has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberView<'a> {
    /// Which life of it.
    pub peer: Peer,
    /// How it seems to be.
    pub liveness: Liveness,
    /// Since when, as this hub noticed.
    pub since: Moment,
    /// The last measured time from asking it to its answer.
    pub round_trip: Option<Duration>,
    /// What it says of itself, and which edition of that; `None` until it was heard.
    pub profile: Option<(Edition, &'a Profile)>,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    liveness: Liveness,
    since: Moment,
    round_trip: Option<Duration>,
    profile: Option<(Edition, Profile)>,
    /// The last question: its number, and when it was asked; no answer came since when it is open.
    asked: Option<(u64, Moment, bool)>,
}

/// What a look at foca's members showed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Hubs that began a life, as far as we know.
    pub(crate) met: Vec<NodeId>,
    /// Hubs that came under suspicion.
    pub(crate) suspected: u64,
}

/// The hubs.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    entries: BTreeMap<NodeId, Entry>,
}

impl Roster {
    /// Takes over who is there and how.
    pub(crate) fn follow<'a>(
        &mut self,
        members: impl Iterator<Item = &'a Member<Peer>>,
        now: Moment,
    ) -> Changes {
        let mut changes = Changes::default();
        let mut before = std::mem::take(&mut self.entries);
        for member in members {
            let (peer, liveness) = (*member.id(), liveness(member.state()));
            let known = before.remove(&peer.node);
            let met =
                known.as_ref().is_none_or(|entry| entry.peer != peer || entry.liveness == Liveness::Down);
            if met && liveness != Liveness::Down {
                changes.met.push(peer.node);
            }
            let same = known.as_ref().is_some_and(|entry| entry.liveness == liveness && entry.peer == peer);
            changes.suspected += u64::from(!same && liveness == Liveness::Suspect);
            let mut entry = known.unwrap_or_else(|| Entry::met(peer, liveness, now));
            if !same {
                (entry.peer, entry.liveness, entry.since) = (peer, liveness, now);
            }
            self.entries.insert(peer.node, entry);
        }
        changes
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = MemberView<'_>> {
        self.entries.values().map(|entry| MemberView {
            peer: entry.peer,
            liveness: entry.liveness,
            since: entry.since,
            round_trip: entry.round_trip,
            profile: entry.profile.as_ref().map(|(edition, profile)| (*edition, profile)),
        })
    }

    pub(crate) fn view(&self, node: NodeId) -> Option<MemberView<'_>> {
        self.views().find(|view| view.peer.node == node)
    }

    /// Whether there is room for these, as far as they are new.
    pub(crate) fn has_room_for(&self, nodes: impl Iterator<Item = NodeId>) -> bool {
        let new = nodes.filter(|node| !self.entries.contains_key(node)).count();
        new == 0 || self.entries.len() + new <= MEMBERS_MAX
    }

    /// Keeps a profile when it is newer than the one held. Of a hub that is not known it is dropped: it is asked for when
    /// the hub is met.
    pub(crate) fn learn(&mut self, announced: Announced) -> bool {
        let Some(entry) = self.entries.get_mut(&announced.node) else { return false };
        if entry.profile.as_ref().is_some_and(|(held, _)| *held >= announced.edition) {
            return false;
        }
        entry.profile = Some((announced.edition, announced.profile));
        true
    }

    pub(crate) fn edition(&self, node: NodeId) -> Option<Edition> {
        self.entries.get(&node)?.profile.as_ref().map(|(edition, _)| *edition)
    }

    /// Whom to ask next: who was asked longest ago, and beside it one who has not said anything in this life yet.
    pub(crate) fn to_ask(&self) -> BTreeSet<NodeId> {
        let there = || self.entries.values().filter(|entry| entry.liveness != Liveness::Down);
        let silent = |entry: &&Entry| {
            entry.profile.as_ref().is_none_or(|(edition, _)| edition.life != entry.peer.life)
        };
        let order = |entry: &&Entry| (entry.asked.map(|(_, at, _)| at), entry.peer.node);
        let chosen = [there().min_by_key(order), there().filter(silent).min_by_key(order)];
        chosen.into_iter().flatten().map(|entry| entry.peer.node).collect()
    }

    pub(crate) fn asked(&mut self, node: NodeId, number: u64, now: Moment) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.asked = Some((number, now, true));
        }
    }

    /// Measures the round trip, when this is the first answer to the last question.
    pub(crate) fn answered(&mut self, node: NodeId, number: u64, now: Moment) {
        if let Some(entry) = self.entries.get_mut(&node)
            && let Some((asked, at, true)) = entry.asked
            && asked == number
        {
            entry.round_trip = Some(now.since(at));
            entry.asked = Some((asked, at, false));
        }
    }
}

impl Entry {
    const fn met(peer: Peer, liveness: Liveness, now: Moment) -> Self {
        Self { peer, liveness, since: now, round_trip: None, profile: None, asked: None }
    }
}

const fn liveness(state: State) -> Liveness {
    match state {
        State::Alive => Liveness::Alive,
        State::Suspect => Liveness::Suspect,
        State::Down => Liveness::Down,
    }
}
