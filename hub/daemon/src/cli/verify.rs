//! `millrace-hub verify`: reads everything that is stored against its hashes. With `--peer` two running hubs compare instead
//! ([`super::verify_peer`]).
//!
//! Promise: the store is only read, and no hub runs meanwhile, so what it says is what the next start will find.
//! Absent: mending, which a start of the hub does.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use millrace_host::Exit;
use millrace_host::terminal::{bytes, count, say, say_json, visible};
use millrace_journal::{Options, Progress, Reader, Report};
use millrace_model::SeqRange;
use serde_json::json;

use super::DATA_DEFAULT;
use super::offline::Look;
use super::verify_peer::WithPeer;
use crate::hub;
use crate::opening::StoreError;
use crate::places::Places;
use millrace_host::Failure;

/// The progress line is written anew after this many bytes.
const PROGRESS_BYTES: u64 = 16 << 20;

/// Read everything that a stopped hub has stored against its checks and hashes, or compare a running one with another. Changes nothing.
///
/// Exit code 0 when all is well, 65 when something is damaged or not there, 75 when the hub runs. With --peer: 0 when both have the same records, 65 when not, 69 when the
/// other hub does not answer, 75 when records are still on their way.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  systemctl stop millrace-hub && millrace-hub verify --data /var/lib/millrace-hub\n  millrace-hub verify --data ./hub --json\n  millrace-hub verify --peer hub-b -o receipt.json"
)]
pub(super) struct Verify {
    /// The data directory.
    #[arg(long, value_name = "DIR", env = "MILLRACE_HUB_DATA", default_value = DATA_DEFAULT)]
    data: PathBuf,
    #[command(flatten)]
    with: WithPeer,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let places = Places::new(&self.data);
        if let Some(peer) = &self.with.peer {
            return self.with.perform(peer, &places, self.json).await;
        }
        if places.read_about().is_err() || !places.journal().exists() {
            return Err(hub::identity::missing(&places));
        }
        let look = Look::open(&places).map_err(|failure| match failure.exit {
            Exit::Temporary => running(&places),
            _ => failure,
        })?;
        let devices = look.devices().len();
        let reader = Reader::open(&places.journal(), &Options::hub());
        let reader = reader.map_err(|error| hub::store_failure(&StoreError::Open(error)))?;
        let terminal = std::io::stderr().is_terminal();
        let mut told = 0;
        let report = reader.verify(|progress| {
            if terminal && progress.bytes.saturating_sub(told) >= PROGRESS_BYTES {
                told = progress.bytes;
                tell(progress);
            }
        });
        if terminal && told > 0 {
            // Fails only when nobody reads it.
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
        let report = report.map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
        drop(look);
        self.answer(&report, devices)?;
        Ok(if report.is_clean() { Exit::Ok } else { Exit::Data })
    }

    fn answer(&self, report: &Report, devices: usize) -> Result<(), Failure> {
        if self.json {
            let findings = report.findings.iter().map(|finding| {
                json!({
                    "journal": finding.journal.map(|journal| journal.to_string()),
                    "first": finding.range.map(SeqRange::first),
                    "last": finding.range.map(SeqRange::last),
                    "what": finding.what,
                })
            });
            return say_json(&json!({
                "clean": report.is_clean(),
                "journals": report.journals,
                "segments": report.read.segments,
                "records": report.read.records,
                "bytes": report.read.bytes,
                "quarantined": report.quarantined,
                "found": report.found,
                "findings": findings.collect::<Vec<_>>(),
                "devices": devices,
            }));
        }
        let mut text = format!(
            "read {} records in {} segments of {} journals ({}), and a registry of {devices} devices\n",
            count(report.read.records),
            count(report.read.segments),
            report.journals,
            bytes(report.read.bytes),
        );
        if report.quarantined > 0 {
            text.push_str(&format!("{} places were moved aside earlier\n", report.quarantined));
        }
        for finding in &report.findings {
            let place = match (finding.journal, finding.range) {
                (Some(journal), Some(range)) => format!("{journal} {range}: "),
                (Some(journal), None) => format!("{journal}: "),
                _ => String::new(),
            };
            text.push_str(&format!("damaged: {place}{}\n", visible(&finding.what)));
        }
        if report.is_clean() {
            text.push_str("all is well\n");
        } else {
            text.push_str(&format!(
                "{} findings. When the hub is started it moves aside what is damaged, and fetches what it lacks from the other \
                 hubs and the devices: `millrace-hub repairs` says what has come back.\n",
                report.found
            ));
        }
        say(&text)
    }
}

/// What to do when a hub has the data directory.
fn running(places: &Places) -> Failure {
    let message = format!("{} is in use by a running hub", places.journal().display());
    Failure::new(Exit::Temporary, message).hint(
        "stop it first: `systemctl stop millrace-hub`. Or let it run: it reads everything again by itself (`scrub` in \
         `millrace-hub status --json` says how far it is), and `millrace-hub verify --peer NAME` compares it with another hub",
    )
}

fn tell(progress: Progress) {
    let (records, read) = (count(progress.records), bytes(progress.bytes));
    // Fails only when nobody reads it.
    let _ = write!(std::io::stderr(), "\r\u{1b}[Kverifying: {records} records, {read}");
}
