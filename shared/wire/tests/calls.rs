//! Calls read back what was asked and answered, keep their bytes, and stay apart from all other frames.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::time::Duration;

use bytes::Bytes;
use millrace_wire::calling::{Reply, Request, RequestHeader, is_call};
use millrace_wire::limits::{CALL_BODY_MAX, CALL_FRAME_MAX, HEADER_BYTES, REFUSAL_BYTES_MAX};
use millrace_wire::{CallKind, FrameError, PeerFrame, decode};
use proptest::prelude::{any, proptest};

fn requests() -> Vec<Request> {
    let patience = Duration::from_millis(1_500);
    let body = Bytes::from_static(b"a question");
    CallKind::ALL.into_iter().map(|kind| Request { kind, patience, body: body.clone() }).collect()
}

fn replies() -> Vec<Reply> {
    vec![Reply::Answered(Bytes::from_static(b"an answer")), Reply::Refused("not the leader".into())]
}

fn header(bytes: &Bytes) -> [u8; HEADER_BYTES] {
    *bytes.first_chunk().unwrap()
}

#[test]
fn every_call_reads_back_what_was_written() {
    for request in requests() {
        let bytes = request.encode().unwrap();
        assert_eq!(Request::decode(&bytes).unwrap(), request);
        let parsed = RequestHeader { kind: request.kind, body_bytes: request.body.len() };
        assert_eq!(RequestHeader::parse(header(&bytes)).unwrap(), parsed);
        assert!(is_call(header(&bytes)));
        assert!((0..bytes.len()).all(|cut| Request::decode(&bytes.slice(..cut)).is_err()));
    }
    for reply in replies() {
        let bytes = reply.encode().unwrap();
        assert_eq!(Reply::decode(&bytes).unwrap(), reply);
        assert!(!is_call(header(&bytes)));
        assert!((0..bytes.len()).all(|cut| Reply::decode(&bytes.slice(..cut)).is_err()));
    }
}

#[test]
fn the_bytes_of_version_1_stay_what_they_are() {
    let golden = include_str!("golden/calls-v1.txt");
    let hex = |bytes: Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let asked = requests()
        .into_iter()
        .map(|request| format!("{} {}\n", request.kind, hex(request.encode().unwrap())));
    let answered = ["answered", "refused"].into_iter().zip(replies());
    let answered = answered.map(|(name, reply)| format!("{name} {}\n", hex(reply.encode().unwrap())));
    let written: String = asked.chain(answered).collect();
    if std::env::var_os("MILLRACE_REWRITE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/calls-v1.txt"), &written).unwrap();
        return;
    }
    assert_eq!(written, golden, "to see what changed: MILLRACE_REWRITE=1, then git diff");
}

#[test]
fn calls_are_no_frames_of_agents_nor_of_replication() {
    let written = requests().into_iter().map(|request| request.encode().unwrap());
    for bytes in written.chain(replies().into_iter().map(|reply| reply.encode().unwrap())) {
        assert!(matches!(decode(&bytes), Err(FrameError::Kind(97..=100 | 112 | 113))));
        assert!(matches!(PeerFrame::decode(&bytes), Err(FrameError::Kind(97..=100 | 112 | 113))));
    }
    assert!(matches!(Request::decode(&replies()[0].encode().unwrap()), Err(FrameError::Kind(112))));
    assert!(matches!(Reply::decode(&requests()[0].encode().unwrap()), Err(FrameError::Kind(97))));
}

#[test]
fn what_is_over_its_limit_is_neither_written_nor_read() {
    let largest = Request {
        kind: CallKind::Control,
        patience: Duration::MAX,
        body: Bytes::from(vec![0; CALL_BODY_MAX]),
    };
    let bytes = largest.encode().unwrap();
    assert_eq!(bytes.len(), CALL_FRAME_MAX);
    assert_eq!(Request::decode(&bytes).unwrap().patience, Duration::from_millis(u64::from(u32::MAX)));
    let over = Bytes::from(vec![0; CALL_BODY_MAX + 1]);
    assert!(matches!(Request { body: over.clone(), ..largest }.encode(), Err(FrameError::TooLong { .. })));
    assert!(matches!(Reply::Answered(over).encode(), Err(FrameError::TooLong { .. })));
    let announced = u32::try_from(CALL_FRAME_MAX - 4 + 1).unwrap().to_be_bytes();
    let [a, b, c, d] = announced;
    assert!(matches!(RequestHeader::parse([a, b, c, d, 1, 97]), Err(FrameError::TooLong { .. })));
    assert!(matches!(RequestHeader::parse([a, b, c, d, 2, 97]), Err(FrameError::Version(2))));
    assert_eq!(
        RequestHeader::parse([0, 0, 0, 5, 1, 97]),
        Err(FrameError::Length),
        "no room for the patience"
    );
}

#[test]
fn a_long_refusal_is_cut_between_characters() {
    let bytes = Reply::Refused(format!("a{}", "ü".repeat(REFUSAL_BYTES_MAX))).encode().unwrap();
    let Ok(Reply::Refused(text)) = Reply::decode(&bytes) else { panic!("a refusal") };
    assert_eq!(text.len(), REFUSAL_BYTES_MAX - 1);
    let mut broken = bytes.to_vec();
    broken[HEADER_BYTES + 1] = 0xff;
    assert!(matches!(Reply::decode(&Bytes::from(broken)), Err(FrameError::Fields { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 90_u8..120, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = u32::try_from(body.len() + 2).unwrap().to_be_bytes().to_vec();
        bytes.extend([1, kind]);
        bytes.extend(body);
        let bytes = Bytes::from(bytes);
        if let Ok(request) = Request::decode(&bytes) {
            assert_eq!(request.encode().unwrap(), bytes);
        }
        if let Ok(reply) = Reply::decode(&bytes) {
            assert_eq!(reply.encode().unwrap(), bytes);
        }
    }
}
