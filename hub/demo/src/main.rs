//! A plant in a box: three hubs in three regions, real processes, real MQTT, what goes wrong, and the proof.
//!
//! Promise: exits with 0 only when every acknowledged reading is on the disk of each hub exactly once and every ledger adds up.
//! Absent: what the processes and publishers are; that is the library beside this program.

mod cli;
mod show;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use millrace_demo::Plant;

use crate::cli::Arguments;
use crate::show::{Stage, Verdict, live, plain, table};

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("millrace-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays and proves. False: something speaks against the proof.
async fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let live = !arguments.once && std::io::stdout().is_terminal();
    let mut plant = Plant::build()?;
    if arguments.keep {
        println!("everything is kept in {}", plant.keep().display());
    }
    let ended = tokio::select! {
        ended = play(&plant, arguments, live) => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match &ended {
        Ok(verdict) if verdict.holds() => {}
        _ => eprintln!("the logs of all processes are in {}", plant.keep().display()),
    }
    Ok(ended?.holds())
}

async fn play(plant: &Plant, arguments: &Arguments, live: bool) -> anyhow::Result<Verdict> {
    let stage = Stage::build(plant, arguments.seed, !live).await.context("the plant did not start")?;
    if live {
        live::play(&stage, arguments.seconds).await?;
    } else {
        plain::play(&stage, arguments.seconds).await;
    }
    stage.say("the proof: every link is healed, every agent runs, and all owe the hub nothing");
    let verdict = stage.prove().await?;
    stage.close().await;
    println!("\n{}", table(&verdict));
    for failover in stage.failovers.all() {
        println!(
            "fail-over: {} from {} to {} in {:.2} s",
            failover.device,
            failover.from,
            failover.way.to,
            failover.way.took.as_secs_f64()
        );
    }
    for objection in verdict.objections() {
        eprintln!("{objection}");
    }
    for (hub, proof) in &verdict.proofs {
        println!("{hub:<10} {proof}");
    }
    if let Some(weakest) = verdict.weakest() {
        println!("{weakest}");
    }
    Ok(verdict)
}
