//! `verify`: re-reads every stored record against its checks. Never writes; the agent may run meanwhile. With `--against-hub` the running
//! agent compares with its hub instead ([`super::against`]).

use std::io::IsTerminal;

use clap::Args;
use millrace_host::{Exit, Failure, terminal};
use millrace_journal::{Options, Reader};
use millrace_model::SeqRange;
use serde_json::json;

use super::against::Against;
use super::{DataArgument, journal};

const EXAMPLES: &str = "\
Examples:
  millrace-agent verify
  millrace-agent verify --data ./press-7 --json
  millrace-agent verify --against-hub -o receipt.json

Ends with exit code 65 when anything is damaged. With --against-hub: 0 when both have the same records, 65 when not, 69 when
there is no session with a hub, 75 when records are still on their way.";

/// Re-read every stored record against its checks, or compare all records with the hub.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    #[command(flatten)]
    data: DataArgument,
    #[command(flatten)]
    against: Against,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Segments between two looks at the progress line.
const SEGMENTS_PER_LINE: u64 = 64;

impl Verify {
    /// Verifies and prints.
    ///
    /// # Errors
    /// When there is nothing to read or nobody to compare with, or anything is damaged or different.
    pub fn run(self) -> Result<(), Failure> {
        if self.against.against_hub {
            return self.against.run(&self.data, self.json);
        }
        let path = journal(&self.data)?;
        let failed = |error: String| {
            let what = format!("{} cannot be verified: {error}", path.display());
            Failure::new(Exit::Io, what)
                .hint("is it this agent's, and may you read it? Name its directory with --data")
        };
        let reader = Reader::open(&path, &Options::hub()).map_err(|error| failed(error.to_string()))?;
        let shown = std::io::stderr().is_terminal() && !self.json;
        let report = reader.verify(|progress| {
            if shown && progress.segments.is_multiple_of(SEGMENTS_PER_LINE) {
                eprint!(
                    "\r{} records, {}",
                    terminal::count(progress.records),
                    terminal::bytes(progress.bytes)
                );
            }
        });
        let report = report.map_err(|error| failed(error.to_string()))?;
        if shown {
            eprintln!();
        }
        if self.json {
            let findings: Vec<_> = report
                .findings
                .iter()
                .map(|finding| {
                    json!({
                        "journal": finding.journal.map(|journal| journal.to_string()),
                        "lane": finding.journal.map(|journal| journal.lane),
                        "first": finding.range.map(SeqRange::first),
                        "last": finding.range.map(SeqRange::last),
                        "what": finding.what,
                    })
                })
                .collect();
            terminal::say_json(&json!({
                "clean": report.is_clean(), "journals": report.journals, "segments": report.read.segments,
                "records": report.read.records, "bytes": report.read.bytes, "quarantined": report.quarantined,
                "found": report.found, "findings": findings,
            }))?;
        } else {
            let mut text = format!(
                "{} records in {} journals read, {}; {} in quarantine from earlier; {} places found damaged\n",
                report.read.records,
                report.journals,
                terminal::bytes(report.read.bytes),
                report.quarantined,
                report.found
            );
            for finding in &report.findings {
                let place = match (finding.journal, finding.range) {
                    (Some(journal), Some(range)) => format!("{journal} {range}: "),
                    (Some(journal), None) => format!("{journal}: "),
                    _ => String::new(),
                };
                text += &format!("damaged: {place}{}\n", terminal::visible(&finding.what));
            }
            terminal::say(&text)?;
        }
        if report.is_clean() {
            return Ok(());
        }
        let hint = "a running agent puts them aside when it reads them, within a week at the latest; what a hub has comes back from it, \
                    what no hub has is declared as lost. Check the disk";
        Err(Failure::new(Exit::Data, format!("{} places are damaged", report.found)).hint(hint))
    }
}
