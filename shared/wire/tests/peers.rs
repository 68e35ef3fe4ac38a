//! What hubs say to each other reads back, keeps its bytes, and stays apart from what agents say.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bytes::Bytes;
use millrace_merkle::{About, Answer, Outline, Question, Told as Answered};
use millrace_model::digest::{Root, Summary};
use millrace_model::{
    DeviceId, Encoding, Incarnation, JournalId, Lane, NodeHash, NodeId, RangeSet, SegmentHash, SegmentName,
    SeqRange,
};
use millrace_wire::limits::HELD_JOURNALS_MAX;
use millrace_wire::peer::{Declined, Held, Holds, Lacks, Offer, PeerRun, PeerSeal, Told};
use millrace_wire::{
    Credit, Frame, FrameError, Lodging, PeerFrame, PeerInquiry, PeerReply, RunFrame, Seal, decode, encode,
};
use proptest::prelude::{any, proptest};

const DEVICE: DeviceId = DeviceId::from_bytes([7; 16]);
const STORE: Incarnation = Incarnation::new(0x0123_4567_89ab_cdef);

fn journal() -> JournalId {
    JournalId { device: DEVICE, incarnation: Incarnation::new(5), lane: Lane::Normal }
}

fn held() -> Held {
    let ranges: RangeSet =
        [SeqRange::new(1, 9).unwrap(), SeqRange::new(12, 4_000).unwrap()].into_iter().collect();
    Held { journal: journal(), ranges }
}

fn outline() -> Outline {
    let root = Root { level: 3, hash: Some(NodeHash([6; 16])) };
    let summary = Summary { root, tail: u64::MAX };
    let present = millrace_merkle::spans::encode(&held().ranges, 1).0;
    Outline { floor: 1, head: 4_000, first_ordinal: 0, summary, present, more: false }
}

fn one_of_each() -> Vec<PeerFrame> {
    let segment = SegmentName { ordinal: 3, first: 3_073, count: 1_024, hash: SegmentHash([7; 32]) };
    let run = RunFrame {
        journal: Lodging::from(journal()),
        first: 3_073,
        count: 1_024,
        encoding: Encoding::Zstd,
        body: Bytes::from_static(b"a block"),
        segment: Some(segment),
    };
    vec![
        PeerFrame::Offer(Offer { epoch: 1, node: NodeId(2), store: STORE }),
        PeerFrame::Holds(Holds { held: vec![held()] }),
        PeerFrame::Told(Told { store: STORE, version: 7 }),
        PeerFrame::Run(PeerRun { device: DEVICE, run }),
        PeerFrame::Seal(PeerSeal {
            device: DEVICE,
            seal: Seal { journal: Lodging::from(journal()), segment },
        }),
        PeerFrame::Flushed(Holds { held: vec![held(), held()] }),
        PeerFrame::Declined(Declined { journal: journal(), first: 1, last: 2, reason: "hash".into() }),
        PeerFrame::Clash(held()),
        PeerFrame::Gone(held()),
        PeerFrame::Lost(held()),
        PeerFrame::Lacks(Lacks { journal: journal(), ranges: held().ranges, bring: true }),
        PeerFrame::Inquiry(PeerInquiry {
            number: 3,
            question: Question::Journal { journal: journal(), about: About::Outline { from: 1 } },
        }),
        PeerFrame::Reply(PeerReply { number: 3, answer: Answer::Journal(Answered::Outline(outline())) }),
        PeerFrame::Doubt(held()),
    ]
}

#[test]
fn every_peer_frame_reads_back_what_was_written() {
    for frame in one_of_each() {
        let bytes = frame.encode().unwrap();
        assert_eq!(PeerFrame::decode(&bytes).unwrap(), frame, "{}", frame.name());
        for cut in 0..bytes.len() {
            assert!(PeerFrame::decode(&bytes.slice(..cut)).is_err(), "{} cut at {cut}", frame.name());
        }
    }
}

#[test]
fn the_bytes_of_version_1_stay_what_they_are() {
    let golden = include_str!("golden/peers-v1.txt");
    let written: String = one_of_each()
        .iter()
        .map(|frame| {
            let hex: String = frame.encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} {hex}\n", frame.name())
        })
        .collect();
    if std::env::var_os("MILLRACE_REWRITE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/peers-v1.txt"), &written).unwrap();
        return;
    }
    assert_eq!(written, golden, "to see what changed: MILLRACE_REWRITE=1, then git diff");
}

#[test]
fn agents_and_hubs_do_not_read_each_others_frames() {
    for frame in one_of_each() {
        assert!(matches!(decode(&frame.encode().unwrap()), Err(FrameError::Kind(64..=77))));
    }
    let credit = encode(&Frame::Credit(Credit { total: 1 })).unwrap();
    assert_eq!(PeerFrame::decode(&credit), Err(FrameError::Kind(7)));
}

#[test]
fn a_list_over_its_limit_is_refused() {
    let one = Held { journal: journal(), ranges: RangeSet::new() };
    let bytes = PeerFrame::Holds(Holds { held: vec![one; HELD_JOURNALS_MAX + 1] }).encode().unwrap();
    assert!(matches!(PeerFrame::decode(&bytes), Err(FrameError::Count { kind: "Holds", .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 60_u8..80, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = u32::try_from(body.len() + 2).unwrap().to_be_bytes().to_vec();
        bytes.extend([1, kind]);
        bytes.extend(body);
        if let Ok(frame) = PeerFrame::decode(&Bytes::from(bytes)) {
            assert_eq!(PeerFrame::decode(&frame.encode().unwrap()).unwrap(), frame);
        }
    }
}
