//! QUIC, identity and certificates: the only crate that names quinn and rustls.
//!
//! Promise: whoever holds a [`Connection`] talks to a peer whose certificate comes from the cluster's CA and was not
//! revoked when the handshake asked. Frames arrive whole, within their limit, or as an error. Every limit has
//! a number in [`limits`] and an answer to "what when full".
//! Absent: what frames mean (`millrace-wire`, the engines), who is enrolled or revoked (the hub's registry),
//! when to dial and whom (the daemons).
//!
//! | room | what stands there |
//! |---|---|
//! | [`listener`], `doorkeeper`, `pending`, `socket` | a hub's port, its door, and the handshakes under way |
//! | [`dialer`] | the dialing end |
//! | [`connection`], [`outlet`], [`inlet`] | a session's connection and its streams of frames |
//! | [`close`] | why connections end |
//! | [`ca`], [`request`], [`identity`] | who issues certificates, who asks for one, who has one |
//! | [`peer`], [`fingerprint`] | what a certificate says, and how a key is named |
//! | [`admission`], [`renewal`] | who is let in, and when certificates are renewed |
//! | [`receipt`] | what two holders sign when they have the same records |
//! | [`token`], [`enrolment`] | how a new machine comes by its certificate |
//! | `tls`, `chain`, `base32`, [`vault`], `entropy`, [`clock`] | TLS, PEM, text, key files, secrets, time |
//! | [`underlay`] | what carries the packets, when it is not the operating system |
//! | [`road`], [`limits`] | what a road may be expected to carry, and every limit |
//!
//! `DESIGN.md` beside this crate draws the bytes and the handshakes.

pub mod admission;
mod base32;
pub mod ca;
mod chain;
pub mod clock;
pub mod close;
pub mod connection;
pub mod dialer;
mod doorkeeper;
pub mod enrolment;
mod entropy;
pub mod fingerprint;
pub mod identity;
pub mod inlet;
pub mod limits;
pub mod listener;
pub mod outlet;
pub mod peer;
mod pending;
pub mod receipt;
pub mod renewal;
pub mod request;
pub mod road;
mod socket;
mod tls;
pub mod token;
pub mod underlay;
pub mod vault;

pub use admission::{Admission, Verdict};
pub use ca::{CaError, CertificateAuthority};
pub use clock::Clock;
pub use close::{CloseCode, CloseReason};
pub use connection::{Connection, DatagramError};
pub use dialer::{ClientOptions, ConnectError, Dialer};
pub use doorkeeper::DoorCounts;
pub use enrolment::{
    EnrollError, Enrolled, EnrolmentConnection, EnrolmentError, EnrolmentRefusal, EnrolmentRequest, Wishes,
};
pub use entropy::EntropyError;
pub use fingerprint::{KeyHash, KeyHashError};
pub use identity::{Identity, IdentityError};
pub use inlet::{Inlet, ReceiveError};
pub use listener::{Accepted, BindError, Listener, ServerOptions};
pub use outlet::{Outlet, SendError};
pub use peer::{CertificateError, HUB_NAME, PeerIdentity, Role, Serial};
pub use receipt::{Receipt, ReceiptError, Signed};
pub use renewal::Standing;
pub use request::{CertificateRequest, RequestError};
pub use road::{Road, RoadError};
pub use tls::TlsError;
pub use token::{JoinSecret, JoinToken, TokenError};
pub use underlay::{Underlay, UnderlaySocket};
pub use vault::VaultError;
