//! The cluster's certificate authority: makes itself, and issues certificates for hubs and devices.
//!
//! Promise: id, name, role, purpose and life of a certificate come from the caller. From a signing request
//! comes the public key and nothing else, after the request has proved possession of the private half.
//! Absent: who may have a certificate (the hub's registry), revocation (asked at each handshake).

use std::fmt;
use std::path::Path;
use std::time::Duration;

use millrace_model::Wall;
use millrace_model::limits::NAME_CHARS_MAX;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SanType, SerialNumber,
};

use crate::entropy::{self, EntropyError};
use crate::limits::CSR_BYTES_MAX;
use crate::peer::HUB_NAME;
use crate::vault::{self, VaultError};
use crate::{CertificateError, KeyHash, Role, chain};

/// Life of the CA itself. Longer than the machines that trust it; replacing it means enrolling anew.
pub const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);

/// Longest life of an issued certificate. Beyond it a mistyped unit is likelier than a wish.
pub const LEAF_LIFE_MAX: Duration = Duration::from_secs(5 * 365 * 86_400);

/// A certificate begins this long before it is issued (never more than a tenth of its life), for hubs whose
/// clocks differ a little.
const BACKDATING_MAX: Duration = Duration::from_secs(3_600);

/// File of the CA certificate in its directory.
pub const CA_FILE: &str = "ca.pem";
/// File of the CA's private key in its directory.
pub const CA_KEY_FILE: &str = "ca.key";

/// The CA with its private key.
pub struct CertificateAuthority {
    certificate_pem: String,
    key_hash: KeyHash,
    issuer: Issuer<'static, KeyPair>,
}

/// Why the CA did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The name cannot stand in a certificate.
    #[error(
        "`{0}` cannot be a name in a certificate: 1 to {NAME_CHARS_MAX} characters, no control characters"
    )]
    Name(String),
    /// No or too much life.
    #[error("a certificate cannot live {0:?}: choose more than a second and at most {LEAF_LIFE_MAX:?}")]
    Life(Duration),
    /// The clock shows a time that certificates cannot carry.
    #[error("the clock shows {0} s since 1970, which no certificate can carry: set the clock")]
    Clock(i64),
    /// The signing request is too long, malformed or not signed by its own key.
    #[error("the signing request is refused: {0}")]
    Request(String),
    /// Cryptography failed.
    #[error("could not make a key or certificate: {0}")]
    Crypto(String),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The stored CA cannot be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The stored CA certificate is not a certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Key and certificate in the directory are not a pair.
    #[error(
        "the private key in {CA_KEY_FILE} does not belong to the certificate in {CA_FILE}: restore both from one backup"
    )]
    Mismatch,
}

impl From<rcgen::Error> for CaError {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}

impl CertificateAuthority {
    /// Makes a new CA for the cluster with this name.
    ///
    /// # Errors
    /// When the name cannot stand in a certificate, or the operating system gives no randomness.
    pub fn fresh(cluster: &str, now: Wall) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = blank(cluster, now, CA_LIFE)?;
        // Length 0: nobody whom it certifies can certify others.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Self::assemble(certificate_pem, key)
    }

    /// Reads the CA from its directory.
    ///
    /// # Errors
    /// When a file is missing, readable by others, or malformed.
    pub fn load(directory: &Path) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(&vault::read_private(directory, CA_KEY_FILE)?)?;
        Self::assemble(vault::read(directory, CA_FILE)?, key)
    }

    /// Writes the CA into its directory. A CA that stands there already is never overwritten.
    ///
    /// # Errors
    /// When there is one already, or the disk refuses.
    pub fn save(&self, directory: &Path) -> Result<(), CaError> {
        vault::prepare(directory)?;
        vault::refuse_existing(directory, CA_KEY_FILE)?;
        vault::write(directory, CA_KEY_FILE, self.issuer.key().serialize_pem().as_bytes())?;
        vault::write(directory, CA_FILE, self.certificate_pem.as_bytes())?;
        Ok(())
    }

    /// The CA that another hub of the cluster has handed over.
    ///
    /// # Errors
    /// When a part is malformed, or they do not belong together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, CaError> {
        Self::assemble(certificate_pem.to_owned(), KeyPair::from_pem(key_pem)?)
    }

    /// Its private key. Whoever has it can make any device and any hub: it leaves this machine only towards another hub of the
    /// cluster, over a connection that both have proved themselves on.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    fn assemble(certificate_pem: String, key: KeyPair) -> Result<Self, CaError> {
        let key_hash = ca_key_hash(&certificate_pem)?;
        if KeyHash::of(&key.subject_public_key_info()) != key_hash {
            return Err(CaError::Mismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&chain::first(&certificate_pem)?, key)?;
        Ok(Self { certificate_pem, key_hash, issuer })
    }

    /// The CA's certificate, which everyone may know.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The hash of the CA's public key: what a join token carries.
    #[must_use]
    pub fn key_hash(&self) -> KeyHash {
        self.key_hash
    }

    /// Issues a certificate for the public key in `csr_der` (PKCS #10), for `role`, and returns it as PEM. A hub may serve and
    /// dial, a device may only dial.
    ///
    /// # Errors
    /// When the request is not signed by its own key or not for ECDSA P-256, or name, life or clock are
    /// beyond what a certificate can carry.
    pub fn issue(
        &self,
        csr_der: &[u8],
        role: Role,
        name: &str,
        life: Duration,
        now: Wall,
    ) -> Result<String, CaError> {
        let public_key = verified_key(csr_der)?;
        if life < Duration::from_secs(1) || life > LEAF_LIFE_MAX {
            return Err(CaError::Life(life));
        }
        let backdating = BACKDATING_MAX.min(life / 10);
        let begin = Wall(now.0.saturating_sub(i64::try_from(backdating.as_micros()).unwrap_or(0)).max(0));
        let mut params = blank(name, begin, life + backdating)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = vec![SanType::URI(role.uri().try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(role, Role::Hub(_)) {
            params.subject_alt_names.push(SanType::DnsName(HUB_NAME.try_into()?));
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        Ok(params.signed_by(&public_key, &self.issuer)?.pem())
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CertificateAuthority").field("key_hash", &self.key_hash).finish_non_exhaustive()
    }
}

/// The hash of the public key in a CA certificate.
///
/// # Errors
/// When `pem` holds no certificate.
pub fn ca_key_hash(pem: &str) -> Result<KeyHash, CertificateError> {
    der_key_hash(&chain::first(pem)?)
}

/// The hash of the public key for which a signing request (DER) asks, after it proved possession of the private
/// half.
///
/// # Errors
/// When the request is malformed, not signed by its own key, or not for ECDSA P-256.
pub fn request_key_hash(csr_der: &[u8]) -> Result<KeyHash, CaError> {
    verified_key(csr_der).map(|key| KeyHash::of(&key.subject_public_key_info()))
}

pub(crate) fn der_key_hash(der: &[u8]) -> Result<KeyHash, CertificateError> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der)
        .map_err(|e| CertificateError::Unreadable { form: "DER", detail: e.to_string() })?;
    Ok(KeyHash::of(certificate.public_key().raw))
}

/// Whether `name` can be the human name in a certificate.
#[must_use]
pub fn valid_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

/// Parameters with name, life and a serial number of exactly 128 bits, positive as RFC 5280 wants it.
fn blank(name: &str, begin: Wall, life: Duration) -> Result<CertificateParams, CaError> {
    if !valid_name(name) {
        return Err(CaError::Name(name.chars().take(NAME_CHARS_MAX).collect()));
    }
    // The years that a certificate's time can hold without surprise: 1970 to about 2286.
    let seconds = begin.unix_seconds();
    let since_1970 = u64::try_from(seconds).ok().filter(|seconds| *seconds < 10_000_000_000);
    let since_1970 = Duration::from_secs(since_1970.ok_or(CaError::Clock(seconds))?);
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970 + life;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let serial = (u128::from_be_bytes(entropy::bytes()?) >> 2) | (1 << 126);
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    Ok(params)
}

fn verified_key(csr_der: &[u8]) -> Result<rcgen::PublicKey, CaError> {
    if csr_der.len() > CSR_BYTES_MAX {
        return Err(CaError::Request(format!("{} bytes, at most {CSR_BYTES_MAX} are read", csr_der.len())));
    }
    let csr = CertificateSigningRequestParams::from_der(&csr_der.into())
        .map_err(|e| CaError::Request(e.to_string()))?;
    let key = csr.public_key;
    // An uncompressed point on P-256: one form byte and two coordinates.
    if *key.algorithm() != PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != 65 {
        return Err(CaError::Request("its key is not ECDSA P-256".into()));
    }
    Ok(key)
}
