//! Alarms: what the engine wants people to know, as log lines, as counts, and as the list of the latest.
//!
//! Promise: the list is short ([`KEPT_MAX`]) and says what to do; nothing is told only here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_hub_engine::Alarm;
use millrace_model::notice::GapReason;
use millrace_model::{DeviceId, Wall};
use serde::Serialize;

use crate::registry::Registry;

/// Alarms that are shown; older ones are in the log.
pub const KEPT_MAX: usize = 100;

/// One alarm, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Notice {
    /// When.
    pub at: String,
    /// Which kind: a stable word.
    pub kind: &'static str,
    /// `error`: act now; `warn`: look tomorrow.
    pub severity: &'static str,
    /// About which device, if about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: &'static str,
}

/// The latest alarms.
#[derive(Clone, Debug)]
pub struct AlarmBoard {
    registry: Arc<Registry>,
    latest: Arc<Mutex<VecDeque<Notice>>>,
}

struct Telling {
    kind: &'static str,
    act: bool,
    device: Option<DeviceId>,
    message: String,
    hint: &'static str,
}

impl AlarmBoard {
    /// A board without alarms. Names come from `registry`.
    #[must_use]
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, latest: Arc::default() }
    }

    /// Logs and keeps an alarm; its kind, for the metrics.
    pub fn raise(&self, alarm: &Alarm, now: Wall) -> &'static str {
        let Telling { kind, act, device, message, hint } = telling(alarm);
        let name = device.and_then(|id| self.registry.name_of(&id));
        let (id, who) = (device.map(tracing::field::display), name.as_deref());
        if act {
            tracing::error!(alarm = kind, device = id, name = who, hint, "{message}");
        } else {
            tracing::warn!(alarm = kind, device = id, name = who, hint, "{message}");
        }
        let severity = if act { "error" } else { "warn" };
        let notice =
            Notice { at: millrace_host::times::rfc3339(now), kind, severity, device, name, message, hint };
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() >= KEPT_MAX {
            latest.pop_front();
        }
        latest.push_back(notice);
        kind
    }

    /// The latest alarms, newest first.
    #[must_use]
    pub fn latest(&self) -> Vec<Notice> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

fn telling(alarm: &Alarm) -> Telling {
    let (kind, act, device, message, hint) = match alarm {
        Alarm::RolledBack { journal } => (
            "rolled-back",
            false,
            Some(journal.device),
            format!("the device's disk went back in time (journal {journal}); it begins a new incarnation"),
            "find out who restored it, and from what: records between the copy and now are kept here",
        ),
        Alarm::Forked { journal, ranges } => (
            "forked",
            true,
            Some(journal.device),
            format!(
                "two writers used one journal ({journal}, {} records differ); both branches are kept",
                ranges.count()
            ),
            "look for a copy of this machine, and enrol one of the two anew",
        ),
        Alarm::Cloned { device, incarnations } => (
            "cloned",
            true,
            Some(*device),
            format!("{} machines with this identity are connected at once", incarnations.len()),
            "find the copy, revoke the device, and enrol each machine with a token of its own",
        ),
        Alarm::Replaced { device } => (
            "replaced",
            false,
            Some(*device),
            "another machine was enrolled in the place of this device: the one before is refused".to_owned(),
            "nothing, when you replaced its disk or the machine; otherwise revoke the device, and find out who had the token",
        ),
        Alarm::Gap(gap, device) => (
            "gap",
            false,
            Some(*device),
            format!("the device lost {} records of lane {} ({})", gap.count, gap.lane, gap.reason.name()),
            remedy(gap.reason),
        ),
        Alarm::Declined { journal, reason } => (
            "declined",
            false,
            Some(journal.device),
            format!("a run of journal {journal} was refused: {reason}"),
            "the agent sends it again; when this repeats, run `millrace-agent verify` on the device",
        ),
        Alarm::Peer { node, reason } => (
            "peer",
            true,
            None,
            format!("hub {node} and this one cannot share readings: {reason}"),
            "compare `millrace-hub members` on both: they must be of one cluster and of compatible versions",
        ),
        Alarm::Regressed { node, records } => (
            "regressed",
            true,
            None,
            format!("hub {node} holds {records} records less than it once told"),
            "it fills itself again; find out who put an old copy back, or run `millrace-hub verify` there",
        ),
        Alarm::Quota { device, reason } => (
            "quota",
            false,
            Some(*device),
            reason.clone(),
            "see [quota] in the hub's config, or look at the device",
        ),
        Alarm::Protocol { device, reason } => (
            "protocol",
            false,
            Some(*device),
            format!("the device broke the protocol: {reason}"),
            "upgrade the older of the two programs; when both are current, treat the device as hostile",
        ),
        Alarm::Damaged { journal, ranges } => (
            "damaged",
            true,
            Some(journal.device),
            format!(
                "{} stored records are damaged ({journal} {}): they are moved aside and fetched again",
                ranges.count(),
                ranges.brief()
            ),
            "`millrace-hub repairs` says when they are back; when this repeats, replace the disk",
        ),
        Alarm::Irreparable { journal, ranges } => (
            "irreparable",
            true,
            Some(journal.device),
            format!(
                "{} records that damage took are at no hub and not on the device any more: {journal} {}",
                ranges.count(),
                ranges.brief()
            ),
            "what was moved aside stands in quarantine in journal.db; keep longer on devices, or on more hubs",
        ),
        Alarm::Overdue { journal, records } => (
            "overdue",
            true,
            Some(journal.device),
            format!("{records} records of {journal} that damage took are still not here"),
            "connect the other hubs and the device: whoever still has them brings them",
        ),
        Alarm::Differs { journal, partner, records } => (
            "overdue",
            true,
            Some(journal.device),
            format!("{records} records of {journal} differ from what {partner} has, and stay so"),
            "`millrace-hub repair` compares again; look at the disks of both, and for a copy of the device",
        ),
        Alarm::Full => (
            "full",
            true,
            None,
            "the disk has no room: agents are told to try another hub and keep their records".to_owned(),
            "make room on the disk, or raise store.budget",
        ),
        Alarm::Evicting => (
            "evicting",
            true,
            None,
            "the store's budget is nearly used up: the records that came first are dropped".to_owned(),
            "raise store.budget, or shorten retention.keep; retention.when_full = \"refuse\" leaves them with the agents",
        ),
    };
    Telling { kind, act, device, message, hint }
}

/// What helps against a loss of this kind.
const fn remedy(reason: GapReason) -> &'static str {
    match reason {
        GapReason::DropOldest | GapReason::DropNewest | GapReason::Thin => {
            "give it a larger budget, a better link, or another policy for that lane"
        }
        GapReason::Oversize => {
            "a payload may have 512 KiB: have the publisher send smaller messages, or split them"
        }
        GapReason::Topic => {
            "a topic may have 1,024 bytes and no wildcards: have the publisher use a shorter one"
        }
        GapReason::HubsRenewed => {
            "it was lost with the hubs' disks: back up more often, or keep records longer on devices"
        }
        GapReason::Damaged => "look at the device's disk, and run `millrace-agent verify` there",
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::{Incarnation, JournalId, Lane, RangeSet, SeqRange};

    use super::*;

    #[test]
    fn a_loss_in_many_places_makes_no_long_alarm() {
        let ranges: RangeSet = (1..=10_000).map(|at| SeqRange::only(2 * at)).collect();
        let (device, incarnation) = (DeviceId::from_bytes([1; 16]), Incarnation::new(1));
        let journal = JournalId { device, incarnation, lane: Lane::Bulk };
        let damaged = Alarm::Damaged { journal, ranges: ranges.clone() };
        for alarm in [damaged, Alarm::Irreparable { journal, ranges }] {
            let message = telling(&alarm).message;
            assert!(message.starts_with("10000 ") && message.contains("16 and 9992 more"), "{message}");
            assert!(message.len() < 250, "{message}");
        }
    }

    #[tokio::test]
    async fn the_board_keeps_the_latest_first_and_not_more_than_it_should() {
        let dir = tempfile::tempdir().unwrap();
        let registry = crate::registry::tests::lone(dir.path()).await;
        let board = AlarmBoard::new(registry);
        for number in 0..KEPT_MAX + 5 {
            let device = DeviceId::from_bytes([1; 16]);
            let reason = format!("number {number}");
            assert_eq!(board.raise(&Alarm::Quota { device, reason }, Wall(0)), "quota");
        }
        let latest = board.latest();
        assert_eq!(latest.len(), KEPT_MAX);
        assert_eq!(latest[0].message, format!("number {}", KEPT_MAX + 4));
        assert_eq!(latest[0].at, "1970-01-01T00:00:00.000000Z");
    }
}
