//! The frames that agents and hubs exchange, and their strict codec.
//!
//! ```text
//! frame  := length:u32 (big-endian, of all that follows) version:u8 kind:u8 body
//! body   := CBOR, packed: fields by number, in the order in which they are declared
//! ```
//!
//! Promise: pure. Every length is checked against its kind's limit before anything is allocated for it, and every body
//! is checked for depth, count and form before serde_cbor sees it. Fields are only ever added at the end.
//! Absent: sockets (`millrace-link`), and what the frames mean (the engines).
//!
//! | room | what stands there |
//! |---|---|
//! | [`frame`] | the list of frames and the header |
//! | [`greeting`] | Hello, Welcome, Goodbye: how a session begins and ends |
//! | [`shipping`] | runs, seals, acks, credit: how records travel |
//! | [`comparing`] | how two holders find out which records are the same |
//! | [`repairing`] | how two holders find out what differs, and what is wanted back |
//! | [`attesting`] | how a device and its hub say over their signatures that they have the same |
//! | [`recalling`] | how a device gets back what the hubs still have of it |
//! | [`renewal`] | how a certificate is renewed inside a session |
//! | [`peer`] | what hubs say to each other about records |
//! | [`calling`] | what hubs ask each other |
//! | [`gossip`] | the items of the datagrams in which hubs gossip |
//! | [`strict`] | the form check of CBOR |
//! | [`limits`] | every limit of the protocol, in one place |

pub mod attesting;
pub mod calling;
pub mod comparing;
pub mod frame;
pub mod gossip;
pub mod greeting;
pub mod limits;
pub mod peer;
mod reading;
pub mod recalling;
pub mod renewal;
pub mod repairing;
pub mod shipping;
pub mod strict;

pub use attesting::{Attest, Attested, Finding, Stated};
pub use calling::CallKind;
pub use comparing::{Compare, Compared};
pub use frame::{Frame, FrameError, Header, decode, encode};
pub use gossip::GossipError;
pub use greeting::{
    Goodbye, GoodbyeCode, Hello, Holding, HubEndpoint, Hubs, JournalSummary, Verdict, Welcome,
};
pub use peer::PeerFrame;
pub use recalling::{Fetch, Fetched, Kept, Recall, Recalled};
pub use renewal::{RenewalGrant, RenewalRequest};
pub use repairing::{HashAt, Hashes, Inquiry, PeerInquiry, PeerReply, Records, Reply};
pub use shipping::{Ack, Acks, Conflict, Credit, Decline, Lodging, RunFrame, Seal};
