//! `millrace-hub-fleet`: sails many seeds, replays one, or runs a named scenario.
//!
//! Absent: everything that decides; see the library.

use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use millrace_hub_fleet::{Report, scenario, swarm};

/// Agents and hubs in one process under one seed.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Examples:\n  swarm --seeds 500\n  replay 42 --trace\n  scenario two-clones-online"
)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Run many seeds; exit with 1 when any of them breaks a promise.
    Swarm {
        /// How many seeds.
        #[arg(long, default_value_t = 500)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How many at once; as many as there are processors when left out.
        #[arg(long)]
        jobs: Option<usize>,
    },
    /// Run one seed again.
    Replay {
        /// The seed.
        seed: u64,
        /// Print everything that happens.
        #[arg(long)]
        trace: bool,
    },
    /// Run a named scenario, or all of them.
    Scenario {
        /// Its name; all when left out.
        name: Option<String>,
        /// List them.
        #[arg(long)]
        list: bool,
        /// Print everything that happens.
        #[arg(long)]
        trace: bool,
    },
}

fn main() -> ExitCode {
    let all_is_well = match Arguments::parse().what {
        What::Swarm { seeds, from, jobs } => sail(from, seeds, jobs),
        What::Replay { seed, trace } => {
            let report = swarm::run_seed(seed, trace);
            told(&format!("seed {seed}"), &report, !trace)
        }
        What::Scenario { list: true, .. } => {
            for scenario in scenario::ALL {
                println!("{:24} {}", scenario.name, scenario.story);
            }
            true
        }
        What::Scenario { name, trace, .. } => play(name.as_deref(), trace),
    };
    if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn sail(from: u64, seeds: u64, jobs: Option<usize>) -> bool {
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {msg} {elapsed}");
    let bar = ProgressBar::new(seeds);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    let outcome = swarm::run(from, seeds, jobs, |seed, report| {
        bar.inc(1);
        if let Some(violation) = &report.violation {
            bar.suspend(|| println!("seed {seed}: {violation}"));
        }
    });
    bar.finish_and_clear();
    let commit = commit();
    for (seed, report) in &outcome.failed {
        println!();
        told(&format!("seed {seed}, commit {commit}"), report, true);
        println!("replay: cargo run -p millrace-hub-fleet --release -- replay {seed} --trace");
    }
    println!("{} publications answered, {} faults survived or not", outcome.told, outcome.faults);
    let wear = outcome.wear;
    println!(
        "{} times a hub's store was damaged, {} records; moved aside {} times, {} records mended, {} aged first, {} digests reckoned anew",
        wear.harms, wear.damaged, wear.found, wear.mended, wear.aged, wear.digests
    );
    println!(
        "{} times a device's store was damaged, {} records; moved aside {} times, {} records came back, {} were lost before they were safe; {} times one was set back",
        wear.device_harms,
        wear.device_damaged,
        wear.device_found,
        wear.device_regained,
        wear.device_slipped,
        wear.setbacks
    );
    println!("{} passed, {} failed", outcome.passed, outcome.failed.len());
    outcome.failed.is_empty()
}

fn play(name: Option<&str>, trace: bool) -> bool {
    let chosen: Vec<_> = match name {
        None => scenario::ALL.iter().collect(),
        Some(name) => scenario::named(name).into_iter().collect(),
    };
    if chosen.is_empty() {
        eprintln!("there is no scenario of that name; `scenario --list` lists them");
        return false;
    }
    let played = chosen.into_iter().map(|scenario| {
        let report = scenario.run(trace);
        told(scenario.name, &report, !trace)
    });
    played.filter(|well| !well).count() == 0
}

/// Prints what became of a world; `true` when every promise was kept.
fn told(name: &str, report: &Report, with_lines: bool) -> bool {
    let seconds = report.ended_at.0 / 1_000_000;
    match &report.violation {
        None => {
            println!(
                "{name}: every promise kept in {seconds} s; {} faults, {} publications answered, {} records at the hub, \
                 transcript {:016x}",
                report.faults, report.told, report.at_hub, report.hash
            );
            true
        }
        Some(violation) => {
            if with_lines {
                report.last_lines.iter().for_each(|line| println!("  {line}"));
            }
            println!("{name}: BROKEN after {seconds} s, transcript {:016x}\n  {violation}", report.hash);
            false
        }
    }
}

/// The commit that is checked out, for whoever wants to see the failure again.
fn commit() -> String {
    let asked = Command::new("git").args(["rev-parse", "HEAD"]).output();
    let said = asked.ok().filter(|output| output.status.success());
    let text = said.and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
