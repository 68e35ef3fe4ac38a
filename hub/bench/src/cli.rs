//! The command line, and the order in which the parts run.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use millrace_demo::Plant;

use crate::report::Report;
use crate::row::Row;
use crate::scale::Scale;
use crate::{
    append, brokered, cluster, comparing, control, crowd, deep, footprint, intake, live, shipping, sink,
};

/// Measure the whole system against its baselines.
///
/// Runs the programs that stand beside this one, or in the directory that MILLRACE_BIN_DIR names. Progress goes to stderr,
/// the table to stdout, the figures as JSON into a file.
#[derive(Parser)]
#[command(name = "millrace-bench", version)]
struct Cli {
    /// Measure a tenth or less of everything, in two minutes. For trying; not for quoting.
    #[arg(long)]
    quick: bool,
    /// Measure only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// What `cargo bench -p millrace-journal` printed; its last line becomes a row.
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
    /// Where the figures go.
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    results: PathBuf,
    #[command(subcommand)]
    inner: Option<Inner>,
}

#[derive(Subcommand)]
enum Inner {
    /// An embedded broker that throws everything away.
    #[command(hide = true)]
    Sink,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Intake,
    Brokered,
    Shipping,
    Live,
    Footprint,
    Deep,
    Crowd,
    Control,
    Quorum,
    Failover,
    Suspicion,
    Idle,
    Comparing,
}

/// Runs the program.
pub(crate) fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    if let Some(Inner::Sink) = cli.inner {
        return runtime.block_on(sink::serve());
    }
    let scale = if cli.quick { Scale::quick() } else { Scale::full() };
    let mut report = Report::new(&scale);
    if let Some(file) = &cli.append {
        let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        report.add("append", Ok(append::rows(&text)));
    }
    for part in Part::value_variants() {
        if cli.only.is_empty() || cli.only.contains(part) {
            let name = part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            eprintln!("--- {name}");
            report.add(&name, runtime.block_on(measure(*part, &scale)));
        }
    }
    print!("{}", report.table());
    let file = report.save(&cli.results)?;
    eprintln!("figures: {}", file.display());
    report.failure().map_or(Ok(()), |failure| Err(anyhow::anyhow!(failure)))
}

async fn measure(part: Part, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    // Each part has a plant of its own, so that none inherits the caches and journals of another.
    let plant = Plant::build()?;
    match part {
        Part::Intake => intake::rows(&plant, scale).await,
        Part::Brokered => brokered::rows(&plant, scale).await,
        Part::Shipping => shipping::rows(&plant, scale).await,
        Part::Live => live::rows(&plant, scale).await,
        Part::Footprint => footprint::rows(&plant, scale).await,
        Part::Deep => deep::rows(&plant, scale).await,
        Part::Crowd => crowd::rows(&plant, scale).await,
        Part::Control => control::rows(&plant, scale).await,
        Part::Quorum => cluster::quorum::rows(&plant, scale).await,
        Part::Failover => cluster::failover::rows(&plant, scale).await,
        Part::Suspicion => cluster::suspicion::rows(&plant, scale).await,
        Part::Idle => cluster::idle::rows(&plant, scale).await,
        Part::Comparing => comparing::rows(scale),
    }
}
