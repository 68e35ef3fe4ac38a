//! How a machine without a certificate gets one: one question, one answer, over its own protocol name.
//!
//! ```text
//! machine                                   hub
//!    │ ── handshake, no certificate ──────▶ │
//!    │ ◀── hub certificate, CA certificate ─│   hash of the CA's key = token's? else: end, nothing was sent
//!    │ ── secret, signing request, labels ─▶│   registry decides: grant or refuse
//!    │ ◀── certificate | refusal ───────────│
//!    │ ── close ───────────────────────────▶│
//! ```
//!
//! Messages are JSON behind the length field of every frame, at most
//! [`crate::limits::ENROLMENT_MESSAGE_BYTES_MAX`] long.
//!
//! Promise: the secret is sent only to a hub of the token's cluster, and the private key to nobody. The key of a
//! request has proved that it is the sender's before the hub sees it.
//! Absent: whether a secret is good, once, and not expired: the hub's registry.

mod asking;
mod granting;
mod message;

pub use asking::{EnrollError, Enrolled, Wishes};
pub use granting::{EnrolmentConnection, EnrolmentError, EnrolmentRequest};
pub use message::EnrolmentRefusal;
