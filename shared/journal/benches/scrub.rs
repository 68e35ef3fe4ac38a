//! Scrubbing a store of sealed readings: raw bytes verified per second of one processor.
//!
//! `cargo bench -p millrace-journal --bench scrub`; arguments: `--batches N`, `--directory D`.
//! Absent: the disk. What was just written is still in memory, so this is what a scrub costs, not how fast a disk is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_precision_loss)]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod readings;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use millrace_journal::{Author, Options, ScrubCursor, Scrubbed, Store};
use millrace_model::store::Change;
use millrace_model::{DeviceId, Incarnation, Lane};
use readings::{argument, batches, worked};

const ROUNDS: usize = 5;

/// Stored bytes of one step, as a daemon asks for.
const STEP_BYTES: u64 = 1 << 20;

fn pass(store: &Store) -> Scrubbed {
    let reader = store.reader().unwrap();
    let (mut sum, mut from) = (Scrubbed::default(), Some(ScrubCursor::default()));
    while let Some(cursor) = from {
        let found = reader.scrub(cursor, STEP_BYTES).unwrap();
        assert!(found.damaged.is_empty() && found.digests.is_empty());
        sum.segments += found.segments;
        sum.raw_bytes += found.raw_bytes;
        sum.stored_bytes += found.stored_bytes;
        from = found.next;
    }
    sum
}

fn main() {
    let count: u64 = argument("--batches").and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let directory =
        argument("--directory").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&directory).unwrap();
    let dir = tempfile::tempdir_in(directory).unwrap();
    let author = Author { device: DeviceId::from_bytes([1; 16]), incarnation_if_new: Incarnation::new(1) };
    let options = Options { reserve_bytes: 0, ..Options::agent(author) };
    let mut store = Store::open(&dir.path().join("journal.db"), &options).unwrap();
    for records in batches(count) {
        store.commit(1, &[Change::Append { lane: Lane::Normal, records }]).unwrap();
    }
    let mut rounds: Vec<(Duration, Duration, Scrubbed)> = (0..ROUNDS)
        .map(|_| {
            let (busy, start) = (worked(), Instant::now());
            let found = pass(&store);
            (worked() - busy, start.elapsed(), found)
        })
        .collect();
    rounds.sort_by_key(|(busy, ..)| *busy);
    let (busy, time, found) = &rounds[ROUNDS / 2];
    let rate = |bytes: u64, time: &Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    println!(
        "{} segments, {} MB raw, {} MB stored, median of {ROUNDS}: {:.0} MB/s raw per core (aim ≥ 500), {:.0} MB/s by the clock on the wall, {:.0} MB/s stored",
        found.segments,
        found.raw_bytes / 1_000_000,
        found.stored_bytes / 1_000_000,
        rate(found.raw_bytes, busy),
        rate(found.raw_bytes, time),
        rate(found.stored_bytes, busy),
    );
    println!(r#"{{"bench":"journal_scrub","raw_mb_per_s":{:.0},"aim":500}}"#, rate(found.raw_bytes, busy));
}
