//! Hubs that are well, on cores that are all busy: does one take another for dead?
//!
//! Promise: a suspicion that was refuted counts like one that was believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use millrace_demo::{Agent, Cluster, ClusterOptions, Plant};
use millrace_host::Clock;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::backlog::LIMIT;
use crate::control::{SocketClient, measure};
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::sensor::{Load, Sensor};

/// Clients that put without a pause.
const CLIENTS: usize = 64;
/// Readings are published a heap at a time: 20,000 each second, which fills no disk in ten minutes.
const HEAP: usize = 2_000;
const HEAP_EVERY: Duration = Duration::from_millis(100);
/// How often the hubs are asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Rows for hubs under load.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let cluster = Cluster::start(plant, &ClusterOptions::default()).await?;
    let founder = cluster.hubs.first().context("a cluster has a hub")?;
    let leader = cluster.hubs.get(cluster.leader().await?).context("the leader is a hub")?.socket();
    let mut agent = Agent::start(plant, founder, super::among(&cluster, "busy")).await?;
    let home = agent.online(LIMIT).await?.hub;
    let before = suspicions(&cluster).await?;
    let acked_before = agent.status().await?.ledger.acked;

    let stop = Arc::new(AtomicBool::new(false));
    let sensor = publish(&agent, Arc::clone(&stop))?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(SocketClient::connect(&leader).await?);
    }
    let began = Instant::now();
    let putting = tokio::spawn(measure(clients, scale.watch));
    // An agent that goes elsewhere took its hub for dead, whatever hubs thought of each other.
    let (mut moves, mut at) = (0_u64, home);
    while began.elapsed() < scale.watch {
        sleep(LOOK_EVERY).await;
        let status = agent.status().await?;
        if status.is_online() && status.hub != at {
            (moves, at) = (moves + 1, status.hub);
        }
    }
    let puts = putting.await??;
    stop.store(true, Ordering::Relaxed);
    let readings = sensor.await??;
    let acked = agent.status().await?.ledger.acked - acked_before;
    agent.settled(LIMIT).await?;
    let suspected = suspicions(&cluster).await? - before;

    let minutes = scale.watch.as_secs_f64() / 60.0;
    let load = format!("{CLIENTS} clients that put, 20 k readings/s");
    let row = |what: &str, result| {
        Row::alone(format!("{what}, {minutes:.0} min, {load}"), result, Unit::Count, Aim::AtMost(0.0)).with(
            json!({ "puts_per_second": puts.rate, "put_median_ms": puts.middle_ms, "readings": readings, "acked": acked }),
        )
    };
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let moves = moves as f64;
    Ok(vec![row("false suspicions of 3 hubs", suspected), row("agents that left a hub that was well", moves)])
}

/// Publishes heap after heap; how many readings, in the end.
fn publish(
    agent: &Agent,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<tokio::task::JoinHandle<anyhow::Result<usize>>> {
    let mut sensor = Sensor::connect(agent.mqtt(), "heaps")?;
    let load = Load::new(1, HEAP)?;
    Ok(tokio::task::spawn_blocking(move || {
        let (mut published, clock) = (0, Clock::system());
        while !stop.load(Ordering::Relaxed) {
            let began = clock.moment();
            sensor.publish_all(&load)?;
            published += load.count();
            std::thread::sleep(HEAP_EVERY.saturating_sub(clock.moment().since(began)));
        }
        Ok(published)
    }))
}

/// How often any hub has suspected another since it was started.
async fn suspicions(cluster: &Cluster) -> anyhow::Result<f64> {
    let mut all = 0.0;
    for hub in &cluster.hubs {
        let page = hub.metrics().await?;
        let line = page.lines().find_map(|line| line.strip_prefix("millrace_hub_gossip_suspicions_total "));
        all += line.context("a hub counts its suspicions")?.trim().parse::<f64>()?;
    }
    Ok(all)
}
