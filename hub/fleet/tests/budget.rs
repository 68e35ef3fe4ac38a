//! A small disk budget is used: what a real store on a real disk holds of it when the engine decides what goes.
//!
//! Nothing is on the road: no hub acknowledges anything, the oldest records are given up all the time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::path::Path;
use std::time::Duration;

use millrace_agent_engine::{Command, Config, Engine, Event, Policy};
use millrace_journal::{Author, Options, Store};
use millrace_model::{DeviceId, Incarnation, Lane, Moment, Record, Topic, Wall};

const DEVICE: DeviceId = DeviceId::from_bytes([7; 16]);

/// What a run saw while the budget was used up.
#[derive(Debug)]
struct Seen {
    /// The least that was stored of records, bytes.
    stored_min: u64,
    /// The most that lay on disk, bytes.
    disk_max: u64,
    /// The most that the log took of it.
    log_max: u64,
    /// The most that was in use, as the store counts it.
    used_max: u64,
}

struct Site {
    dir: tempfile::TempDir,
    store: Store,
    engine: Engine,
    now: Moment,
    random: fastrand::Rng,
    ticket: u64,
}

impl Site {
    fn new(budget: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let author = Author { device: DEVICE, incarnation_if_new: Incarnation::new(1) };
        let mut options = Options::agent(author);
        options.wal_limit_bytes = options.wal_limit_bytes.min(budget / 32);
        let store = Store::open(&dir.path().join("journal.db"), &options).unwrap();
        let config = Config {
            disk_budget_bytes: budget,
            disk_reserve_bytes: (4 << 20).min(budget / 2),
            policies: [Policy::DropOldest; 3],
            ..Config::new(DEVICE, "test 1")
        };
        let now = Moment(0);
        let engine = Engine::new(config, Incarnation::new(1), store.journals(), store.usage(), 1, now);
        Self { dir, store, engine, now, random: fastrand::Rng::with_seed(1), ticket: 0 }
    }

    /// A reading of 200 bytes, most of them random digits.
    fn reading(&mut self) -> Record {
        self.ticket += 1;
        let mut payload = format!(r#"{{"n":{},"wave":""#, self.ticket);
        while payload.len() < 198 {
            payload.push(self.random.alphanumeric());
        }
        payload.push_str(r#""}"#);
        let wall = Wall(self.now.0.cast_signed());
        Record::data(Topic::new("plant/press-7/wave").unwrap(), payload.into_bytes().into(), wall, self.now.0)
    }

    fn arrive(&mut self, count: usize) {
        for _ in 0..count {
            let record = self.reading();
            let event = Event::Arrived { ticket: self.ticket, lane: Lane::Normal, record };
            self.engine.handle_event(event, self.now);
        }
        self.obey();
        self.now = self.now + Duration::from_millis(100);
        if self.engine.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            self.engine.handle_event(Event::Timer, self.now);
            self.obey();
        }
    }

    fn obey(&mut self) {
        while let Some(command) = self.engine.poll_command() {
            let event = match command {
                Command::Commit { commit, changes } => {
                    let (durable, outcomes) = self.store.commit(commit, &changes).unwrap();
                    Event::Committed { durable, outcomes, usage: self.store.usage() }
                }
                Command::Survey { per_journal } => {
                    Event::Surveyed { segments: self.store.survey(per_journal).unwrap() }
                }
                Command::Connect => Event::Disconnected { reason: "no road".to_owned(), unwelcome: false },
                _ => continue,
            };
            self.engine.handle_event(event, self.now);
        }
    }

    fn stored_bytes(&self) -> u64 {
        self.store.journals().iter().map(|state| state.stored_bytes).sum()
    }

    fn bytes_of(&self, suffix: &str) -> u64 {
        std::fs::metadata(Path::new(&self.dir.path().join(format!("journal.db{suffix}"))))
            .map_or(0, |f| f.len())
    }
}

/// Takes in two and a half times the budget in commits of `batch` readings.
fn fill(budget: u64, batch: usize) -> Seen {
    let mut site = Site::new(budget);
    let mut seen = Seen { stored_min: u64::MAX, disk_max: 0, log_max: 0, used_max: 0 };
    let rounds = budget * 5 / 2 / (200 * batch as u64);
    for round in 0..rounds {
        site.arrive(batch);
        let log = site.bytes_of("-wal");
        seen.log_max = seen.log_max.max(log);
        seen.disk_max = seen.disk_max.max(log + site.bytes_of(""));
        seen.used_max = seen.used_max.max(site.store.usage().used_bytes);
        // Compressed, three quarters of it are left: from two thirds on the budget has been used up for a while.
        if round > rounds * 2 / 3 {
            seen.stored_min = seen.stored_min.min(site.stored_bytes());
        }
    }
    let ledger = site.engine.status().ledger;
    assert!(ledger.balances() && ledger.evicted > 0, "{ledger:?}");
    seen
}

#[test]
fn a_small_budget_is_half_full_of_records_at_least_and_never_overdrawn() {
    for (mebibytes, batch) in [(8, 100), (8, 8_000), (16, 300), (64, 2_000)] {
        let budget = mebibytes << 20;
        let seen = fill(budget, batch);
        assert!(seen.stored_min >= budget / 2, "{mebibytes} MiB in batches of {batch}: {seen:?}");
        assert!(seen.disk_max <= budget, "{mebibytes} MiB in batches of {batch}: {seen:?}");
    }
}
