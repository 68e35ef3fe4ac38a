//! A backlog from agent to hub, flushed there, and what it costs on the wire.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use millrace_demo::{AgentOptions, Hub, HubOptions, Plant};
use millrace_host::Clock;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::backlog::{self, LIMIT};
use crate::memory;
use crate::pipe::Pipe;
use crate::reading::{Hall, READING_BYTES};
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::series::Series;

/// Rows for the backlog.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let raw = raw(plant.directory(), scale.backlog)?;
    let pipe = Pipe::new(plant.directory()).await?;
    let (mut ours, mut piped) = (Series::default(), Series::default());
    let (mut sent, mut received, mut peaks) = (Series::default(), Series::default(), Vec::new());
    for round in 0..scale.rounds {
        piped.push(pipe.carry(&raw).await?.as_secs_f64());
        let hub = HubOptions { name: format!("hub-{round}"), ..HubOptions::default() };
        let mut hub = Hub::start(plant, hub).await?;
        let options = AgentOptions::new(&format!("shipping-{round}"), hub.quic());
        let mut agent = backlog::agent(plant, &hub, options, scale.backlog).await?;
        // From the start of the process, which is before the session opens: to our disadvantage.
        let began = Instant::now();
        agent.restart().await?;
        let status = agent.settled(LIMIT).await?;
        ours.push(began.elapsed().as_secs_f64());
        ensure!(status.ledger.acked >= scale.backlog, "not everything was acknowledged: {:?}", status.ledger);
        let stored = hub.status().await?.get("records").and_then(Value::as_u64);
        ensure!(stored >= Some(scale.backlog), "the hub holds {stored:?} records");
        let link = status.link.unwrap_or_default();
        sent.push(per_record(link.bytes_sent, scale.backlog));
        received.push(per_record(link.bytes_received, scale.backlog));
        peaks.push(json!({ "agent": memory::of(&agent.process)?, "hub": memory::of(&hub.process)? }));
        agent.process.terminate().await?;
        hub.process.terminate().await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "200")]
    let raw_bytes = READING_BYTES as f64;
    let what = format!("{} of backlog, agent → hub, flushed", count(scale.backlog));
    Ok(vec![
        Row::alone(what, ours.median(), Unit::Seconds, Aim::RatioAtMost(2.0))
            .against("cat of the raw bytes | TLS over loopback | dd conv=fsync", piped.median())
            .with(json!({ "ours": ours.json(), "baseline": piped.json(), "memory": peaks })),
        Row::alone(
            "bytes on the wire per record, backlog",
            sent.median(),
            Unit::Bytes,
            Aim::RatioAtMost(0.2),
        )
        .against("raw payload", raw_bytes)
        .with(json!({ "sent": sent.json(), "received": received.json() })),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one session")]
pub(crate) fn per_record(bytes: u64, records: u64) -> f64 {
    bytes as f64 / records as f64
}

/// A round number of records, for people.
pub(crate) fn count(records: u64) -> String {
    if records >= 1_000_000 {
        format!("{} M records", records / 1_000_000)
    } else {
        format!("{} k records", records / 1_000)
    }
}

/// The same readings as raw bytes in a file.
fn raw(directory: &Path, records: u64) -> anyhow::Result<PathBuf> {
    let file = directory.join("raw");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file)?);
    let (mut hall, wall) = (Hall::new(11)?, Clock::system().wall());
    for _ in 0..records {
        out.write_all(&hall.payload(wall).1)?;
    }
    out.into_inner()?.sync_all()?;
    Ok(file)
}
