//! MQTT to durable: publishers straight to the agent's embedded broker, against the same broker with nothing behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_demo::{Agent, AgentOptions, Hub, HubOptions, Plant};
use serde_json::json;
use tokio::time::Instant;

use crate::backlog::LIMIT;
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::sensor::{Load, Sensor};
use crate::series::Series;
use crate::sink::Sink;

/// Publishers at once.
pub(crate) const PUBLISHERS: [usize; 2] = [4, 16];

/// Rows for the embedded broker.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let hub = Hub::start(plant, HubOptions::default()).await?;
    let road = plant.road(&hub).await?;
    let mut agent = Agent::start(plant, &hub, AgentOptions::new("intake", road.addr())).await?;
    let sink = Sink::start().await?;
    let mut rows = Vec::new();
    for publishers in PUBLISHERS {
        let loads = loads(publishers, scale.publications)?;
        let (mut alone, mut shipping, mut thrown) = (Series::default(), Series::default(), Series::default());
        for _ in 0..scale.rounds {
            thrown.push(rate(sink.address, &loads).await?);
            // The road is cut: what is measured is MQTT to durable and nothing else.
            road.cut();
            agent.until("the end of the session", LIMIT, |status| !status.is_online()).await?;
            alone.push(rate(agent.mqtt(), &loads).await?);
            road.heal();
            agent.settled(LIMIT).await?;
            shipping.push(rate(agent.mqtt(), &loads).await?);
            agent.settled(LIMIT).await?;
        }
        let what =
            |how: &str| format!("MQTT → durable, QoS 1, embedded broker, {publishers} publishers{how}");
        let details = |ours: &Series| json!({ "ours": ours.json(), "baseline": thrown.json() });
        let against = "the same broker, everything thrown away";
        rows.push(
            Row::alone(what(""), alone.median(), Unit::PerSecond, Aim::RatioAtLeast(0.8))
                .against(against, thrown.median())
                .with(details(&alone)),
        );
        rows.push(
            Row::alone(what(", shipping meanwhile"), shipping.median(), Unit::PerSecond, Aim::Report)
                .against(against, thrown.median())
                .with(details(&shipping)),
        );
    }
    Ok(rows)
}

/// One load for each publisher, `publications` in all.
pub(crate) fn loads(publishers: usize, publications: usize) -> anyhow::Result<Vec<Arc<Load>>> {
    (0..publishers).map(|publisher| Ok(Arc::new(Load::new(publisher, publications / publishers)?))).collect()
}

/// Publications per second until the last one is acknowledged.
async fn rate(broker: SocketAddr, loads: &[Arc<Load>]) -> anyhow::Result<f64> {
    let took = publish(broker, loads).await?;
    Ok(publications(loads) / took.as_secs_f64())
}

/// How many publications these are.
pub(crate) fn publications(loads: &[Arc<Load>]) -> f64 {
    loads.iter().map(|load| load.publications()).sum::<f64>()
}

/// Publishes all loads at once; how long it took until all were acknowledged.
pub(crate) async fn publish(broker: SocketAddr, loads: &[Arc<Load>]) -> anyhow::Result<Duration> {
    let mut sensors = Vec::new();
    for (number, load) in loads.iter().enumerate() {
        sensors.push((Sensor::connect(broker, &format!("sensor-{number}"))?, Arc::clone(load)));
    }
    let began = Instant::now();
    let publishing = sensors
        .into_iter()
        .map(|(mut sensor, load)| tokio::task::spawn_blocking(move || sensor.publish_all(&load)));
    for task in publishing.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(began.elapsed())
}
