//! Author and replica against a model that fits on one page: whatever is asked in whatever order, across restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use std::collections::BTreeMap;

use millrace_journal::{Options, Store};
use millrace_model::notice::{Gap, GapReason};
use millrace_model::store::{Change, Outcome};
use millrace_model::{JournalId, Lane, RangeSet, Record, Run, SegmentName, Seq, SeqRange, Wall};
use plant::{append, author, commit, contents, journal, reading, receive, replica};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

#[derive(Clone, Debug)]
enum Step {
    Append(Lane, u64),
    Ack(Lane, u64, u64),
    /// Drop up to so many thousandths of what there is; evicting or not.
    Drop(Lane, u64, bool),
    Reject(Lane, u64),
    Declare,
    /// A commit of which the last change is invalid.
    Fail(Lane),
    Restart,
    /// The replica gets part of what the author has, in runs of about so many bytes.
    Ship(Lane, u64, u64, usize),
    /// The replica is told the names of the author's segments.
    Seal,
    ReplicaDrop(Lane, u64),
    ReplicaRestart,
    /// Damage is suspected where there is none.
    Quarantine(Lane, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let lane = || prop_oneof![Just(Lane::Urgent), Just(Lane::Normal), Just(Lane::Bulk)];
    let part = || 0..=1_000_u64;
    prop_oneof![
        6 => (lane(), prop_oneof![1..40_u64, 100..700_u64]).prop_map(|(lane, count)| Step::Append(lane, count)),
        3 => (lane(), part(), part()).prop_map(|(lane, a, b)| Step::Ack(lane, a, b)),
        2 => (lane(), part(), any::<bool>()).prop_map(|(lane, a, evict)| Step::Drop(lane, a, evict)),
        1 => (lane(), 1..9_u64).prop_map(|(lane, count)| Step::Reject(lane, count)),
        1 => Just(Step::Declare),
        1 => lane().prop_map(Step::Fail),
        1 => Just(Step::Restart),
        5 => (lane(), part(), part(), 1..40_000_usize).prop_map(|(lane, a, b, max)| Step::Ship(lane, a, b, max)),
        1 => Just(Step::Seal),
        1 => (lane(), part()).prop_map(|(lane, a)| Step::ReplicaDrop(lane, a)),
        1 => Just(Step::ReplicaRestart),
        1 => (lane(), part()).prop_map(|(lane, a)| Step::Quarantine(lane, a)),
    ]
}

/// What was ever appended, and what became of it.
#[derive(Default)]
struct Lot {
    records: BTreeMap<Seq, Record>,
    acked: RangeSet,
    evicted: RangeSet,
    rejected: u64,
    /// What the digests speak of: segments that the author ever sealed and did not evict, and those that the replica ever had.
    sealed: BTreeMap<u64, SegmentName>,
    copied: BTreeMap<u64, SegmentName>,
}

struct Plant {
    author: Store,
    hub: Store,
    lots: BTreeMap<Lane, Lot>,
    made: u64,
    /// Evictions and rejections that no gap record has told yet.
    undeclared: u64,
}

fn options() -> (Options, Options) {
    let agent = Options { burst_records: 64, ..author() };
    (agent, replica())
}

impl Plant {
    fn new() -> Self {
        let (agent, hub) = options();
        Self {
            author: Store::in_memory(&agent).unwrap(),
            hub: Store::in_memory(&hub).unwrap(),
            lots: Lane::ALL.map(|lane| (lane, Lot::default())).into_iter().collect(),
            made: 0,
            undeclared: 0,
        }
    }

    fn head(&self, lane: Lane) -> u64 {
        self.author.journal(&journal(lane)).unwrap().head
    }

    /// The number so many thousandths into a lane.
    fn at(&self, lane: Lane, part: u64) -> Seq {
        self.head(lane) * part / 1_000 + 1
    }

    fn range(&self, lane: Lane, a: u64, b: u64) -> SeqRange {
        let (a, b) = (self.at(lane, a), self.at(lane, b));
        SeqRange::new(a.min(b), a.max(b)).unwrap()
    }

    fn take(&mut self, step: &Step) {
        self.apply(step);
        self.observe();
    }

    /// Notes what is sealed now.
    fn observe(&mut self) {
        for (lane, lot) in &mut self.lots {
            lot.sealed.extend(plant::names(&self.author, &journal(*lane)));
            lot.copied.extend(plant::names(&self.hub, &journal(*lane)));
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Append(lane, count) => {
                let records: Vec<Record> = (0..count).map(|n| reading(self.made + n)).collect();
                self.made += count;
                let at = append(&mut self.author, lane, records.clone());
                self.lots.get_mut(&lane).unwrap().records.extend((at.first()..).zip(records));
            }
            Step::Ack(lane, a, b) => {
                let ranges = RangeSet::from(self.range(lane, a, b));
                let here = self.author.journal(&journal(lane)).unwrap().present;
                self.lots.get_mut(&lane).unwrap().acked.extend(&ranges.intersection(&here));
                commit(&mut self.author, Change::Acknowledge { journal: journal(lane), ranges });
            }
            Step::Drop(lane, part, evict) => self.drop_some(lane, part, evict),
            Step::Reject(lane, count) => {
                let (reason, from, to) = (GapReason::Thin, Wall(1), Wall(2));
                commit(&mut self.author, Change::Reject { lane, count, reason, from, to });
                self.lots.get_mut(&lane).unwrap().rejected += count;
                self.undeclared += count;
            }
            Step::Declare => self.declare(),
            Step::Fail(lane) => {
                let changes = [
                    Change::Append { lane, records: vec![reading(1); 100] },
                    Change::Append { lane, records: Vec::new() },
                ];
                assert!(self.author.commit(1, &changes).is_err());
            }
            Step::Restart => {
                self.author = Store::from_image(&self.author.image().unwrap(), &options().0).unwrap();
                assert_eq!(self.author.opened().missing, []);
            }
            Step::Ship(lane, a, b, bytes_max) => {
                let range = self.range(lane, a, b);
                for run in self.author.load(&journal(lane), range, bytes_max).unwrap() {
                    self.ship(run);
                }
            }
            Step::Seal => {
                for info in self.author.survey(1_000).unwrap() {
                    commit(&mut self.hub, Change::Seal { journal: info.journal, segment: info.name });
                }
            }
            Step::ReplicaDrop(lane, part) => {
                let through = self.at(lane, part / 2);
                commit(&mut self.hub, Change::Drop { journal: journal(lane), through, evict: None });
            }
            Step::ReplicaRestart => {
                self.hub = Store::from_image(&self.hub.image().unwrap(), &options().1).unwrap();
                assert_eq!(self.hub.opened().missing, []);
            }
            Step::Quarantine(lane, part) => {
                let range = SeqRange::only(self.at(lane, part));
                assert_eq!(self.author.quarantine(&journal(lane), range).unwrap().ranges, RangeSet::new());
                let _ = self.hub.quarantine(&journal(lane), range).unwrap();
            }
        }
    }

    fn drop_some(&mut self, lane: Lane, part: u64, evict: bool) {
        let id = journal(lane);
        let before = self.author.journal(&id).unwrap();
        let sealed = plant::names(&self.author, &id);
        let evict = evict.then_some(GapReason::DropOldest);
        let change = Change::Drop { journal: id, through: self.at(lane, part), evict };
        let Outcome::Dropped { floor, trimmed, evicted, .. } = commit(&mut self.author, change).remove(0)
        else {
            panic!("not dropped");
        };
        let after = self.author.journal(&id).unwrap();
        assert!(floor >= before.floor && floor == after.floor);
        let gone = before.present.difference(&after.present);
        let lot = self.lots.get_mut(&lane).unwrap();
        let lost = gone.difference(&lot.acked);
        assert_eq!((trimmed, evicted), (gone.count() - lost.count(), lost.count()));
        assert!(evict.is_some() || lost.is_empty(), "lost {lost} without a reason");
        lot.evicted.extend(&lost);
        let is_lost =
            |name: &SegmentName| lost.iter().any(|part| part.intersection(name.range().unwrap()).is_some());
        lot.sealed.retain(|ordinal, name| !sealed.contains_key(ordinal) || !is_lost(name));
        // A declaration that is evicted has to be made again.
        let records = lost.iter().flat_map(|range| range.first()..=range.last());
        let declared =
            records.filter_map(|seq| Gap::from_record(lot.records.get(&seq)?)).map(|gap| gap.count);
        self.undeclared += lost.count() + declared.sum::<u64>();
    }

    fn declare(&mut self) {
        let change = Change::DeclareGaps { wall: Wall(1), mono: 1 };
        let Outcome::Declared { range, .. } = commit(&mut self.author, change).remove(0) else {
            panic!("not declared");
        };
        let Some(range) = range else {
            assert_eq!(self.undeclared, 0);
            return;
        };
        let mut told = 0;
        for (seq, record) in contents(&self.author, &journal(Lane::Urgent)) {
            if range.contains(seq) {
                told += Gap::from_record(&record).unwrap().count;
                self.lots.get_mut(&Lane::Urgent).unwrap().records.insert(seq, record);
            }
        }
        assert_eq!(told, self.undeclared);
        self.undeclared = 0;
    }

    fn ship(&mut self, run: Run) {
        let (id, range) = (run.journal, run.range().unwrap());
        let before = self.hub.journal(&id).map(|state| state.present).unwrap_or_default();
        match receive(&mut self.hub, run) {
            Outcome::Received { stored, duplicate, conflict, refused, .. } => {
                assert_eq!((conflict, refused), (RangeSet::new(), None));
                let mut all = stored.clone();
                all.extend(&duplicate);
                assert_eq!(all, RangeSet::from(range));
                assert!(before.intersection(&stored).is_empty());
            }
            other => panic!("{other:?}"),
        }
    }

    fn check(&mut self) {
        for (lane, lot) in &self.lots {
            let state = self.author.journal(&journal(*lane)).unwrap();
            let ledger = state.ledger;
            assert!(ledger.balances(), "{ledger:?}");
            assert_eq!(ledger.ingested, lot.records.len() as u64 + lot.rejected);
            assert_eq!((ledger.acked, ledger.evicted), (lot.acked.count(), lot.evicted.count()));
            let found = contents(&self.author, &journal(*lane));
            let here: RangeSet = found.iter().map(|(seq, _)| SeqRange::only(*seq)).collect();
            assert_eq!(here, state.present);
            assert!(found.iter().all(|(seq, record)| lot.records.get(seq) == Some(record)));
            check_digest(&mut self.author, &journal(*lane), &lot.sealed, &lot.records);
            let Some(copy) = self.hub.journal(&journal(*lane)) else { continue };
            assert!(copy.ledger.balances());
            let found = contents(&self.hub, &journal(*lane));
            assert_eq!(found.len() as u64, copy.present.count());
            assert!(found.iter().all(|(seq, record)| lot.records.get(seq) == Some(record)));
            check_digest(&mut self.hub, &journal(*lane), &lot.copied, &lot.records);
        }
        assert!(self.author.verify(|_| ()).unwrap().is_clean());
        assert!(self.hub.verify(|_| ()).unwrap().is_clean());
    }

    /// In the end everything that the author still has reaches the replica, sealed alike.
    fn heal(&mut self) {
        for lane in Lane::ALL {
            for run in self.author.load(&journal(lane), plant::all(), usize::MAX).unwrap() {
                self.ship(run);
            }
            self.observe();
            let (mine, Some(theirs)) =
                (self.author.journal(&journal(lane)).unwrap(), self.hub.journal(&journal(lane)))
            else {
                continue;
            };
            let kept: RangeSet = SeqRange::new(theirs.floor, u64::MAX).unwrap().into();
            assert!(mine.present.intersection(&kept).difference(&theirs.present).is_empty());
        }
        let names = |store: &Store| -> BTreeMap<_, _> {
            store.survey(1_000).unwrap().iter().map(|s| ((s.journal, s.name.first), s.name)).collect()
        };
        let theirs = names(&self.hub);
        for ((id, first), name) in names(&self.author) {
            let kept = self.hub.journal(&id).is_some_and(|state| state.floor <= first);
            assert!(!kept || theirs.get(&(id, first)) == Some(&name), "{id} {name:?}");
        }
    }
}

/// The digest is that of these segments and of the records that are in none, and a rebuild finds the same.
fn check_digest(
    store: &mut Store,
    id: &JournalId,
    segments: &BTreeMap<u64, SegmentName>,
    records: &BTreeMap<Seq, Record>,
) {
    let state = store.journal(id).unwrap();
    assert_eq!(state.summary.root.hash, plant::root_over(segments.values()), "{id}");
    let mut rows = state.present;
    plant::names(store, id).values().for_each(|name| rows.remove(name.range().unwrap()));
    let rows = rows.iter().flat_map(|range| range.first()..=range.last());
    let sum = rows.fold(0_u64, |sum, seq| sum.wrapping_add(plant::check_of(id, seq, &records[&seq]).0));
    assert_eq!(state.summary.tail, sum, "{id}");
    assert!(!store.rebuild_digest(id).unwrap(), "{id}: a rebuild finds another digest");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn author_and_replica_do_what_the_model_does(steps in proptest::collection::vec(step(), 1..60)) {
        let mut plant = Plant::new();
        for (at, step) in steps.into_iter().enumerate() {
            plant.take(&step);
            if at % 6 == 5 {
                plant.check();
            }
        }
        plant.check();
        plant.heal();
        plant.check();
    }
}
