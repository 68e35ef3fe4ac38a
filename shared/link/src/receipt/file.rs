//! A receipt as a file: one JSON document that people can read.
//!
//! Promise: nothing is parsed that is longer than a receipt can be; nothing stands in the file that is not signed, except
//! certificates and signatures themselves: what is not known is refused.

use std::fs::File as Disk;
use std::io::Read;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::{Receipt, ReceiptError, Signed};
use crate::limits::{RECEIPT_BYTES_MAX, RECEIPT_CERTIFICATE_BYTES_MAX, SIGNATURE_BYTES_MAX};
use crate::{PeerIdentity, chain};
use millrace_model::receipt::Statement;

/// The word by which the file says what it is.
const WORD: &str = "millrace receipt";
const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    is: String,
    version: u64,
    statement: Statement,
    signatures: [Part; 2],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// PEM.
    certificate: String,
    /// Hexadecimal.
    signature: String,
}

/// What is read first, so that a newer version is told from damage.
#[derive(Deserialize)]
struct Head {
    is: String,
    version: u64,
}

impl Receipt {
    /// The file, laid out for people.
    ///
    /// # Errors
    /// When it would be longer than it may be, which no statement of a device is.
    pub fn to_json(&self) -> Result<String, ReceiptError> {
        let part = |signed: &Signed| Part {
            certificate: chain::certificate_pem(&signed.certificate),
            signature: signed.signature.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let [one, other] = &self.signatures;
        let file = File {
            is: WORD.to_owned(),
            version: VERSION,
            statement: self.statement.clone(),
            signatures: [part(one), part(other)],
        };
        let text =
            serde_json::to_string_pretty(&file).map_err(|error| ReceiptError::Form(error.to_string()))?;
        if text.len() > RECEIPT_BYTES_MAX { Err(ReceiptError::TooLong) } else { Ok(text + "\n") }
    }

    /// Reads the file at `path`, no further than a receipt can be long.
    ///
    /// # Errors
    /// As [`Self::from_json`], and [`ReceiptError::Unread`].
    pub fn load(path: &Path) -> Result<Self, ReceiptError> {
        let unread = |error: std::io::Error| ReceiptError::Unread { path: path.to_owned(), error };
        let mut bytes = Vec::new();
        let most = RECEIPT_BYTES_MAX as u64 + 3;
        Disk::open(path).map_err(unread)?.take(most).read_to_end(&mut bytes).map_err(unread)?;
        Self::from_json(&bytes)
    }

    /// Reads the file at `path` and checks it with the CA's certificate (PEM) in the file at `ca`; who signed it, in the order of the
    /// holders.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::check`], and [`ReceiptError::CaUnread`].
    pub fn load_checked(path: &Path, ca: &Path) -> Result<(Self, [PeerIdentity; 2]), ReceiptError> {
        let unread = |error: std::io::Error| ReceiptError::CaUnread { path: ca.to_owned(), error };
        let ca_pem = std::fs::read_to_string(ca).map_err(unread)?;
        let receipt = Self::load(path)?;
        let signers = receipt.check(&ca_pem)?;
        Ok((receipt, signers))
    }

    /// The receipt in the answer of a daemon, which is null when nothing is equal.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn in_answer(answer: &serde_json::Value) -> Result<Option<Self>, ReceiptError> {
        let receipt = answer.get("receipt").filter(|receipt| !receipt.is_null());
        receipt.map(|receipt| Self::from_json(receipt.to_string().as_bytes())).transpose()
    }

    /// The receipt in this text. Whether it holds, [`Receipt::check`] says.
    ///
    /// # Errors
    /// When it is longer than a receipt may be, or none.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ReceiptError> {
        // A line break more, which editors add.
        if bytes.len() > RECEIPT_BYTES_MAX + 2 {
            return Err(ReceiptError::TooLong);
        }
        let form = |error: serde_json::Error| ReceiptError::Form(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(form)?;
        if head.is != WORD {
            return Err(ReceiptError::Form(format!("it does not say that it is a {WORD}")));
        }
        if head.version != VERSION {
            return Err(ReceiptError::Version(head.version));
        }
        let File { statement, signatures: [one, other], .. } = serde_json::from_slice(bytes).map_err(form)?;
        statement.check()?;
        Ok(Self { statement, signatures: [one.read()?, other.read()?] })
    }
}

impl Part {
    fn read(&self) -> Result<Signed, ReceiptError> {
        let form = |what: &str| ReceiptError::Form(what.to_owned());
        let certificate: CertificateDer<'static> =
            chain::first(&self.certificate).map_err(|error| ReceiptError::Form(error.to_string()))?;
        if certificate.len() > RECEIPT_CERTIFICATE_BYTES_MAX {
            return Err(form("a certificate in it is too long"));
        }
        // One form: so nothing can be hidden beside it.
        if chain::certificate_pem(&certificate) != self.certificate {
            return Err(form("beside a certificate stands something else"));
        }
        let signature =
            unhex(&self.signature).ok_or_else(|| form("a signature in it is no hexadecimal text"))?;
        Ok(Signed { certificate, signature })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() > 2 * SIGNATURE_BYTES_MAX || !text.len().is_multiple_of(2) || !text.bytes().all(lower) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}
