//! Packets without a protocol version: what the sessions of both versions speak about.
//!
//! Absent: bytes (see `codec`), MQTT 5 properties that Millrace has no use for.

use bytes::Bytes;

/// Which MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize, serde::Serialize)]
pub enum Version {
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V4,
    /// MQTT 5.
    #[default]
    #[serde(rename = "5")]
    V5,
}

/// Quality of service.
#[expect(clippy::enum_variant_names, reason = "the names of the standard")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Qos {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

impl Qos {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// One PUBLISH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Publication {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// 0 for QoS 0.
    pub(crate) packet_id: u16,
}

impl Publication {
    /// What it costs in memory while it waits, with a flat charge so that empty payloads are not free.
    pub(crate) fn bytes_held(&self) -> u32 {
        const FLAT: usize = 128;
        u32::try_from(self.topic.len() + self.payload.len() + FLAT).unwrap_or(u32::MAX)
    }
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    pub(crate) filter: String,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) keep_retain_flag: bool,
    pub(crate) retained: RetainedWish,
}

/// When retained messages are sent for a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RetainedWish {
    Always,
    IfNew,
    Never,
}

/// A CONNECT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    /// Seconds, 0 for none.
    pub(crate) keep_alive: u16,
    pub(crate) clean: bool,
    /// Seconds that the session outlives the connection; `u32::MAX` for ever.
    pub(crate) session_expiry: u32,
    pub(crate) login: Option<(String, String)>,
    pub(crate) will: Option<Publication>,
    /// QoS 1 publications that the other side takes without an answer.
    pub(crate) receive_max: u16,
    /// Bytes of the largest packet that the other side takes.
    pub(crate) packet_bytes_max: Option<u32>,
}

/// What the sessions hear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Packet {
    Connect(Box<Connect>),
    ConnAck {
        session_present: bool,
        refused: Option<String>,
    },
    Publish(Publication),
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Subscribe {
        packet_id: u16,
        wishes: Vec<Wish>,
    },
    /// For each filter whether it was granted.
    SubAck {
        granted: Vec<bool>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    UnsubAck,
    PingReq,
    PingResp,
    /// `will`: the last will is to be published all the same.
    Disconnect {
        will: bool,
    },
}
