//! MQTT to durable through a broker beside us: mosquitto and the agent, against mosquitto and a subscriber that throws
//! everything away.

use std::sync::Arc;

use millrace_demo::{Agent, AgentOptions, Hub, HubOptions, Plant};
use serde_json::json;
use tokio::time::Instant;

use crate::backlog::LIMIT;
use crate::intake::{PUBLISHERS, loads, publications, publish};
use crate::listener::Listener;
use crate::mosquitto::Mosquitto;
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::sensor::Load;
use crate::series::Series;

/// mosquitto with a subscriber is several times slower than the embedded broker.
const SMALLER: usize = 4;

/// Rows for a broker beside us.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let hub = Hub::start(plant, HubOptions::default()).await?;
    let mut rows = Vec::new();
    for publishers in PUBLISHERS {
        let loads = loads(publishers, scale.publications / SMALLER)?;
        let (mut ours, mut thrown) = (Series::default(), Series::default());
        for round in 0..scale.rounds {
            thrown.push(null_subscriber(plant, &loads).await?);
            let name = format!("brokered-{publishers}-{round}");
            ours.push(agent_as_subscriber(plant, &hub, &name, &loads).await?);
        }
        let what = format!("MQTT → durable, QoS 1, mosquitto beside us, {publishers} publishers");
        rows.push(
            Row::alone(what, ours.median(), Unit::PerSecond, Aim::RatioAtLeast(0.8))
                .against("mosquitto, a subscriber that throws everything away", thrown.median())
                .with(json!({ "ours": ours.json(), "baseline": thrown.json() })),
        );
    }
    Ok(rows)
}

async fn null_subscriber(plant: &Plant, loads: &[Arc<Load>]) -> anyhow::Result<f64> {
    let broker = Mosquitto::start(plant.directory()).await?;
    let mut listener = Listener::connect(broker.address)?;
    let count: usize = loads.iter().map(|load| load.count()).sum();
    let taking = tokio::task::spawn_blocking(move || listener.take(count));
    let began = Instant::now();
    publish(broker.address, loads).await?;
    taking.await??;
    Ok(publications(loads) / began.elapsed().as_secs_f64())
}

async fn agent_as_subscriber(
    plant: &Plant,
    hub: &Hub,
    name: &str,
    loads: &[Arc<Load>],
) -> anyhow::Result<f64> {
    let broker = Mosquitto::start(plant.directory()).await?;
    // Nobody answers at port 1 of this machine: what is measured is MQTT to durable and nothing else.
    let options = AgentOptions::new(name, ([127, 0, 0, 1], 1).into())
        .with("mqtt", json!({ "broker": format!("mqtt://{}", broker.address) }))
        .with("subscription", json!([{ "filter": "#", "qos": 1, "lane": "normal" }]));
    let mut agent = Agent::start(plant, hub, options).await?;
    // 200 means that the session with the broker stands.
    while agent.probe("/readyz").await? != 200 {
        agent.process.must_run()?;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let before = agent.status().await?.ledger.ingested;
    let count: usize = loads.iter().map(|load| load.count()).sum();
    let began = Instant::now();
    publish(broker.address, loads).await?;
    agent
        .until("every publication in the journal", LIMIT, |now| now.ledger.ingested >= before + count as u64)
        .await?;
    let rate = publications(loads) / began.elapsed().as_secs_f64();
    agent.process.terminate().await?;
    Ok(rate)
}
