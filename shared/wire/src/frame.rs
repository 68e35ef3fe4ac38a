//! The list of frames, and the header in front of each.
//!
//! Promise: only this file and [`crate::gossip`] call serde_cbor. Kinds from [`peer::FIRST_KIND`] on are hubs' among themselves.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::{
    ACKS_MAX, BODY_MAX, CERTIFICATE_BYTES_MAX, HASHES_MAX, HEADER_BYTES, HUBS_MAX, JOURNALS_MAX,
    RUN_BODY_MAX, SIGNATURE_BYTES_MAX, TEXT_CHARS_MAX, VERSION,
};
use crate::reading;
use crate::strict::{self, FormError};
use crate::{
    Acks, Attest, Attested, Compare, Compared, Conflict, Credit, Decline, Fetch, Fetched, Goodbye, Hashes,
    Hello, Hubs, Inquiry, Recall, Recalled, Records, RenewalGrant, RenewalRequest, Reply, RunFrame, Seal,
    Welcome, peer,
};

/// Everything that an agent and a hub can say to each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Agent → hub, first: what I have.
    Hello(Hello),
    /// Hub → agent, first: what I hold.
    Welcome(Box<Welcome>),
    /// Either way, last.
    Goodbye(Goodbye),
    /// Records.
    Run(RunFrame),
    /// Records sent before are a segment now.
    Seal(Seal),
    /// Records are safe.
    Acks(Acks),
    /// You may send more.
    Credit(Credit),
    /// I hold other records under these numbers.
    Conflict(Conflict),
    /// I could not take a run.
    Decline(Decline),
    /// Do you have the very same?
    Compare(Compare),
    /// These are the same.
    Compared(Compared),
    /// Please renew my certificate.
    RenewalRequest(RenewalRequest),
    /// Here it is.
    RenewalGrant(RenewalGrant),
    /// Hub → agent: the hubs have changed.
    Hubs(Hubs),
    /// Hub → agent: what do you have of a journal?
    Inquiry(Inquiry),
    /// Agent → hub: this.
    Reply(Reply),
    /// Hub → agent: I lost these, send them again.
    Wanted(Records),
    /// Agent → hub: these are not here either.
    Absent(Records),
    /// Hub → agent: look whether these are sound.
    Doubt(Records),
    /// Agent → hub: do you have the very same as I state?
    Attest(Attest),
    /// Hub → agent: this I do, and sign it.
    Attested(Box<Attested>),
    /// Agent → hub: what do you keep of my older incarnations?
    Recall(Recall),
    /// Hub → agent: this.
    Recalled(Recalled),
    /// Agent → hub: bring me the newest of these.
    Fetch(Fetch),
    /// Hub → agent: that was all for now.
    Fetched(Fetched),
    /// Hub → agent: these of yours are here, and you do not have them: fetch them when you can.
    Regain(Records),
    /// Hub → agent: these hashes stand here for what you let go.
    Adopt(Hashes),
}

/// Why bytes are not a frame. Always the sender's fault, or the road's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another protocol version.
    #[error(
        "the peer speaks protocol version {0}, this program speaks {VERSION}: upgrade the older of the two"
    )]
    Version(u8),
    /// A kind that this version does not know.
    #[error("frame kind {0} is not known to protocol version {VERSION}")]
    Kind(u8),
    /// Longer than its kind may be.
    #[error("a {kind} frame of {found} bytes is over the limit of {limit}")]
    TooLong {
        /// Which kind.
        kind: &'static str,
        /// Its limit.
        limit: usize,
        /// What the header says.
        found: usize,
    },
    /// The header's length is too small for a header, or the bytes are not as long as it says.
    #[error("the length in the header does not fit the frame")]
    Length,
    /// The body is not well-formed CBOR within limits.
    #[error("a {kind} frame is malformed: {error}")]
    Form {
        /// Which kind.
        kind: &'static str,
        /// What is wrong.
        error: FormError,
    },
    /// The body is CBOR, but not this kind's.
    #[error("a {kind} frame does not have the fields that it should: {error}")]
    Fields {
        /// Which kind.
        kind: &'static str,
        /// What is wrong.
        error: String,
    },
    /// A list or text in it is over its limit.
    #[error("a {kind} frame has more {what} than the limit of {limit}")]
    Count {
        /// Which kind.
        kind: &'static str,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// The first [`HEADER_BYTES`] of a frame, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    kind: u8,
    body_bytes: usize,
}

impl Header {
    /// Reads a header. When this succeeds it is safe to allocate [`Self::body_bytes`].
    ///
    /// # Errors
    /// When the version or kind is unknown, or the length is over the kind's limit.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [a, b, c, d, version, kind] = bytes;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let (name, limit) = kind_of(kind).ok_or(FrameError::Kind(kind))?;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| FrameError::Length)?;
        let body_bytes = length.checked_sub(2).ok_or(FrameError::Length)?;
        if body_bytes > limit {
            return Err(FrameError::TooLong { kind: name, limit, found: body_bytes });
        }
        Ok(Self { kind, body_bytes })
    }

    /// How many bytes of body follow.
    #[must_use]
    pub const fn body_bytes(self) -> usize {
        self.body_bytes
    }
}

pub(crate) const fn kind_of(kind: u8) -> Option<(&'static str, usize)> {
    Some(match kind {
        1 => ("Hello", BODY_MAX),
        2 => ("Welcome", BODY_MAX),
        3 => ("Goodbye", BODY_MAX),
        4 => ("Run", RUN_BODY_MAX),
        5 => ("Seal", BODY_MAX),
        6 => ("Acks", BODY_MAX),
        7 => ("Credit", BODY_MAX),
        8 => ("Conflict", BODY_MAX),
        9 => ("Decline", BODY_MAX),
        10 => ("Compare", BODY_MAX),
        11 => ("Compared", BODY_MAX),
        12 => ("RenewalRequest", BODY_MAX),
        13 => ("RenewalGrant", BODY_MAX),
        14 => ("Hubs", BODY_MAX),
        15 => ("Inquiry", BODY_MAX),
        16 => ("Reply", BODY_MAX),
        17 => ("Wanted", BODY_MAX),
        18 => ("Absent", BODY_MAX),
        19 => ("Doubt", BODY_MAX),
        20 => ("Attest", BODY_MAX),
        21 => ("Attested", BODY_MAX),
        22 => ("Recall", BODY_MAX),
        23 => ("Recalled", BODY_MAX),
        24 => ("Fetch", BODY_MAX),
        25 => ("Fetched", BODY_MAX),
        26 => ("Regain", BODY_MAX),
        27 => ("Adopt", BODY_MAX),
        _ => return peer::kind_of(kind),
    })
}

impl Frame {
    const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Welcome(_) => 2,
            Self::Goodbye(_) => 3,
            Self::Run(_) => 4,
            Self::Seal(_) => 5,
            Self::Acks(_) => 6,
            Self::Credit(_) => 7,
            Self::Conflict(_) => 8,
            Self::Decline(_) => 9,
            Self::Compare(_) => 10,
            Self::Compared(_) => 11,
            Self::RenewalRequest(_) => 12,
            Self::RenewalGrant(_) => 13,
            Self::Hubs(_) => 14,
            Self::Inquiry(_) => 15,
            Self::Reply(_) => 16,
            Self::Wanted(_) => 17,
            Self::Absent(_) => 18,
            Self::Doubt(_) => 19,
            Self::Attest(_) => 20,
            Self::Attested(_) => 21,
            Self::Recall(_) => 22,
            Self::Recalled(_) => 23,
            Self::Fetch(_) => 24,
            Self::Fetched(_) => 25,
            Self::Regain(_) => 26,
            Self::Adopt(_) => 27,
        }
    }

    /// Its name in logs and errors.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match kind_of(self.kind()) {
            Some((name, _)) => name,
            None => "unknown",
        }
    }
}

/// The bytes of `frame`, header included.
///
/// # Errors
/// When it is over the limit of its kind: then it must not be sent.
pub fn encode(frame: &Frame) -> Result<Bytes, FrameError> {
    let body = match frame {
        Frame::Hello(body) => pack(frame.name(), body),
        Frame::Welcome(body) => pack(frame.name(), body.as_ref()),
        Frame::Hubs(body) => pack(frame.name(), body),
        Frame::Goodbye(body) => pack(frame.name(), body),
        Frame::Run(body) => pack(frame.name(), body),
        Frame::Seal(body) => pack(frame.name(), body),
        Frame::Acks(body) => pack(frame.name(), body),
        Frame::Credit(body) => pack(frame.name(), body),
        Frame::Conflict(body) => pack(frame.name(), body),
        Frame::Decline(body) => pack(frame.name(), body),
        Frame::Compare(body) => pack(frame.name(), body),
        Frame::Compared(body) => pack(frame.name(), body),
        Frame::RenewalRequest(body) => pack(frame.name(), body),
        Frame::RenewalGrant(body) => pack(frame.name(), body),
        Frame::Inquiry(body) => pack(frame.name(), body),
        Frame::Reply(body) => pack(frame.name(), body),
        Frame::Wanted(body) | Frame::Absent(body) | Frame::Doubt(body) | Frame::Regain(body) => {
            pack(frame.name(), body)
        }
        Frame::Adopt(body) => pack(frame.name(), body),
        Frame::Attest(body) => pack(frame.name(), body),
        Frame::Attested(body) => pack(frame.name(), body.as_ref()),
        Frame::Recall(body) => pack(frame.name(), body),
        Frame::Recalled(body) => pack(frame.name(), body),
        Frame::Fetch(body) => pack(frame.name(), body),
        Frame::Fetched(body) => pack(frame.name(), body),
    }?;
    framed(frame.kind(), &body)
}

/// A body behind its header.
pub(crate) fn framed(code: u8, body: &[u8]) -> Result<Bytes, FrameError> {
    let (kind, limit) = kind_of(code).ok_or(FrameError::Kind(code))?;
    let length = u32::try_from(body.len() + 2).ok().filter(|_| body.len() <= limit);
    let length = length.ok_or(FrameError::TooLong { kind, limit, found: body.len() })?;
    let mut out = BytesMut::with_capacity(HEADER_BYTES + body.len());
    out.put_u32(length);
    out.put_u8(VERSION);
    out.put_u8(code);
    out.put_slice(body);
    Ok(out.freeze())
}

/// The kind of a frame, its name and its body, checked for everything but its fields.
pub(crate) fn opened(bytes: &Bytes) -> Result<(u8, &'static str, &[u8]), FrameError> {
    let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(FrameError::Length)?;
    let header = Header::parse(*header)?;
    if body.len() != header.body_bytes {
        return Err(FrameError::Length);
    }
    let (kind, _) = kind_of(header.kind).ok_or(FrameError::Kind(header.kind))?;
    strict::check(body).map_err(|error| FrameError::Form { kind, error })?;
    Ok((header.kind, kind, body))
}

/// The frame with these bytes, header included.
///
/// # Errors
/// When they are not exactly one well-formed frame within its limits.
pub fn decode(bytes: &Bytes) -> Result<Frame, FrameError> {
    let (code, kind, body) = opened(bytes)?;
    let frame = match code {
        1 => Frame::Hello(unpack(kind, body)?),
        2 => Frame::Welcome(Box::new(unpack(kind, body)?)),
        3 => Frame::Goodbye(unpack(kind, body)?),
        4 => Frame::Run(unpack(kind, body)?),
        5 => Frame::Seal(unpack(kind, body)?),
        6 => Frame::Acks(unpack(kind, body)?),
        7 => Frame::Credit(unpack(kind, body)?),
        8 => Frame::Conflict(unpack(kind, body)?),
        9 => Frame::Decline(unpack(kind, body)?),
        10 => Frame::Compare(unpack(kind, body)?),
        11 => Frame::Compared(unpack(kind, body)?),
        12 => Frame::RenewalRequest(unpack(kind, body)?),
        13 => Frame::RenewalGrant(unpack(kind, body)?),
        14 => Frame::Hubs(unpack(kind, body)?),
        15 => Frame::Inquiry(unpack(kind, body)?),
        16 => Frame::Reply(unpack(kind, body)?),
        17 => Frame::Wanted(unpack(kind, body)?),
        18 => Frame::Absent(unpack(kind, body)?),
        19 => Frame::Doubt(unpack(kind, body)?),
        20 => Frame::Attest(unpack(kind, body)?),
        21 => Frame::Attested(Box::new(unpack(kind, body)?)),
        22 => Frame::Recall(unpack(kind, body)?),
        23 => Frame::Recalled(unpack(kind, body)?),
        24 => Frame::Fetch(unpack(kind, body)?),
        25 => Frame::Fetched(unpack(kind, body)?),
        26 => Frame::Regain(unpack(kind, body)?),
        27 => Frame::Adopt(unpack(kind, body)?),
        // A kind that only hubs say to each other.
        other => return Err(FrameError::Kind(other)),
    };
    within_limits(&frame, kind)?;
    Ok(frame)
}

pub(crate) fn pack<T: Serialize>(kind: &'static str, body: &T) -> Result<Vec<u8>, FrameError> {
    serde_cbor::ser::to_vec_packed(body)
        .map_err(|error| FrameError::Fields { kind, error: error.to_string() })
}

pub(crate) fn unpack<T: DeserializeOwned>(kind: &'static str, body: &[u8]) -> Result<T, FrameError> {
    reading::read(body).map_err(|error| FrameError::Fields { kind, error: error.to_string() })
}

fn within_limits(frame: &Frame, kind: &'static str) -> Result<(), FrameError> {
    let counts: &[(&'static str, usize, usize)] = match frame {
        Frame::Hello(hello) => &[
            ("journals", hello.journals.len(), JOURNALS_MAX),
            ("characters of software", hello.software.len(), TEXT_CHARS_MAX),
        ],
        Frame::Welcome(welcome) => &[
            ("holdings", welcome.holdings.len(), JOURNALS_MAX),
            ("hubs", welcome.hubs.len(), HUBS_MAX),
            ("characters of name", welcome.name.len(), TEXT_CHARS_MAX),
            ("characters of region", welcome.region.len(), TEXT_CHARS_MAX),
        ],
        Frame::Goodbye(goodbye) => &[("characters of reason", goodbye.reason.len(), TEXT_CHARS_MAX)],
        Frame::Decline(decline) => &[("characters of reason", decline.reason.len(), TEXT_CHARS_MAX)],
        Frame::Acks(acks) => &[("acks", acks.acks.len(), ACKS_MAX)],
        Frame::RenewalRequest(renewal) => {
            &[("bytes of request", renewal.request.len(), CERTIFICATE_BYTES_MAX)]
        }
        Frame::RenewalGrant(grant) => &[("bytes of chain", grant.chain.len(), CERTIFICATE_BYTES_MAX)],
        Frame::Hubs(hubs) => &[("hubs", hubs.hubs.len(), HUBS_MAX)],
        Frame::Attest(attest) => &[("journals", attest.stated.len(), JOURNALS_MAX)],
        Frame::Attested(attested) => &[
            ("findings", attested.findings.len(), JOURNALS_MAX),
            ("bytes of signature", attested.signature.len(), SIGNATURE_BYTES_MAX),
            ("bytes of certificate", attested.certificate.len(), CERTIFICATE_BYTES_MAX),
            ("characters of refusal", attested.refused.len(), TEXT_CHARS_MAX),
        ],
        Frame::Adopt(adopt) => &[("hashes", adopt.hashes.len(), HASHES_MAX)],
        Frame::Recalled(recalled) => &[("journals", recalled.journals.len(), JOURNALS_MAX)],
        _ => &[],
    };
    counted(kind, counts)
}

/// Refuses the first count that is over its limit.
pub(crate) fn counted(kind: &'static str, counts: &[(&'static str, usize, usize)]) -> Result<(), FrameError> {
    match counts.iter().find(|(_, found, limit)| found > limit) {
        Some((what, _, limit)) => Err(FrameError::Count { kind, what, limit: *limit }),
        None => Ok(()),
    }
}
