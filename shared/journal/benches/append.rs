//! Appending in batches with a flush each, against plain `INSERT` of the same rows, in one run on one disk.
//!
//! Prints a table, and one line of JSON at the end. `cargo bench -p millrace-journal`; arguments: `--batches N`, `--directory D`,
//! `--level L` (of zstd). With `--against PROGRAM`, the path of this benchmark as an older commit builds it, both run by turns and the line
//! `against` says what the younger one costs more: that is how the upkeep of a new table is measured.
//! Absent: MQTT, the link, and the engines; they have benchmarks of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_precision_loss)]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod readings;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use millrace_journal::{Author, Options, Store};
use millrace_model::store::Change;
use millrace_model::{DeviceId, Incarnation, Lane, Record};
use readings::{BATCH, argument, batches, worked};

const ROUNDS: usize = 3;
/// Runs of each build with `--against`.
const TURNS: usize = 7;

/// Bytes that this process made the kernel send to block devices; 0 where the kernel does not say.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[derive(Clone, Copy)]
struct Measure {
    time: Duration,
    worked: Duration,
    written: u64,
    stored: u64,
}

fn directory_bytes(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

fn measure(directory: &Path, work: impl FnOnce(&Path)) -> Measure {
    let dir = tempfile::tempdir_in(directory).unwrap();
    let (before, busy, start) = (written(), worked(), Instant::now());
    work(dir.path());
    let (time, worked, written) = (start.elapsed(), worked() - busy, written() - before);
    Measure { time, worked, written, stored: directory_bytes(dir.path()) }
}

fn journal(batches: Vec<Vec<Record>>, directory: &Path) {
    let author = Author { device: DeviceId::from_bytes([1; 16]), incarnation_if_new: Incarnation::new(1) };
    let mut options = Options { reserve_bytes: 0, ..Options::agent(author) };
    if let Some(level) = argument("--level").and_then(|text| text.parse().ok()) {
        options.compression_level = level;
    }
    let mut store = Store::open(&directory.join("journal.db"), &options).unwrap();
    for (commit, records) in (0..).zip(batches) {
        store.commit(commit, &[Change::Append { lane: Lane::Normal, records }]).unwrap();
    }
}

fn plain(batches: &[Vec<Record>], directory: &Path) {
    let mut conn = rusqlite::Connection::open(directory.join("plain.db")).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
         CREATE TABLE reading (seq INTEGER PRIMARY KEY, topic TEXT, payload BLOB, wall INTEGER, mono INTEGER) STRICT",
    )
    .unwrap();
    for records in batches {
        let tx = conn.transaction().unwrap();
        {
            let mut insert = tx
                .prepare_cached("INSERT INTO reading (topic, payload, wall, mono) VALUES (?, ?, ?, ?)")
                .unwrap();
            for record in records {
                let mono = record.mono.cast_signed();
                insert.execute((record.topic.as_str(), &record.payload[..], record.wall.0, mono)).unwrap();
            }
        }
        tx.commit().unwrap();
    }
}

fn median(mut measures: Vec<Measure>) -> Measure {
    measures.sort_by_key(|measure| measure.time);
    measures[measures.len() / 2]
}

/// What another build of this benchmark measures of the journal: processor µs per record, and bytes written per raw byte.
fn other(program: &str, count: u64, directory: &Path) -> (f64, f64) {
    let count = count.to_string();
    let said = std::process::Command::new(program)
        .args(["--batches", &count, "--directory"])
        .arg(directory)
        .output()
        .unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("journal ")).unwrap();
    let figures: Vec<f64> = line.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
    (figures[1], figures[2])
}

/// Runs another build and this one by turns, and compares their medians.
fn against(program: &str, count: u64, directory: &Path) {
    let this = std::env::current_exe().unwrap();
    let (mut older, mut younger) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        older.push(other(program, count, directory));
        younger.push(other(this.to_str().unwrap(), count, directory));
    }
    let middle = |all: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| {
        let mut some: Vec<f64> = all.iter().map(pick).collect();
        some.sort_by(f64::total_cmp);
        some[some.len() / 2]
    };
    let worked = (middle(&older, |m| m.0), middle(&younger, |m| m.0));
    let written = (middle(&older, |m| m.1), middle(&younger, |m| m.1));
    let more = |(old, new): (f64, f64)| (new / old - 1.0) * 100.0;
    println!(
        "against: {:.3} µs per record and {:.3} × raw written; here {:.3} ({:+.1} %) and {:.3} ({:+.1} %)",
        worked.0,
        written.0,
        worked.1,
        more(worked),
        written.1,
        more(written)
    );
}

fn main() {
    let count: u64 = argument("--batches").and_then(|text| text.parse().ok()).unwrap_or(300);
    let directory =
        argument("--directory").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&directory).unwrap();
    if let Some(program) = argument("--against") {
        return against(&program, count, &directory);
    }
    let batches = batches(count);
    let records = count * BATCH;
    let raw: u64 = batches.iter().flatten().map(|record| record.payload.len() as u64).sum();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(measure(&directory, |dir| plain(&batches, dir)));
        let copy = batches.clone();
        ours.push(measure(&directory, |dir| journal(copy, dir)));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let rate = |measure: Measure| records as f64 / measure.time.as_secs_f64();
    println!("{records} records of {} bytes, {BATCH} per flush, median of {ROUNDS}", raw / records);
    println!(
        "{:<14}{:>14}{:>16}{:>18}{:>18}",
        "", "records/s", "CPU µs/record", "written ÷ raw", "on disk ÷ raw"
    );
    for (name, measure) in [("plain INSERT", theirs), ("journal", ours)] {
        let ratio = |bytes: u64| bytes as f64 / raw as f64;
        println!(
            "{name:<14}{:>14.0}{:>16.2}{:>18.3}{:>18.3}",
            rate(measure),
            measure.worked.as_secs_f64() * 1e6 / records as f64,
            ratio(measure.written),
            ratio(measure.stored)
        );
    }
    let speed = rate(ours) / rate(theirs);
    let bytes = if theirs.written == 0 { f64::NAN } else { ours.written as f64 / theirs.written as f64 };
    println!("ratio: {speed:.2} × records/s (aim ≥ 1.5), {bytes:.3} × bytes written (aim ≤ 0.25)");
    let number = |value: f64| if value.is_finite() { format!("{value:.4}") } else { "null".into() };
    println!(
        r#"{{"bench":"journal_append","records":{records},"records_per_s":{:.0},"baseline_records_per_s":{:.0},"speed_ratio":{},"speed_aim":1.5,"written_ratio":{},"written_aim":0.25}}"#,
        rate(ours),
        rate(theirs),
        number(speed),
        number(bytes)
    );
}
