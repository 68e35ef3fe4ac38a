//! Every frame reads back what was written, and hostile bytes are refused with a reason.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use bytes::Bytes;
use millrace_merkle::{About, Told};
use millrace_model::{
    AckLevel, Encoding, HubId, Incarnation, Lane, NodeHash, RangeSet, RecordCheck, SegmentHash, SegmentName,
    SeqRange, Wall,
};
use millrace_wire::attesting::Portion;
use millrace_wire::limits::{ACKS_MAX, FETCH_BYTES_MAX, HEADER_BYTES, JOURNALS_MAX, RUN_BODY_MAX};
use millrace_wire::{
    Ack, Acks, Attest, Attested, Compare, Compared, Conflict, Credit, Decline, Fetch, Fetched, Finding,
    Frame, FrameError, Goodbye, GoodbyeCode, HashAt, Hashes, Header, Hello, Holding, HubEndpoint, Hubs,
    Inquiry, JournalSummary, Kept, Lodging, Recall, Recalled, Records, RenewalGrant, RenewalRequest, Reply,
    RunFrame, Seal, Stated, Verdict, Welcome, decode, encode,
};
use proptest::prelude::{any, proptest};

const HERE: Lodging = Lodging { incarnation: Incarnation::new(0x0123_4567_89ab_cdef), lane: Lane::Normal };

fn ranges() -> RangeSet {
    [SeqRange::new(1, 9).unwrap(), SeqRange::new(12, 4_000).unwrap()].into_iter().collect()
}

fn name() -> SegmentName {
    SegmentName { ordinal: 3, first: 3_073, count: 1_024, hash: SegmentHash([7; 32]) }
}

fn one_of_each() -> Vec<Frame> {
    vec![
        Frame::Hello(Hello {
            software: "millrace-agent 0.1.0".into(),
            incarnation: HERE.incarnation,
            level: AckLevel::Hub,
            journals: vec![JournalSummary {
                incarnation: HERE.incarnation,
                lane: Lane::Normal,
                floor: 1,
                head: 4_000,
                head_check: Some(RecordCheck(u64::MAX)),
            }],
        }),
        Frame::Welcome(Box::new(Welcome {
            session: 7,
            hub: HubId::from_bytes([9; 16]),
            name: "hub-a".into(),
            region: "eu-1".into(),
            time: Wall(1_790_000_000_000_000),
            holdings: vec![Holding {
                incarnation: HERE.incarnation,
                lane: Lane::Normal,
                held: ranges(),
                head: 4_000,
                head_check: None,
                verdict: Verdict::Continues,
                safe: SeqRange::new(1, 9).unwrap().into(),
            }],
            credit: 4 << 20,
            hubs: vec![HubEndpoint {
                hub: HubId::from_bytes([9; 16]),
                name: "hub-a".into(),
                region: "eu-1".into(),
                addresses: vec!["hub-a.example:7443".into()],
                load_permille: 250,
                draining: false,
                replica: true,
            }],
            epoch: 1,
            complete: true,
            recalls: true,
        })),
        Frame::Goodbye(Goodbye { code: GoodbyeCode::Moved, reason: "draining".into(), retry_after_ms: 500 }),
        Frame::Run(RunFrame {
            journal: HERE,
            first: 3_073,
            count: 1_024,
            encoding: Encoding::Zstd,
            body: Bytes::from_static(b"a block"),
            segment: Some(name()),
        }),
        Frame::Seal(Seal { journal: HERE, segment: name() }),
        Frame::Acks(Acks { acks: vec![Ack { journal: HERE, level: AckLevel::Hub, ranges: ranges() }] }),
        Frame::Credit(Credit { total: u64::MAX }),
        Frame::Conflict(Conflict { journal: HERE, ranges: ranges() }),
        Frame::Decline(Decline { journal: HERE, first: 1, last: 2, reason: "hash".into() }),
        Frame::Compare(Compare::new(HERE, 5, &[RecordCheck(1), RecordCheck(2)])),
        Frame::Compared(Compared { journal: HERE, first: 5, last: 6, equal: SeqRange::only(5).into() }),
        Frame::RenewalRequest(RenewalRequest { request: Bytes::from_static(b"csr") }),
        Frame::RenewalGrant(RenewalGrant { chain: "-----BEGIN CERTIFICATE-----".into() }),
        Frame::Hubs(Hubs { hubs: Vec::new() }),
        Frame::Inquiry(Inquiry {
            number: 3,
            journal: HERE,
            about: About::Nodes { level: 2, indexes: vec![0, 7], depth: 2, width: 4 },
        }),
        Frame::Reply(Reply { number: 3, told: Told::Names(vec![name()]) }),
        Frame::Wanted(Records { journal: HERE, ranges: ranges() }),
        Frame::Absent(Records { journal: HERE, ranges: ranges() }),
        Frame::Doubt(Records { journal: HERE, ranges: ranges() }),
        Frame::Attest(Attest {
            number: 4,
            at: Wall(1_790_000_000_000_000),
            stated: vec![Stated {
                journal: HERE,
                floor: 3,
                head: 4_000,
                root: Some(NodeHash([7; 16])),
                tail: u64::MAX,
                present: millrace_merkle::spans::encode(&ranges(), 3).0,
            }],
            left_out: 1,
        }),
        Frame::Attested(Box::new(Attested {
            number: 4,
            at: Wall(1_790_000_000_000_001),
            findings: vec![
                Finding::Equal(3_998),
                Finding::Floor(9),
                Finding::Differs { hub_lacks: Portion::of(&ranges()), device_lacks: Portion::default() },
                Finding::Unknown,
                Finding::Unreadable,
            ],
            signature: Bytes::from_static(b"signature"),
            certificate: Bytes::from_static(b"certificate"),
            refused: String::new(),
        })),
        Frame::Recall(Recall { journals_max: 192 }),
        Frame::Recalled(Recalled {
            journals: vec![Kept {
                journal: HERE,
                ranges: ranges(),
                bytes: 123_456,
                newest: Wall(1_790_000_000_000_000),
            }],
            complete: true,
        }),
        Frame::Fetch(Fetch { journal: HERE, ranges: ranges(), bytes_max: 1 << 20 }),
        Frame::Fetched(Fetched { journal: HERE, absent: SeqRange::new(1, 9).unwrap().into() }),
        Frame::Regain(Records { journal: HERE, ranges: ranges() }),
        Frame::Adopt(Hashes {
            journal: HERE,
            hashes: vec![HashAt { level: 2, index: 5, hash: NodeHash([8; 16]) }],
        }),
    ]
}

#[test]
fn every_frame_reads_back_what_was_written() {
    for frame in one_of_each() {
        let bytes = encode(&frame).unwrap();
        assert_eq!(decode(&bytes).unwrap(), frame, "{}", frame.name());
        for cut in 0..bytes.len() {
            assert!(decode(&bytes.slice(..cut)).is_err(), "{} cut at {cut}", frame.name());
        }
    }
}

/// The bytes of version 1. When this fails, old and new programs no longer understand each other.
#[test]
fn the_bytes_of_version_1_stay_what_they_are() {
    let golden = include_str!("golden/frames-v1.txt");
    let written: String = one_of_each()
        .iter()
        .map(|frame| {
            let hex: String = encode(frame).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} {hex}\n", frame.name())
        })
        .collect();
    if std::env::var_os("MILLRACE_REWRITE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/frames-v1.txt"), &written).unwrap();
        return;
    }
    assert_eq!(written, golden, "to see what changed: MILLRACE_REWRITE=1, then git diff");
}

#[test]
fn a_length_over_its_kinds_limit_is_refused_from_the_header_alone() {
    let length = u32::try_from(RUN_BODY_MAX + 3).unwrap().to_be_bytes();
    let header: [u8; HEADER_BYTES] = [length[0], length[1], length[2], length[3], 1, 4];
    assert!(matches!(Header::parse(header), Err(FrameError::TooLong { kind: "Run", .. })));
    assert_eq!(Header::parse([0, 0, 0, 2, 9, 4]), Err(FrameError::Version(9)));
    assert_eq!(Header::parse([0, 0, 0, 2, 1, 99]), Err(FrameError::Kind(99)));
    assert_eq!(Header::parse([0, 0, 0, 1, 1, 4]), Err(FrameError::Length));
}

#[test]
fn a_list_over_its_limit_is_refused() {
    let ack = Ack { journal: HERE, level: AckLevel::Hub, ranges: RangeSet::new() };
    let bytes = encode(&Frame::Acks(Acks { acks: vec![ack; ACKS_MAX + 1] })).unwrap();
    assert!(matches!(decode(&bytes), Err(FrameError::Count { kind: "Acks", .. })));
}

#[test]
fn a_recalled_frame_may_name_as_many_journals_as_a_hello_and_a_fetch_asks_for_no_more_than_its_limit() {
    let kept = Kept { journal: HERE, ranges: RangeSet::new(), bytes: 0, newest: Wall(0) };
    let of = |count| Frame::Recalled(Recalled { journals: vec![kept.clone(); count], complete: false });
    assert!(decode(&encode(&of(JOURNALS_MAX)).unwrap()).is_ok());
    let bytes = encode(&of(JOURNALS_MAX + 1)).unwrap();
    assert!(matches!(decode(&bytes), Err(FrameError::Count { kind: "Recalled", .. })));
    let fetch = |bytes_max| Fetch { journal: HERE, ranges: ranges(), bytes_max }.bytes();
    assert_eq!((fetch(5), fetch(u32::MAX)), (5, FETCH_BYTES_MAX));
}

#[test]
fn a_field_from_a_newer_minor_version_is_passed_over() {
    // {0: 5, 1: "new"}: a Credit with one more field behind it.
    let body = [0xa2, 0x00, 0x05, 0x01, 0x63, b'n', b'e', b'w'];
    let mut bytes = vec![0, 0, 0, 10, 1, 7];
    bytes.extend(body);
    assert_eq!(decode(&Bytes::from(bytes)).unwrap(), Frame::Credit(Credit { total: 5 }));
}

#[test]
fn a_compare_that_is_not_whole_names_no_range() {
    let mut compare = Compare::new(HERE, 5, &[RecordCheck(1), RecordCheck(2)]);
    assert_eq!(compare.range(), SeqRange::new(5, 6));
    assert_eq!(compare.pairs().collect::<Vec<_>>(), [(5, RecordCheck(1)), (6, RecordCheck(2))]);
    compare.checks = compare.checks.slice(..9);
    assert_eq!(compare.range(), None);
    let past_the_end = Compare::new(HERE, u64::MAX, &[RecordCheck(1), RecordCheck(2)]);
    assert_eq!((past_the_end.range(), past_the_end.pairs().count()), (None, 1));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 0_u8..32, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = u32::try_from(body.len() + 2).unwrap().to_be_bytes().to_vec();
        bytes.extend([1, kind]);
        bytes.extend(body);
        if let Ok(frame) = decode(&Bytes::from(bytes)) {
            assert_eq!(decode(&encode(&frame).unwrap()).unwrap(), frame);
        }
    }
}
