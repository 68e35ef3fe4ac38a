//! The agent at rest: its memory, and the size of its program.

use millrace_demo::{Agent, AgentOptions, Hub, HubOptions, Plant};
use serde_json::json;

use crate::backlog::LIMIT;
use crate::memory;
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;

/// What an agent may take.
pub(crate) const AGENT_BYTES_MAX: f64 = 24.0 * 1024.0 * 1024.0;
/// What its program may take.
const PROGRAM_BYTES_MAX: f64 = 8e6;

/// Rows for the idle agent.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let hub = Hub::start(plant, HubOptions::default()).await?;
    let mut agent = Agent::start(plant, &hub, AgentOptions::new("idle", hub.quic())).await?;
    agent.settled(LIMIT).await?;
    tokio::time::sleep(scale.rest).await;
    let idle = memory::of(&agent.process)?;
    #[expect(clippy::cast_precision_loss, reason = "the size of a file")]
    let program = std::fs::metadata(&plant.programs().agent)?.len() as f64;
    Ok(vec![
        Row::alone("agent memory, idle", idle.resident, Unit::Bytes, Aim::AtMost(AGENT_BYTES_MAX))
            .with(json!({ "idle": idle })),
        Row::alone("agent program", program, Unit::Bytes, Aim::AtMost(PROGRAM_BYTES_MAX)),
    ])
}
