//! The key-value core beside a reference model: maps that are copied whole at every revision.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_hub_control::kv::{
    Command, Compare, KeyRange, KeyValue, Op, OpAnswer, Outcome, RangeQuery, Refusal, Relation, Store,
    Target, Txn, Watch, Write,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

/// One map per revision.
#[derive(Default)]
struct Model {
    revisions: Vec<BTreeMap<Bytes, KeyValue>>,
    leases: BTreeMap<u64, ()>,
    granted: u64,
    compacted: u64,
}

impl Model {
    fn now(&self) -> BTreeMap<Bytes, KeyValue> {
        self.revisions.last().cloned().unwrap_or_default()
    }

    /// The map at a revision; 0: before the first.
    fn then(&self, revision: u64) -> BTreeMap<Bytes, KeyValue> {
        let at = usize::try_from(revision).unwrap();
        at.checked_sub(1).map(|at| self.revisions[at].clone()).unwrap_or_default()
    }

    fn revision(&self) -> u64 {
        self.revisions.len() as u64
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found = self.now().get(&compare.key).cloned().unwrap_or_default();
        let order = match &compare.target {
            Target::Value(value) => found.value.cmp(value),
            Target::Version(n) => found.version.cmp(n),
            Target::Create(n) => found.create_revision.cmp(n),
            Target::Mod(n) => found.mod_revision.cmp(n),
            Target::Lease(n) => found.lease.cmp(n),
        };
        match compare.relation {
            Relation::Equal => order.is_eq(),
            Relation::NotEqual => order.is_ne(),
            Relation::Less => order.is_lt(),
            Relation::Greater => order.is_gt(),
        }
    }

    fn txn(&mut self, txn: &Txn) -> Option<(bool, Vec<Plain>)> {
        let held = txn.compares.iter().all(|compare| self.holds(compare));
        let (mut map, next) = (self.now(), self.revision() + 1);
        let mut changed = false;
        let mut answers = Vec::new();
        for op in if held { &txn.then } else { &txn.otherwise } {
            match op {
                Op::Put { key, value, lease, .. } => {
                    if *lease != 0 && !self.leases.contains_key(lease) {
                        return None;
                    }
                    let before = map.get(key).cloned();
                    let create_revision = before.as_ref().map_or(next, |before| before.create_revision);
                    let version = before.as_ref().map_or(1, |before| before.version + 1);
                    let (key, value, lease) = (key.clone(), value.clone(), *lease);
                    let new = KeyValue {
                        key: key.clone(),
                        value,
                        create_revision,
                        mod_revision: next,
                        version,
                        lease,
                    };
                    map.insert(key, new);
                    changed = true;
                    answers.push((0, before.into_iter().collect()));
                }
                Op::Delete { range, .. } => {
                    let gone: Vec<KeyValue> =
                        map.values().filter(|v| range.contains(&v.key)).cloned().collect();
                    map.retain(|key, _| !range.contains(key));
                    changed |= !gone.is_empty();
                    answers.push((gone.len() as u64, gone));
                }
                Op::Range(query) => {
                    let found: Vec<KeyValue> =
                        map.values().filter(|v| query.range.contains(&v.key)).cloned().collect();
                    answers.push((found.len() as u64, found));
                }
            }
        }
        if changed {
            self.revisions.push(map);
        }
        Some((held, answers))
    }

    fn revoke(&mut self, lease: u64) -> Option<u64> {
        self.leases.remove(&lease)?;
        let mut map = self.now();
        let before = map.len();
        map.retain(|_, value| value.lease != lease);
        let deleted = (before - map.len()) as u64;
        if deleted > 0 {
            self.revisions.push(map);
        }
        Some(deleted)
    }

    fn check(&mut self, command: &Command, outcome: &Outcome) {
        match command {
            Command::Txn(txn) => match (self.txn(txn), outcome) {
                (Some((held, expected)), Outcome::Txn { held: found, revision, answers }) => {
                    assert_eq!((held, self.revision()), (*found, *revision));
                    assert_eq!(answers.iter().map(plain).collect::<Vec<_>>(), expected);
                }
                (None, Outcome::Refused(Refusal::NoLease(_))) => {}
                (expected, found) => panic!("{txn:?}: {expected:?}, not {found:?}"),
            },
            Command::Grant { .. } => {
                self.granted += 1;
                self.leases.insert(self.granted, ());
                assert!(matches!(outcome, Outcome::Granted { lease, .. } if *lease == self.granted));
            }
            Command::Revoke { lease } => match (self.revoke(*lease), outcome) {
                (Some(expected), Outcome::Revoked { deleted, .. }) => assert_eq!(expected, *deleted),
                (None, Outcome::Refused(Refusal::NoLease(_))) => {}
                (expected, found) => panic!("{expected:?}, not {found:?}"),
            },
            Command::Compact { revision } => {
                if *revision > self.revision() {
                    assert!(matches!(outcome, Outcome::Refused(Refusal::Future { .. })));
                } else {
                    self.compacted = self.compacted.max(*revision);
                }
            }
            Command::Budget { .. } | Command::Raise { .. } => {}
        }
    }
}

/// How many keys, and which.
type Plain = (u64, Vec<KeyValue>);

fn plain(answer: &OpAnswer) -> Plain {
    match answer {
        OpAnswer::Put { previous } => (0, previous.iter().cloned().collect()),
        OpAnswer::Deleted { count, previous } => (*count, previous.clone()),
        OpAnswer::Range(range) => (range.count, range.entries.clone()),
    }
}

fn key() -> impl Strategy<Value = Bytes> {
    (0..6_u8).prop_map(|n| Bytes::from(vec![b'a' + n]))
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        key().prop_map(KeyRange::One),
        (key(), key()).prop_map(|(start, end)| KeyRange::Between { start, end: Some(end) }),
        key().prop_map(|start| KeyRange::Between { start, end: None }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (key(), any::<u8>(), 0..4_u64)
            .prop_map(|(key, n, lease)| Op::Put { key, value: vec![n].into(), lease, previous: true }),
        1 => range().prop_map(|range| Op::Delete { range, previous: true }),
        1 => range().prop_map(|range| Op::Range(RangeQuery::of(range))),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    let relation = prop_oneof![
        Just(Relation::Equal),
        Just(Relation::NotEqual),
        Just(Relation::Less),
        Just(Relation::Greater)
    ];
    let target = prop_oneof![
        any::<u8>().prop_map(|n| Target::Value(vec![n].into())),
        (0..3_u64).prop_map(Target::Version),
        (0..9_u64).prop_map(Target::Create),
        (0..9_u64).prop_map(Target::Mod),
        (0..3_u64).prop_map(Target::Lease),
    ];
    (key(), relation, target).prop_map(|(key, relation, target)| Compare { key, relation, target })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        12 => (vec(compare(), 0..3), vec(op(), 0..4), vec(op(), 0..3)).prop_map(|(compares, then, otherwise)| {
            Command::Txn(Txn { compares, then, otherwise })
        }),
        2 => (0..9_999_u64).prop_map(|ttl_ms| Command::Grant { ttl_ms }),
        1 => (0..5_u64).prop_map(|lease| Command::Revoke { lease }),
        1 => (0..40_u64).prop_map(|revision| Command::Compact { revision }),
    ]
}

fn keep(rows: &mut BTreeMap<Bytes, Bytes>, writes: Vec<Write>) {
    for Write { key, value } in writes {
        match value {
            Some(value) => drop(rows.insert(key, value)),
            None => drop(rows.remove(&key)),
        }
    }
}

/// Everything that can be read, at every revision, is what the model says.
fn compare_reads(store: &Store, model: &Model) {
    let query = RangeQuery::of(KeyRange::all());
    for revision in 0..=model.revision() + 1 {
        let found = store.range(&query, Some(revision));
        if revision > model.revision() {
            assert!(matches!(found, Err(Refusal::Future { .. })));
        } else if revision < model.compacted {
            assert_eq!(found, Err(Refusal::Compacted { oldest: model.compacted }));
        } else {
            let expected = model.then(revision);
            assert_eq!(found.unwrap().entries, expected.into_values().collect::<Vec<_>>(), "at {revision}");
        }
    }
}

/// What a watch of everything tells leads from the oldest state to the newest.
fn compare_watch(store: &Store, model: &Model) {
    let oldest = store.usage().compacted;
    let mut map = model.then(oldest);
    let mut watch = Watch::from(KeyRange::all(), oldest + 1);
    while let Some(batch) = watch.poll(store).unwrap() {
        for change in &batch.changes {
            let before = if change.is_delete() {
                map.remove(&change.current.key)
            } else {
                map.insert(change.current.key.clone(), KeyValue::clone(&change.current))
            };
            assert_eq!(before.as_ref(), change.previous.as_deref());
        }
    }
    assert_eq!(map, model.now());
    assert!(Watch::from(KeyRange::all(), oldest).poll(store).is_err());
}

proptest! {
    #[test]
    fn the_core_does_what_the_model_does(commands in vec(command(), 1..60), cut in 1..7_usize) {
        let (mut store, mut model) = (Store::default(), Model::default());
        let mut rows = BTreeMap::new();
        for commands in commands.chunks(cut) {
            let valid: Vec<Command> = commands.iter().filter(|command| command.check().is_ok()).cloned().collect();
            let (outcomes, writes) = store.apply(&valid);
            valid.iter().zip(&outcomes).for_each(|(command, outcome)| model.check(command, outcome));
            keep(&mut rows, writes);
        }
        compare_reads(&store, &model);
        compare_watch(&store, &model);
        // The rows on disk lead to the same state, which goes on in the same way.
        let mut loaded = Store::load(rows.clone()).unwrap();
        assert_eq!(loaded.usage(), store.usage());
        compare_reads(&loaded, &model);
        let more = [Command::put("a", "more"), Command::delete(KeyRange::all())];
        let (one, other) = (store.apply(&more), loaded.apply(&more));
        assert_eq!(one, other);
        assert_eq!(loaded, store);
    }
}

#[test]
fn the_window_of_past_changes_stays_within_its_limit_and_the_rows_with_it() {
    let mut store = Store::default();
    let mut rows = BTreeMap::new();
    for n in 0..50_000_u64 {
        let (_, writes) = store.apply(&[Command::put(format!("key{}", n % 10), n.to_string())]);
        keep(&mut rows, writes);
    }
    let usage = store.usage();
    assert_eq!((usage.revision, usage.compacted, usage.keys), (50_000, 30_000, 10));
    assert_eq!(rows.len(), 20_000 + 10 + 1, "the window, what stands before it, and the head");
    let mut slow = Watch::from(KeyRange::one("key1"), 29_999);
    assert_eq!(slow.poll(&store).unwrap_err().oldest, 30_001);
    let loaded = Store::load(rows).unwrap();
    assert_eq!(loaded, store);
}

#[test]
fn a_full_store_refuses_puts_and_takes_deletes() {
    let mut store = Store::default();
    store.apply(&[Command::Budget { bytes: 10_000 }]);
    let put = |key: &str, bytes: usize| Command::put(key.to_owned(), vec![0; bytes]);
    let apply = |store: &mut Store, command: Command| store.apply(&[command]).0.pop().unwrap();
    assert!(matches!(apply(&mut store, put("a", 6_000)), Outcome::Txn { .. }));
    let refused = apply(&mut store, put("b", 6_000));
    assert!(matches!(refused, Outcome::Refused(Refusal::Full { used_bytes: 6_129, .. })), "{refused:?}");
    assert!(matches!(apply(&mut store, put("a", 5_000)), Outcome::Txn { .. }), "smaller than before");
    assert!(matches!(apply(&mut store, Command::delete(KeyRange::one("a"))), Outcome::Txn { .. }));
    assert!(matches!(apply(&mut store, put("b", 6_000)), Outcome::Txn { .. }));
}

#[test]
fn commands_that_make_no_sense_are_refused_before_they_are_looked_up() {
    let twice = Txn { then: vec![Op::put("a", "1"), Op::delete(KeyRange::prefix("a"))], ..Txn::default() };
    let many = Txn { then: (0..129).map(|n| Op::put(n.to_string(), "")).collect(), ..Txn::default() };
    let wrong = [
        (Command::put("", ""), "at least one byte"),
        (Command::put(vec![7; 5_000], ""), "4 KiB"),
        (Command::put("a", vec![0; 2 << 20]), "1 MiB"),
        (Command::Txn(twice), "at most once"),
        (Command::Txn(many), "128"),
    ];
    for (command, expected) in wrong {
        let refused = command.check().unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        let mut store = Store::default();
        assert!(matches!(store.apply(&[command]).0[0], Outcome::Refused(Refusal::Invalid(_))));
        assert_eq!(store, Store::default());
    }
}
