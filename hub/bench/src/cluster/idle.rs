//! What hubs say to each other when nothing happens, as the network counts it.

use millrace_demo::{Cluster, ClusterOptions, Plant};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;

/// What a pair may say.
const PAIR_BYTES_MAX: f64 = 5e3;

/// The row for idle hubs, each on a machine of its own.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let cluster =
        Cluster::start(plant, &ClusterOptions { machines: true, ..ClusterOptions::default() }).await?;
    let machines = cluster.hubs.len();
    sleep(scale.rest).await;
    let (began, before) = (Instant::now(), traffic(&cluster)?);
    sleep(scale.live).await;
    let (span, bytes) = (began.elapsed().as_secs_f64(), traffic(&cluster)? - before);
    let pairs = machines * (machines - 1) / 2;
    // Whatever one machine sends, another receives: everything was counted twice.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let each = bytes as f64 / 2.0 / pairs as f64 / span;
    Ok(vec![
        Row::alone(
            "idle traffic of a pair of hubs, both ways, headers included",
            each,
            Unit::BytesPerSecond,
            Aim::AtMost(PAIR_BYTES_MAX),
        )
        .with(json!({ "bytes": bytes, "seconds": span, "pairs": pairs })),
    ])
}

/// Bytes of all machines so far.
fn traffic(cluster: &Cluster) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for machine in 0..cluster.hubs.len() {
        bytes += cluster.network()?.traffic(machine)?;
    }
    Ok(bytes)
}
