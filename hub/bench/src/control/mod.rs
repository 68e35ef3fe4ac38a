//! What hubs decide together, beside etcd: puts per second and how long one takes, three nodes each, one disk, one run.
//!
//! | room | what stands there |
//! |---|---|
//! | [`load`] | clients that put and wait, and the clock beside them |
//! | [`etcd`], [`grpc`] | Debian's etcd, and the quickest ordinary way to speak to it |
//! | [`hubs`], [`socket`] | three hub processes, asked over an admin socket |
//! | [`inside`] | our three nodes in this process, over a network of function calls |
//!
//! Promise: every round starts from empty directories on the same disk, and only one cluster runs at a time. All are asked at
//! their leader, where they are quickest.
//! Absent: reads, and a network that is slower than loopback.

mod etcd;
mod grpc;
mod hubs;
mod inside;
mod load;
mod socket;

use millrace_demo::Plant;
use serde_json::json;

use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use crate::series::Series;
use etcd::Etcd;
use hubs::Hubs;
use inside::Inside;
use load::Figures;
pub(crate) use load::measure;
pub(crate) use socket::SocketClient;

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
    fn push(&mut self, who: &str, crowd: usize, figures: &Figures) {
        eprintln!("    {who}, {crowd} clients: {figures}");
        self.rate.push(figures.rate);
        self.middle.push(figures.middle_ms);
        self.slow.push(figures.slow_ms);
    }
}

/// Rows for the decisions.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let mut sides: [[Side; CROWDS.len()]; 3] = Default::default();
    let [theirs, ours, inner] = &mut sides;
    let mut version = String::new();
    for round in 0..scale.rounds {
        let etcd = Etcd::start(&plant.data(&format!("etcd-{round}"))).await?;
        etcd.version().clone_into(&mut version);
        for (side, crowd) in theirs.iter_mut().zip(CROWDS) {
            side.push("etcd", crowd, &load::measure(etcd.clients(crowd).await?, scale.puts).await?);
        }
        drop(etcd);
        let hubs = Hubs::start().await?;
        for (side, crowd) in ours.iter_mut().zip(CROWDS) {
            side.push("hubs", crowd, &load::measure(hubs.clients(crowd).await?, scale.puts).await?);
        }
        drop(hubs);
        let inside = Inside::found(&plant.data(&format!("inside-{round}"))).await?;
        for (side, crowd) in inner.iter_mut().zip(CROWDS) {
            side.push("inside", crowd, &load::measure(inside.clients(crowd), scale.puts).await?);
        }
        inside.close().await;
    }
    let mut rows = Vec::new();
    for ((theirs, ours), crowd) in theirs.iter().zip(&*ours).zip(CROWDS) {
        rows.extend(compare("3 hubs", ours, theirs, crowd, &version, true));
    }
    for ((theirs, inner), crowd) in theirs.iter().zip(&*inner).zip(CROWDS) {
        rows.extend(compare("3 nodes in one process, no network", inner, theirs, crowd, &version, false));
    }
    Ok(rows)
}

fn compare(who: &str, ours: &Side, theirs: &Side, crowd: usize, version: &str, judged: bool) -> [Row; 3] {
    let clients = if crowd == 1 { "1 client".to_owned() } else { format!("{crowd} clients") };
    let row = |what: &str, unit, aim, ours: &Series, theirs: &Series| {
        Row::alone(format!("{what}, {who}, {clients}"), ours.median(), unit, aim)
            .against(format!("etcd {version}, 3 nodes"), theirs.median())
            .with(json!({ "ours": ours.json(), "etcd": theirs.json() }))
    };
    // Alone it is the time that counts, together how much is done.
    let (rate, middle) = match crowd {
        _ if !judged => (Aim::Report, Aim::Report),
        1 => (Aim::Report, Aim::RatioAtMost(1.0)),
        _ => (Aim::RatioAtLeast(1.0), Aim::Report),
    };
    [
        row("control puts", Unit::PerSecond, rate, &ours.rate, &theirs.rate),
        row("a put takes, median", Unit::Millis, middle, &ours.middle, &theirs.middle),
        row("a put takes, 99 of 100", Unit::Millis, Aim::Report, &ours.slow, &theirs.slow),
    ]
}
