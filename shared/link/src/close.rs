//! Why a connection ended: the codes that both sides know by name, and the reason as it arrived.
//!
//! Promise: a code keeps its number for ever. What a TLS stack says in its own codes is translated, so that a
//! caller decides on [`CloseCode`] alone.

use std::fmt;

use quinn::{ConnectionError, TransportErrorCode, VarInt};

/// Why a connection was or is being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CloseCode {
    /// The program that closes is stopping. Come back after a pause.
    Shutdown,
    /// The same device opened a newer session (the newest fence wins).
    Superseded,
    /// The certificate was revoked. Do not come back.
    Revoked,
    /// The peer broke the protocol.
    ProtocolError,
    /// The peer exceeded its quota. Come back after a long pause.
    Quota,
    /// Another hub should be used. Dial that one.
    Moved,
    /// Nothing was said for too long, at the level of the session.
    Idle,
    /// A session was asked for without a certificate.
    CertificateRequired,
    /// The holder of the certificate is not known to this cluster.
    NotAdmitted,
    /// The certificate expired beyond its grace, or its key is not the one on record.
    Expired,
    /// An enrolment is over, well or not; its answer said which.
    EnrolmentOver,
    /// The closing side failed inside. Come back after a pause.
    Internal,
    /// The dialler only measured the road; it says nothing and has no session.
    Measured,
    /// Nothing arrived for the idle timeout: road, or power, is gone. Never sent.
    Lost,
    /// The two QUIC or TLS stacks disagree; the text says how. Never sent.
    Transport,
    /// A number that this version does not know.
    Unknown(u32),
}

/// Numbers on the road. From 0x10, so that a bare 0 of a foreign program is not taken for one of ours.
const NUMBERS: [(CloseCode, u32); 13] = [
    (CloseCode::Shutdown, 0x10),
    (CloseCode::Superseded, 0x11),
    (CloseCode::Revoked, 0x12),
    (CloseCode::ProtocolError, 0x13),
    (CloseCode::Quota, 0x14),
    (CloseCode::Moved, 0x15),
    (CloseCode::Idle, 0x16),
    (CloseCode::CertificateRequired, 0x17),
    (CloseCode::NotAdmitted, 0x18),
    (CloseCode::Expired, 0x19),
    (CloseCode::EnrolmentOver, 0x1a),
    (CloseCode::Internal, 0x1b),
    (CloseCode::Measured, 0x1c),
];

impl CloseCode {
    /// Its number on the road. The two codes that are never sent travel as [`Self::Internal`].
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Unknown(number) => number,
            named => NUMBERS.iter().find(|(code, _)| *code == named).map_or(0x1b, |(_, number)| *number),
        }
    }

    /// The code with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        NUMBERS.iter().find(|(_, known)| *known == number).map_or(Self::Unknown(number), |(code, _)| *code)
    }

    pub(crate) fn varint(self) -> VarInt {
        VarInt::from_u32(self.number())
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// Why.
    pub code: CloseCode,
    /// For people; at most [`crate::limits::CLOSE_TEXT_BYTES_MAX`] bytes when we sent it.
    pub text: String,
    /// Whether the other side ended it. A lost connection was ended by neither and says `false`.
    pub by_peer: bool,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.by_peer { "the peer" } else { "this side" };
        match self.code {
            CloseCode::Lost => {
                out.write_str("the connection was lost (nothing arrived for the idle timeout)")
            }
            code if self.text.is_empty() => write!(out, "closed by {who}: {code:?}"),
            code => write!(out, "closed by {who}: {code:?} ({})", self.text),
        }
    }
}

impl std::error::Error for CloseReason {}

impl CloseReason {
    pub(crate) fn new(code: CloseCode, text: impl Into<String>, by_peer: bool) -> Self {
        Self { code, text: text.into(), by_peer }
    }

    /// Translates what quinn says. `own` is what this side said when it closed.
    pub(crate) fn of(error: &ConnectionError, own: Option<&Self>) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let number = u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX);
                let text = String::from_utf8_lossy(&close.reason).into_owned();
                Self::new(CloseCode::from_number(number), text, true)
            }
            ConnectionError::ConnectionClosed(close) => {
                let text = String::from_utf8_lossy(&close.reason);
                Self::new(of_transport(close.error_code), format!("{} {text}", close.error_code), true)
            }
            ConnectionError::LocallyClosed => {
                own.cloned().unwrap_or_else(|| Self::new(CloseCode::Shutdown, "", false))
            }
            ConnectionError::TimedOut => Self::new(CloseCode::Lost, "", false),
            ConnectionError::Reset => Self::new(CloseCode::Lost, "the peer has forgotten it", true),
            ConnectionError::TransportError(error) => {
                Self::new(CloseCode::Transport, error.to_string(), false)
            }
            ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => {
                Self::new(CloseCode::Transport, error.to_string(), false)
            }
        }
    }
}

/// TLS alerts (RFC 8446, section 6.2) by which a peer refuses our certificate.
pub(crate) mod alert {
    pub(crate) const CERTIFICATE_REVOKED: u8 = 44;
    pub(crate) const CERTIFICATE_EXPIRED: u8 = 45;
    pub(crate) const UNKNOWN_CA: u8 = 48;
    pub(crate) const ACCESS_DENIED: u8 = 49;
    pub(crate) const NO_APPLICATION_PROTOCOL: u8 = 120;
}

fn of_transport(code: TransportErrorCode) -> CloseCode {
    let alerts = [
        (alert::CERTIFICATE_REVOKED, CloseCode::Revoked),
        (alert::CERTIFICATE_EXPIRED, CloseCode::Expired),
        (alert::ACCESS_DENIED, CloseCode::NotAdmitted),
        (alert::UNKNOWN_CA, CloseCode::NotAdmitted),
    ];
    let known = alerts.iter().find(|(alert, _)| code == TransportErrorCode::crypto(*alert));
    known.map_or(CloseCode::Transport, |(_, code)| *code)
}

/// `text` cut to what travels with a close code, at the boundary of a character.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(crate::limits::CLOSE_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_strangers_keep_their_number() {
        for (code, number) in NUMBERS {
            assert_eq!((code.number(), CloseCode::from_number(number)), (number, code));
        }
        assert_eq!(CloseCode::from_number(0), CloseCode::Unknown(0));
        assert_eq!(CloseCode::Unknown(7).number(), 7);
        assert_eq!(CloseCode::Lost.number(), CloseCode::Internal.number());
    }

    #[test]
    fn a_long_farewell_is_cut_between_characters() {
        assert_eq!(cut("bye"), "bye");
        assert_eq!(cut(&"ü".repeat(200)).len(), 256);
        assert_eq!(cut(&format!("a{}", "ü".repeat(200))).len(), 255);
    }
}
