//! A fresh key and the request to have it certified.
//!
//! Promise: the private key is made here and leaves only through [`CertificateRequest::key_pem`], which nothing
//! in this crate ever sends.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};

/// A key pair (ECDSA P-256) and a signing request over its public half.
pub struct CertificateRequest {
    csr_der: Vec<u8>,
    key_pem: String,
}

/// The key could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not make a key pair: {0}")]
pub struct RequestError(String);

impl From<rcgen::Error> for RequestError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

impl CertificateRequest {
    /// Makes a new key. The request proves possession of it and says nothing else: who the holder is, the CA
    /// decides.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn fresh() -> Result<Self, RequestError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr_der = params.serialize_request(&key)?.der().to_vec();
        Ok(Self { csr_der, key_pem: key.serialize_pem() })
    }

    /// The signing request (PKCS #10, DER), to be sent.
    #[must_use]
    pub fn csr_der(&self) -> &[u8] {
        &self.csr_der
    }

    /// The private key, never to be sent.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

impl fmt::Debug for CertificateRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CertificateRequest").finish_non_exhaustive()
    }
}
