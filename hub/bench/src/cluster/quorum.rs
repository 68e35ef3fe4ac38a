//! A backlog until a majority of three hubs has flushed it, beside the same backlog and one hub.

use anyhow::{Context, ensure};
use millrace_demo::{Agent, AgentOptions, Cluster, ClusterOptions, Hub, HubOptions, Plant};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::backlog::{self, LIMIT};
use crate::processor;
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::series::Series;
use crate::shipping::count;

/// Rows for readings that survive a hub.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let (mut alone, mut together) = (Series::default(), Series::default());
    let mut processors = Vec::new();
    for round in 0..scale.rounds {
        let name = format!("alone-{round}");
        let hub = Hub::start(plant, HubOptions { name: name.clone(), ..HubOptions::default() }).await?;
        let options = AgentOptions::new(&format!("to-{name}"), hub.quic());
        let agent = backlog::agent(plant, &hub, options, scale.backlog).await?;
        let (took, one) = drain(agent, std::slice::from_ref(&hub), scale).await?;
        alone.push(took);
        drop(hub);
        // A plant of its own: the hubs of every cluster have the same names.
        let plant = Plant::build()?;
        let cluster = Cluster::start(&plant, &ClusterOptions::default()).await?;
        let founder = cluster.hubs.first().context("a cluster has a hub")?;
        let options = super::among(&cluster, "to-three");
        let agent = backlog::agent(&plant, founder, options, scale.backlog).await?;
        let (took, three) = drain(agent, &cluster.hubs, scale).await?;
        together.push(took);
        processors.push(json!({ "one": one, "three": three }));
    }
    Ok(vec![
        Row::alone(
            format!("{} of backlog, agent → flushed by 2 of 3 hubs", count(scale.backlog)),
            together.median(),
            Unit::Seconds,
            Aim::RatioAtMost(1.6),
        )
        .against("the same, agent → one hub alone", alone.median())
        .with(json!({ "three": together.json(), "one": alone.json(), "processor_s": processors })),
    ])
}

/// Seconds from the start of the agent until everything is acknowledged at the level that it asks for, and the seconds of a processor that
/// the agent and each hub used until then.
async fn drain(mut agent: Agent, hubs: &[Hub], scale: &Scale) -> anyhow::Result<(f64, Value)> {
    let used =
        || hubs.iter().map(|hub| processor::seconds(&hub.process)).collect::<anyhow::Result<Vec<f64>>>();
    let before = used()?;
    let began = Instant::now();
    agent.restart().await?;
    let status = agent.settled(LIMIT).await?;
    let took = began.elapsed().as_secs_f64();
    ensure!(status.ledger.acked >= scale.backlog, "not everything was acknowledged: {:?}", status.ledger);
    let hubs: Vec<f64> = used()?.iter().zip(before).map(|(now, before)| now - before).collect();
    let processors = json!({ "agent": processor::seconds(&agent.process)?, "hubs": hubs });
    eprintln!("    {}: {took:.2} s, seconds of a processor: {processors}", agent.name());
    agent.process.terminate().await?;
    Ok((took, processors))
}
