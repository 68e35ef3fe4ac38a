//! Queries give what a look at every record would give, and read only what overlaps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod plant;

use bytes::Bytes;
use millrace_journal::{Order, Page, Query, ReadError, Row, Store};
use millrace_model::store::Change;
use millrace_model::{DeviceId, Incarnation, JournalId, Kind, Lane, Record, Topic, Wall};
use plant::{append, author, journal, loose, readings, replica};

/// Three devices with three lanes each. Clocks run, jump back, stand still and begin in 1970.
fn fleet(seed: u64) -> (Store, Vec<Row>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut hub = Store::in_memory(&replica()).unwrap();
    let mut rows = Vec::new();
    for device in 1..=3_u8 {
        let mut options = author();
        options.author.as_mut().unwrap().device = DeviceId::from_bytes([device; 16]);
        options.burst_records = 50;
        let mut author = Store::in_memory(&options).unwrap();
        for lane in Lane::ALL {
            let id = JournalId {
                device: DeviceId::from_bytes([device; 16]),
                incarnation: Incarnation::new(0x1111),
                lane,
            };
            let (mut wall, mut seq) = (if rng.bool() { 0 } else { 1_000_000_000 }, 0);
            for _ in 0..12 {
                let records: Vec<Record> = (0..rng.u64(1..120))
                    .map(|_| {
                        wall += match rng.u32(0..60) {
                            0 => -rng.i64(0..50_000_000),
                            1 => rng.i64(0..5_000_000_000),
                            2..10 => 0,
                            _ => rng.i64(0..500_000),
                        };
                        let topic = Topic::new(&format!("line-{}/{device}", rng.u32(0..3))).unwrap();
                        let mut record = Record::data(topic, Bytes::from_static(b"{}"), Wall(wall), 1);
                        if rng.u32(0..20) == 0 {
                            record.kind = Kind::CLOCK;
                        }
                        record
                    })
                    .collect();
                for record in &records {
                    seq += 1;
                    rows.push(Row { journal: id, seq, record: record.clone() });
                }
                append(&mut author, lane, records);
            }
            for run in author.load(&id, plant::all(), usize::MAX).unwrap() {
                plant::receive(&mut hub, run);
            }
        }
    }
    (hub, rows)
}

fn brute(rows: &[Row], query: &Query) -> Vec<Row> {
    let mut found: Vec<Row> = rows
        .iter()
        .filter(|row| {
            query.devices.as_ref().is_none_or(|some| some.contains(&row.journal.device))
                && query.lanes.as_ref().is_none_or(|some| some.contains(&row.journal.lane))
                && (query.kinds.is_empty() || query.kinds.contains(&row.record.kind))
                && (query.topics.is_empty() || query.topics.iter().any(|f| row.record.topic.matches(f)))
                && query.from.is_none_or(|from| row.record.wall >= from)
                && query.to.is_none_or(|to| row.record.wall < to)
        })
        .cloned()
        .collect();
    found.sort_by_key(|row| (row.record.wall, row.journal, row.seq));
    if query.order == Order::NewestFirst {
        found.reverse();
    }
    found
}

fn every_page(store: &Store, query: &Query) -> Vec<Row> {
    let (mut rows, mut query) = (Vec::new(), query.clone());
    loop {
        let page = store.query(&query).unwrap();
        assert!(page.rows.len() <= query.limit.max(1));
        rows.extend(page.rows);
        match page.next {
            // Through its text form, as a client would hand it back.
            Some(next) => query.cursor = Some(next.to_string().parse().unwrap()),
            None => return rows,
        }
    }
}

#[test]
fn every_query_gives_what_a_look_at_everything_gives() {
    for seed in 0..3 {
        let (hub, rows) = fleet(seed);
        let mut rng = fastrand::Rng::with_seed(seed + 100);
        for _ in 0..30 {
            let some_wall = |rng: &mut fastrand::Rng| rows[rng.usize(0..rows.len())].record.wall;
            let query = Query {
                devices: rng.bool().then(|| vec![DeviceId::from_bytes([rng.u8(1..=4); 16])]),
                lanes: (rng.u32(0..3) == 0).then(|| vec![Lane::Normal, Lane::Bulk]),
                topics: if rng.u32(0..3) == 0 { vec!["line-1/#".into(), "+/2".into()] } else { Vec::new() },
                kinds: if rng.bool() { vec![Kind::DATA] } else { Vec::new() },
                from: rng.bool().then(|| some_wall(&mut rng)),
                to: rng.bool().then(|| some_wall(&mut rng)),
                order: if rng.bool() { Order::OldestFirst } else { Order::NewestFirst },
                limit: rng.usize(5..600),
                cursor: None,
            };
            let (found, expected) = (every_page(&hub, &query), brute(&rows, &query));
            assert_eq!(found.len(), expected.len(), "seed {seed} {query:?}");
            assert!(found == expected, "seed {seed} {query:?}");
        }
    }
}

/// A hundred segments of 256 readings, a second apart.
fn long_history() -> Store {
    let mut store = Store::in_memory(&author()).unwrap();
    for n in 0..100 {
        append(&mut store, Lane::Normal, readings(1 + n * 256, 256));
    }
    store
}

fn second(at: i64) -> Wall {
    Wall(at * 1_000_000)
}

#[test]
fn only_segments_that_overlap_the_asked_time_are_read() {
    let store = long_history();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let query = Query {
            from: Some(second(12_800)),
            to: Some(second(12_900)),
            order,
            limit: 1_000,
            ..Query::default()
        };
        let page = store.query(&query).unwrap();
        assert_eq!(page.rows.len(), 100);
        assert!(page.segments_read <= 2, "{} segments", page.segments_read);
        let page: Page = store.query(&Query { from: None, to: None, limit: 10, ..query }).unwrap();
        assert_eq!(page.rows.len(), 10);
        // Newest first, the walk knows ends only by their class, an hour at most: the index is read, bodies are not.
        assert!(page.segments_read <= 1, "{} segments", page.segments_read);
        assert!(page.rows_examined <= 256);
    }
    let none = Query { from: Some(second(90_000)), ..Query::default() };
    assert_eq!(store.query(&none).unwrap().segments_read, 0);
}

#[test]
fn pages_stay_stable_while_records_arrive() {
    let mut store = long_history();
    let query = Query { order: Order::NewestFirst, limit: 300, ..Query::default() };
    let first = store.query(&query).unwrap();
    append(&mut store, Lane::Normal, readings(25_601, 500));
    let second = store.query(&Query { cursor: first.next.clone(), ..query }).unwrap();
    let seqs: Vec<u64> = first.rows.iter().chain(&second.rows).map(|row| row.seq).collect();
    assert_eq!(seqs, (25_001..=25_600).rev().collect::<Vec<_>>());
}

#[test]
fn a_page_is_bounded_by_bytes_as_well_as_by_rows() {
    let mut store = Store::in_memory(&author()).unwrap();
    let big = |n: i64| Record {
        payload: vec![0; 500_000].into(),
        wall: Wall(n),
        ..Record::data(Topic::new("scan").unwrap(), Bytes::new(), Wall(n), 1)
    };
    for n in 0..60 {
        append(&mut store, Lane::Bulk, vec![big(n)]);
    }
    let page = store.query(&Query { limit: 60, ..Query::default() }).unwrap();
    let bytes: usize = page.rows.iter().map(|row| row.record.payload.len()).sum();
    assert!((1_000_000..=millrace_journal::QUERY_BYTES_MAX).contains(&bytes), "{bytes}");
    assert_eq!(every_page(&store, &Query { limit: 60, ..Query::default() }).len(), 60);
}

#[test]
fn a_reader_sees_what_the_store_sees() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&dir.path().join("journal.db"), &author()).unwrap();
    let reader = store.reader().unwrap();
    append(&mut store, Lane::Normal, readings(1, 700));
    append(&mut store, Lane::Urgent, readings(1, 3));
    let query = Query { limit: 1_000, ..Query::default() };
    assert_eq!(reader.query(&query).unwrap(), store.query(&query).unwrap());
    let one = Query { devices: Some(vec![plant::DEVICE]), ..query };
    assert_eq!(reader.query(&one).unwrap(), store.query(&one).unwrap());
    assert_eq!(
        reader.load(&journal(Lane::Normal), plant::all(), 1 << 20).unwrap(),
        store.load(&journal(Lane::Normal), plant::all(), 1 << 20).unwrap()
    );
    assert_eq!(reader.journals().unwrap(), store.journals());
    assert!(reader.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn an_in_memory_store_says_that_it_has_no_reader() {
    let mut store = Store::in_memory(&replica()).unwrap();
    assert!(matches!(store.reader(), Err(ReadError::InMemory)));
    let run = loose(journal(Lane::Normal), 1, &readings(1, 5));
    plant::commit(&mut store, Change::Receive(run));
    assert_eq!(store.query(&Query::default()).unwrap().rows.len(), 5);
}
