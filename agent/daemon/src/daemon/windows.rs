//! Bandwidth windows: by day and hour, how many bytes may go.
//!
//! Promise: the fastest open window counts; without one the base rate does. Right at start-up, too.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_agent_engine::Event;
use millrace_host::Clock;
use millrace_host::schedules::{ScheduleError, Schedules};
use tokio::sync::mpsc;

use crate::config::UplinkSettings;

struct Board {
    settings: UplinkSettings,
    open: Mutex<BTreeSet<usize>>,
    events: mpsc::Sender<Event>,
}

/// Starts the windows; tells the driver the rate that holds now, and every later one.
///
/// # Errors
/// When a cron expression is wrong.
pub async fn start(
    settings: UplinkSettings,
    clock: Clock,
    events: mpsc::Sender<Event>,
) -> Result<Schedules, ScheduleError> {
    let schedules = Schedules::new(clock, settings.zone).await?;
    let windows = settings.windows.clone();
    let board = Arc::new(Board { settings, open: Mutex::default(), events });
    board.tell();
    for (at, window) in windows.into_iter().enumerate() {
        let (opens, closes) = (Arc::clone(&board), Arc::clone(&board));
        let name = format!("uplink.window.{at}");
        schedules
            .window(&name, &window.open, window.length, move || opens.opened(at), move || closes.closed(at))
            .await?;
    }
    Ok(schedules)
}

impl Board {
    fn opened(&self, at: usize) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(at);
        self.tell();
    }

    fn closed(&self, at: usize) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&at);
        self.tell();
    }

    fn tell(&self) {
        let rate = fastest(&self.settings, &self.open.lock().unwrap_or_else(PoisonError::into_inner));
        match rate {
            Some(rate) => tracing::info!(bytes_per_second = rate, "the bandwidth budget"),
            None => tracing::info!("the bandwidth budget: unlimited"),
        }
        let event = Event::Allowance { rate, metered: self.settings.metered };
        if self.events.try_send(event).is_err() {
            tracing::warn!("a bandwidth window could not be announced: the agent is overloaded or stopping");
        }
    }
}

fn fastest(settings: &UplinkSettings, open: &BTreeSet<usize>) -> Option<u64> {
    let rates = open.iter().filter_map(|at| settings.windows.get(*at)).map(|window| window.rate);
    // `None` is unlimited, and faster than any number.
    rates.max_by_key(|rate| rate.unwrap_or(u64::MAX)).unwrap_or(settings.rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UplinkWindow;
    use millrace_host::schedules::Zone;
    use std::time::Duration;

    fn settings() -> UplinkSettings {
        let window =
            |open: &str, rate| UplinkWindow { open: open.to_owned(), length: Duration::from_secs(60), rate };
        UplinkSettings {
            rate: Some(10),
            metered: false,
            zone: Zone::Utc,
            windows: vec![
                window("* * * * *", Some(100)),
                window("0 0 1 2 *", None),
                window("0 0 1 1 *", Some(5)),
            ],
        }
    }

    #[test]
    fn the_fastest_open_window_counts_and_without_one_the_base_rate() {
        let settings = settings();
        assert_eq!(fastest(&settings, &BTreeSet::new()), Some(10));
        assert_eq!(fastest(&settings, &BTreeSet::from([0, 2])), Some(100));
        assert_eq!(fastest(&settings, &BTreeSet::from([2])), Some(5), "a window may also be slower");
        assert_eq!(fastest(&settings, &BTreeSet::from([0, 1])), None);
    }

    #[tokio::test]
    async fn a_window_that_is_open_at_the_start_holds_from_the_start() {
        let (events, mut heard) = mpsc::channel(8);
        let schedules = start(settings(), Clock::system(), events).await.unwrap();
        assert_eq!(heard.recv().await, Some(Event::Allowance { rate: Some(10), metered: false }));
        assert_eq!(heard.recv().await, Some(Event::Allowance { rate: Some(100), metered: false }));
        schedules.shutdown().await;
    }
}
