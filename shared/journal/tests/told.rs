//! What a peer is told about a journal: right, within limits, or an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use std::collections::BTreeMap;

use millrace_journal::{ReadError, Store};
use millrace_merkle::question::{CHECKS_MAX, NAMES_MAX, NARROW, NODES_MAX, WIDE};
use millrace_merkle::{About, Outline, Slots, Told, spans};
use millrace_model::store::Change;
use millrace_model::{JournalId, Lane, NodeHash, RangeSet};
use plant::{all, check_of, commit, hasty, journal, names, range, reading, readings, receive, replica};

const NORMAL: Lane = Lane::Normal;

/// A replica on disk with these segments of four records each.
fn holding(ordinals: impl IntoIterator<Item = u64>) -> (tempfile::TempDir, Store, Store) {
    let mut author = Store::in_memory(&hasty()).unwrap();
    let changes: Vec<Change> =
        (0..300).map(|n| Change::Append { lane: NORMAL, records: readings(n * 4 + 1, 4) }).collect();
    author.commit(1, &changes).unwrap();
    let runs = author.load(&journal(NORMAL), all(), usize::MAX).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Store::open(&dir.path().join("journal.db"), &replica()).unwrap();
    let changes: Vec<Change> =
        ordinals.into_iter().map(|n| Change::Receive(runs[usize::try_from(n).unwrap()].clone())).collect();
    hub.commit(1, &changes).unwrap();
    (dir, author, hub)
}

fn outline(store: &Store, from: u64) -> Outline {
    match store.tell(&journal(NORMAL), &About::Outline { from }).unwrap() {
        Told::Outline(outline) => outline,
        other => panic!("{other:?}"),
    }
}

fn nodes(store: &Store, level: u8, indexes: &[u64], depth: u8, width: u8) -> Vec<Slots> {
    let about = About::Nodes { level, indexes: indexes.to_vec(), depth, width };
    match store.tell(&journal(NORMAL), &about).unwrap() {
        Told::Nodes(slots) => slots,
        other => panic!("{other:?}"),
    }
}

fn told_names(store: &Store, ordinals: &[u64]) -> Vec<u64> {
    match store.tell(&journal(NORMAL), &About::Names { ordinals: ordinals.to_vec() }).unwrap() {
        Told::Names(found) => found.iter().map(|name| name.ordinal).collect(),
        other => panic!("{other:?}"),
    }
}

/// The places of an answer that are taken, each with the beginning of its hash.
fn open(slots: &Slots, width: u8) -> Vec<(u64, Vec<u8>)> {
    let places = (0..slots.taken.len() * 8).filter(|place| slots.taken[place / 8] & (1 << (place % 8)) != 0);
    places.map(|place| place as u64).zip(slots.hashes.chunks(width.into()).map(<[u8]>::to_vec)).collect()
}

/// Walks down from the highest level there can be, by steps of so many levels.
fn walk(store: &Store, depth: u8, width: u8) -> BTreeMap<u64, Vec<u8>> {
    let (mut level, mut indexes) = (16_u8, vec![0_u64]);
    loop {
        let step = if level > 1 { depth } else { 1 };
        let mut below = BTreeMap::new();
        for some in indexes.chunks(16) {
            for (index, slots) in some.iter().zip(nodes(store, level, some, step, width)) {
                let at = index << (4 * step);
                below.extend(open(&slots, width).into_iter().map(|(place, hash)| (at + place, hash)));
            }
        }
        level -= step;
        if level == 0 {
            return below;
        }
        indexes = below.into_keys().collect();
    }
}

#[test]
fn an_outline_says_what_is_here_from_where_it_is_asked_for() {
    let (_dir, _author, mut hub) = holding([0, 1, 2, 5, 6, 9]);
    receive(&mut hub, plant::loose(journal(NORMAL), 50, &readings(50, 3)));
    commit(&mut hub, Change::Drop { journal: journal(NORMAL), through: 4, evict: None });
    let told = outline(&hub, 0);
    assert_eq!((told.floor, told.head, told.first_ordinal, told.more), (5, 52, 1, false));
    assert_eq!(told.summary, hub.journal(&journal(NORMAL)).unwrap().summary);
    let here = |from| spans::decode(&outline(&hub, from).present, from).unwrap();
    let state = hub.journal(&journal(NORMAL)).unwrap();
    assert_eq!(here(0), state.present);
    assert_eq!(here(10), state.present.within(range(10, 52)), "the first range is cut off at the front");
    assert_eq!(here(53), RangeSet::new());
}

#[test]
fn walking_down_the_nodes_leads_to_every_segment() {
    let (_dir, _author, mut hub) = holding((0..300).filter(|n| n % 7 != 3));
    for floor in [0_u64, 37, 64] {
        if floor > 0 {
            commit(&mut hub, Change::Drop { journal: journal(NORMAL), through: floor * 4, evict: None });
        }
        let first = hub.journal(&journal(NORMAL)).unwrap().first_ordinal;
        assert!(first == floor || first + 1 == floor, "{first}");
        let expected: BTreeMap<u64, NodeHash> = names(&hub, &journal(NORMAL))
            .iter()
            .map(|(ordinal, name)| (*ordinal, NodeHash::of_segment(&name.hash)))
            .collect();
        for (depth, width) in [(1, WIDE), (2, WIDE), (1, NARROW), (2, NARROW)] {
            let mut found = walk(&hub, depth, width);
            // Of what lies below the floor the last few leaves are known, as far as they share a node with what is kept.
            let below = std::mem::take(&mut found);
            found.extend(below.into_iter().filter(|(ordinal, _)| *ordinal >= first));
            let expected = expected.iter().map(|(at, hash)| (*at, hash.0[..width.into()].to_vec())).collect();
            assert_eq!(found, expected, "floor {floor}, depth {depth}");
        }
    }
}

#[test]
fn above_the_root_stand_nodes_with_nothing_but_the_root_in_them() {
    let (_dir, _author, hub) = holding(0..20);
    let root = hub.journal(&journal(NORMAL)).unwrap().summary.root;
    assert_eq!(root.level, 2);
    for level in 3..=16 {
        let told = nodes(&hub, level, &[0, 1], 1, WIDE);
        assert_eq!(open(&told[0], WIDE), [(0, root.hash.unwrap().0.to_vec())]);
        assert_eq!((told[1].hashes.len(), told[1].taken.len()), (0, 2));
    }
    assert_eq!(nodes(&hub, 3, &[0], 2, WIDE)[0].taken.len(), 32);
}

#[test]
fn names_are_found_wherever_they_stand() {
    let (_dir, _author, hub) = holding((0..300).filter(|n| n % 3 != 1 && !(100..200).contains(n)));
    let here: Vec<u64> = names(&hub, &journal(NORMAL)).into_keys().collect();
    assert_eq!(told_names(&hub, &(0..1_000).collect::<Vec<_>>()), here);
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..50 {
        let asked: std::collections::BTreeSet<u64> = (0..rng.usize(1..9)).map(|_| rng.u64(0..310)).collect();
        let asked: Vec<u64> = asked.into_iter().collect();
        let expected: Vec<u64> = asked.iter().copied().filter(|ordinal| here.contains(ordinal)).collect();
        assert_eq!(told_names(&hub, &asked), expected, "{asked:?}");
    }
    let name = names(&hub, &journal(NORMAL))[&299];
    assert_eq!(
        hub.tell(&journal(NORMAL), &About::Names { ordinals: vec![299] }).unwrap(),
        Told::Names(vec![name])
    );
}

#[test]
fn checks_are_told_of_tail_rows_alone_and_only_when_they_verify() {
    let (dir, _author, mut hub) = holding([0]);
    let id = journal(NORMAL);
    receive(&mut hub, plant::loose(id, 5, &readings(5, 3)));
    receive(&mut hub, plant::loose(id, 20, &readings(20, 2)));
    let ranges: RangeSet = [range(1, 6), range(21, 900)].into_iter().collect();
    let about = About::Checks { ranges };
    let expected = [5, 6, 21].map(|seq| (seq, check_of(&id, seq, &reading(seq)))).to_vec();
    assert_eq!(hub.tell(&id, &about).unwrap(), Told::Checks(expected.clone()));
    assert_eq!(hub.reader().unwrap().tell(&id, &about).unwrap(), Told::Checks(expected));
    let conn = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    conn.execute_batch("UPDATE tail SET checksum = checksum + 1 WHERE seq = 21").unwrap();
    let damaged = hub.tell(&id, &about);
    assert!(matches!(&damaged, Err(ReadError::Damaged { range, .. }) if range.first() == 21), "{damaged:?}");

    let long = 2_000;
    let mut hub = Store::in_memory(&replica()).unwrap();
    for part in 0..5 {
        let first = part * 1_000 + long;
        receive(&mut hub, plant::loose(id, first, &readings(first, 1_000)));
    }
    match hub.tell(&id, &About::Checks { ranges: all().into() }).unwrap() {
        Told::Checks(found) => assert_eq!(found.len(), CHECKS_MAX),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_is_damaged_or_gone_is_never_told() {
    for tampering in [
        "UPDATE digest SET children = zeroblob(length(children)) WHERE level = 1 AND last = 31",
        "DELETE FROM digest WHERE level = 1 AND last = 31",
        "UPDATE digest SET checksum = checksum + 1 WHERE level = 1 AND last = 31",
    ] {
        let (dir, _author, mut hub) = holding(0..300);
        let id = journal(NORMAL);
        let conn = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
        conn.execute_batch(tampering).unwrap();
        let ask = |level, depth| About::Nodes { level, indexes: vec![0, 1], depth, width: NARROW };
        for (level, depth, fits) in [(1, 1, false), (2, 2, false), (2, 1, true), (3, 2, true)] {
            let told = hub.tell(&id, &ask(level, depth));
            assert_eq!(told.is_ok(), fits, "{level} {depth}: {told:?}");
            assert!(fits || matches!(told, Err(ReadError::Damaged { .. })));
        }
        let before = hub.journal(&id).unwrap().summary;
        hub.quarantine(&id, all()).unwrap();
        assert!(hub.tell(&id, &ask(1, 1)).is_ok());
        assert_eq!(hub.journal(&id).unwrap().summary, before);
    }
}

#[test]
fn what_asks_for_too_much_or_for_what_there_cannot_be_is_refused() {
    let (_dir, _author, hub) = holding([0]);
    let many = |count: usize| (0..count as u64).collect::<Vec<u64>>();
    let ask = |level, indexes, depth, width| About::Nodes { level, indexes, depth, width };
    for about in [
        ask(0, vec![0], 1, NARROW),
        ask(17, vec![0], 1, NARROW),
        ask(1, vec![0], 2, NARROW),
        ask(2, vec![0], 3, NARROW),
        ask(2, vec![0], 0, NARROW),
        ask(1, vec![0], 1, 5),
        ask(1, vec![1, 0], 1, NARROW),
        ask(1, many(NODES_MAX + 1), 1, NARROW),
        ask(1, many(257), 1, WIDE),
        ask(2, many(65), 2, NARROW),
        About::Names { ordinals: many(NAMES_MAX + 1) },
        About::Names { ordinals: vec![4, 4] },
    ] {
        assert!(matches!(hub.tell(&journal(NORMAL), &about), Err(ReadError::Question(_))), "{about:?}");
    }
    assert_eq!(nodes(&hub, 1, &many(NODES_MAX), 1, NARROW).len(), NODES_MAX);
    assert_eq!(nodes(&hub, 1, &[0, u64::MAX], 1, NARROW)[1].hashes.len(), 0);
    let nobody = JournalId { lane: Lane::Bulk, ..journal(NORMAL) };
    assert_eq!(hub.tell(&nobody, &About::Outline { from: 1 }), Ok(Told::Unknown));
    assert_eq!(hub.reader().unwrap().tell(&nobody, &About::Outline { from: 1 }), Ok(Told::Unknown));
}
