//! Commands as short lines: what a person needs to follow a transcript, and nothing that changes for no reason.

use millrace_hub_engine::{Alarm, Command, Findings, Mend};
use millrace_model::store::Change;
use millrace_model::{AckLevel, DeviceId, JournalId, SeqRange};
use millrace_wire::peer::{Held, Holds};
use millrace_wire::{Frame, Lodging, PeerFrame, Verdict};

pub(crate) fn device(device: DeviceId) -> String {
    char::from(device.as_bytes()[0]).to_string()
}

fn lodging(lodging: Lodging) -> String {
    let incarnation = lodging.incarnation.bits();
    if incarnation == 1 { lodging.lane.to_string() } else { format!("{}@{incarnation}", lodging.lane) }
}

fn journal(journal: JournalId) -> String {
    format!("{}/{}", device(journal.device), lodging(Lodging::from(journal)))
}

pub(crate) fn command(command: &Command) -> String {
    match command {
        Command::Commit { commit, changes } => {
            let changes: Vec<String> = changes.iter().map(change).collect();
            format!("commit {commit}: {}", changes.join("; "))
        }
        Command::Send { link, frame: sent } => format!("to {link}: {}", frame(sent)),
        Command::Close { link, code, .. } => format!("close {link}: {code:?}"),
        Command::Check { journal: of, range } => format!("check {} {range}", journal(*of)),
        Command::SessionOpened { link, device: whose, fence, .. } => {
            format!("session of {} on {link}, fence {fence}", device(*whose))
        }
        Command::Stored { journal: of, ranges } => format!("stored {} {ranges}", journal(*of)),
        Command::Tell { node, frame } => format!("tell {node}: {}", peer(frame)),
        Command::Answer { guest, frame } => format!("answer {guest}: {}", peer(frame)),
        Command::Load { node, journal: of, range, .. } => {
            format!("load for {node}: {} {range}", journal(*of))
        }
        Command::Part { node, reason } => format!("part from {node}: {reason}"),
        Command::Dismiss { guest, reason } => format!("dismiss {guest}: {reason}"),
        Command::Synced { partitions } => {
            let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            match partitions.len() {
                0..=4 => format!("synced {}", partitions.join(" ")),
                many => format!("synced {many} partitions"),
            }
        }
        Command::Relive { .. } => "relive".to_owned(),
        Command::Recall { link, device: whose } => format!("recall for {link}: {}", device(*whose)),
        Command::Fetch { link, journal: of, ranges, .. } => {
            format!("fetch for {link}: {} {ranges}", journal(*of))
        }
        Command::Consult { asker, number, journal: of, about } => {
            format!("consult {number} for {asker:?}: {} {about:?}", journal(*of))
        }
        Command::Compared(round) => {
            let Findings { journals, differing, pulled, pushed, unread, .. } = round.findings;
            let unread = if unread > 0 { format!(", {unread} not read") } else { String::new() };
            format!(
                "compared with {:?} ({}): {journals} looked at, {differing} differ, {pulled} to fetch, {pushed} to bring{unread}",
                round.partner,
                round.trigger.name()
            )
        }
        Command::Mended(done) => format!("mended: {}", mend(done)),
        Command::Alarm(raised) => format!("alarm: {}", alarm(raised)),
    }
}

pub(crate) fn mend(mend: &Mend) -> String {
    let Mend { journal: of, lost, fetched, declared, left, .. } = mend;
    let given_up = if *declared > 0 { format!(", {declared} declared lost") } else { String::new() };
    let sources: Vec<String> = mend.sources.iter().map(ToString::to_string).collect();
    let from = if sources.is_empty() { String::new() } else { format!(" from {}", sources.join(", ")) };
    let asked = mend.asked.map_or_else(String::new, |source| format!(", {source} is asked"));
    format!("{} lost {lost}, fetched {fetched}{from}, {left} left{given_up}{asked}", journal(*of))
}

fn change(change: &Change) -> String {
    match change {
        Change::Receive(run) => {
            let range = run.range().map_or_else(|| "nothing".to_owned(), |range| range.to_string());
            format!("receive {} {range}", journal(run.journal))
        }
        Change::Seal { journal: of, segment } => {
            let range = segment.range().map_or_else(|| "nothing".to_owned(), |range| range.to_string());
            format!("seal {} {range}", journal(*of))
        }
        Change::Drop { journal: of, through, .. } => format!("drop {} through {through}", journal(*of)),
        other => format!("{other:?}"),
    }
}

fn frame(frame: &Frame) -> String {
    match frame {
        Frame::Welcome(welcome) => {
            let holdings = welcome.holdings.iter().map(|holding| {
                let verdict = match holding.verdict {
                    Verdict::Continues => "",
                    Verdict::RolledBack => " rolled back",
                    Verdict::Forked => " forked",
                };
                let of = Lodging { incarnation: holding.incarnation, lane: holding.lane };
                let unsafe_yet = holding.held.difference(&holding.safe);
                let rest =
                    if unsafe_yet.is_empty() { String::new() } else { format!(" (not safe: {unsafe_yet})") };
                format!(", {} {}{rest}{verdict}", lodging(of), holding.held)
            });
            let rest = if welcome.complete { "" } else { ", incomplete" };
            format!("Welcome credit {}{}{rest}", welcome.credit, holdings.collect::<String>())
        }
        Frame::Goodbye(goodbye) => match goodbye.retry_after_ms {
            0 => format!("Goodbye {:?}: {}", goodbye.code, goodbye.reason),
            wait => format!("Goodbye {:?}, back after {wait} ms: {}", goodbye.code, goodbye.reason),
        },
        Frame::Acks(acks) => {
            let acks = acks.acks.iter().map(|ack| {
                let level =
                    if ack.level == AckLevel::Quorum { String::new() } else { format!(" at {}", ack.level) };
                format!("{} {}{level}", lodging(ack.journal), ack.ranges)
            });
            format!("Acks {}", acks.collect::<Vec<_>>().join(", "))
        }
        Frame::Credit(credit) => format!("Credit {}", credit.total),
        Frame::Regain(lost) => format!("Regain {} {}", lodging(lost.journal), lost.ranges),
        Frame::Wanted(wanted) => format!("Wanted {} {}", lodging(wanted.journal), wanted.ranges),
        Frame::Conflict(conflict) => format!("Conflict {} {}", lodging(conflict.journal), conflict.ranges),
        Frame::Decline(decline) => {
            format!("Decline {} {}: {}", lodging(decline.journal), decline.range().unwrap(), decline.reason)
        }
        Frame::Compared(compared) => {
            let range = compared.range().unwrap();
            format!("Compared {} {range}, equal {}", lodging(compared.journal), compared.equal)
        }
        Frame::Recalled(recalled) => {
            let kept =
                recalled.journals.iter().map(|kept| format!(" {} {}", lodging(kept.journal), kept.ranges));
            let whole = if recalled.complete { "" } else { ", not all" };
            format!("Recalled{}{whole}", kept.collect::<Vec<_>>().join(","))
        }
        Frame::Run(run) => {
            let range = SeqRange::starting(run.first, run.count.into()).unwrap();
            format!("Run {} {range}", lodging(run.journal))
        }
        Frame::Fetched(fetched) => format!("Fetched {}, absent {}", lodging(fetched.journal), fetched.absent),
        Frame::Hubs(hubs) => {
            let names = hubs
                .hubs
                .iter()
                .map(|hub| format!("{}{}", hub.name, if hub.replica { " (replica)" } else { "" }));
            format!("Hubs {}", names.collect::<Vec<_>>().join(", "))
        }
        other => other.name().to_owned(),
    }
}

fn held(held: &Held) -> String {
    format!("{} {}", journal(held.journal), held.ranges)
}

fn peer(frame: &PeerFrame) -> String {
    let all = |holds: &Holds| holds.held.iter().map(held).collect::<Vec<_>>().join(", ");
    match frame {
        PeerFrame::Offer(offer) => {
            format!("Offer epoch {} of {}, store {}", offer.epoch, offer.node, offer.store.bits())
        }
        PeerFrame::Holds(holds) => format!("Holds {}", all(holds)),
        PeerFrame::Told(told) => format!("Told store {}, placement {}", told.store.bits(), told.version),
        PeerFrame::Run(sent) => {
            let (first, count) = (sent.run.first, u64::from(sent.run.count));
            let range = SeqRange::starting(first, count)
                .map_or_else(|| "nothing".to_owned(), |range| range.to_string());
            format!("Run {} {range}", journal(sent.run.journal.of(sent.device)))
        }
        PeerFrame::Seal(sent) => format!("Seal {}", journal(sent.seal.journal.of(sent.device))),
        PeerFrame::Flushed(holds) => format!("Flushed {}", all(holds)),
        PeerFrame::Declined(declined) => {
            format!(
                "Declined {} {}–{}: {}",
                journal(declined.journal),
                declined.first,
                declined.last,
                declined.reason
            )
        }
        PeerFrame::Clash(clash) => format!("Clash {}", held(clash)),
        PeerFrame::Lost(lost) => format!("Lost {}", held(lost)),
        PeerFrame::Gone(gone) => format!("Gone {}", held(gone)),
        PeerFrame::Lacks(lacks) => {
            let bring = if lacks.bring { ", bring them" } else { "" };
            format!("Lacks {} {}{bring}", journal(lacks.journal), lacks.ranges)
        }
        PeerFrame::Inquiry(inquiry) => format!("Inquiry {}: {:?}", inquiry.number, inquiry.question),
        PeerFrame::Reply(reply) => format!("Reply {}: {:?}", reply.number, reply.answer),
        PeerFrame::Doubt(doubt) => format!("Doubt {}", held(doubt)),
    }
}

fn alarm(alarm: &Alarm) -> String {
    match alarm {
        Alarm::RolledBack { journal: of } => format!("rolled back, says {}", journal(*of)),
        Alarm::Forked { journal: of, ranges } => format!("forked, says {} {ranges}", journal(*of)),
        Alarm::Cloned { device: of, incarnations } => {
            format!("cloned: {} incarnations of {} are online", incarnations.len(), device(*of))
        }
        Alarm::Replaced { device: of } => format!("replaced: {}", device(*of)),
        Alarm::Gap(gap, of) => {
            format!("{} lost {} of {}: {}", device(*of), gap.count, gap.lane, gap.reason.name())
        }
        Alarm::Declined { journal: of, reason } => format!("declined {}: {reason}", journal(*of)),
        Alarm::Quota { device: of, reason } => format!("quota of {}: {reason}", device(*of)),
        Alarm::Protocol { device: of, reason } => format!("protocol broken by {}: {reason}", device(*of)),
        Alarm::Peer { node, reason } => format!("peer {node}: {reason}"),
        Alarm::Regressed { node, records } => format!("regressed: {node} lost {records}"),
        Alarm::Damaged { journal: of, ranges } => format!("damaged: {} {ranges}", journal(*of)),
        Alarm::Irreparable { journal: of, ranges } => format!("irreparable: {} {ranges}", journal(*of)),
        Alarm::Overdue { journal: of, records } => format!("overdue: {} lacks {records}", journal(*of)),
        Alarm::Differs { journal: of, partner, records } => {
            format!("overdue: {records} of {} differ from {partner}", journal(*of))
        }
        Alarm::Full => "full".to_owned(),
        Alarm::Evicting => "evicting".to_owned(),
    }
}
