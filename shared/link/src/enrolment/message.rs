//! The two messages of an enrolment, in JSON behind a length field.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::ENROLMENT_MESSAGE_BYTES_MAX;

/// Version of both messages. Fields are only ever added; a hub refuses a version that it does not know.
pub(super) const VERSION: u8 = 1;

/// What a machine asks.
#[derive(Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) version: u8,
    /// The token's secret, base 32.
    pub(super) secret: String,
    /// The signing request in DER, base 32.
    pub(super) request: String,
    /// The name that the machine would like to have.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// The labels that the machine would like to have.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// The device whose place the machine means to take, by its name: with any other token it wants nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replace: Option<String>,
}

/// What a hub answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// Certificates in PEM; whether the machine took the place of another one.
    Granted {
        certificate: String,
        ca: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replaced: bool,
    },
    /// Why not.
    Refused { why: EnrolmentRefusal, text: String },
}

/// Why a hub does not grant a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EnrolmentRefusal {
    /// No token has this secret, or it was withdrawn.
    UnknownSecret,
    /// The token has expired, by the hub's clock.
    Expired,
    /// Another machine has used the token.
    Used,
    /// Name or labels are taken, malformed, or not what the token says.
    NotPermitted,
    /// The hub cannot decide now (no quorum, disk full). Try again.
    Unavailable,
    /// A reason that this version does not know; see the text.
    #[serde(other)]
    Other,
}

/// `message` as a frame.
pub(super) fn encode<T: Serialize>(message: &T) -> Result<Bytes, String> {
    let json = serde_json::to_vec(message).map_err(|e| e.to_string())?;
    let length = u32::try_from(json.len()).ok().filter(|_| json.len() + 4 <= ENROLMENT_MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| format!("{} bytes are too long for a message", json.len()))?;
    let mut frame = BytesMut::with_capacity(4 + json.len());
    frame.put_u32(length);
    frame.put_slice(&json);
    Ok(frame.freeze())
}

/// The message in `frame`.
pub(super) fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, String> {
    let (_, json) = frame.split_first_chunk::<4>().ok_or("no length field")?;
    serde_json::from_slice(json).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_a_later_version_is_understood_as_other() {
        let answer = br#"----{"refused":{"why":"full-moon","text":"come back tomorrow"}}"#;
        let Answer::Refused { why, text } = decode(answer).unwrap() else { panic!("not a refusal") };
        assert_eq!((why, text.as_str()), (EnrolmentRefusal::Other, "come back tomorrow"));
    }

    #[test]
    fn a_message_beyond_the_limit_is_not_sent() {
        assert!(encode(&"x".repeat(ENROLMENT_MESSAGE_BYTES_MAX)).is_err());
    }
}
