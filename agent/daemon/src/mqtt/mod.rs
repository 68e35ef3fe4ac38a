//! The MQTT side of the agent: readings come in, acknowledgements go out after the flush.
//!
//! ```text
//!  client ──┐                                          ┌─▶ Receipt::stored ─▶ PUBACK / PUBREC
//!           ├─ inbound ─▶ Arrival ═bounded channel═▶ engine
//!  broker ──┘                                          └─▶ dropped, refused ─▶ no acknowledgement
//! ```
//!
//! | room | what stands there |
//! |---|---|
//! | [`arrival`], [`receipt`] | what the rest of the agent sees |
//! | [`client`] | the subscriber on a broker beside us |
//! | [`broker`] | the embedded broker, when there is none beside us |
//! | [`inbound`] | the receiving half of QoS 1 and 2, pure, the same for both |
//! | [`budget`] | the bytes that all sessions may hold together |
//! | [`packet`], [`codec`], [`wire`] | packets without a version, their bytes, their sockets |
//! | [`filter`], [`login`], [`status`], [`stop`] | what the names say |
//!
//! Promise: no PUBACK and no PUBREC before [`Receipt::stored`] or [`Receipt::rejected`]; a full channel stops the
//! reading of sockets, it never drops a publication.
//! Absent: disk, records, policy. DESIGN.md beside this file gives the reasons.

pub mod arrival;
pub mod broker;
mod budget;
pub mod client;
mod codec;
pub mod filter;
mod inbound;
pub mod login;
mod packet;
pub mod receipt;
pub mod status;
mod stop;
mod wire;

pub use arrival::Arrival;
pub use broker::{BindError, EmbeddedBroker, EmbeddedOptions, LanePattern, LocalPublisher};
pub use client::{BrokerClient, BrokerOptions, BrokerTls, OptionsError, Subscription};
pub use filter::{Filter, FilterError};
pub use login::Login;
pub use packet::Version;
pub use receipt::Receipt;
pub use status::{MqttStatus, StatusHandle};
