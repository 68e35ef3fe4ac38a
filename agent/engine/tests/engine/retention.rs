//! Who has to go when the disk is full, as a table.
//!
//! Every segment has 100 records and 1,000 bytes. `over` is how many bytes the store takes above its high-water mark;
//! a cut goes a little further than that, so that not every record evicts one.

use std::time::Duration;

use millrace_agent_engine::{Alarm, Command, Config, Engine, Event, Policy};
use millrace_model::digest::Summary;
use millrace_model::store::{Change, JournalState, SegmentInfo, Usage};
use millrace_model::{
    Incarnation, JournalId, Lane, Ledger, Moment, RangeSet, SegmentHash, SegmentName, SeqRange, Wall,
};

use crate::store::DEVICE;

const BUDGET: u64 = 100_000;
const GRACE: Duration = Duration::from_secs(60);

struct Row {
    what: &'static str,
    policies: [Policy; 3],
    /// `lane:state` of each segment, oldest first; a state is `acked` or `waits`.
    segments: &'static str,
    over: Option<u64>,
    after: Duration,
    cuts: &'static str,
}

const USUAL: [Policy; 3] = [Policy::Block, Policy::DropOldest, Policy::DropOldest];
const NOW: Duration = Duration::ZERO;
const LATER: Duration = Duration::from_secs(120);

const TABLE: [Row; 12] = [
    Row {
        what: "without need nothing goes before its grace is over",
        policies: USUAL,
        segments: "normal:acked bulk:acked",
        over: None,
        after: Duration::from_secs(59),
        cuts: "",
    },
    Row {
        what: "after its grace what is acked goes, up to the first that waits",
        policies: USUAL,
        segments: "normal:acked normal:acked normal:waits normal:acked bulk:waits",
        over: None,
        after: LATER,
        cuts: "normal 200 acked",
    },
    Row {
        what: "under need the grace counts no more",
        policies: USUAL,
        segments: "normal:acked bulk:waits",
        over: Some(0),
        after: NOW,
        cuts: "normal 100 acked, bulk 100 drop-oldest",
    },
    Row {
        what: "what is acked goes before anything is given up, whatever its lane",
        policies: USUAL,
        segments: "urgent:acked urgent:acked urgent:acked urgent:acked normal:waits bulk:waits",
        over: Some(0),
        after: NOW,
        cuts: "urgent 300 acked",
    },
    Row {
        what: "bulk is given up before normal",
        policies: USUAL,
        segments: "urgent:waits normal:waits bulk:waits bulk:waits bulk:waits bulk:waits",
        over: Some(0),
        after: NOW,
        cuts: "bulk 300 drop-oldest",
    },
    Row {
        what: "normal follows when bulk is not enough",
        policies: USUAL,
        segments: "urgent:waits normal:waits normal:waits normal:waits normal:waits bulk:waits",
        over: Some(0),
        after: NOW,
        cuts: "normal 200 drop-oldest, bulk 100 drop-oldest",
    },
    Row {
        what: "a blocking lane gives nothing up",
        policies: USUAL,
        segments: "urgent:waits urgent:waits",
        over: Some(5_000),
        after: NOW,
        cuts: "alarm",
    },
    Row {
        what: "a lane that refuses new records keeps its old ones",
        policies: [Policy::Block, Policy::DropNewest, Policy::DropNewest],
        segments: "normal:waits bulk:waits",
        over: Some(5_000),
        after: NOW,
        cuts: "alarm",
    },
    Row {
        what: "a thinning lane gives up its oldest all the same",
        policies: [Policy::Block, Policy::Block, Policy::Thin(10)],
        segments: "normal:waits bulk:waits bulk:waits",
        over: Some(0),
        after: NOW,
        cuts: "bulk 200 drop-oldest",
    },
    Row {
        what: "an acked segment behind a waiting one cannot go without it",
        policies: [Policy::Block, Policy::Block, Policy::Block],
        segments: "normal:waits normal:acked bulk:acked",
        over: Some(0),
        after: NOW,
        cuts: "bulk 100 acked",
    },
    Row {
        what: "urgent goes last when it may go at all",
        policies: [Policy::DropOldest, Policy::DropOldest, Policy::DropOldest],
        segments: "urgent:waits urgent:waits urgent:waits normal:waits bulk:waits",
        over: Some(1_000),
        after: NOW,
        cuts: "urgent 200 drop-oldest, normal 100 drop-oldest, bulk 100 drop-oldest",
    },
    Row {
        what: "more is needed, more goes",
        policies: USUAL,
        segments: "normal:acked normal:waits normal:waits bulk:acked bulk:waits bulk:waits",
        over: Some(2_000),
        after: NOW,
        cuts: "normal 200 drop-oldest, bulk 300 drop-oldest",
    },
];

fn journal(lane: Lane) -> JournalId {
    JournalId { device: DEVICE, incarnation: Incarnation::new(1), lane }
}

/// The segments of a row, and the journals that they make up.
fn scene(text: &str) -> (Vec<SegmentInfo>, Vec<JournalState>) {
    let (mut infos, mut states) = (Vec::new(), Vec::new());
    for lane in Lane::ALL {
        let of_lane = text.split(' ').filter_map(|word| word.strip_prefix(lane.name())?.strip_prefix(':'));
        let (mut acked, mut count) = (RangeSet::new(), 0);
        for state in of_lane {
            let (ordinal, first) = (count, count * 100 + 1);
            let name = SegmentName { ordinal, first, count: 100, hash: SegmentHash([0; 32]) };
            let unacked = if state == "acked" { 0 } else { 100 };
            if unacked == 0 {
                acked.insert(name.range().unwrap());
            }
            let max_wall = Wall(i64::try_from(ordinal).unwrap());
            infos.push(SegmentInfo { journal: journal(lane), name, max_wall, stored_bytes: 1_000, unacked });
            count += 1;
        }
        let present: RangeSet = SeqRange::new(1, count * 100).into_iter().collect();
        let ledger = Ledger {
            ingested: present.count(),
            acked: acked.count(),
            pending: present.count() - acked.count(),
            ..Ledger::default()
        };
        states.push(JournalState {
            journal: journal(lane),
            retired: false,
            restored: false,
            floor: 1,
            head: count * 100,
            head_check: None,
            present,
            acked,
            declared: RangeSet::new(),
            tail_first: count * 100 + 1,
            next_ordinal: count,
            first_ordinal: 0,
            summary: Summary::default(),
            ledger,
            stored_bytes: count * 1_000,
        });
    }
    (infos, states)
}

fn cuts(row: &Row) -> String {
    let mut config = Config::new(DEVICE, "test 1");
    (config.disk_budget_bytes, config.disk_reserve_bytes) = (BUDGET, 0);
    (config.policies, config.grace, config.gap_delay) = (row.policies, GRACE, LATER * 2);
    let (segments, states) = scene(row.segments);
    let usage = Usage { used_bytes: row.over.map_or(0, |over| BUDGET + over), written_bytes: 0 };
    let mut engine = Engine::new(config, Incarnation::new(1), states, usage, 1, Moment(0));
    let now = Moment(0) + row.after;
    engine.handle_event(Event::Timer, now);
    engine.handle_event(Event::Surveyed { segments }, now);
    let mut said = Vec::new();
    while let Some(command) = engine.poll_command() {
        match command {
            Command::Commit { changes, .. } => {
                for change in changes {
                    if let Change::Drop { journal, through, evict } = change {
                        let why = evict.map_or("acked", millrace_model::notice::GapReason::name);
                        said.push(format!("{} {through} {why}", journal.lane));
                    }
                }
            }
            Command::Alarm(Alarm::Full) => said.push("alarm".to_owned()),
            _ => {}
        }
    }
    said.join(", ")
}

#[test]
fn what_goes_follows_the_table() {
    for row in &TABLE {
        assert_eq!(cuts(row), row.cuts, "{}: {}", row.what, row.segments);
    }
}

#[test]
fn history_has_no_grace_and_goes_first_when_the_budget_needs_the_room() {
    let drops = |used_bytes: u64, policies, after| {
        let mut config = Config::new(DEVICE, "test 1");
        (config.disk_budget_bytes, config.disk_reserve_bytes, config.grace) = (BUDGET, 0, GRACE);
        (config.policies, config.gap_delay) = (policies, LATER * 2);
        let (mut segments, mut states) = scene("normal:acked normal:acked");
        let older = |journal: JournalId| JournalId { incarnation: Incarnation::new(99), ..journal };
        let (mut old_segments, mut old_states) = (segments.clone(), states.clone());
        for info in &mut old_segments {
            (info.journal, info.max_wall) = (older(info.journal), Wall(info.max_wall.0 - 1_000));
        }
        for state in &mut old_states {
            (state.journal, state.restored, state.retired) = (older(state.journal), true, true);
        }
        segments.extend(old_segments);
        states.extend(old_states);
        let usage = Usage { used_bytes, written_bytes: 0 };
        let mut engine = Engine::new(config, Incarnation::new(1), states, usage, 1, Moment(0));
        engine.handle_event(Event::Timer, Moment(0) + after);
        engine.handle_event(Event::Surveyed { segments }, Moment(0) + after);
        let mut dropped = Vec::new();
        while let Some(command) = engine.poll_command() {
            let Command::Commit { changes, .. } = command else { continue };
            dropped.extend(changes.into_iter().filter_map(|change| match change {
                Change::Drop { journal, through, evict: None } => {
                    Some((journal.incarnation == Incarnation::new(99), through))
                }
                _ => None,
            }));
        }
        dropped
    };
    assert_eq!(drops(0, USUAL, LATER), [(false, 200)], "time trims only what was written here");
    assert_eq!(drops(BUDGET, USUAL, NOW), [(false, 100), (true, 200)], "the oldest first");
    let (high, thins) = (BUDGET / 100 * 85, [Policy::Block, Policy::DropOldest, Policy::Thin(10)]);
    assert_eq!(drops(high, USUAL, NOW), [], "there is room");
    assert_eq!(drops(high, thins, NOW), [(true, 200)], "no lane thins while history could go");
}
