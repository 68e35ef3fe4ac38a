//! Commands as short lines: what a person needs to follow a transcript, and nothing that changes for no reason.

use millrace_agent_engine::{Alarm, Channel, Command, LoadRequest};
use millrace_model::store::Change;
use millrace_model::{Incarnation, JournalId};
use millrace_wire::{Frame, Lodging};

use crate::store::DEVICE;

/// Short names: a journal is its lane, and later incarnations are numbered in the order of their appearance.
#[derive(Debug, Default)]
pub(crate) struct Names {
    incarnations: Vec<Incarnation>,
}

impl Names {
    pub(crate) fn journal(&mut self, journal: JournalId) -> String {
        let place = self.incarnations.iter().position(|known| *known == journal.incarnation);
        let place = place.unwrap_or_else(|| {
            self.incarnations.push(journal.incarnation);
            self.incarnations.len() - 1
        });
        if place == 0 { journal.lane.to_string() } else { format!("{}@{}", journal.lane, place + 1) }
    }

    fn lodging(&mut self, lodging: Lodging) -> String {
        self.journal(lodging.of(DEVICE))
    }

    /// The line that says what `command` asks for.
    pub(crate) fn command(&mut self, command: &Command) -> String {
        match command {
            Command::Commit { commit, changes } => {
                let changes: Vec<String> = changes.iter().map(|change| self.change(change)).collect();
                format!("commit {commit}: {}", changes.join("; "))
            }
            Command::Acknowledge(receipts) => {
                let stored = receipts.stored().iter().map(u64::to_string);
                let rejected = receipts.rejected().iter().map(|(t, why)| format!("{t}({})", why.name()));
                let all: Vec<String> = stored.chain(rejected).collect();
                format!("acknowledge {}", all.join(" "))
            }
            Command::Connect => "connect".to_owned(),
            Command::Disconnect { reason } => format!("disconnect: {reason}"),
            Command::Send { channel, frame } => {
                let channel = match channel {
                    Channel::Control => "control",
                    Channel::Live => "live",
                    Channel::Backlog => "backlog",
                };
                format!("send {channel}: {}", self.frame(frame))
            }
            Command::Load(LoadRequest { channel, journal, range, .. }) => {
                let channel = if *channel == Channel::Live { "live" } else { "backlog" };
                format!("load for {channel}: {} {range}", self.journal(*journal))
            }
            Command::Check { journal, range } => format!("check {} {range}", self.journal(*journal)),
            Command::Survey { .. } => "survey".to_owned(),
            Command::Consult { number, journal, about, .. } => {
                format!("consult for {number}: {} {about:?}", self.journal(*journal))
            }
            Command::RememberHubs(hubs) => format!("remember {} hubs", hubs.len()),
            Command::Alarm(alarm) => format!("alarm: {}", self.alarm(alarm)),
        }
    }

    fn change(&mut self, change: &Change) -> String {
        match change {
            Change::Append { lane, records } => format!("append {lane} ×{}", records.len()),
            Change::Reject { lane, count, reason, .. } => format!("reject {lane} ×{count} {}", reason.name()),
            Change::Acknowledge { journal, ranges } => format!("acked {} {ranges}", self.journal(*journal)),
            Change::Reclaim { journal, ranges } => format!("reclaim {} {ranges}", self.journal(*journal)),
            Change::Remember { name, value } => format!("remember {name} {}", value.last().unwrap()),
            Change::Restore(run) => format!("restore {} {}", self.journal(run.journal), run.range().unwrap()),
            Change::Drop { journal, through, evict } => {
                let why = evict.map_or("acked", millrace_model::notice::GapReason::name);
                format!("drop {} to {through} ({why})", self.journal(*journal))
            }
            Change::DeclareGaps { .. } => "declare gaps".to_owned(),
            Change::Reincarnate { incarnation, .. } => {
                let lane = millrace_model::Lane::Urgent;
                let journal = JournalId { device: DEVICE, incarnation: *incarnation, lane };
                format!("reincarnate as {}", self.journal(journal))
            }
            Change::Reauthor { journal, range, equal } => {
                format!("reauthor {} {range}, equal {equal}", self.journal(*journal))
            }
            other => format!("{other:?}"),
        }
    }

    fn frame(&mut self, frame: &Frame) -> String {
        match frame {
            Frame::Hello(hello) => {
                let journals: Vec<String> = hello
                    .journals
                    .iter()
                    .map(|j| {
                        let lodging = Lodging { incarnation: j.incarnation, lane: j.lane };
                        format!("{} {}..{}", self.lodging(lodging), j.floor, j.head)
                    })
                    .collect();
                format!("Hello {}", journals.join(", "))
            }
            Frame::Run(run) => {
                let range = run.clone().into_run(DEVICE).range().unwrap();
                let sealed = if run.segment.is_some() { " sealed" } else { "" };
                format!("Run {} {range}{sealed}", self.lodging(run.journal))
            }
            Frame::Seal(seal) => {
                format!("Seal {} {}", self.lodging(seal.journal), seal.segment.range().unwrap())
            }
            Frame::Compare(compare) => {
                format!("Compare {} {}", self.lodging(compare.journal), compare.range().unwrap())
            }
            Frame::Absent(absent) => format!("Absent {} {}", self.lodging(absent.journal), absent.ranges),
            Frame::Fetch(fetch) => format!("Fetch {} {}", self.lodging(fetch.journal), fetch.ranges),
            Frame::Reply(reply) => format!("Reply {}: {:?}", reply.number, reply.told),
            Frame::Goodbye(goodbye) => format!("Goodbye {:?}: {}", goodbye.code, goodbye.reason),
            other => other.name().to_owned(),
        }
    }

    fn alarm(&mut self, alarm: &Alarm) -> String {
        match alarm {
            Alarm::RolledBack { journal } => format!("rolled back, says {}", self.journal(*journal)),
            Alarm::Forked { journal } => format!("forked, says {}", self.journal(*journal)),
            Alarm::Damaged { journal, range } => format!("damaged {} {range}", self.journal(*journal)),
            Alarm::Declined { journal, reason } => format!("declined {}: {reason}", self.journal(*journal)),
            Alarm::Full => "full".to_owned(),
            Alarm::HubsRenewed { epoch, again, lost } => {
                format!("hubs renewed in epoch {epoch}: {again} again, {lost} lost")
            }
            Alarm::LeftBehind { reason } => format!("left behind: {reason}"),
            Alarm::Restored { records, bytes } => format!("restored {records} records, {bytes} bytes"),
            Alarm::Regained { records } => format!("regained {records} records"),
            Alarm::Unrestorable { journal, reason } => {
                format!("unrestorable {}: {reason}", self.journal(*journal))
            }
            Alarm::Revoked { reason } => format!("revoked: {reason}"),
            Alarm::Protocol { reason } => format!("protocol: {reason}"),
        }
    }
}
