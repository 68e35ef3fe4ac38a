//! How long an agent is without a hub: its hub is killed, again and again.

use std::time::Duration;

use anyhow::{Context, bail};
use millrace_demo::failover::follow;
use millrace_demo::{Agent, Cluster, ClusterOptions, Plant};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::backlog::LIMIT;
use crate::pulse::Pulse;
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::series::Series;

/// Between two readings: there is always one that waits for its acknowledgement.
const EVERY: Duration = Duration::from_millis(5);

/// Rows for the agent that loses its hub.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let mut cluster = Cluster::start(plant, &ClusterOptions::default()).await?;
    let founder = cluster.hubs.first().context("a cluster has a hub")?;
    let mut agent = Agent::start(plant, founder, super::among(&cluster, "orphan")).await?;
    agent.online(LIMIT).await?;
    let pulse = Pulse::begin(agent.mqtt(), EVERY)?;
    let mut took = Series::default();
    for kill in 1..=scale.kills {
        // As long as an agent takes to know its roads: a hub does not die right after the last one.
        sleep(scale.rest).await;
        let from = agent.online(LIMIT).await?.hub;
        let hub = cluster.hubs.iter_mut().find(|hub| hub.name() == from).context("a stranger's hub")?;
        let since = Instant::now();
        hub.process.kill().await?;
        let Some(way) = follow(agent.http(), &from, since, LIMIT).await else {
            bail!("no other hub acknowledged after {from} was killed");
        };
        took.push(way.took.as_secs_f64());
        eprintln!("    {kill} of {}: {from} → {}: {:.2} s", scale.kills, way.to, way.took.as_secs_f64());
        hub.restart().await?;
        let count = cluster.hubs.len();
        for hub in &cluster.hubs {
            hub.complete(count, LIMIT).await?;
        }
    }
    drop(pulse);
    let what = "from SIGKILL of its hub to the next reading that 2 of 3 hubs have flushed";
    let row = |which: &str, result, aim| {
        Row::alone(format!("{what}, {which} of {}", scale.kills), result, Unit::Seconds, Aim::AtMost(aim))
            .with(json!({ "seconds": took.json() }))
    };
    Ok(vec![row("median", took.median(), 2.0), row("worst", took.worst(), 5.0)])
}
