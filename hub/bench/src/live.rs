//! What a live reading costs on the wire: ten a second, one by one.

use std::time::Duration;

use millrace_demo::{Agent, AgentOptions, Hub, HubOptions, Plant};
use millrace_host::Clock;
use serde_json::json;

use crate::backlog::LIMIT;
use crate::reading::{Hall, READING_BYTES};
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::sensor::Sensor;
use crate::shipping::per_record;

const EVERY: Duration = Duration::from_millis(100);

/// The row for live readings.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let hub = Hub::start(plant, HubOptions::default()).await?;
    let mut agent = Agent::start(plant, &hub, AgentOptions::new("live", hub.quic())).await?;
    agent.settled(LIMIT).await?;
    // Path discovery and the greeting are over by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = agent.status().await?;
    let (broker, span) = (agent.mqtt(), scale.live);
    let published = tokio::task::spawn_blocking(move || publish(broker, span)).await??;
    let after = agent.settled(LIMIT).await?;
    let link = |status: &millrace_demo::AgentStatus| status.link.clone().unwrap_or_default();
    let (before, after) = (link(&before), link(&after));
    let sent = per_record(after.bytes_sent - before.bytes_sent, published);
    let received = per_record(after.bytes_received - before.bytes_received, published);
    #[expect(clippy::cast_precision_loss, reason = "200")]
    let raw_bytes = READING_BYTES as f64;
    Ok(vec![
        Row::alone("bytes on the wire per record, live at 10/s", sent, Unit::Bytes, Aim::Report)
            .against("raw payload", raw_bytes)
            .with(json!({ "records": published, "received": received })),
    ])
}

fn publish(broker: std::net::SocketAddr, span: Duration) -> anyhow::Result<u64> {
    let mut sensor = Sensor::connect(broker, "live")?;
    let (mut hall, clock) = (Hall::new(5)?, Clock::system());
    let count = span.as_millis() / EVERY.as_millis();
    let began = clock.moment();
    for number in 0..count {
        let (machine, payload) = hall.payload(clock.wall());
        sensor.publish_one(&format!("plant/hall-2/press-{machine}/cycle"), &payload)?;
        let due = began.0 + (u64::try_from(number).unwrap_or(0) + 1) * 100_000;
        std::thread::sleep(Duration::from_micros(due.saturating_sub(clock.moment().0)));
    }
    Ok(u64::try_from(count)?)
}
