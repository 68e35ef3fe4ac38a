//! The canonical bytes of version 1, kept as files: hashes of stored data depend on every bit of them.
//! With `MILLRACE_REWRITE=1` the files are written anew; a difference needs a new format version.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use millrace_model::notice::{Gap, GapReason, Open};
use millrace_model::{
    DeviceId, Flags, Incarnation, JournalId, Kind, Lane, Record, SegmentHash, Topic, Wall, block, canon, hash,
};

fn records() -> Vec<Record> {
    let topic = |name: &str| Topic::new(name).unwrap();
    let reading = |text: &'static str, wall, mono| {
        Record::data(topic("plant/press-7/temp"), Bytes::from_static(text.as_bytes()), Wall(wall), mono)
    };
    let open = Open {
        boot: "0f0e0d0c-0b0a-0908-0706-050403020100".into(),
        nonce: "00000000000000ff".into(),
        clock: "synchronised".into(),
        software: "millrace-agent 0.1.0".into(),
        previous: None,
        reason: Some("new".into()),
    };
    let gap = Gap {
        incarnation: Incarnation::new(1),
        lane: Lane::Bulk,
        range: Some((5, 9)),
        after: None,
        count: 5,
        reason: GapReason::DropOldest,
        from: Wall(10),
        to: Wall(20),
    };
    vec![
        open.to_record(Wall(1_790_000_000_000_000), 5_000_000).unwrap(),
        reading(r#"{"c":71.25}"#, 1_790_000_000_100_000, 5_100_000),
        Record {
            flags: Flags::RETAINED.with(Flags::SOURCE_TIME).with_qos(2),
            source: Some(Wall(1_790_000_000_199_999)),
            ..reading(r#"{"c":71.50}"#, 1_790_000_000_200_000, 5_200_000)
        },
        // The wall clock jumps back by years; the monotonic one does not.
        Record { flags: Flags::TIME_UNCERTAIN, ..reading("\u{0}binary\u{ff}", -86_400_000_000, 5_300_000) },
        Record { kind: Kind(200), ..reading("", i64::MAX, u64::MAX) },
        gap.to_record(Wall(1_790_000_000_300_000), 5_400_000).unwrap(),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn records_blocks_checks_and_hashes_stay_what_they_were() {
    let journal = JournalId {
        device: DeviceId::from_bytes(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"),
        incarnation: Incarnation::new(0x0123_4567_89ab_cdef),
        lane: Lane::Normal,
    };
    let checker = hash::RecordChecker::new(&journal);
    let mut written = String::new();
    for (record, seq) in records().iter().zip(1..) {
        let bytes = canon::encode(record);
        written += &format!("record {seq} {} check {:016x}\n", hex(&bytes), checker.check(seq, &bytes).0);
        assert_eq!(&canon::decode(&Bytes::from(bytes)).unwrap(), record);
    }
    let bytes = block::encode(&records());
    written += &format!("block {}\nhash {}\n", hex(&bytes), SegmentHash::of(&journal, 7, 1, &bytes));
    assert_eq!(block::decode(&Bytes::from(bytes)).unwrap(), records());
    if std::env::var_os("MILLRACE_REWRITE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/canon-v1.txt"), &written).unwrap();
        return;
    }
    assert_eq!(written, include_str!("golden/canon-v1.txt"));
}
