//! The session: when to dial, greet and back off, and what frames mean.
//!
//! Promise: dials for ever, with jittered exponential back-off; a reconnect storm is spread by the jitter.
//! Absent: which hub; the daemon keeps the list and tries them in turn.

use std::time::Duration;

use millrace_model::{Fence, Moment};
use millrace_wire::{Acks, Frame, Goodbye, GoodbyeCode, Hello, JournalSummary, Welcome};

use crate::allowance::Credit;
use crate::recovery::Break;
use crate::{Alarm, Channel, Command, Engine};

/// How long to stay away when a newer session of this device took over: two clones must not chase each other.
const SUPERSEDED_PAUSE: Duration = Duration::from_secs(5);

/// How long to stay away when revoked. An operator has to act.
const REVOKED_PAUSE: Duration = Duration::from_secs(300);

/// Where the session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No connection; the next attempt comes at this time.
    Offline {
        /// When.
        dial_at: Moment,
    },
    /// A connection is being made.
    Dialling,
    /// Hello is sent, Welcome has not come.
    Greeting {
        /// Until when it must.
        deadline: Moment,
    },
    /// Records flow.
    Open,
    /// The transport was told to close.
    Closing,
}

/// The session with a hub.
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) state: State,
    /// Counts sessions, so that late answers of an older one are known.
    pub(crate) number: u64,
    pub(crate) fence: Fence,
    pub(crate) hub: String,
    pub(crate) region: String,
    /// Whether the hub answers Recall.
    pub(crate) recalls: bool,
    failures: u32,
    pause: Option<Duration>,
    /// Why there is no session; told to people.
    pub(crate) trouble: Option<String>,
    unwelcome: bool,
    /// Whether it was told that only hubs that were left behind answer.
    left_behind: bool,
    /// Whether the pause is about this device, whichever hub it dials.
    barred: bool,
}

impl Session {
    pub(crate) const fn new(now: Moment) -> Self {
        Self {
            state: State::Offline { dial_at: now },
            number: 0,
            fence: 0,
            hub: String::new(),
            region: String::new(),
            recalls: false,
            failures: 0,
            pause: None,
            trouble: None,
            unwelcome: false,
            left_behind: false,
            barred: false,
        }
    }

    /// A hub of the present cluster took us in: what was before is over.
    pub(crate) fn fits(&mut self) {
        (self.failures, self.trouble) = (0, None);
        (self.unwelcome, self.left_behind) = (false, false);
    }

    /// When to dial, and when a greeting is overdue.
    pub(crate) const fn deadlines(&self) -> (Option<Moment>, Option<Moment>) {
        match self.state {
            State::Offline { dial_at } => (Some(dial_at), None),
            State::Greeting { deadline } => (None, Some(deadline)),
            _ => (None, None),
        }
    }

    /// Whether records may flow.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }
}

impl Engine {
    pub(crate) fn dial_if_due(&mut self, now: Moment) {
        match self.session.state {
            // A new incarnation is named to the hub by a new Hello, so it must be on disk first.
            State::Offline { dial_at } if dial_at <= now && !self.recovery.is_breaking() => {
                self.session.state = State::Dialling;
                self.session.barred = false;
                self.commands.push_back(Command::Connect);
            }
            State::Open if self.answer_due().is_some_and(|at| at <= now) => {
                self.close("the hub acknowledged nothing of what was sent in time");
            }
            State::Open if self.renewal_due().is_some_and(|at| at <= now) => {
                self.close("the hubs were made anew, and this one cannot say yet what they hold");
            }
            State::Greeting { deadline } if deadline <= now => {
                self.close("the hub did not answer the greeting in time");
            }
            _ => {}
        }
    }

    pub(crate) fn connected(&mut self, now: Moment) {
        if self.session.state != State::Dialling {
            return;
        }
        self.session.number += 1;
        self.session.state = State::Greeting { deadline: now + self.config.greeting_timeout };
        // Those that are written to come first: however many lives the device had, they are named.
        let current = self.shelves.values().filter(|shelf| !shelf.retired);
        let all = self.epoch.names_all;
        let waits = |shelf: &&crate::shelf::Shelf| {
            !shelf.restored && (shelf.pending() > 0 || (all && shelf.was_acked()))
        };
        let retired = self.shelves.values().filter(|shelf| shelf.retired).filter(waits);
        let journals = current.chain(retired).map(|shelf| JournalSummary {
            incarnation: shelf.journal.incarnation,
            lane: shelf.journal.lane,
            floor: shelf.floor,
            head: shelf.head,
            head_check: shelf.head_check,
        });
        let hello = Hello {
            software: self.config.software.clone(),
            incarnation: self.incarnation,
            level: self.config.level,
            journals: journals.take(millrace_wire::limits::JOURNALS_MAX).collect(),
        };
        self.send(Channel::Control, Frame::Hello(hello));
    }

    pub(crate) fn disconnected(&mut self, reason: String, unwelcome: bool, now: Moment) {
        if unwelcome {
            // Told once: it stays so until somebody acts.
            if !std::mem::replace(&mut self.session.unwelcome, true) {
                self.alarm(Alarm::Revoked { reason: reason.clone() });
            }
            self.session.pause = Some(REVOKED_PAUSE);
            self.session.barred = true;
        }
        // A goodbye said why in the hub's own words.
        if unwelcome || self.session.trouble.is_none() || self.session.pause.is_none() {
            self.session.trouble = Some(reason);
        }
        let doublings = self.session.failures.min(16);
        self.session.failures = self.session.failures.saturating_add(1);
        let ceiling = (self.config.backoff_min * 2_u32.pow(doublings)).min(self.config.backoff_max);
        // "Equal jitter": at least half, so that a broken hub is not hammered; at most all of the ceiling.
        let half = u64::try_from(ceiling.as_micros() / 2).unwrap_or(u64::MAX);
        let jittered = Duration::from_micros(half + self.random.u64(0..=half));
        let wait = self.session.pause.take().map_or(jittered, |pause| pause + jittered);
        self.session.state = State::Offline { dial_at: now + wait };
        self.shipping.session_ended();
        self.recovery.session_ended();
        self.fetching.session_ended();
        self.restoring.session_ended();
        self.regaining.session_ended();
        self.repairing.session_ended();
        self.shelves.values_mut().for_each(crate::shelf::Shelf::session_ended);
    }

    /// Another hub waits to be tried: the pause was for the one that is gone. One that is about this device stands.
    pub(crate) fn elsewhere(&mut self, within: Duration, now: Moment) {
        if let State::Offline { dial_at } = self.session.state
            && !self.session.barred
        {
            let spread = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
            let soon = now + Duration::from_micros(self.random.u64(0..=spread));
            self.session.state = State::Offline { dial_at: dial_at.min(soon) };
        }
    }

    /// Ends the session from this side.
    pub(crate) fn close(&mut self, reason: &str) {
        if !matches!(self.session.state, State::Offline { .. } | State::Closing) {
            self.session.state = State::Closing;
            self.commands.push_back(Command::Disconnect { reason: reason.to_owned() });
        }
    }

    pub(crate) fn say_goodbye(&mut self) {
        if self.session.is_open() {
            let reason = "the agent stops".to_owned();
            let goodbye = Goodbye { code: GoodbyeCode::Shutdown, reason, retry_after_ms: 0 };
            self.send(Channel::Control, Frame::Goodbye(goodbye));
        }
        self.close("the agent stops");
    }

    pub(crate) fn received(&mut self, frame: Frame, now: Moment) {
        match (self.session.state, frame) {
            // Late frames of a session that is over.
            (State::Offline { .. } | State::Dialling, _) => {}
            (_, Frame::Goodbye(goodbye)) => self.dismissed(&goodbye),
            (_, Frame::Hubs(hubs)) => self.commands.push_back(Command::RememberHubs(hubs.hubs)),
            (State::Greeting { .. }, Frame::Welcome(welcome)) => self.welcomed(*welcome, now),
            (State::Open, Frame::Acks(acks)) => {
                self.acknowledged(&acks, now);
                self.answered(now);
            }
            (State::Open, Frame::Credit(credit)) => self.shipping.credit.raise(credit.total),
            (State::Open, Frame::Compared(compared)) => self.compared(&compared),
            (State::Open, Frame::Conflict(conflict)) => {
                self.begin_incarnation(conflict.journal.of(self.config.device), Break::Forked, now);
            }
            (State::Open, Frame::Recalled(recalled)) => self.recalled(recalled),
            (State::Open, Frame::Run(run)) => self.brought(run, now),
            (State::Open, Frame::Fetched(fetched)) => self.fetched(&fetched, now),
            (State::Open, Frame::Regain(offered)) => self.regain(&offered),
            (State::Open, Frame::Adopt(hashes)) => self.adopt(&hashes),
            (State::Open, Frame::Seal(seal)) => self.named_again(&seal),
            (State::Open, Frame::Wanted(wanted)) => self.wanted(&wanted, now),
            (State::Open, Frame::Doubt(doubted)) => self.doubted(&doubted),
            (State::Open, Frame::Inquiry(inquiry)) => self.asked(inquiry),
            (State::Open, Frame::Decline(decline)) => {
                let journal = decline.journal.of(self.config.device);
                // It counts as sent, so it is left for the next session and keeps nothing else from going.
                self.alarm(Alarm::Declined { journal, reason: decline.reason });
            }
            // Late frames of a session that is being closed.
            (State::Closing, _) => {}
            (state, frame) => {
                let reason = format!("a {} frame came while {state:?}", frame.name());
                self.alarm(Alarm::Protocol { reason });
                self.close("the hub broke the protocol");
            }
        }
    }

    /// Leaves a hub that its cluster left behind. That it took us in makes no failure good, so it is dialled ever more rarely.
    pub(crate) fn left_behind(&mut self, reason: String) {
        // Told once: it stays so until somebody acts, or a hub of the present cluster is met.
        if !std::mem::replace(&mut self.session.left_behind, true) {
            self.alarm(Alarm::LeftBehind { reason: reason.clone() });
        }
        // With it, the reason outlives the end of the session.
        self.session.pause = Some(Duration::ZERO);
        self.session.trouble = Some(reason);
        self.close("the hub was left behind by its cluster");
    }

    fn dismissed(&mut self, goodbye: &Goodbye) {
        // The operator's reason alone does not say what happened.
        let revoked = if goodbye.code == GoodbyeCode::Revoked { "revoked: " } else { "" };
        self.session.trouble = Some(format!("{revoked}{}", goodbye.reason));
        let pause = match goodbye.code {
            GoodbyeCode::Superseded => SUPERSEDED_PAUSE,
            GoodbyeCode::Revoked => {
                self.alarm(Alarm::Revoked { reason: goodbye.reason.clone() });
                REVOKED_PAUSE
            }
            GoodbyeCode::Protocol => {
                self.alarm(Alarm::Protocol { reason: goodbye.reason.clone() });
                Duration::ZERO
            }
            _ => Duration::ZERO,
        };
        self.session.barred = matches!(goodbye.code, GoodbyeCode::Superseded | GoodbyeCode::Revoked);
        let asked = Duration::from_millis(goodbye.retry_after_ms).min(REVOKED_PAUSE);
        self.session.pause = Some(pause.max(asked));
        self.close("the hub said goodbye");
    }

    fn welcomed(&mut self, welcome: Welcome, now: Moment) {
        self.session.state = State::Open;
        self.session.fence = welcome.session;
        self.session.hub.clone_from(&welcome.name);
        self.session.region.clone_from(&welcome.region);
        self.session.recalls = welcome.recalls;
        self.shipping.begin(self.session.number, Credit::new(welcome.credit));
        self.shelves.values_mut().for_each(crate::shelf::Shelf::go_live);
        // A journal that the hub has nothing of needs no proof that the hub's copy is a part of ours.
        let named: Vec<_> =
            welcome.holdings.iter().map(|holding| (holding.incarnation, holding.lane)).collect();
        for shelf in self.shelves.values_mut() {
            shelf.verified =
                !shelf.retired && !named.contains(&(shelf.journal.incarnation, shelf.journal.lane));
        }
        if self.epoch_fits(&welcome, now) {
            for holding in &welcome.holdings {
                self.held(holding, now);
            }
            self.regain_history();
            self.commands.push_back(Command::RememberHubs(welcome.hubs));
        }
    }

    fn acknowledged(&mut self, acks: &Acks, now: Moment) {
        let level = self.config.level;
        for ack in acks.acks.iter().filter(|ack| ack.level >= level) {
            self.safe(ack.journal.of(self.config.device), &ack.ranges, now);
        }
    }

    pub(crate) fn send(&mut self, channel: Channel, frame: Frame) {
        self.commands.push_back(Command::Send { channel, frame });
    }
}
