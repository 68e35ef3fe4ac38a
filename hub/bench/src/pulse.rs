//! A sensor that publishes all the time, and counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use millrace_host::Clock;

use crate::sensor::Sensor;

/// A sensor that publishes until this is dropped.
pub(crate) struct Pulse {
    number: Arc<Mutex<u64>>,
    stop: Arc<AtomicBool>,
}

impl Pulse {
    /// Publishes at `broker`, one by one, with pauses of `every`.
    pub(crate) fn begin(broker: SocketAddr, every: Duration) -> anyhow::Result<Self> {
        let mut sensor = Sensor::connect(broker, "live").context("the agent's broker")?;
        let pulse = Self { number: Arc::default(), stop: Arc::default() };
        let (number, stop) = (Arc::clone(&pulse.number), Arc::clone(&pulse.stop));
        let clock = Clock::system();
        tokio::task::spawn_blocking(move || {
            while !stop.load(Ordering::Relaxed) {
                let next = {
                    let mut number = number.lock().unwrap_or_else(PoisonError::into_inner);
                    *number += 1;
                    *number
                };
                let payload =
                    format!(r#"{{"live":{next},"wall_us":{},"pad":"{:0150}"}}"#, clock.wall().0, next);
                if let Err(error) = sensor.publish_one("plant/hall-2/andon/state", payload.as_bytes()) {
                    eprintln!("    the live sensor ended: {error:#}");
                    return;
                }
                std::thread::sleep(every);
            }
        });
        Ok(pulse)
    }

    /// The number of the next reading that will be published.
    pub(crate) fn next_number(&self) -> u64 {
        *self.number.lock().unwrap_or_else(PoisonError::into_inner) + 1
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
