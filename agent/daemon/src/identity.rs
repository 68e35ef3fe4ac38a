//! The identity in the data directory: there, not there, or there and of no use.
//!
//! Promise: only a machine that has none is told to enrol. One whose files are damaged or open to others is told which
//! file, and how to mend it: enrolling anew would make it another device, and its journal would belong to nobody.
//! Absent: what an identity is (`millrace-link`).

use millrace_link::{Identity, IdentityError, VaultError};

use crate::places::Places;

/// Why there is no identity to work with.
#[derive(Debug, thiserror::Error)]
pub enum IdentityMissing {
    /// This machine never enrolled.
    #[error("this agent has no identity: run `millrace-agent enroll` with a join token first")]
    NotEnrolled,
    /// The key and certificate are there, the CA's certificate is not.
    #[error(
        "{path} is gone, though this agent is enrolled: put it back from a copy, or from any other machine of the \
         cluster, which all have the same one; do not enrol again"
    )]
    NoAuthority {
        /// The file.
        path: String,
    },
    /// It is there, and cannot be read.
    #[error(transparent)]
    Unreadable(VaultError),
    /// It is there, and is not what enrolment left there.
    #[error(
        "{0}; put back a copy of the file. Without one, this device cannot be continued: move the whole data directory \
         aside (`millrace-agent query` still shows its records), revoke the device at the hub, and enrol it as a new one"
    )]
    Damaged(IdentityError),
}

/// The identity that stands at `places`.
///
/// # Errors
/// Why there is none to work with, and what to do.
pub fn load(places: &Places) -> Result<Identity, IdentityMissing> {
    Identity::load(&places.identity()).map_err(|error| match error {
        IdentityError::Vault(VaultError::Missing { path }) => {
            if path.parent() == Some(&*places.identity()) && places.identity().join(OWN_FILE).exists() {
                IdentityMissing::NoAuthority { path: path.display().to_string() }
            } else {
                IdentityMissing::NotEnrolled
            }
        }
        IdentityError::Vault(error) => IdentityMissing::Unreadable(error),
        error => IdentityMissing::Damaged(error),
    })
}

/// Key and certificate, beside which the CA's certificate stands.
const OWN_FILE: &str = "identity.pem";
