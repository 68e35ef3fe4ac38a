//! A device and its hub whose disks rot, in any order: whatever is damaged comes back from the other one, and both end with equal roots.
//!
//! After each step both stores verify clean and count right. The device's floor moves in half of the histories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use std::collections::BTreeMap;
use std::path::PathBuf;

use fastrand::Rng;
use millrace_journal::sabotage::Harm;
use millrace_journal::{Options, Portion, ScrubCursor, Store};
use millrace_model::notice::GapReason;
use millrace_model::store::{Change, Outcome};
use millrace_model::{Lane, RangeSet, SegmentName, SeqRange, Wall};
use plant::{append, author, commit, journal, names, range, reading, readings, receive, replica};

const LANES: [Lane; 2] = [Lane::Urgent, Lane::Normal];
const STEPS: usize = 60;

/// What happened, and to whom.
struct History {
    random: Rng,
    device: Store,
    options: Options,
    hub: Store,
    _dir: tempfile::TempDir,
    path: PathBuf,
    written: u64,
    /// Every name that the device ever gave.
    named: BTreeMap<(Lane, u64), SegmentName>,
    floor_moves: bool,
    steps: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.db");
        let burst_records = if random.bool() { 64 } else { 1_000 };
        let options = Options { burst_records, ..author() };
        Self {
            device: Store::open(&path, &options).unwrap(),
            hub: Store::in_memory(&replica()).unwrap(),
            options,
            _dir: dir,
            path,
            written: 0,
            named: BTreeMap::new(),
            floor_moves: random.bool(),
            random,
            steps: vec![format!("seed {seed}")],
        }
    }

    fn step(&mut self) {
        let lane = LANES[self.random.usize(..2)];
        for lane in LANES {
            let names = names(&self.device, &journal(lane)).into_iter();
            self.named.extend(names.map(|(ordinal, name)| ((lane, ordinal), name)));
        }
        let what = self.random.u8(..12);
        self.steps.push(format!("{what} {lane}"));
        match what {
            0..=2 => self.write(lane),
            3 | 4 => self.ship(lane),
            5 => self.seal_at_hub(),
            6 => self.acknowledge(lane),
            7 => self.drop_some(lane),
            8 | 9 => self.rot(),
            10 => self.bring_back(lane, 2),
            _ => self.odds_and_ends(lane),
        }
        self.verify();
    }

    fn write(&mut self, lane: Lane) {
        let many = self.random.u8(..3) == 0;
        let count = if many { self.random.u64(1..1_500) } else { self.random.u64(1..40) };
        if self.random.bool() {
            append(&mut self.device, lane, readings(self.written, count));
        } else {
            for number in 0..count.min(60) {
                append(&mut self.device, lane, vec![reading(self.written + number)]);
            }
        }
        self.written += count;
    }

    fn ship(&mut self, lane: Lane) {
        let here = self.device.journal(&journal(lane)).unwrap();
        let held = self.hub.journal(&journal(lane)).map(|state| state.present).unwrap_or_default();
        let unsent = here.present.difference(&here.acked).difference(&held);
        for range in unsent.iter().take(3) {
            for run in self.device.load(&journal(lane), range, 200_000).unwrap() {
                let outcome = receive(&mut self.hub, run);
                let fits = matches!(&outcome, Outcome::Received { refused: None, conflict, .. } if conflict.is_empty());
                assert!(fits, "{:?} {outcome:?}", self.steps);
            }
        }
    }

    fn seal_at_hub(&mut self) {
        for ((lane, _), segment) in &self.named {
            commit(&mut self.hub, Change::Seal { journal: journal(*lane), segment: *segment });
        }
    }

    fn seal_at_device(&mut self, lane: Lane) {
        for (_, segment) in names(&self.hub, &journal(lane)) {
            commit(&mut self.device, Change::Seal { journal: journal(lane), segment });
        }
    }

    fn acknowledge(&mut self, lane: Lane) {
        if let Some(held) = self.hub.journal(&journal(lane)) {
            let (journal, ranges) = (journal(lane), held.present);
            commit(&mut self.device, Change::Acknowledge { journal, ranges });
        }
    }

    fn drop_some(&mut self, lane: Lane) {
        if self.floor_moves {
            let head = self.device.journal(&journal(lane)).unwrap().head;
            let through = self.random.u64(1..head + 2);
            let evict = (self.random.u8(..3) == 0).then_some(GapReason::DropOldest);
            commit(&mut self.device, Change::Drop { journal: journal(lane), through, evict });
        }
    }

    /// The device's disk is damaged in some places; a start and a scrub find all of them.
    fn rot(&mut self) {
        for _ in 0..self.random.usize(1..4) {
            let harm = Harm::ALL[self.random.usize(..Harm::ALL.len())];
            let random = &mut self.random;
            self.device.harm(harm, &mut |below: usize| random.usize(..below.max(1))).unwrap();
        }
        if self.random.bool() {
            self.start_again();
        }
        let mut next = Some(ScrubCursor::default());
        while let Some(from) = next {
            let step = self.device.scrub(from, 1 << 20).unwrap();
            for damage in &step.damaged {
                self.device.quarantine(&damage.journal, damage.range).unwrap();
            }
            for journal in &step.digests {
                self.device.rebuild_digest(journal).unwrap();
            }
            assert_eq!(step.unreadable, [""; 0], "{:?}", self.steps);
            next = step.next;
        }
    }

    fn start_again(&mut self) {
        // One store at a time has the file.
        self.device = Store::in_memory(&author()).unwrap();
        self.device = Store::open(&self.path, &self.options).unwrap();
    }

    fn odds_and_ends(&mut self, lane: Lane) {
        match self.random.u8(..4) {
            0 => drop(commit(&mut self.device, Change::DeclareGaps { wall: Wall(1), mono: 1 })),
            1 => {
                let head = self.device.journal(&journal(lane)).unwrap().head;
                if head > 3 {
                    let first = self.random.u64(1..head);
                    let ranges = range(first, (first + 30).min(head)).into();
                    commit(&mut self.device, Change::Reclaim { journal: journal(lane), ranges });
                }
            }
            2 => self.start_again(),
            _ => self.seal_at_device(lane),
        }
    }

    /// The hub brings what the device lacks, so many times: all of it, or parts.
    fn bring_back(&mut self, lane: Lane, times: usize) {
        for _ in 0..times {
            let mut lost = self.lacking(lane);
            if times == 2 {
                let random = &mut self.random;
                lost = lost.iter().filter_map(|range| part_of(range, random)).collect();
            }
            if lost.is_empty() {
                return;
            }
            let portion = Portion { bytes_max: self.random.usize(100..200_000), runs_max: 32 };
            let runs = self.hub.newest(&journal(lane), &lost, portion).unwrap();
            let changes: Vec<Change> = runs.into_iter().map(Change::Restore).collect();
            for outcome in self.device.commit(9, &changes).unwrap().1 {
                let fits = matches!(&outcome, Outcome::Restored { refused: None, conflict, .. } if conflict.is_empty());
                assert!(fits, "{:?} {outcome:?}", self.steps);
            }
        }
    }

    /// What the hub has, and the device should.
    fn lacking(&self, lane: Lane) -> RangeSet {
        let here = self.device.journal(&journal(lane)).unwrap();
        let held = self.hub.journal(&journal(lane)).map(|state| state.present).unwrap_or_default();
        let kept = SeqRange::new(here.floor, here.head);
        kept.map(|kept| held.within(kept).difference(&here.present)).unwrap_or_default()
    }

    fn verify(&self) {
        for store in [&self.device, &self.hub] {
            let report = store.verify(|_| ()).unwrap();
            assert!(report.is_clean(), "{:?} {:?}", self.steps, report.findings);
            for state in store.journals() {
                let ends = state.tail_first <= state.head + 1;
                assert!(state.ledger.balances() && ends, "{:?} {state:?}", self.steps);
            }
        }
    }

    /// Both give each other all that they have.
    fn end(mut self) {
        for lane in LANES {
            let here = self.device.journal(&journal(lane)).unwrap();
            for range in here.present.iter() {
                for run in self.device.load(&journal(lane), range, usize::MAX).unwrap() {
                    receive(&mut self.hub, run);
                }
            }
            self.acknowledge(lane);
            self.seal_at_hub();
            for (_, segment) in names(&self.device, &journal(lane)) {
                commit(&mut self.hub, Change::Seal { journal: journal(lane), segment });
            }
            self.bring_back(lane, 1_000);
            self.seal_at_device(lane);
            self.verify();
            assert_eq!(self.lacking(lane), RangeSet::new(), "{:?}", self.steps);
            let held = self.hub.journal(&journal(lane));
            if let (false, Some(held)) = (self.floor_moves, held) {
                let here = self.device.journal(&journal(lane)).unwrap();
                let digests = [here, held].map(|state| (state.summary.root.hash, state.summary.tail));
                assert_eq!(digests[0], digests[1], "{lane} {:?}", self.steps);
            }
        }
    }
}

/// All of a range, its middle, or nothing.
fn part_of(whole: SeqRange, random: &mut Rng) -> Option<SeqRange> {
    match random.u8(..4) {
        0 | 1 => None,
        2 if whole.count() > 3 => SeqRange::new(whole.first() + 1, whole.last() - 1),
        _ => Some(whole),
    }
}

#[test]
fn whatever_rots_on_a_devices_disk_its_hub_brings_back_until_both_are_equal() {
    for seed in 0..10 {
        let mut history = History::new(seed);
        (0..STEPS).for_each(|_| history.step());
        history.end();
    }
}
