//! Calls between hubs: one question and one answer, each on a stream of its own.
//!
//! ```text
//! request := length:u32 version:u8 kind:u8 (97 Control, 98 Join, 99 Renew, 100 Api) patience:u32 (milliseconds) body
//! reply   := length:u32 version:u8 kind:u8 (112 Answered: body · 113 Refused: text, UTF-8)
//! ```
//!
//! Bodies are bytes whose meaning belongs to whoever asks and answers. The kinds are neither an agent's nor those of a replication
//! stream, so the first bytes of a stream say what it is for.
//!
//! Promise: a length is checked before anything is allocated for it; a body is handed on without a copy.
//! Absent: what calls mean, and who may make them (the hub).

use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::FrameError;
use crate::limits::{CALL_BODY_MAX, HEADER_BYTES, REFUSAL_BYTES_MAX, VERSION};

/// What a call is about. Numbers are never used for something else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CallKind {
    /// A message of the consensus.
    Control = 1,
    /// A new hub asks to be taken into the cluster.
    Join = 2,
    /// A hub asks for its next certificate.
    Renew = 3,
    /// A question of the HTTP API that another hub can answer.
    Api = 4,
}

/// Kinds of requests on the road begin behind this.
const REQUESTS: u8 = 96;
const ANSWERED: u8 = 112;
const REFUSED: u8 = 113;
/// Bytes of the patience in a request.
const PATIENCE_BYTES: usize = 4;
const REQUEST: &str = "call";
const REPLY: &str = "reply";

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// What it is about.
    pub kind: CallKind,
    /// How long whoever asks will wait, in whole milliseconds: afterwards an answer is of no use.
    pub patience: Duration,
    /// The question itself.
    pub body: Bytes,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The answer itself.
    Answered(Bytes),
    /// There is none; why, for people.
    Refused(String),
}

/// The first [`HEADER_BYTES`] of a request, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// What it is about.
    pub kind: CallKind,
    /// Bytes of the question itself.
    pub body_bytes: usize,
}

impl CallKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Control, Self::Join, Self::Renew, Self::Api];

    /// Its name in logs and figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Join => "join",
            Self::Renew => "renew",
            Self::Api => "api",
        }
    }

    const fn code(self) -> u8 {
        REQUESTS + self as u8
    }

    fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl fmt::Display for CallKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// Whether a stream that begins with these bytes carries a call.
#[must_use]
pub fn is_call(header: [u8; HEADER_BYTES]) -> bool {
    let [.., kind] = header;
    CallKind::of(kind).is_some()
}

impl RequestHeader {
    /// Reads a header. When this succeeds it is safe to take the whole request in.
    ///
    /// # Errors
    /// When the version or kind is unknown, or the length is over the limit.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let (code, body) = header(bytes)?;
        let kind = CallKind::of(code).ok_or(FrameError::Kind(code))?;
        let body_bytes = body.checked_sub(PATIENCE_BYTES).ok_or(FrameError::Length)?;
        within(REQUEST, CALL_BODY_MAX, body_bytes)?;
        Ok(Self { kind, body_bytes })
    }
}

impl Request {
    /// The bytes of the request, header included.
    ///
    /// # Errors
    /// When it is over the limit: then it must not be sent.
    pub fn encode(&self) -> Result<Bytes, FrameError> {
        within(REQUEST, CALL_BODY_MAX, self.body.len())?;
        let patience = u32::try_from(self.patience.as_millis()).unwrap_or(u32::MAX);
        Ok(framed(self.kind.code(), &patience.to_be_bytes(), &self.body))
    }

    /// The request with these bytes, header included.
    ///
    /// # Errors
    /// When they are not exactly one request within its limit.
    pub fn decode(bytes: &Bytes) -> Result<Self, FrameError> {
        let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(FrameError::Length)?;
        let RequestHeader { kind, body_bytes } = RequestHeader::parse(*head)?;
        let (patience, body) = rest.split_first_chunk::<PATIENCE_BYTES>().ok_or(FrameError::Length)?;
        if body.len() != body_bytes {
            return Err(FrameError::Length);
        }
        let patience = Duration::from_millis(u64::from(u32::from_be_bytes(*patience)));
        Ok(Self { kind, patience, body: bytes.slice(HEADER_BYTES + PATIENCE_BYTES..) })
    }
}

impl Reply {
    /// The bytes of the reply, header included. A refusal is cut to its limit.
    ///
    /// # Errors
    /// When the answer is over the limit: then it must not be sent.
    pub fn encode(&self) -> Result<Bytes, FrameError> {
        match self {
            Self::Answered(body) => {
                within(REPLY, CALL_BODY_MAX, body.len())?;
                Ok(framed(ANSWERED, &[], body))
            }
            Self::Refused(text) => Ok(framed(REFUSED, &[], cut(text).as_bytes())),
        }
    }

    /// The reply with these bytes, header included.
    ///
    /// # Errors
    /// When they are not exactly one reply within its limit.
    pub fn decode(bytes: &Bytes) -> Result<Self, FrameError> {
        let (head, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(FrameError::Length)?;
        let (code, body_bytes) = header(*head)?;
        let limit = match code {
            ANSWERED => CALL_BODY_MAX,
            REFUSED => REFUSAL_BYTES_MAX,
            other => return Err(FrameError::Kind(other)),
        };
        within(REPLY, limit, body_bytes)?;
        if body.len() != body_bytes {
            return Err(FrameError::Length);
        }
        if code == ANSWERED {
            return Ok(Self::Answered(bytes.slice(HEADER_BYTES..)));
        }
        let text = std::str::from_utf8(body)
            .map_err(|error| FrameError::Fields { kind: REPLY, error: error.to_string() })?;
        Ok(Self::Refused(text.to_owned()))
    }
}

/// Kind and length of what follows the header.
fn header(bytes: [u8; HEADER_BYTES]) -> Result<(u8, usize), FrameError> {
    let [a, b, c, d, version, code] = bytes;
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| FrameError::Length)?;
    Ok((code, length.checked_sub(2).ok_or(FrameError::Length)?))
}

const fn within(kind: &'static str, limit: usize, found: usize) -> Result<(), FrameError> {
    if found > limit { Err(FrameError::TooLong { kind, limit, found }) } else { Ok(()) }
}

/// `head` and `body`, both of which are known to be short enough, behind a header.
fn framed(code: u8, head: &[u8], body: &[u8]) -> Bytes {
    let length = 2 + head.len() + body.len();
    let mut out = BytesMut::with_capacity(HEADER_BYTES - 2 + length);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.put_u8(VERSION);
    out.put_u8(code);
    out.put_slice(head);
    out.put_slice(body);
    out.freeze()
}

/// `text` cut to its limit, at the boundary of a character.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(REFUSAL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}
