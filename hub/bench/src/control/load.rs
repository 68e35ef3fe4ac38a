//! Clients that put, wait for the answer, and put again.
//!
//! Promise: all clients are connected before the clock starts, and run for a while before anything counts. A put that fails
//! ends the measurement: a figure with failures in it means nothing.

use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes of a value: a record of a device or a token has about as many.
const VALUE_BYTES: usize = 128;
/// Keys of one client, so that most puts replace one.
const KEYS: usize = 100;
/// What does not count: files grow, connections and caches warm up.
const WARM: Duration = Duration::from_millis(500);

/// Somebody who puts.
pub(crate) trait Putter: Send + 'static {
    /// Puts `value` under `key` and waits until it is decided.
    fn put(&mut self, key: String, value: Bytes) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a crowd of clients reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    /// Puts per second.
    pub(crate) rate: f64,
    /// How long half of them took at most.
    pub(crate) middle_ms: f64,
    /// How long 99 of 100 took at most.
    pub(crate) slow_ms: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, middle_ms, slow_ms } = self;
        write!(f, "{rate:.0} puts/s, median {middle_ms:.2} ms, 99 of 100 {slow_ms:.2} ms")
    }
}

/// Lets every client put for `length`.
pub(crate) async fn measure<P: Putter>(clients: Vec<P>, length: Duration) -> anyhow::Result<Figures> {
    let start = Instant::now() + WARM;
    let end = start + length;
    let mut crowd = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        crowd.spawn(put_until(client, number, start, end));
    }
    let mut taken = Vec::new();
    while let Some(client) = crowd.join_next().await {
        taken.extend(client??);
    }
    figures(taken, length)
}

/// The times of the puts that began in the measure.
async fn put_until(
    mut client: impl Putter,
    number: usize,
    start: Instant,
    end: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let mut taken = Vec::new();
    let mut count = 0_usize;
    loop {
        let began = Instant::now();
        client.put(format!("bench/{number}/{}", count % KEYS), value.clone()).await?;
        count += 1;
        let ended = Instant::now();
        if ended > end {
            return Ok(taken);
        }
        if ended > start {
            taken.push(ended - began);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 puts")]
fn figures(mut taken: Vec<Duration>, length: Duration) -> anyhow::Result<Figures> {
    taken.sort_unstable();
    let at = |of_hundred: usize| taken.get(taken.len().saturating_sub(1) * of_hundred / 100);
    let (Some(middle), Some(slow)) = (at(50), at(99)) else { anyhow::bail!("nobody put anything") };
    ensure!(!length.is_zero(), "a measure has a length");
    let ms = |duration: &Duration| duration.as_secs_f64() * 1e3;
    let rate = taken.len() as f64 / length.as_secs_f64();
    Ok(Figures { rate, middle_ms: ms(middle), slow_ms: ms(slow) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_a_hundred_does_not_count_and_the_one_before_does() {
        let taken = (1..=100).rev().map(Duration::from_millis).collect();
        let figures = figures(taken, Duration::from_secs(2)).unwrap();
        assert_eq!(figures, Figures { rate: 50.0, middle_ms: 50.0, slow_ms: 99.0 });
    }
}
