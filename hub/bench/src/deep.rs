//! An agent with a deep backlog: its memory, and how soon after a reconnect the newest reading is at the hub.

use std::time::Duration;

use anyhow::ensure;
use millrace_demo::{AgentOptions, Hub, HubOptions, Plant, Road, RoadOptions, http};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::backlog::{self, LIMIT};
use crate::footprint::AGENT_BYTES_MAX;
use crate::memory;
use crate::pulse::Pulse;
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::series::Series;
use crate::shipping::count;

/// One way over the road: a mobile network on a good day.
const DELAY: Duration = Duration::from_millis(25);
/// Between two live readings.
const EVERY: Duration = Duration::from_millis(5);
/// Between two looks at the hub.
const LOOK: Duration = Duration::from_millis(2);

/// Rows for the deep backlog.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let mut hub = Hub::start(plant, HubOptions::default()).await?;
    let road = Road::start(hub.quic(), RoadOptions { delay: DELAY, ..RoadOptions::default() }).await?;
    advertise(plant, &mut hub, &road).await?;
    let options = AgentOptions::new("deep", road.addr());
    let mut agent = backlog::agent(plant, &hub, options, scale.deep).await?;
    road.cut();
    let began = Instant::now();
    agent.restart().await?;
    let start_s = began.elapsed().as_secs_f64();
    sleep(scale.rest).await;
    let resting = memory::of(&agent.process)?;
    let device = agent.status().await?.device;

    let live = Pulse::begin(agent.mqtt(), EVERY)?;
    let (mut firsts, mut behind) = (Series::default(), Vec::new());
    for round in 0..scale.reconnects {
        eprintln!("    reconnect {} of {}", round + 1, scale.reconnects);
        agent.until("the end of the session", LIMIT, |status| !status.is_online()).await?;
        firsts.push(reconnect(&road, &hub, &device, &live).await?);
        road.cut();
        behind.push(agent.status().await?.ledger.pending);
    }
    drop(live);

    eprintln!("    draining");
    road.set_delay(Duration::ZERO);
    road.heal();
    let began = Instant::now();
    let settled = agent.settled(LIMIT).await?;
    let drain_s = began.elapsed().as_secs_f64();
    let (drained, hub_memory) = (memory::of(&agent.process)?, memory::of(&hub.process)?);
    agent.process.terminate().await?;
    hub.process.terminate().await?;

    let deep = count(scale.deep);
    let aim_ms = 2.0 * rtt_ms() + 100.0;
    Ok(vec![
        Row::alone(format!("agent memory, {deep} of backlog, no hub"), resting.resident, Unit::Bytes, Aim::AtMost(AGENT_BYTES_MAX))
            .with(json!({ "resting": resting, "start_s": start_s })),
        Row::alone(format!("agent memory, peak while {deep} drain"), drained.peak, Unit::Bytes, Aim::AtMost(AGENT_BYTES_MAX))
            .with(json!({ "drained": drained, "hub": hub_memory, "drain_s": drain_s, "disk_used_bytes": settled.disk_used_bytes })),
        Row::alone(format!("reconnect to first live record at the hub, {deep} behind"), firsts.median(), Unit::Millis, Aim::RatioAtMost(1.0))
            .against(format!("2 × round trip ({} ms) + 100 ms", rtt_ms()), aim_ms)
            .with(json!({ "rounds_ms": firsts.json(), "pending_after": behind })),
    ])
}

/// Lets the hub tell of the road instead of itself, so that no agent goes around the cut that is measured.
async fn advertise(plant: &Plant, hub: &mut Hub, road: &Road) -> anyhow::Result<()> {
    let config = plant.directory().join(format!("{}.toml", hub.name()));
    let text = std::fs::read_to_string(&config)?;
    let told = text.replacen("[quic]\n", &format!("[quic]\nadvertise = [\"{}\"]\n", road.addr()), 1);
    ensure!(told != text, "the hub's config has no table [quic]");
    hub.process.terminate().await?;
    std::fs::write(&config, told)?;
    Ok(hub.restart().await?)
}

fn rtt_ms() -> f64 {
    2.0 * DELAY.as_secs_f64() * 1e3
}

/// Heals the road; milliseconds from the first packet of the agent that passes it until the hub shows a reading that was
/// published after that packet.
async fn reconnect(road: &Road, hub: &Hub, device: &str, live: &Pulse) -> anyhow::Result<f64> {
    let before = road.traffic().up_bytes;
    road.heal();
    let deadline = Instant::now() + LIMIT;
    // `up_bytes` counts at the far side: the packet set out one delay earlier.
    while road.traffic().up_bytes == before {
        ensure!(Instant::now() < deadline, "the agent did not dial");
        sleep(Duration::from_millis(1)).await;
    }
    let first_packet = Instant::now() - DELAY;
    let oldest = live.next_number();
    let path = format!("/v1/records?device={device}&order=desc&limit=1");
    loop {
        ensure!(Instant::now() < deadline, "no live record came");
        let page: Value = http::json(hub.http(), &path).await?;
        let newest = page.pointer("/records/0/payload/live").and_then(Value::as_u64);
        if newest.is_some_and(|number| number >= oldest) {
            return Ok(first_packet.elapsed().as_secs_f64() * 1e3);
        }
        sleep(LOOK).await;
    }
}
