//! A backlog until a majority of three hubs has flushed it, beside the same backlog and one hub.

use anyhow::{Context, ensure};
use millrace_demo::{Agent, AgentOptions, Cluster, ClusterOptions, Hub, HubOptions, Plant};
use serde_json::json;
use tokio::time::Instant;

use crate::backlog::{self, LIMIT};
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::series::Series;
use crate::shipping::count;

/// Rows for readings that survive a hub.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let (mut alone, mut together) = (Series::default(), Series::default());
    for round in 0..scale.rounds {
        let name = format!("alone-{round}");
        let hub = Hub::start(plant, HubOptions { name: name.clone(), ..HubOptions::default() }).await?;
        let options = AgentOptions::new(&format!("to-{name}"), hub.quic());
        alone.push(drain(backlog::agent(plant, &hub, options, scale.backlog).await?, scale).await?);
        drop(hub);
        // A plant of its own: the hubs of every cluster have the same names.
        let plant = Plant::build()?;
        let cluster = Cluster::start(&plant, &ClusterOptions::default()).await?;
        let founder = cluster.hubs.first().context("a cluster has a hub")?;
        let options = super::among(&cluster, "to-three");
        together.push(drain(backlog::agent(&plant, founder, options, scale.backlog).await?, scale).await?);
    }
    Ok(vec![
        Row::alone(
            format!("{} of backlog, agent → flushed by 2 of 3 hubs", count(scale.backlog)),
            together.median(),
            Unit::Seconds,
            Aim::RatioAtMost(1.6),
        )
        .against("the same, agent → one hub alone", alone.median())
        .with(json!({ "three": together.json(), "one": alone.json() })),
    ])
}

/// Seconds from the start of the agent until everything is acknowledged at the level that it asks for.
async fn drain(mut agent: Agent, scale: &Scale) -> anyhow::Result<f64> {
    let began = Instant::now();
    agent.restart().await?;
    let status = agent.settled(LIMIT).await?;
    let took = began.elapsed().as_secs_f64();
    ensure!(status.ledger.acked >= scale.backlog, "not everything was acknowledged: {:?}", status.ledger);
    eprintln!("    {}: {took:.2} s", agent.name());
    agent.process.terminate().await?;
    Ok(took)
}
