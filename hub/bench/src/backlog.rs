//! A journal full of readings, written into an agent's data directory while the agent is away.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use millrace_demo::{Agent, AgentOptions, Hub, Plant};
use millrace_host::Clock;
use millrace_journal::{Author, Options, Store};
use millrace_model::store::Change;
use millrace_model::{DeviceId, Incarnation, Lane};
use serde_json::json;

use crate::reading::Hall;

/// Records of one commit, as a burst at intake has them.
const BATCH: u64 = 1_000;
/// How long anything may take before the measurement is given up.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// An agent of this name with `records` readings in its journal, known to `hub`, not running. Its disk budget is large
/// enough for all of them.
pub(crate) async fn agent(
    plant: &Plant,
    hub: &Hub,
    options: AgentOptions,
    records: u64,
) -> anyhow::Result<Agent> {
    let options = options.with("store", json!({ "budget": "16GiB" }));
    let mut agent = Agent::start(plant, hub, options).await?;
    let device: DeviceId = agent.status().await?.device.parse().context("the agent's device id")?;
    agent.process.terminate().await?;
    let journal = agent.data().join("journal.db");
    eprintln!("    filling a journal with {records} readings");
    tokio::task::spawn_blocking(move || fill(&journal, device, records)).await??;
    Ok(agent)
}

fn fill(journal: &Path, device: DeviceId, records: u64) -> anyhow::Result<()> {
    let author = Author { device, incarnation_if_new: Incarnation::new(0) };
    let mut store = Store::open(journal, &Options::agent(author))?;
    let clock = Clock::system();
    let (wall, mono) = (clock.wall(), clock.mono_since_boot());
    let mut hall = Hall::new(11)?;
    for batch in 0..records.div_ceil(BATCH) {
        let count = BATCH.min(records - batch * BATCH);
        let reading = |at: u64| {
            // One reading each millisecond, the last one now.
            let micros = (records - batch * BATCH - at) * 1_000;
            let then = wall.plus(Duration::ZERO).0 - i64::try_from(micros).unwrap_or(0);
            hall.record(millrace_model::Wall(then), mono.saturating_sub(micros))
        };
        let records: Option<Vec<_>> = (0..count).map(reading).collect();
        let records = records.context("the hall has machines")?;
        store.commit(batch, &[Change::Append { lane: Lane::Normal, records }])?;
    }
    Ok(())
}
