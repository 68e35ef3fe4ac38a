//! Readings and clocks that the benchmarks of this crate share.
//!
//! Absent: anything that measures.
#![allow(dead_code, reason = "each benchmark takes what it needs")]

use std::time::Duration;

use bytes::Bytes;
use millrace_model::{Record, Topic, Wall};

/// Records of one flush.
pub(crate) const BATCH: u64 = 1_000;

/// A reading of 200 bytes as a press sends it.
fn reading(number: u64, rng: &mut fastrand::Rng) -> Record {
    let press = number % 12;
    let topic = Topic::new(&format!("plant/hall-2/press-{press}/cycle")).unwrap();
    let mut payload = format!(
        r#"{{"ts":"2026-03-14T08:{:02}:{:02}.{:03}Z","cycle":{},"force_kn":{:.3},"temp_c":{:.2},"pos_mm":{:.4},"vibration":{:.5},"state":"{}","operator":"shift-{}","ok":true"#,
        number / 60_000 % 60,
        number / 1_000 % 60,
        number % 1_000,
        100_000 + number / 12,
        850.0 + rng.f64() * 40.0,
        61.0 + rng.f64() * 3.0,
        rng.f64() * 120.0,
        rng.f64() * 0.02,
        ["closing", "pressing", "opening", "idle"][rng.usize(0..4)],
        number / 400_000 % 3,
    );
    while payload.len() < 199 {
        payload.push(' ');
    }
    payload.push('}');
    let at = 1_773_475_200_000_000 + number * 1_000 + rng.u64(0..400);
    Record::data(topic, Bytes::from(payload), Wall(at.cast_signed()), at - 1_773_000_000_000_000)
}

pub(crate) fn batches(count: u64) -> Vec<Vec<Record>> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..count).map(|batch| (0..BATCH).map(|n| reading(batch * BATCH + n, &mut rng)).collect()).collect()
}

/// Time that this thread spent on a processor, which others on the machine disturb less than the clock on the wall.
pub(crate) fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// What stands behind an argument of the command line.
pub(crate) fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.by_ref().find(|argument| argument == name)?;
    arguments.next()
}
