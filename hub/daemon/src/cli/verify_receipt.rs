//! `millrace-hub verify-receipt`: checks a receipt, with nothing but the CA's certificate. No daemon and no network are needed.

use std::path::PathBuf;

use clap::Args;
use millrace_host::terminal::{receipt_failure, say_receipt_holds};
use millrace_host::{Exit, Failure};
use millrace_link::ca::CA_FILE;
use millrace_link::receipt::{Receipt, ReceiptError};

use super::DATA_DEFAULT;
use crate::places::Places;

const EXAMPLES: &str = "\
Examples:
  millrace-hub verify-receipt receipt.json
  millrace-hub verify-receipt receipt.json --ca ca.pem --json

Ends with exit code 0 when it holds, and 65 when it does not or is none.";

/// Check a receipt that two holders have the same records: both signatures, both certificates, and their time.
///
/// What it proves and what not stands in docs/operations/receipts.md.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyReceipt {
    /// The receipt.
    file: PathBuf,
    /// The data directory, whose CA is used.
    #[arg(long, value_name = "DIR", env = "MILLRACE_HUB_DATA", default_value = DATA_DEFAULT)]
    data: PathBuf,
    /// The CA's certificate, PEM; without it, the one in the data directory.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl VerifyReceipt {
    pub(super) fn perform(self) -> Result<Exit, Failure> {
        let beside = || Places::new(&self.data).identity().join(CA_FILE);
        let ca = self.ca.clone().unwrap_or_else(beside);
        let ca_pem = std::fs::read_to_string(&ca).map_err(|error| {
            Failure::new(
                Exit::Config,
                format!("the CA's certificate {} cannot be read: {error}", ca.display()),
            )
            .hint("name it with --ca, or the data directory of a hub of that cluster with --data")
        })?;
        let checked = Receipt::load(&self.file).and_then(|receipt| Ok((receipt.check(&ca_pem)?, receipt)));
        let ([one, other], receipt) =
            checked.map_err(|error| receipt_failure(exit(&error), &error.to_string(), self.json))?;
        let (serial, other_serial) = (one.serial.to_string(), other.serial.to_string());
        say_receipt_holds(&receipt.statement, [&one.name, &other.name], [&serial, &other_serial], self.json)?;
        Ok(Exit::Ok)
    }
}

const fn exit(error: &ReceiptError) -> Exit {
    match error {
        ReceiptError::Unread { .. } => Exit::Io,
        ReceiptError::Ca(_) => Exit::Config,
        _ => Exit::Data,
    }
}
