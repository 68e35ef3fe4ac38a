//! What hubs decide together, beside etcd: puts per second and how long one takes, three nodes each, one disk, one run.
//!
//! | room | what stands there |
//! |---|---|
//! | [`load`] | clients that put and wait, and the clock beside them |
//! | [`etcd`], [`grpc`] | Debian's etcd, and the quickest ordinary way to speak to it |
//! | [`inside`] | our three nodes in this process, over a network of function calls |
//! | [`socket`] | a hub process over its admin socket |
//!
//! Promise: every round starts from empty directories on the same disk, and only one of the two runs at a time. Both are
//! asked at their leader, where they are quickest.
//! Absent: reads, and a network that is slower than loopback.

mod etcd;
mod grpc;
mod inside;
mod load;
mod socket;

use millrace_demo::Plant;
use serde_json::json;

use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::series::Series;
use etcd::Etcd;
use inside::Inside;
use load::Figures;

/// How many clients put at the same time: alone, as many as a cluster has in the morning, and too many.
const CROWDS: [usize; 3] = [1, 64, 512];

/// Rows for one side of the comparison.
#[derive(Default)]
struct Side {
    rate: Series,
    middle: Series,
    slow: Series,
}

impl Side {
    fn push(&mut self, figures: &Figures) {
        self.rate.push(figures.rate);
        self.middle.push(figures.middle_ms);
        self.slow.push(figures.slow_ms);
    }
}

/// Rows for the decisions.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let mut ours: [Side; CROWDS.len()] = Default::default();
    let mut theirs: [Side; CROWDS.len()] = Default::default();
    let mut version = String::new();
    for round in 0..scale.rounds {
        let etcd = Etcd::start(&plant.data(&format!("etcd-{round}"))).await?;
        etcd.version().clone_into(&mut version);
        for (side, crowd) in theirs.iter_mut().zip(CROWDS) {
            let figures = load::measure(etcd.clients(crowd).await?, scale.puts).await?;
            eprintln!("    etcd, {crowd} clients: {figures}");
            side.push(&figures);
        }
        drop(etcd);
        let inside = Inside::found(&plant.data(&format!("inside-{round}"))).await?;
        for (side, crowd) in ours.iter_mut().zip(CROWDS) {
            let figures = load::measure(inside.clients(crowd), scale.puts).await?;
            eprintln!("    hubs, {crowd} clients: {figures}");
            side.push(&figures);
        }
        inside.close().await;
    }
    let sides = ours.iter().zip(&theirs).zip(CROWDS);
    Ok(sides.flat_map(|((ours, theirs), crowd)| compare(ours, theirs, crowd, &version)).collect())
}

fn compare(ours: &Side, theirs: &Side, crowd: usize, version: &str) -> [Row; 3] {
    let clients = if crowd == 1 { "1 client".to_owned() } else { format!("{crowd} clients") };
    let row = |what: &str, unit, aim, ours: &Series, theirs: &Series| {
        Row::alone(format!("{what}, {clients}"), ours.median(), unit, aim)
            .against(format!("etcd {version}, 3 nodes"), theirs.median())
            .with(json!({ "ours": ours.json(), "etcd": theirs.json() }))
    };
    // Alone it is the time that counts, together how much is done.
    let (rate, middle) = match crowd {
        1 => (Aim::Report, Aim::RatioAtMost(1.0)),
        _ => (Aim::RatioAtLeast(1.0), Aim::Report),
    };
    [
        row("control puts, 3 nodes in one process", Unit::PerSecond, rate, &ours.rate, &theirs.rate),
        row("time of a put, median", Unit::Millis, middle, &ours.middle, &theirs.middle),
        row("time of a put, 99 of 100", Unit::Millis, Aim::Report, &ours.slow, &theirs.slow),
    ]
}
