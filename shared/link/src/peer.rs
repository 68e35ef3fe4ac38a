//! Who stands at the other end: the role, id and name that a certificate of the cluster's CA states.
//!
//! Promise: a [`PeerIdentity`] is read from a certificate alone, never from what a peer says.
//! Absent: whether the certificate is genuine. The verifiers in `tls` decide that before anyone asks here.

use std::fmt;

use millrace_model::{DeviceId, HubId, Wall};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::KeyHash;
use crate::clock::wall_of_seconds;

/// The name that every hub certificate carries and every client asks for. Hubs are told apart by their id.
pub const HUB_NAME: &str = "hub.millrace";

const DEVICE_URI: &str = "millrace:device:";
const HUB_URI: &str = "millrace:hub:";

/// What a certificate entitles its holder to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// An edge device. Can dial hubs; can never be one.
    Device(DeviceId),
    /// A hub. Serves, and dials other hubs.
    Hub(HubId),
}

impl Role {
    /// The form in which a certificate carries it (subject alternative name, URI).
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Self::Device(id) => format!("{DEVICE_URI}{id}"),
            Self::Hub(id) => format!("{HUB_URI}{id}"),
        }
    }

    fn from_uri(uri: &str) -> Option<Self> {
        if let Some(id) = uri.strip_prefix(DEVICE_URI) {
            return id.parse().ok().map(Self::Device);
        }
        uri.strip_prefix(HUB_URI).and_then(|id| id.parse().ok()).map(Self::Hub)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id) => write!(out, "device {id}"),
            Self::Hub(id) => write!(out, "hub {id}"),
        }
    }
}

/// Serial number of a certificate: 128 bits, drawn by the CA.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub u128);

impl fmt::Display for Serial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// What a certificate says about its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// What it is, and which one.
    pub role: Role,
    /// Its human name.
    pub name: String,
    /// The certificate's serial number.
    pub serial: Serial,
    /// Beginning of the certificate's life.
    pub not_before: Wall,
    /// End of the certificate's life.
    pub not_after: Wall,
    /// Which key it holds; a renewal with a new key has a new hash.
    pub public_key_hash: KeyHash,
}

/// A certificate that is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate.
    #[error("not an X.509 certificate in {form}: {detail}")]
    Unreadable {
        /// PEM or DER.
        form: &'static str,
        /// The parser's words.
        detail: String,
    },
    /// No `millrace:` name in it, or more than one.
    #[error(
        "the certificate names {found} Millrace identities instead of one: was it issued by `millrace-hub`?"
    )]
    NotOurs {
        /// How many were found.
        found: usize,
    },
    /// No common name.
    #[error("the certificate has no common name")]
    Nameless,
    /// A serial number longer than 128 bits.
    #[error("the certificate's serial number is longer than 128 bits")]
    Serial,
}

impl PeerIdentity {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// When it is no certificate, or not one that a Millrace CA issues.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, certificate) = X509Certificate::from_der(der)
            .map_err(|e| CertificateError::Unreadable { form: "DER", detail: e.to_string() })?;
        if !rest.is_empty() {
            return Err(CertificateError::Unreadable { form: "DER", detail: "bytes after its end".into() });
        }
        let subject = certificate.subject();
        let name = subject
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .ok_or(CertificateError::Nameless)?;
        Ok(Self {
            role: role(&certificate)?,
            name: name.to_owned(),
            serial: serial(&certificate)?,
            not_before: wall_of_seconds(certificate.validity().not_before.timestamp()),
            not_after: wall_of_seconds(certificate.validity().not_after.timestamp()),
            public_key_hash: KeyHash::of(certificate.public_key().raw),
        })
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// As [`Self::from_der`].
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        Self::from_der(&crate::chain::first(pem)?)
    }

    /// The device's id, when it is one.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        match self.role {
            Role::Device(id) => Some(id),
            Role::Hub(_) => None,
        }
    }

    /// The hub's id, when it is one.
    #[must_use]
    pub fn hub(&self) -> Option<HubId> {
        match self.role {
            Role::Hub(id) => Some(id),
            Role::Device(_) => None,
        }
    }

    /// Whether the certificate's life is over at `now`.
    #[must_use]
    pub fn expired(&self, now: Wall) -> bool {
        now > self.not_after
    }
}

/// One line for people: `device 0123… "press-7", serial …, until 1767225600 (Unix seconds), key 5f3a…`.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = self.not_after.unix_seconds();
        write!(out, "{} {:?}, serial {}, until {until} (Unix seconds)", self.role, self.name, self.serial)?;
        write!(out, ", key {:?}", self.public_key_hash)
    }
}

fn role(certificate: &X509Certificate<'_>) -> Result<Role, CertificateError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|e| CertificateError::Unreadable { form: "DER", detail: e.to_string() })?;
    let mut roles = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with("millrace:") => Some(Role::from_uri(uri)),
        _ => None,
    });
    match (roles.next(), roles.count()) {
        (Some(Some(role)), 0) => Ok(role),
        (first, more) => {
            Err(CertificateError::NotOurs { found: usize::from(first.flatten().is_some()) + more })
        }
    }
}

fn serial(certificate: &X509Certificate<'_>) -> Result<Serial, CertificateError> {
    let significant = certificate.raw_serial().iter().skip_while(|byte| **byte == 0);
    significant
        .enumerate()
        .try_fold(0_u128, |value, (place, byte)| (place < 16).then(|| value << 8 | u128::from(*byte)))
        .map(Serial)
        .ok_or(CertificateError::Serial)
}
