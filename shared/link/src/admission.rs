//! Whom the hub lets in: asked in every handshake, after the certificate was found genuine.
//!
//! Promise: no session begins without an answer from here, and there is no resumption that could skip it.
//! Absent: the registry that knows the answers (the hub's).

use crate::PeerIdentity;

/// What the hub knows about the holder of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Known, and this key is the one on record: welcome, even with a certificate that expired within the
    /// grace period.
    CurrentKey,
    /// Welcome with a valid certificate, not with an expired one: its key is not the latest on record.
    Admitted,
    /// Revoked: refused, and told so.
    Revoked,
    /// Not known to this cluster: refused.
    Unknown,
}

/// The hub's answer in a handshake. It is called inside the handshake and must answer from memory.
pub trait Admission: Send + Sync {
    /// What is known about the holder of this (genuine) certificate. The holder has not yet proved that it has
    /// the private key, so asking must change nothing.
    fn admits(&self, peer: &PeerIdentity) -> Verdict;
}
