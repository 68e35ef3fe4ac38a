//! The table of the proof, for people.

use millrace_demo::DeviceProof;

use super::picture::bytes;
use super::stage::Verdict;

const COLUMNS: [&str; 11] = [
    "device",
    "published",
    "QoS 0/1/2",
    "stored",
    "missing",
    "doubled",
    "resent",
    "acked",
    "pending",
    "lost",
    "link up/down",
];

/// What is known of every device, and a legend where it needs one.
pub(crate) fn table(verdict: &Verdict) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    let devices = verdict.weakest().map(|proof| proof.devices.as_slice()).unwrap_or_default();
    for (device, road) in devices.iter().zip(&verdict.roads) {
        rows.push(row(device, *road));
    }
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padded = if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            text.push_str(&padded);
        }
        text.push('\n');
    }
    text + &legend(devices)
}

fn row(device: &DeviceProof, (up, down): (u64, u64)) -> [String; 11] {
    let [zero, one, two] = device.by_qos;
    let ledger = device.ledger;
    [
        device.name.clone(),
        device.published.to_string(),
        format!("{zero}/{one}/{two}"),
        device.stored.to_string(),
        device.missing.len().to_string(),
        (device.duplicated.len() as u64 + device.foreign).to_string(),
        device.resent.0.to_string(),
        ledger.acked.to_string(),
        ledger.pending.to_string(),
        (ledger.evicted + ledger.rejected).to_string(),
        format!("{}/{}", bytes(up), bytes(down)),
    ]
}

fn legend(devices: &[DeviceProof]) -> String {
    let mut text = String::new();
    let (sent, kept) =
        devices.iter().fold((0, 0), |(sent, kept), device| (sent + device.resent.0, kept + device.resent.1));
    if sent > 0 {
        text.push_str(&format!(
            "resent: {sent} publications had no answer when their agent was killed, so the machines published those \
             readings again;\n{kept} of the first tries had been stored all the same, and the hub holds each of them once.\n"
        ));
    }
    let (sent, kept) = devices
        .iter()
        .fold((0, 0), |(sent, kept), device| (sent + device.in_flight.0, kept + device.in_flight.1));
    if sent > 0 {
        text.push_str(&format!(
            "QoS 0 in flight at a kill: {sent} publications, {kept} of them stored; MQTT promises nothing for these.\n"
        ));
    }
    text
}
