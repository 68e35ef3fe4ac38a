//! The agent's embedded broker with nothing behind it: every publication is acknowledged at once and thrown away.
//!
//! It runs as a process of its own, as the agent does, so that both are measured across the same border.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use millrace_agent::mqtt::{Arrival, EmbeddedBroker, EmbeddedOptions};
use millrace_journal::{Options, Store};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

/// Arrivals that are taken at once; the agent takes as many.
const GROUP: usize = 1_024;

/// Prints its address and serves until its standard input ends.
pub(crate) async fn serve() -> anyhow::Result<()> {
    // The proof that receipts ask for comes from an empty commit of a store in memory.
    let mut store = Store::in_memory(&Options::hub())?;
    let (proof, _) = store.commit(1, &[])?;
    let (sender, mut arrivals) = mpsc::channel::<Arrival>(4_096);
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let broker =
        EmbeddedBroker::bind(EmbeddedOptions { listen, ..EmbeddedOptions::default() }, sender).await?;
    println!("{}", broker.local_addr());
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(broker.run(stopping));
    let answering = tokio::spawn(async move {
        let mut group = Vec::with_capacity(GROUP);
        while arrivals.recv_many(&mut group, GROUP).await > 0 {
            group.drain(..).for_each(|arrival| arrival.receipt.stored(&proof));
        }
    });
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    ended.await??;
    stop.send_replace(true);
    running.await?;
    answering.await?;
    Ok(())
}

/// A sink in a process of its own; it ends when this is dropped.
pub(crate) struct Sink {
    _process: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Sink {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let program: PathBuf = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.arg("sink").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let stdout = process.stdout.take().context("the sink's output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let address = line.trim().parse().context("the sink's address")?;
        Ok(Self { _process: process, address })
    }
}
