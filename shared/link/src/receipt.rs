//! Receipts: two holders have signed that they have the very same records, and anybody with the CA's certificate can check it.
//!
//! ```text
//! signature := ECDSA P-256, SHA-256, DER, by the key of the holder's certificate, over: context statement
//! context   := "millrace 2026 receipt v1" 0x00
//! ```
//!
//! What TLS signs with the same key begins with 64 blanks (RFC 8446, section 4.4.3) and what a signing request signs with 0x30 (DER), so
//! neither is ever a receipt, and no receipt is one of them.
//!
//! Promise: an identity signs statements and nothing else here, and only one that names it. [`Receipt::check`] accepts what both named
//! holders have signed, with certificates of this CA that were valid when each says that it signed, and nothing else.
//! Absent: whether it is true. The holders compared; the signatures say who answers for it. Revocation: it is asked at handshakes.
//!
//! | room | what stands there |
//! |---|---|
//! | [`file`] | the file, and its limits |

mod file;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use millrace_model::Wall;
use millrace_model::receipt::{Party, Statement, StatementError};
use rustls::{CertificateError as Judged, Error};
use rustls_pki_types::CertificateDer;

use crate::limits::{RECEIPT_BYTES_MAX, SIGNATURE_BYTES_MAX};
use crate::{CertificateError, Identity, PeerIdentity, Role, chain, tls};

/// What stands before the statement in what is signed.
pub const CONTEXT: &[u8] = b"millrace 2026 receipt v1\0";

/// One holder's part of a receipt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// Its certificate.
    certificate: CertificateDer<'static>,
    /// Over context and statement.
    signature: Vec<u8>,
}

/// A statement that both of its holders have signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// What they say.
    pub statement: Statement,
    /// Who says it, in the order of the statement's holders.
    pub signatures: [Signed; 2],
}

/// Why a receipt does not hold, or was not made.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unread {
        /// Where it was looked for.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Over its limit: not even looked at.
    #[error("it has more than {RECEIPT_BYTES_MAX} bytes: no receipt is so long")]
    TooLong,
    /// Not a receipt at all.
    #[error("it is not a receipt: {0}")]
    Form(String),
    /// Written by a newer program.
    #[error("it is a receipt of version {0}, and this program reads version 1: upgrade it")]
    Version(u64),
    /// What it says cannot be.
    #[error("what it says cannot be: {0}")]
    Statement(#[from] StatementError),
    /// What it is to be checked with is not there.
    #[error("the CA's certificate {} cannot be read: {error}", path.display())]
    CaUnread {
        /// Where it was looked for.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// What it is to be checked with is no certificate.
    #[error("the CA's certificate cannot be read: {0}")]
    Ca(CertificateError),
    /// A certificate cannot be read.
    #[error("the certificate of the {0} cannot be read: {1}")]
    Certificate(Party, CertificateError),
    /// A certificate names somebody else.
    #[error("the certificate of the {party} is for the {found}")]
    Holder {
        /// Whom the statement names.
        party: Party,
        /// Whom the certificate names.
        found: Role,
    },
    /// Another CA, or none.
    #[error("the certificate of the {0} was not issued by this CA: is it the CA of the right cluster?")]
    Foreign(Party),
    /// It was not valid then.
    #[error(
        "the certificate of the {party} was not valid when it is said to have signed, {at} (Unix seconds): it is from {from} until {until}"
    )]
    Expired {
        /// Whose.
        party: Party,
        /// When it says that it signed.
        at: i64,
        /// Beginning of the certificate.
        from: i64,
        /// Its end.
        until: i64,
    },
    /// The signature is not over this statement.
    #[error("the signature of the {0} does not belong to what the receipt says: something was changed")]
    Signature(Party),
    /// This machine is not one of the two.
    #[error("the {0} does not sign what others say")]
    NotMine(Role),
    /// The key does not sign.
    #[error("the key of this machine cannot sign: {0}")]
    Key(#[from] Error),
}

/// As whoever checks files tells faults apart: what was given to check with cannot be used (`InvalidInput`), the disk failed (as the
/// operating system said), or else the receipt does not hold (`InvalidData`).
impl From<ReceiptError> for io::Error {
    fn from(error: ReceiptError) -> Self {
        let kind = match &error {
            ReceiptError::Ca(_) | ReceiptError::CaUnread { .. } => io::ErrorKind::InvalidInput,
            ReceiptError::Unread { error, .. } => error.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl From<Role> for Party {
    fn from(role: Role) -> Self {
        match role {
            Role::Device(id) => Self::Device(id),
            Role::Hub(id) => Self::Hub(id),
        }
    }
}

impl Identity {
    /// Signs a statement of this machine.
    ///
    /// # Errors
    /// When the statement cannot be one, or does not name this machine.
    pub fn sign(&self, statement: &Statement) -> Result<Signed, ReceiptError> {
        statement.check()?;
        let me = Party::from(self.own().role);
        if !statement.holders.iter().any(|holder| holder.who == me) {
            return Err(ReceiptError::NotMine(self.own().role));
        }
        let signature = tls::signature(self.key(), &signed_bytes(statement))?;
        Ok(Signed { certificate: self.certificate().clone(), signature })
    }
}

impl Signed {
    /// A part that came from elsewhere: certificate (DER) and signature (DER).
    #[must_use]
    pub fn from_parts(certificate: &[u8], signature: &[u8]) -> Self {
        Self { certificate: CertificateDer::from(certificate.to_vec()), signature: signature.to_vec() }
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The signature, DER.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether it is the part of `party`, which says that it signed `statement` at `at`; who that is.
    fn check(
        &self,
        (party, at): (Party, Wall),
        message: &[u8],
        ca: &CertificateDer<'static>,
    ) -> Result<PeerIdentity, ReceiptError> {
        let peer = PeerIdentity::from_der(&self.certificate)
            .map_err(|error| ReceiptError::Certificate(party, error))?;
        if Party::from(peer.role) != party {
            return Err(ReceiptError::Holder { party, found: peer.role });
        }
        tls::issued_at(&self.certificate, ca, at).map_err(|error| match error {
            Error::InvalidCertificate(
                Judged::Expired
                | Judged::ExpiredContext { .. }
                | Judged::NotValidYet
                | Judged::NotValidYetContext { .. },
            ) => ReceiptError::Expired {
                party,
                at: at.unix_seconds(),
                from: peer.not_before.unix_seconds(),
                until: peer.not_after.unix_seconds(),
            },
            _ => ReceiptError::Foreign(party),
        })?;
        let short = self.signature.len() <= SIGNATURE_BYTES_MAX;
        if short && tls::is_signed(&self.certificate, message, &self.signature) {
            Ok(peer)
        } else {
            Err(ReceiptError::Signature(party))
        }
    }
}

impl Receipt {
    /// The names of its holders, as their certificates have them. Whether those hold, [`Self::check`] says.
    ///
    /// # Errors
    /// When a certificate cannot be read.
    pub fn names(&self) -> Result<[String; 2], CertificateError> {
        let [one, other] = &self.signatures;
        let name = |signed: &Signed| PeerIdentity::from_der(&signed.certificate).map(|peer| peer.name);
        Ok([name(one)?, name(other)?])
    }

    /// Puts a receipt together. Whether it holds, [`Self::check`] says.
    #[must_use]
    pub const fn new(statement: Statement, signatures: [Signed; 2]) -> Self {
        Self { statement, signatures }
    }

    /// Whether it holds: who signed it, in the order of the holders.
    ///
    /// # Errors
    /// What is wrong with it, or with `ca_pem`.
    pub fn check(&self, ca_pem: &str) -> Result<[PeerIdentity; 2], ReceiptError> {
        self.statement.check()?;
        let ([one, other], [first, second]) = (&self.signatures, self.statement.holders);
        let part = |who, signed| checked(&self.statement, who, signed, ca_pem);
        Ok([part(first.who, one)?, part(second.who, other)?])
    }
}

/// Whether `signed` is the part that `who` has in `statement`: what its certificate says.
///
/// # Errors
/// As [`Receipt::check`].
pub fn checked(
    statement: &Statement,
    who: Party,
    signed: &Signed,
    ca_pem: &str,
) -> Result<PeerIdentity, ReceiptError> {
    let ca = chain::first(ca_pem).map_err(ReceiptError::Ca)?;
    let holder = statement.holders.iter().find(|holder| holder.who == who);
    let holder = holder.ok_or(StatementError::Holders)?;
    signed.check((who, holder.at_us), &signed_bytes(statement), &ca)
}

/// What is signed.
fn signed_bytes(statement: &Statement) -> Vec<u8> {
    [CONTEXT, &statement.to_bytes()].concat()
}
