//! Certificates and keys as PEM text, read into the forms that TLS wants.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::CertificateError;

fn unreadable(error: &rustls_pki_types::pem::Error) -> CertificateError {
    CertificateError::Unreadable { form: "PEM", detail: format!("{error:?}") }
}

/// The first certificate of `pem`.
pub(crate) fn first(pem: &str) -> Result<CertificateDer<'static>, CertificateError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| unreadable(&e))
}

/// The private key of `pem`.
pub(crate) fn key(pem: &str) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| unreadable(&e))
}
