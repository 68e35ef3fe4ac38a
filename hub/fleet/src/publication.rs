//! What sensors publish: payloads that say who published them, and which attempt they are.
//!
//! A publication that was not acknowledged is published again; each attempt is an arrival of its own and is followed on its
//! own, so that a legitimate second copy is told from a wrong one.

use std::fmt;

use bytes::Bytes;
use millrace_model::{Flags, Record, Topic, Wall};

const MAGIC: [u8; 2] = *b"mp";

/// One attempt to publish one publication.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Attempt {
    /// At which site.
    pub site: u16,
    /// Which sensor there.
    pub sensor: u8,
    /// The sensor's number for the publication.
    pub number: u32,
    /// Which attempt, from 0.
    pub round: u16,
}

impl fmt::Display for Attempt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "s{}.{}#{}", self.site, self.sensor, self.number)?;
        if self.round > 0 { write!(out, "/{}", self.round) } else { Ok(()) }
    }
}

impl Attempt {
    /// The payload of this attempt, `bytes` long or a little longer.
    #[must_use]
    pub fn payload(&self, bytes: usize) -> Bytes {
        let mut payload = Vec::with_capacity(bytes.max(11));
        payload.extend_from_slice(&MAGIC);
        payload.extend_from_slice(&self.site.to_be_bytes());
        payload.push(self.sensor);
        payload.extend_from_slice(&self.number.to_be_bytes());
        payload.extend_from_slice(&self.round.to_be_bytes());
        // Hard to compress, so that budgets and credit matter.
        let mut random = fastrand::Rng::with_seed(u64::from(self.number) << 20 | u64::from(self.site));
        payload.resize_with(bytes.max(payload.len()), || random.u8(..));
        payload.into()
    }

    /// The attempt that a payload says it is.
    #[must_use]
    pub fn of(payload: &[u8]) -> Option<Self> {
        let rest = payload.strip_prefix(&MAGIC)?;
        let (site, rest) = rest.split_first_chunk::<2>()?;
        let (sensor, rest) = rest.split_first()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (round, _) = rest.split_first_chunk::<2>()?;
        Some(Self {
            site: u16::from_be_bytes(*site),
            sensor: *sensor,
            number: u32::from_be_bytes(*number),
            round: u16::from_be_bytes(*round),
        })
    }

    /// The record of this attempt.
    #[must_use]
    pub fn record(&self, topic: &Topic, bytes: usize, qos: u8, wall: Wall, mono: u64) -> Record {
        let record = Record::data(topic.clone(), self.payload(bytes), wall, mono);
        Record { flags: Flags::default().with_qos(qos), ..record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_reads_back_from_its_payload() {
        let attempt = Attempt { site: 300, sensor: 2, number: 70_000, round: 1 };
        assert_eq!(Attempt::of(&attempt.payload(40)), Some(attempt));
        assert_eq!(Attempt::of(&attempt.payload(0)), Some(attempt));
        assert_eq!(Attempt::of(b"{}"), None);
    }
}
