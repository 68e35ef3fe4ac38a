//! What happens at limits that a transcript would be long for.

use std::time::Duration;

use bytes::Bytes;
use millrace_agent_engine::{Command, Config, Engine, Event};
use millrace_model::digest::Summary;
use millrace_model::notice::GapReason;
use millrace_model::store::{Change, JournalState, Outcome, Refusal, Usage};
use millrace_model::{
    Durable, Incarnation, JournalId, Lane, Ledger, Moment, RangeSet, Record, SeqRange, Topic, Wall,
};
use millrace_wire::Frame;
use millrace_wire::limits::JOURNALS_MAX;

use crate::store::DEVICE;

fn state(incarnation: u64, lane: Lane, retired: bool) -> JournalState {
    JournalState {
        journal: JournalId { device: DEVICE, incarnation: Incarnation::new(incarnation), lane },
        retired,
        restored: false,
        floor: 1,
        head: 1,
        head_check: None,
        present: RangeSet::from(SeqRange::only(1)),
        acked: RangeSet::new(),
        declared: RangeSet::new(),
        tail_first: 1,
        next_ordinal: 0,
        first_ordinal: 0,
        summary: Summary::default(),
        ledger: Ledger { ingested: 1, pending: 1, ..Ledger::default() },
        stored_bytes: 100,
    }
}

fn commands(engine: &mut Engine) -> Vec<Command> {
    std::iter::from_fn(|| engine.poll_command()).collect()
}

#[test]
fn the_journals_that_are_written_to_are_named_however_many_lives_the_device_had() {
    // The newest life has the largest number, so it would come last in any order of names.
    let lives: u64 = 100;
    let states = (1..=lives).flat_map(|life| Lane::ALL.map(|lane| state(life, lane, life < lives)));
    let (config, usage) = (Config::new(DEVICE, "test 1"), Usage::default());
    let mut engine = Engine::new(config, Incarnation::new(lives), states.collect(), usage, 1, Moment(0));
    engine.handle_event(Event::Connected, Moment(0));
    let hello = commands(&mut engine).into_iter().find_map(|command| match command {
        Command::Send { frame: Frame::Hello(hello), .. } => Some(hello),
        _ => None,
    });
    let hello = hello.unwrap();
    assert_eq!(hello.journals.len(), JOURNALS_MAX);
    let current = hello.journals.iter().filter(|journal| journal.incarnation == Incarnation::new(lives));
    assert_eq!(current.count(), Lane::ALL.len());
}

#[test]
fn publications_that_wait_for_a_full_disk_have_a_limit_even_when_all_are_refused() {
    let mut config = Config::new(DEVICE, "test 1");
    config.intake_records_max = 10;
    let mut engine = Engine::new(config, Incarnation::new(1), Vec::new(), Usage::default(), 1, Moment(0));
    let mut now = Moment(0);
    let mut taken = 0;
    for _ in 0..1_000 {
        if engine.has_room() {
            taken += 1;
            let (ticket, lane, reason) = (taken, Lane::Bulk, GapReason::Oversize);
            engine.handle_event(Event::Unfit { ticket, lane, reason, wall: Wall(0) }, now);
        }
        for command in commands(&mut engine) {
            if let Command::Commit { commit, changes } = command {
                engine.handle_event(Event::CommitRefused { commit, changes, refusal: Refusal::Full }, now);
            }
        }
        now = now + Duration::from_millis(100);
        engine.handle_event(Event::Timer, now);
    }
    assert!((10..=20).contains(&taken), "{taken} publications wait");
}

#[test]
fn a_lane_that_blocks_holds_only_its_own_publications_until_they_take_half_of_the_room() {
    let mut config = Config::new(DEVICE, "test 1");
    (config.disk_budget_bytes, config.disk_reserve_bytes, config.intake_records_max) = (10_000, 0, 100);
    let full = Usage { used_bytes: 10_000, ..Usage::default() };
    let mut engine = Engine::new(config, Incarnation::new(1), Vec::new(), full, 1, Moment(0));
    let record = |text: &'static str| {
        Record::data(Topic::new("t").unwrap(), Bytes::from_static(text.as_bytes()), Wall(0), 0)
    };
    let (mut ticket, mut appended) = (0, Vec::new());
    let mut hand_in = |engine: &mut Engine, lane| {
        ticket += 1;
        let record = record("x");
        engine.handle_event(Event::Arrived { ticket, lane, record }, Moment(0));
        for command in commands(engine) {
            let Command::Commit { commit, changes } = command else { continue };
            let outcomes = changes.iter().map(|_| Outcome::Done).collect();
            appended.extend(changes);
            let durable = Durable::attest(commit);
            engine.handle_event(Event::Committed { durable, outcomes, usage: full }, Moment(0));
        }
    };
    for _ in 0..49 {
        hand_in(&mut engine, Lane::Urgent);
        assert!(engine.has_room(), "urgent blocks, the others go on");
    }
    hand_in(&mut engine, Lane::Bulk);
    assert!(engine.has_room());
    hand_in(&mut engine, Lane::Urgent);
    assert!(!engine.has_room(), "half of the room is taken");
    let bulk = |change: &Change| matches!(change, Change::Append { lane: Lane::Bulk, .. });
    let urgent = |change: &Change| matches!(change, Change::Append { lane: Lane::Urgent, .. });
    assert_eq!((appended.iter().filter(|c| bulk(c)).count(), appended.iter().any(urgent)), (1, false));
}

#[test]
fn a_burst_that_is_larger_than_the_free_space_goes_in_piece_by_piece() {
    let mut config = Config::new(DEVICE, "test 1");
    (config.disk_budget_bytes, config.disk_reserve_bytes) = (10_000, 0);
    let mut engine = Engine::new(config, Incarnation::new(1), Vec::new(), Usage::default(), 1, Moment(0));
    // A commit is under way, so that the burst waits as a whole.
    engine.handle_event(
        Event::Unfit { ticket: 1, lane: Lane::Bulk, reason: GapReason::Oversize, wall: Wall(0) },
        Moment(0),
    );
    for ticket in 2..32 {
        let payload = Bytes::from(vec![0; 1_000]);
        let record = Record::data(Topic::new("t").unwrap(), payload, Wall(0), 0);
        engine.handle_event(Event::Arrived { ticket, lane: Lane::Urgent, record }, Moment(0));
    }
    let first = commands(&mut engine).into_iter().find_map(|command| match command {
        Command::Commit { commit, .. } => Some(commit),
        _ => None,
    });
    let durable = millrace_model::Durable::attest(first.unwrap());
    let outcomes = vec![millrace_model::store::Outcome::Done];
    engine.handle_event(Event::Committed { durable, outcomes, usage: Usage::default() }, Moment(0));
    let appended = commands(&mut engine).into_iter().find_map(|command| match command {
        Command::Commit { changes, .. } => changes.into_iter().find_map(|change| match change {
            Change::Append { records, .. } => Some(records.len()),
            _ => None,
        }),
        _ => None,
    });
    assert_eq!(appended, Some(9), "what fits into the budget goes, the rest is held back");
    assert!(engine.status().blocked);
}
