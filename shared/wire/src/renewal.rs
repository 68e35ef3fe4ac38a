//! How a certificate is renewed inside a session: the device is known, so nothing but the request is needed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A certificate signing request (PKCS #10, DER). Only its public key is used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RenewalRequest {
    /// The request, at most [`crate::limits::CERTIFICATE_BYTES_MAX`].
    pub request: Bytes,
}

/// The renewed certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RenewalGrant {
    /// PEM: the device's certificate first, the CA's last.
    pub chain: String,
}
