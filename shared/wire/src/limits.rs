//! Every limit of the protocol, in one place, each with its reason. A peer that goes over one is told so and cut off.

use millrace_model::limits::SEGMENT_BYTES_MAX;

/// Protocol version in every frame's header. A peer with another one gets a Goodbye that names both.
pub const VERSION: u8 = 1;

/// Bytes of the header: length, version, kind.
pub const HEADER_BYTES: usize = 6;

/// Body of a frame that carries records: one segment, and its name.
pub const RUN_BODY_MAX: usize = SEGMENT_BYTES_MAX + 4 * 1024;

/// Body of every other frame. A Welcome with [`JOURNALS_MAX`] journals and thousands of holes fits.
pub const BODY_MAX: usize = 256 * 1024;

/// The longest frame of any kind, header included: what a reader must be ready for.
pub const FRAME_MAX: usize = HEADER_BYTES + RUN_BODY_MAX;

/// Journals that one device may name in its Hello: three lanes of 64 incarnations. A device that was restored or
/// cloned more often is refused until its old journals have been emptied or an operator looked.
pub const JOURNALS_MAX: usize = millrace_model::limits::RECEIPT_JOURNALS_MAX;

/// Records that one Compare may ask about; its body stays under 33 KiB.
pub const COMPARE_RECORDS_MAX: usize = 4_096;

/// Ranges of what lacks in one finding of an Attested frame; the others are counted. A frame about [`JOURNALS_MAX`] journals fits.
pub const ATTESTED_RANGES_MAX: usize = 16;

/// Bytes of what is present in one Attest frame, all journals together; whoever has more holes leaves journals out.
pub const ATTEST_SPANS_BYTES_MAX: usize = 192 * 1024;

/// Bytes of a signature: ECDSA over P-256, DER, has 72.
pub const SIGNATURE_BYTES_MAX: usize = 80;

/// Bytes of bodies that one Fetch brings, beside one run: a second of a road of 8 Mbit/s, so that acks are not held up for longer behind it.
pub const FETCH_BYTES_MAX: usize = 1 << 20;

/// Hashes of the digest that one Adopt brings; the next comparison finds the others.
pub const HASHES_MAX: usize = 256;

/// Runs that one Fetch brings: a hub keeps at most 128 frames for an agent, and acks have to fit among them.
pub const FETCH_RUNS_MAX: usize = 32;

/// Entries of one Acks frame.
pub const ACKS_MAX: usize = 256;

/// Journals of one Holds or Flushed frame between hubs. A hub splits what it has to say by count and by bytes.
pub const HELD_JOURNALS_MAX: usize = 512;

/// Body of a call between hubs, and of its answer: one entry of the consensus at its limit, or a page of records.
pub const CALL_BODY_MAX: usize = 4 << 20;

/// The longest call or answer, header and patience included: what a reader must be ready for.
pub const CALL_FRAME_MAX: usize = HEADER_BYTES + 4 + CALL_BODY_MAX;

/// Bytes of the text by which a call is refused; a sentence and its hint. Longer ones are cut.
pub const REFUSAL_BYTES_MAX: usize = 2_048;

/// Hubs in a Welcome.
pub const HUBS_MAX: usize = 64;

/// Characters of a text for people: a name, a reason.
pub const TEXT_CHARS_MAX: usize = 512;

/// Bytes of a certificate request or certificate chain.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Depth of nested CBOR values. The deepest frame has five.
pub const DEPTH_MAX: usize = 8;

/// CBOR values in one body; 256 KiB of the smallest values would be more, no honest frame has as many.
pub const ITEMS_MAX: usize = 64 * 1024;

/// A gossip datagram. A QUIC packet of 1,200 bytes, which every road takes, leaves it 1,140 at least.
pub const GOSSIP_DATAGRAM_MAX: usize = 1_120;

/// One item in it. The longest is what a hub says of itself: under 700 bytes; three hubs' names stand beside it.
pub const GOSSIP_ITEM_MAX: usize = 768;
