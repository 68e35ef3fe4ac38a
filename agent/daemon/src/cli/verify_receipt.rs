//! `verify-receipt`: checks a receipt, with nothing but the CA's certificate. No daemon and no network are needed.

use std::io;
use std::path::PathBuf;

use clap::Args;
use millrace_host::Failure;
use millrace_host::terminal::{receipt_failure, say_receipt_holds};
use millrace_link::ca::CA_FILE;
use millrace_link::receipt::Receipt;

use super::DataArgument;
use crate::places::Places;

const EXAMPLES: &str = "\
Examples:
  millrace-agent verify-receipt receipt.json
  millrace-agent verify-receipt receipt.json --ca ca.pem --json

Ends with exit code 0 when it holds, and 65 when it does not or is none.";

/// Check a receipt that two holders have the same records: both signatures, both certificates, and their time.
///
/// What it proves and what not stands in docs/operations/receipts.md.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyReceipt {
    /// The receipt
    file: PathBuf,
    #[command(flatten)]
    data: DataArgument,
    /// The CA's certificate, PEM; without it, the one in the data directory
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl VerifyReceipt {
    /// Checks and prints.
    ///
    /// # Errors
    /// When the receipt does not hold, or cannot be checked.
    pub fn run(self) -> Result<(), Failure> {
        let beside = || Places::new(&self.data.directory).identity().join(CA_FILE);
        let ca = self.ca.clone().unwrap_or_else(beside);
        let checked = Receipt::load_checked(&self.file, &ca);
        let (receipt, [one, other]) =
            checked.map_err(|error| receipt_failure(&io::Error::from(error), self.json))?;
        let (serial, other_serial) = (one.serial.to_string(), other.serial.to_string());
        say_receipt_holds(&receipt.statement, [&one.name, &other.name], [&serial, &other_serial], self.json)
    }
}
