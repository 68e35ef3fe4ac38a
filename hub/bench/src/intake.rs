//! MQTT to durable: publishers straight to the agent's embedded broker, against the same broker with nothing behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_demo::{Agent, AgentOptions, Hub, HubOptions, Plant};
use serde_json::json;
use tokio::time::Instant;

use crate::backlog::LIMIT;
use crate::listener::Listener;
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::sensor::{Load, Sensor};
use crate::series::Series;
use crate::sink::Sink;

/// Publishers at once.
pub(crate) const PUBLISHERS: [usize; 2] = [4, 16];

/// Rows for the embedded broker.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let mut hub = Hub::start(plant, HubOptions::default()).await?;
    let mut agent = Agent::start(plant, &hub, AgentOptions::new("intake", hub.quic())).await?;
    let sink = Sink::start().await?;
    let delivering = Sink::start().await?;
    let mut listener = Listener::connect(delivering.address)?;
    let taken = listener.counter();
    let listening = tokio::task::spawn_blocking(move || listener.take_all());
    let mut rows = Vec::new();
    for publishers in PUBLISHERS {
        let loads = loads(publishers, scale.publications)?;
        let (mut alone, mut shipping) = (Series::default(), Series::default());
        let (mut thrown, mut delivered) = (Series::default(), Series::default());
        for _ in 0..scale.rounds {
            thrown.push(rate(sink.address, &loads).await?);
            delivered.push(rate_of_delivery(delivering.address, &loads, &taken).await?);
            // The hub is away: what is measured is MQTT to durable and nothing else.
            hub.process.terminate().await?;
            agent.until("the end of the session", LIMIT, |status| !status.is_online()).await?;
            alone.push(rate(agent.mqtt(), &loads).await?);
            hub.restart().await?;
            agent.settled(LIMIT).await?;
            shipping.push(rate(agent.mqtt(), &loads).await?);
            agent.settled(LIMIT).await?;
        }
        let row = |how: &str, ours: &Series, aim, against: &str, baseline: &Series| {
            let what = format!("MQTT → durable, QoS 1, embedded broker, {publishers} publishers{how}");
            Row::alone(what, ours.median(), Unit::PerSecond, aim)
                .against(against, baseline.median())
                .with(json!({ "ours": ours.json(), "baseline": baseline.json() }))
        };
        // Both readings of the baseline: the second one is the harsher.
        let (aim, subscriber) = (
            Aim::RatioAtLeast(0.8),
            "the same broker, what reaches a subscriber that throws everything away",
        );
        rows.push(row("", &alone, aim, subscriber, &delivered));
        rows.push(row("", &alone, aim, "the same broker, acknowledged at once, nothing behind it", &thrown));
        rows.push(row(", shipping meanwhile", &shipping, Aim::Report, subscriber, &delivered));
    }
    drop(delivering);
    listening.await?;
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

/// Publications per second that reach the subscriber behind `taken`: a broker that does not hold its publishers back
/// acknowledges more than it delivers.
async fn rate_of_delivery(broker: SocketAddr, loads: &[Arc<Load>], taken: &AtomicU64) -> anyhow::Result<f64> {
    let before = taken.load(Ordering::Relaxed);
    let took = publish(broker, loads).await?;
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
    let reached = (taken.load(Ordering::Relaxed) - before) as f64;
    Ok(reached / took.as_secs_f64())
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
