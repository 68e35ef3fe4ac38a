//! The codec: bytes to packets and back, by the packet types of rumqttc.
//!
//! Promise: one frame in, one packet or one error out; a frame that lies about its inner lengths is malformed,
//! never "incomplete"; nothing is allocated for a length that only was announced.
//! Absent: sockets, sessions. Names rumqttc; nothing else in the daemon does, except the TLS of `client::link`.

mod v4;
mod v5;

use bytes::BytesMut;

use super::inbound::Code;
use super::packet::{Packet, Publication, Version, Wish};

/// Why bytes are no packet that we take.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    /// The announced length is over the limit.
    #[error("a packet of {bytes} bytes was announced, the limit is {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// Not MQTT.
    #[error("malformed packet: {0}")]
    Malformed(String),
    /// MQTT, but not 3.1.1 and not 5.
    #[error("protocol level {0} is neither MQTT 3.1.1 nor MQTT 5")]
    Level(u8),
    /// A packet that this side never asks for.
    #[error("unexpected packet: {0}")]
    Unexpected(&'static str),
}

/// What is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outgoing {
    Connect(super::packet::Connect),
    ConnAck(Greeting),
    Publish(Publication),
    PubAck(u16, Code),
    PubRec(u16, Code),
    PubComp(u16, bool),
    Subscribe { packet_id: u16, wishes: Vec<Wish> },
    SubAck { packet_id: u16, results: Vec<Granted> },
    UnsubAck { packet_id: u16, filters: usize },
    PingReq,
    PingResp,
    Disconnect(Farewell),
}

/// The answer to a CONNECT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Greeting {
    pub(crate) welcome: Welcome,
    pub(crate) session_present: bool,
    /// The id that we gave to a client that came without one.
    pub(crate) assigned_id: Option<String>,
    pub(crate) receive_max: u16,
    pub(crate) packet_bytes_max: u32,
}

/// Whether a client may come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Welcome {
    Accepted,
    BadLogin,
    BadClientId,
    Busy,
}

/// What became of one filter of a SUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Granted {
    Qos(super::packet::Qos),
    Invalid,
    QuotaExceeded,
}

/// Why we end a connection, as far as MQTT 5 has a word for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Farewell {
    Normal,
    TakenOver,
    ShuttingDown,
    KeepAlive,
    TooLarge,
    Malformed,
    Protocol,
}

/// The length of the frame at the start of `input`, once all of it is there.
///
/// # Errors
/// When the length is malformed or over the limit, which is known before the frame is.
pub(crate) fn frame_bytes(input: &[u8], bytes_max: usize) -> Result<Option<usize>, CodecError> {
    use rumqttc::mqttbytes::Error;
    match rumqttc::mqttbytes::check(input.iter(), bytes_max) {
        Ok(header) => Ok(Some(header.frame_length())),
        Err(Error::InsufficientBytes(_)) => Ok(None),
        Err(Error::PayloadSizeLimitExceeded(bytes)) => Err(CodecError::TooLarge { bytes, bytes_max }),
        Err(other) => Err(CodecError::Malformed(other.to_string())),
    }
}

/// The first byte of a CONNECT.
pub(crate) const CONNECT: u8 = 0x10;

/// What follows the fixed header of a frame.
fn body(frame: &[u8]) -> &[u8] {
    let length = frame.get(1..).unwrap_or_default();
    let length_bytes = length.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    length.get(length_bytes..).unwrap_or_default()
}

/// The version that a CONNECT frame asks for.
///
/// # Errors
/// When the frame is no CONNECT, or one of another protocol.
pub(crate) fn asked_version(frame: &[u8]) -> Result<Version, CodecError> {
    if frame.first() != Some(&CONNECT) {
        return Err(CodecError::Unexpected("the first packet must be CONNECT"));
    }
    match body(frame) {
        [0, 4, b'M', b'Q', b'T', b'T', 4, ..] => Ok(Version::V4),
        [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => Ok(Version::V5),
        [0, 4, b'M', b'Q', b'T', b'T', level, ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => {
            Err(CodecError::Level(*level))
        }
        _ => Err(CodecError::Malformed("the protocol name is not MQTT".to_owned())),
    }
}

/// Reads one whole frame.
///
/// # Errors
/// When it is malformed or not for us.
pub(crate) fn decode(version: Version, frame: BytesMut) -> Result<Packet, CodecError> {
    match version {
        Version::V4 => v4::decode(frame),
        Version::V5 => v5::decode(frame),
    }
}

/// Appends one packet to `output`. What MQTT 3.1.1 cannot say is left out.
///
/// # Errors
/// When the packet is longer than MQTT can say; `output` may then hold a part of it and must not be sent.
pub(crate) fn encode(version: Version, packet: &Outgoing, output: &mut BytesMut) -> Result<(), CodecError> {
    match version {
        Version::V4 => v4::encode(packet, output),
        Version::V5 => v5::encode(packet, output),
    }
}

#[cfg(test)]
#[path = "codec/tests.rs"]
mod tests;
