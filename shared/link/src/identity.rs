//! What a machine shows to prove who it is: private key, certificate, and the CA that it trusts.
//!
//! ```text
//! DIRECTORY/            0700
//!   identity.pem        0600   private key, then certificate: one file, because one without the other is
//!                              useless and a renewal must replace both in one step
//!   ca.pem              0600   certificate of the cluster's CA
//! ```
//!
//! Promise: an [`Identity`] is whole: the key belongs to the certificate and the certificate comes from the CA.
//! Absent: whether it is still valid or revoked; see `renewal` and `admission`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::ca::{CA_FILE, der_key_hash};
use crate::vault::{self, VaultError};
use crate::{CertificateError, CertificateRequest, KeyHash, PeerIdentity, chain, tls};

/// File of key and certificate.
pub const IDENTITY_FILE: &str = "identity.pem";

/// Key, certificate and CA of one machine. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Parts>);

struct Parts {
    own: PeerIdentity,
    certificate_pem: String,
    key_pem: String,
    ca_pem: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    ca: CertificateDer<'static>,
    ca_key_hash: KeyHash,
}

/// Why an identity is refused.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Its files cannot be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A certificate or key is malformed.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A file of the identity holds something else than it should.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        what: String,
    },
    /// The private key is malformed.
    #[error("the private key cannot be used: {0}")]
    Key(String),
    /// The key belongs to another certificate.
    #[error(
        "the private key does not belong to the certificate of {0}: restore both from one copy, or enrol again"
    )]
    Mismatch(String),
    /// The CA did not issue the certificate.
    #[error(
        "the certificate of {0} was not issued by the CA beside it: restore both from one copy, or enrol again"
    )]
    Foreign(String),
    /// A renewal names someone else.
    #[error("the renewed certificate is for {new} and not for {old}: it is not used")]
    Renamed {
        /// Who asked.
        old: String,
        /// Whom the certificate names.
        new: String,
    },
}

impl Identity {
    /// Puts an identity together and checks that its parts belong together.
    ///
    /// # Errors
    /// When a part is malformed or belongs to another identity.
    pub fn from_pem(certificate_pem: &str, key_pem: &str, ca_pem: &str) -> Result<Self, IdentityError> {
        let certificate = chain::first(certificate_pem)?;
        let own = PeerIdentity::from_der(&certificate)?;
        let pair = KeyPair::from_pem(key_pem).map_err(|e| IdentityError::Key(e.to_string()))?;
        if KeyHash::of(&pair.subject_public_key_info()) != own.public_key_hash {
            return Err(IdentityError::Mismatch(own.role.to_string()));
        }
        let ca = chain::first(ca_pem)?;
        if !tls::issued_by(&certificate, &ca, &own) {
            return Err(IdentityError::Foreign(own.role.to_string()));
        }
        Ok(Self(Arc::new(Parts {
            own,
            certificate_pem: certificate_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            ca_pem: ca_pem.to_owned(),
            key: chain::key(key_pem)?,
            ca_key_hash: der_key_hash(&ca)?,
            certificate,
            ca,
        })))
    }

    /// The identity that answers `request`.
    ///
    /// # Errors
    /// As [`Self::from_pem`].
    pub fn granted(
        request: &CertificateRequest,
        certificate_pem: &str,
        ca_pem: &str,
    ) -> Result<Self, IdentityError> {
        Self::from_pem(certificate_pem, request.key_pem(), ca_pem)
    }

    /// This identity with a new key and certificate, from the same CA and for the same machine.
    ///
    /// # Errors
    /// As [`Self::from_pem`], and when the certificate names someone else.
    pub fn renewed(
        &self,
        request: &CertificateRequest,
        certificate_pem: &str,
    ) -> Result<Self, IdentityError> {
        let new = Self::granted(request, certificate_pem, &self.0.ca_pem)?;
        if new.own().role != self.own().role {
            let (old, new) = (self.own().role.to_string(), new.own().role.to_string());
            return Err(IdentityError::Renamed { old, new });
        }
        Ok(new)
    }

    /// Reads the identity from its directory.
    ///
    /// # Errors
    /// When a file is missing, malformed, open to others, or belongs to another identity.
    pub fn load(directory: &Path) -> Result<Self, IdentityError> {
        let own = vault::read_private(directory, IDENTITY_FILE)?;
        let ca = vault::read(directory, CA_FILE)?;
        let damaged = |file: &str, error: IdentityError| match error {
            IdentityError::Certificate(_) | IdentityError::Key(_) => {
                IdentityError::Damaged { path: directory.join(file), what: error.to_string() }
            }
            error => error,
        };
        // Looked at by itself first: what is malformed after that stands in the other file.
        chain::first(&ca).map_err(|error| damaged(CA_FILE, error.into()))?;
        Self::from_pem(&own, &own, &ca).map_err(|error| damaged(IDENTITY_FILE, error))
    }

    /// Writes the identity into its directory, replacing the one there in one step.
    ///
    /// # Errors
    /// When the disk refuses; the identity that was there then stays.
    pub fn save(&self, directory: &Path) -> Result<(), IdentityError> {
        vault::prepare(directory)?;
        vault::write(directory, CA_FILE, self.0.ca_pem.as_bytes())?;
        let own = format!("{}{}", self.0.key_pem, self.0.certificate_pem);
        vault::write(directory, IDENTITY_FILE, own.as_bytes())?;
        Ok(())
    }

    /// Who this machine is.
    #[must_use]
    pub fn own(&self) -> &PeerIdentity {
        &self.0.own
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.0.certificate_pem
    }

    /// The CA's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.0.ca_pem
    }

    /// The hash of the CA's public key.
    #[must_use]
    pub fn ca_key_hash(&self) -> KeyHash {
        self.0.ca_key_hash
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.0.certificate
    }

    pub(crate) fn key(&self) -> &PrivateKeyDer<'static> {
        &self.0.key
    }

    pub(crate) fn ca(&self) -> &CertificateDer<'static> {
        &self.0.ca
    }
}

/// The private key stays out of it.
impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Identity").field(self.own()).finish()
    }
}
