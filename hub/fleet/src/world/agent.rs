//! What an agent asks of the world, and what the world tells it.

use std::time::Duration;

use millrace_agent_engine::{Alarm, Channel, Command, Event, Receipts};
use millrace_journal::ReadError;
use millrace_model::Moment;
use millrace_model::notice::GapReason;
use millrace_sim::Notice;
use millrace_wire::Frame;

use super::{AgentHappening, HUB, Happening, World, node_of};
use crate::Sabotage;
use crate::invariants::{Violation, puback, wakefulness};
use crate::model::Told;
use crate::publication::Attempt;

/// Sensors publish a little more after the healing began, so that liveness is seen with and without new arrivals.
const LAST_CALL: Duration = Duration::from_secs(3);

pub(super) const fn channel_of(code: u8) -> Channel {
    match code {
        1 => Channel::Live,
        2 => Channel::Backlog,
        _ => Channel::Control,
    }
}

const fn code_of(channel: Channel) -> u8 {
    match channel {
        Channel::Control => 0,
        Channel::Live => 1,
        Channel::Backlog => 2,
    }
}

/// Bytes that occupy the road: small frames count nothing.
pub(super) fn weight(frame: &Frame) -> u64 {
    if let Frame::Run(run) = frame { run.cost() } else { 0 }
}

impl World {
    /// Tells an agent's engine something, and does what it asks for.
    pub(super) fn tell(&mut self, place: usize, event: Event) {
        let now = self.now;
        let Some(engine) = self.sites.get_mut(place).and_then(|site| site.engine.as_mut()) else { return };
        engine.handle_event(event, now);
        while self.violation.is_none() {
            let engine = self.sites.get_mut(place).and_then(|site| site.engine.as_mut());
            let Some(command) = engine.and_then(millrace_agent_engine::Engine::poll_command) else { break };
            self.obey(place, command);
        }
        self.set_timer(place);
    }

    fn set_timer(&mut self, place: usize) {
        let now = self.now;
        let Some(site) = self.sites.get_mut(place) else { return };
        let Some((at, _)) = site.engine.as_ref().and_then(millrace_agent_engine::Engine::poll_timeout) else {
            return;
        };
        let at = at.max(now);
        if site.timer_at.is_none_or(|set| at < set) {
            site.timer_at = Some(at);
            self.later(place, at.since(now), AgentHappening::Timer(at));
        }
    }

    fn obey(&mut self, place: usize, command: Command) {
        let now = self.now;
        let node = node_of(place);
        let Some(site) = self.sites.get_mut(place) else { return };
        match command {
            Command::Commit { commit, changes } => {
                if site.disk.is_busy() {
                    let what = format!("site {place} began commit {commit} before the last one was over");
                    return self.check(Err(Violation::new("wakefulness", what)));
                }
                let span = site.disk.begin((commit, changes));
                self.later(place, span, AgentHappening::Flushed);
            }
            Command::Acknowledge(receipts) => self.receipts(place, &receipts),
            Command::Connect => {
                site.connection = Some(self.network.connect(node, HUB, now));
            }
            Command::Disconnect { reason } => {
                self.transcript.note(now, format_args!("site {place} hangs up: {reason}"));
                if let Some(connection) = self.sites.get_mut(place).and_then(|site| site.connection.take()) {
                    self.network.close(connection, node, false, now);
                    self.later(place, Duration::ZERO, AgentHappening::HungUp);
                }
            }
            Command::Send { channel, frame } => {
                if let Some(connection) = site.connection {
                    self.carry(connection, node, code_of(channel), frame);
                }
            }
            Command::Load(request) => {
                let span = site.disk.time_to_read();
                self.later(place, span, AgentHappening::Loaded(request));
            }
            Command::Check { journal, range } => {
                let span = site.disk.time_to_read();
                self.later(place, span, AgentHappening::Checked(journal, range));
            }
            Command::Survey { per_journal } => {
                let span = site.disk.time_to_read();
                self.later(place, span, AgentHappening::Surveyed(per_journal));
            }
            Command::Consult { session, number, journal, about } => {
                let span = site.disk.time_to_read();
                self.later(place, span, AgentHappening::Consulted { session, number, journal, about });
            }
            Command::RememberHubs(_) => {}
            Command::Alarm(alarm) => self.alarmed(place, alarm),
        }
    }

    /// Puts a frame on the road, through the real codec.
    pub(super) fn carry(&mut self, connection: u64, node: u32, channel: u8, frame: Frame) {
        let travelled = millrace_wire::encode(&frame).and_then(|bytes| millrace_wire::decode(&bytes));
        match travelled {
            Ok(same) if same == frame => {
                let bytes = weight(&frame);
                self.network.send(connection, node, channel, frame, bytes, self.now);
            }
            Ok(_) => {
                self.check(Err(Violation::new("content", format!("the codec changed a {}", frame.name()))));
            }
            Err(error) => self.check(Err(Violation::new("content", format!("{}: {error}", frame.name())))),
        }
    }

    fn alarmed(&mut self, place: usize, alarm: Alarm) {
        self.transcript.note(self.now, format_args!("site {place} alarm: {alarm:?}"));
        let Some(device) = self.sites.get(place).map(|site| site.device) else { return };
        match alarm {
            Alarm::RolledBack { .. } | Alarm::Forked { .. } => {
                self.model.alarmed.insert(device);
            }
            Alarm::Damaged { .. } | Alarm::Declined { .. } | Alarm::Unrestorable { .. } => {
                let what = format!("site {place}, whose disk is sound: {alarm:?}");
                self.check(Err(Violation::new("content", what)));
            }
            Alarm::Protocol { reason } if reason.contains("came while") => {
                self.check(Err(Violation::new("protocol", format!("site {place}: {reason}"))));
            }
            Alarm::Protocol { .. }
            | Alarm::Full
            | Alarm::Revoked { .. }
            | Alarm::HubsRenewed { .. }
            | Alarm::Restored { .. }
            | Alarm::Regained { .. }
            | Alarm::LeftBehind { .. } => {}
        }
    }

    fn receipts(&mut self, place: usize, receipts: &Receipts) {
        let stored = receipts.stored().iter().map(|ticket| (*ticket, Told::Stored));
        let rejected = receipts.rejected().iter().map(|(ticket, _)| (*ticket, Told::Rejected));
        for (ticket, told) in stored.chain(rejected) {
            let Some(attempt) = self.sites.get_mut(place).and_then(|site| site.tickets.remove(&ticket))
            else {
                let what = format!("site {place} acknowledged ticket {ticket} twice, or never had it");
                return self.check(Err(Violation::new("puback", what)));
            };
            self.puback(place, attempt, told);
        }
    }

    /// A sensor hears of its attempt.
    pub(super) fn puback(&mut self, place: usize, attempt: Attempt, told: Told) {
        let Some(site) = self.sites.get_mut(place) else { return };
        let verdict = puback::told(attempt, told, &site.durable, site.rejected_room);
        if told == Told::Rejected {
            site.rejected_room = site.rejected_room.saturating_sub(1);
        }
        if let Some(sensor) = site.sensors.get_mut(usize::from(attempt.sensor)) {
            sensor.acknowledged(attempt);
        }
        self.model.told.insert(attempt, told);
        self.check(verdict);
    }

    pub(super) fn agent_noticed(&mut self, place: usize, notice: Notice<Frame>) {
        let current = self.sites.get(place).and_then(|site| site.connection);
        match notice {
            Notice::Connected { connection, .. } if current == Some(connection) => {
                self.tell(place, Event::Connected);
            }
            Notice::Frame { connection, frame, .. } if current == Some(connection) => {
                self.transcript.note(self.now, format_args!("site {place} ◀ {}", frame.name()));
                self.tell(place, Event::Received(frame));
            }
            Notice::Taken { connection, channel, bytes, .. } if current == Some(connection) && bytes > 0 => {
                self.tell(place, Event::Sent { channel: channel_of(channel), bytes });
            }
            Notice::Ended { connection, reason, .. } if current == Some(connection) => {
                self.transcript.note(self.now, format_args!("site {place} lost its connection: {reason}"));
                if let Some(site) = self.sites.get_mut(place) {
                    site.connection = None;
                }
                self.tell(place, Event::Disconnected { reason: reason.to_owned(), unwelcome: false });
            }
            _ => {}
        }
    }

    pub(super) fn agent_happened(&mut self, place: usize, what: AgentHappening) {
        let now = self.now;
        let Some(site) = self.sites.get_mut(place) else { return };
        let store = site.store.as_ref();
        match what {
            AgentHappening::Timer(at) => self.agent_timer(place, at),
            AgentHappening::Flushed => self.agent_flushed(place),
            AgentHappening::Loaded(request) => {
                let Some(store) = store else { return };
                match store.load(&request.journal, request.range, request.bytes_max) {
                    Ok(runs) => self.tell(place, Event::Loaded { request, runs }),
                    Err(error) => self.unreadable(place, &error),
                }
            }
            AgentHappening::Checked(journal, range) => {
                let Some(store) = store else { return };
                match store.checks(&journal, range) {
                    Ok(checks) => self.tell(place, Event::Checked { journal, range, checks }),
                    Err(error) => self.unreadable(place, &error),
                }
            }
            AgentHappening::Surveyed(per_journal) => {
                let Some(store) = store else { return };
                match store.survey(per_journal) {
                    Ok(segments) => self.tell(place, Event::Surveyed { segments }),
                    Err(error) => self.unreadable(place, &error),
                }
            }
            AgentHappening::Consulted { session, number, journal, about } => {
                let Some(store) = store else { return };
                match store.tell(&journal, &about) {
                    Ok(told) => self.tell(place, Event::Consulted { session, number, told }),
                    Err(error) => self.unreadable(place, &error),
                }
            }
            AgentHappening::HungUp => {
                self.tell(
                    place,
                    Event::Disconnected { reason: "closed from here".to_owned(), unwelcome: false },
                );
            }
            AgentHappening::Clocks => {
                let event = Event::Clocks { wall: site.wall(now), mono: now.0 };
                self.tell(place, event);
                self.later(place, Duration::from_secs(5), AgentHappening::Clocks);
            }
            AgentHappening::PowerOff { span } => {
                if site.disk.is_busy() {
                    return self.later(place, Duration::from_millis(50), AgentHappening::PowerOff { span });
                }
                self.cut_power(place);
                self.timeline.after(span, Happening::StartSite(place));
            }
        }
    }

    fn unreadable(&mut self, place: usize, error: &ReadError) {
        self.check(Err(Violation::new("survival", format!("site {place} cannot read: {error}"))));
    }

    fn agent_timer(&mut self, place: usize, at: Moment) {
        let now = self.now;
        let Some(site) = self.sites.get_mut(place) else { return };
        if site.timer_at != Some(at) {
            return;
        }
        site.timer_at = None;
        let due =
            |site: &super::Site| site.engine.as_ref().and_then(millrace_agent_engine::Engine::poll_timeout);
        if due(site).is_some_and(|(at, _)| at <= now) {
            self.tell(place, Event::Timer);
            let next = self.sites.get(place).and_then(due);
            self.check(wakefulness::sleeps(&format!("site {place}"), next, now));
        }
        self.set_timer(place);
    }

    /// A sensor publishes, if the agent listens.
    pub(super) fn tick(&mut self, place: usize, at: usize) {
        let (now, healed_at) = (self.now, self.healed_at);
        let Some(site) = self.sites.get_mut(place) else { return };
        let Some(sensor) = site.sensors.get_mut(at) else { return };
        self.timeline.after(sensor.habit.interval, Happening::Tick { site: place, sensor: at });
        let Some(engine) = site.engine.as_ref().filter(|engine| engine.has_room()) else { return };
        let _ = engine;
        let was_gone = site.bereft.remove(&at);
        let mut out = sensor.repeat(was_gone, now);
        if healed_at.is_none_or(|healed| now.since(healed) < LAST_CALL) {
            let burst = self.random.u8(0..100) < sensor.habit.burst_percent;
            for _ in 0..if burst { sensor.habit.burst } else { 1 } {
                let bytes = self.random.usize(sensor.habit.bytes.clone());
                out.extend(sensor.publish(bytes, now).map(|attempt| (attempt, bytes)));
            }
        }
        for (attempt, bytes) in out {
            self.publish(place, at, attempt, bytes);
        }
    }

    fn publish(&mut self, place: usize, at: usize, attempt: Attempt, bytes: usize) {
        let now = self.now;
        let unfit = self.random.u16(0..200) == 0;
        let Some(site) = self.sites.get_mut(place) else { return };
        let Some(sensor) = site.sensors.get(at) else { return };
        site.next_ticket += 1;
        let (ticket, lane, wall) = (site.next_ticket, sensor.habit.lane, site.wall(now));
        let record = attempt.record(&sensor.topic, bytes, sensor.habit.qos, wall, now.0);
        site.tickets.insert(ticket, attempt);
        self.transcript.note(now, format_args!("site {place} {attempt} arrives on {lane}"));
        if self.plan.sabotage == Sabotage::EarlyPuback {
            self.puback(place, attempt, Told::Stored);
        }
        let event = if unfit {
            Event::Unfit { ticket, lane, reason: GapReason::Oversize, wall }
        } else {
            Event::Arrived { ticket, lane, record }
        };
        self.tell(place, event);
    }
}
