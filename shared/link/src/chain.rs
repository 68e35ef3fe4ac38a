//! Certificates and keys as PEM text, read into the forms that TLS wants.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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

/// A certificate as PEM (RFC 7468, section 3): lines of 64, one form.
pub(crate) fn certificate_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem + "-----END CERTIFICATE-----\n"
}
