//! Membership: which hubs seem to be alive, and what they say of themselves. Gossip between hubs, around foca's SWIM.
//!
//! ```text
//!   datagram, joined       ─▶ ┌────────────────────────────────┐ ─▶ Send
//!   profile changed, leave ─▶ │ checked ▶ foca ▶ roster ▶ asks │ ─▶ Up, Down, Renamed, Profile
//!   timer                  ─▶ └────────────────────────────────┘ ─▶ Rejoined, Alone
//! ```
//!
//! **Gossip only hints.** It may be late, and two hubs may see different things. What is told here is for choosing whom
//! to ask first and for showing to people; no reading is dropped, no ack is counted, no replica is moved and nobody is
//! enrolled or removed because of it. All of that is decided by the committed member table and by flushed disks.
//!
//! Call order: any number of [`Membership::handle`], after each [`Membership::poll`] until it is empty, then sleep until
//! [`Membership::poll_timeout`] or the next input. At the timeout hand in [`Input::Timer`]. A datagram goes over the
//! connection to the hub that it is for, and is dropped when there is none or it is congested: everything is said again.
//!
//! How it works:
//! - Each hub probes one other in each period, in turn; without an answer it has up to three others probe too. A hub
//!   that nobody reaches is suspect, and down when it has not refuted that in time (Das, Gupta, Motivala: "SWIM:
//!   scalable weakly-consistent infection-style process group membership protocol", 2002, with its suspicion).
//! - A hub that learns that it was taken for dead begins a new life, and is up again at once. A hub that slept (its
//!   timers come more than a probe period late) judges nobody for what it missed: suspicions begin anew.
//! - Profiles travel with SWIM's datagrams; besides, every hub asks the others in turn whether theirs changed.
//! - Two sides of a partition find each other within two rounds of knocking, because each hub knocks for ever at those
//!   that should be there.
//!
//! Promise: a datagram counts only when its source is the hub that the connection's certificate names; the newest
//! profile of a hub wins; one seed and the same inputs give the same outputs.
//! Absent: sockets, clocks, the committed member table, and anything that follows from a hub being up or down.
//!
//! | room | what stands there |
//! |---|---|
//! | [`peer`] | who gossips, and in which life |
//! | [`profile`] | what a hub says of itself |
//! | [`preset`] | the numbers for near and for far hubs, with their reasons |
//! | [`roster`] | everybody that gossip spoke of |
//! | [`words`] | inputs, outputs, counts |
//! | [`agenda`] | what is to be done when |
//! | `herald` | what this hub says of itself, and when |
//! | `datagram`, `packing` | the bytes, checked as a whole before foca reads them |
//! | `grapevine`, `dice`, `outbox` | what foca asks for: which profiles to pass on, chance, a way out |

pub mod agenda;
mod datagram;
mod dice;
mod grapevine;
mod herald;
mod outbox;
mod packing;
pub mod peer;
pub mod preset;
pub mod profile;
pub mod roster;
pub mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::iter::once;

use bytes::Bytes;
use foca::{Foca, Member, State, Timer};
use millrace_model::{Moment, NodeId};
use millrace_wire::gossip;

pub use agenda::WakeReason;
pub use peer::Peer;
pub use preset::{Numbers, Preset};
pub use profile::{Edition, Fullness, Profile};
pub use roster::{Liveness, MEMBERS_MAX, MemberView};
pub use words::{Counts, Input, Output};

use self::agenda::Errand;
use self::datagram::{Answer, Ask, Datagram, Swim};
use self::dice::Dice;
use self::grapevine::Grapevine;
use self::herald::{Herald, Urgency};
use self::outbox::Outbox;
use self::packing::Packing;
use self::profile::Announced;
use self::roster::Roster;

/// How often a goodbye is repeated, one round of gossip apart: three roads that lose every fifth datagram lose all four of
/// them less than twice in a thousand times, and the hubs that heard tell the others.
const FAREWELLS: u32 = 3;

/// Which hubs seem to be alive, seen from one of them.
pub struct Membership {
    foca: Foca<Peer, Packing, Dice, Grapevine>,
    numbers: Numbers,
    out: Outbox,
    roster: Roster,
    /// Hubs that should be there.
    expected: BTreeSet<NodeId>,
    herald: Herald,
    question: u64,
    /// Goodbyes still to be said; `None` while this hub takes part.
    farewells: Option<u32>,
}

impl Membership {
    /// A hub that has met nobody. `seed` comes from outside and should differ between hubs and starts.
    #[must_use]
    pub fn new(me: Peer, preset: Preset, seed: u64, now: Moment) -> Self {
        let numbers = preset.numbers();
        let dice = Dice::seeded(seed);
        let foca = Foca::with_custom_broadcast(me, numbers.swim(), dice, Packing, Grapevine::default());
        let mut out = Outbox::of(me.node);
        out.agenda.at(now + numbers.announce_every, Errand::Announce);
        out.agenda.at(now + numbers.ask_every, Errand::Ask);
        Self {
            foca,
            numbers,
            out,
            roster: Roster::default(),
            expected: BTreeSet::new(),
            herald: Herald::default(),
            question: 0,
            farewells: None,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Moment) {
        self.notice_sleep(now);
        if self.farewells.is_some() {
            // Foca would begin a new life when it hears of its own end.
            if matches!(input, Input::Timer) {
                self.run_errands(now);
            }
            return;
        }
        match input {
            Input::Datagram { from, bytes } => self.take(from, bytes, now),
            Input::Joined(nodes) => {
                self.expected =
                    nodes.into_iter().filter(|node| *node != self.me().node).take(MEMBERS_MAX).collect();
                self.announce(now);
            }
            Input::ProfileChanged(profile) => self.change_profile(profile.fitted(), now),
            Input::Leave => self.leave(now),
            Input::Timer => self.run_errands(now),
        }
        self.settle(now);
    }

    /// The next thing to do or to know, in order.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.out.outputs.pop_front()
    }

    /// When to hand in [`Input::Timer`], and why. `None` only after a leave that has been said often enough.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Moment, WakeReason)> {
        self.out.agenda.next()
    }

    /// This hub, in its present life.
    #[must_use]
    pub const fn me(&self) -> Peer {
        *self.foca.identity()
    }

    /// The other hubs, by number, those that are down included until they are forgotten after a day.
    pub fn members(&self) -> impl Iterator<Item = MemberView<'_>> {
        self.roster.views()
    }

    /// One of the other hubs.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<MemberView<'_>> {
        self.roster.view(node)
    }

    /// What this hub last told of itself.
    #[must_use]
    pub fn profile(&self) -> Option<(Edition, &Profile)> {
        self.herald.told()
    }

    /// What was sent, taken in, and refused.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.out.counts
    }

    /// The numbers that it runs with.
    #[must_use]
    pub const fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// A hub whose timers come much too late did not run: it was stopped, or its machine was. What it missed meanwhile is
    /// nobody's fault but its own, and the answers may still lie in its sockets.
    fn notice_sleep(&mut self, now: Moment) {
        let Some((due, _)) = self.out.agenda.next() else { return };
        let late = now.since(due);
        if late > self.numbers.probe_every {
            self.out.counts.sleeps += 1;
            self.out.agenda.postpone(late + self.numbers.probe_patience, now + self.numbers.suspicion);
        }
    }

    fn take(&mut self, from: NodeId, bytes: Bytes, now: Moment) {
        self.out.counts.received_datagrams += 1;
        self.out.counts.received_bytes += bytes.len() as u64;
        match Datagram::open(bytes) {
            Err(_) => self.out.counts.refused_form += 1,
            Ok(_) if from == self.me().node => self.out.counts.refused_source += 1,
            Ok(Datagram::Swim(swim)) => self.take_swim(from, swim, now),
            Ok(Datagram::Ask(ask)) => self.answer(from, &ask),
            Ok(Datagram::Answer(answer)) => self.take_answer(from, answer, now),
        }
    }

    fn take_swim(&mut self, from: NodeId, swim: Swim, now: Moment) {
        let Swim { header, members, announced, bytes } = swim;
        if header.src.node != from {
            self.out.counts.refused_source += 1;
            return;
        }
        let me = self.me().node;
        let others = || members.iter().map(|member| member.id().node).filter(|node| *node != me);
        if !self.roster.has_room_for(others().chain(once(from)).collect::<BTreeSet<_>>().into_iter()) {
            self.out.counts.refused_room += 1;
            return;
        }
        // The clock may have gone back between two starts: then others know a later life of this hub than its present one.
        let lives = once(&header.dst).chain(members.iter().map(Member::id));
        if let Some(later) = lives.filter(|peer| peer.succeeds(&self.me())).max() {
            let renewed = self.me().above(later.life);
            let result = self.foca.change_identity(renewed, self.out.at(now));
            self.out.note(&result);
            self.out.tell(Output::Rejoined(renewed));
        }
        let result = self.foca.handle_data(&bytes, self.out.at(now));
        self.out.note(&result);
        self.settle(now);
        announced.into_iter().for_each(|news| self.learn(news));
    }

    fn learn(&mut self, news: Announced) {
        let node = news.node;
        if self.roster.learn(news) {
            self.out.tell(Output::Profile(node));
        }
    }

    fn answer(&mut self, from: NodeId, ask: &Ask) {
        let news = self.herald.news(self.me().node, ask.holds);
        match datagram::of_answer(&Answer { number: ask.number, news }) {
            Ok(bytes) => self.out.send(from, bytes),
            Err(_) => self.out.counts.faults += 1,
        }
    }

    fn take_answer(&mut self, from: NodeId, answer: Answer, now: Moment) {
        if answer.news.as_ref().is_some_and(|news| news.node != from) {
            self.out.counts.refused_source += 1;
            return;
        }
        self.roster.answered(from, answer.number, now);
        if let Some(news) = answer.news {
            self.learn(news);
        }
    }

    fn run_errands(&mut self, now: Moment) {
        while let Some(errand) = self.out.agenda.due(now) {
            match errand {
                Errand::Swim(timer) if self.is_refuted(&timer) => (),
                Errand::Swim(timer) => {
                    let result = self.foca.handle_timer(timer, self.out.at(now));
                    self.out.note(&result);
                }
                Errand::Announce => {
                    self.announce(now);
                    self.out.agenda.at(now + self.numbers.announce_every, Errand::Announce);
                }
                Errand::Ask => {
                    self.roster.to_ask().into_iter().for_each(|node| self.ask(node, now));
                    self.out.agenda.at(now + self.numbers.ask_every, Errand::Ask);
                }
                Errand::Publish => {
                    if let Some(profile) = self.herald.waiting() {
                        self.publish(profile, now);
                    }
                }
                Errand::Farewell => self.farewell(now),
            }
        }
    }

    /// Whether a suspicion is over. Foca 2.0.0 lets the hub live then, and yet tells it that it is dead, whereupon it would
    /// begin a new life for nothing: such a timer must not reach it.
    fn is_refuted(&self, timer: &Timer<Peer>) -> bool {
        let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = timer else { return false };
        let suspect = Member::new(*member_id, *incarnation, State::Suspect);
        !self.foca.iter_members().any(|member| *member == suspect)
    }

    /// Knocks at everybody who should be there and is not.
    fn announce(&mut self, now: Moment) {
        let there: BTreeSet<NodeId> = self.foca.iter_members().map(|member| member.id().node).collect();
        let known: Vec<Peer> =
            self.foca.iter_membership_state().filter(|m| m.state() == State::Down).map(|m| *m.id()).collect();
        for node in self.expected.difference(&there).copied() {
            let last = known.iter().find(|peer| peer.node == node).copied();
            let result = self.foca.announce(last.unwrap_or(Peer::unmet(node)), self.out.at(now));
            self.out.note(&result);
        }
    }

    fn ask(&mut self, node: NodeId, now: Moment) {
        self.question += 1;
        match datagram::of_ask(&Ask { number: self.question, holds: self.roster.edition(node) }) {
            Ok(bytes) => {
                self.roster.asked(node, self.question, now);
                self.out.send(node, bytes);
            }
            Err(_) => self.out.counts.faults += 1,
        }
    }

    fn change_profile(&mut self, profile: Profile, now: Moment) {
        match self.herald.consider(profile, self.numbers.load_every, now) {
            Urgency::Nothing => (),
            Urgency::Now(profile) => self.publish(profile, now),
            Urgency::At(then) => self.out.agenda.at(then, Errand::Publish),
        }
    }

    /// Tells everybody what this hub says of itself.
    fn publish(&mut self, profile: Profile, now: Moment) {
        let announced = self.herald.edition(self.me(), profile, now);
        let mut item = Vec::new();
        if gossip::encode(&announced, &mut item).is_err() {
            self.out.counts.faults += 1;
            return;
        }
        let added = self.foca.add_broadcast(&item).map(drop);
        self.out.note(&added);
        let result = self.foca.gossip(self.out.at(now));
        self.out.note(&result);
    }

    fn leave(&mut self, now: Moment) {
        self.out.agenda.clear();
        let result = self.foca.leave_cluster(self.out.at(now));
        self.out.note(&result);
        self.out.agenda.clear();
        self.farewells = Some(FAREWELLS);
        self.out.agenda.at(now + self.numbers.gossip_every, Errand::Farewell);
    }

    fn farewell(&mut self, now: Moment) {
        let left = self.farewells.unwrap_or_default();
        if left == 0 {
            return;
        }
        let result = self.foca.gossip(self.out.at(now));
        self.out.note(&result);
        self.farewells = Some(left - 1);
        if left > 1 {
            self.out.agenda.at(now + self.numbers.gossip_every, Errand::Farewell);
        }
    }

    /// Brings the roster up to date with foca, greets whom it met, and says again who it is after a new life began.
    fn settle(&mut self, now: Moment) {
        let me = self.me();
        let others = self.foca.iter_membership_state().filter(|member| member.id().node != me.node);
        let changes = self.roster.follow(others, now);
        self.out.counts.suspicions += changes.suspected;
        changes.met.into_iter().for_each(|node| self.ask(node, now));
        if self.farewells.is_none()
            && let Some(profile) = self.herald.outlived(me.life)
        {
            self.publish(profile, now);
        }
    }
}
