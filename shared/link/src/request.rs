//! A fresh key and the request to have it certified.
//!
//! Promise: the private key is made here and leaves only through [`CertificateRequest::key_pem`], which nothing
//! in this crate ever sends, and into a file that only its owner can read.

use std::fmt;
use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::vault::{self, VaultError};

/// File of a key whose certificate has not come yet.
pub const PENDING_FILE: &str = "pending.key";

/// A key pair (ECDSA P-256) and a signing request over its public half.
pub struct CertificateRequest {
    csr_der: Vec<u8>,
    key_pem: String,
}

/// Why there is no key to ask with.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The key could not be made, or the stored one is not a key.
    #[error("could not make or read a key pair: {0}")]
    Key(String),
    /// The pending key cannot be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<rcgen::Error> for RequestError {
    fn from(error: rcgen::Error) -> Self {
        Self::Key(error.to_string())
    }
}

impl CertificateRequest {
    /// Makes a new key. The request proves possession of it and says nothing else: who the holder is, the CA
    /// decides.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn fresh() -> Result<Self, RequestError> {
        Self::over(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
    }

    /// The request that waits in `directory`, or a new one that from now on waits there. A machine that was killed
    /// between asking and answering so comes back with the same key, which the hub recognises.
    ///
    /// # Errors
    /// When the operating system gives no randomness, or the disk refuses.
    pub fn pending(directory: &Path) -> Result<Self, RequestError> {
        vault::prepare(directory)?;
        match vault::read_private(directory, PENDING_FILE) {
            Ok(key) => Self::over(&KeyPair::from_pem(&key)?),
            Err(VaultError::Missing { .. }) => {
                let request = Self::fresh()?;
                vault::write(directory, PENDING_FILE, request.key_pem.as_bytes())?;
                Ok(request)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets the request that waits in `directory`, once [`crate::Identity::save`] has put its answer in place.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn settled(directory: &Path) -> Result<(), RequestError> {
        Ok(vault::remove(directory, PENDING_FILE)?)
    }

    fn over(key: &KeyPair) -> Result<Self, RequestError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr_der = params.serialize_request(key)?.der().to_vec();
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
