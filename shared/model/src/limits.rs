//! Every limit of the data model, in one place, each with its reason and the answer to "what when full".
//!
//! Absent: limits of frames (`millrace-wire`), of connections (`millrace-link`), of what an operator configures.

/// Records in one sealed segment. A run is sealed when it holds this many. Larger segments compress little
/// better and make a damaged one dearer to fetch again.
pub const SEGMENT_RECORDS_MAX: usize = 1_024;

/// Canonical bytes of one sealed segment; a run is sealed before it would grow past this. One segment must
/// fit into memory several times over on a device with 64 MiB.
pub const SEGMENT_BYTES_MAX: usize = 1 << 20;

/// Payload of one record. Larger publications are refused at intake and declared as a gap.
/// Half a segment, so that any record fits into one together with its neighbour.
pub const PAYLOAD_BYTES_MAX: usize = 512 << 10;

/// Topic of one record in bytes. MQTT allows 65,535; real topics are far shorter, and this one is kept in
/// memory per distinct topic of a segment.
pub const TOPIC_BYTES_MAX: usize = 1_024;

/// Separate ranges in one [`crate::RangeSet`] that comes from a peer. A set with more is refused: an honest
/// journal has a handful of holes, so this many means a hostile or broken peer.
pub const RANGES_MAX: usize = 4_096;

/// Characters of a device's, hub's or site's name.
pub const NAME_CHARS_MAX: usize = 64;

/// Journals of one receipt: as many as a device may name in its Hello.
pub const RECEIPT_JOURNALS_MAX: usize = 192;

const _: () = assert!(PAYLOAD_BYTES_MAX + TOPIC_BYTES_MAX + 256 <= SEGMENT_BYTES_MAX);
