//! What the proof notices, on made-up tallies and inventories.

use rumqttc::QoS;

use super::*;
use crate::tally::Entry;
use crate::{Fate, StoredRecord};

fn stamp(number: u64, attempt: u32) -> Stamp {
    Stamp { source: "m".into(), number, attempt }
}

fn stored(seq: u64, stamp: Option<Stamp>, fingerprint: u64) -> StoredRecord {
    StoredRecord {
        device: "d".into(),
        name: "press".into(),
        incarnation: "i".into(),
        lane: "normal".into(),
        seq,
        kind: "data".into(),
        topic: "t".into(),
        wall_us: 0,
        qos: 1,
        stamp,
        fingerprint,
        gap: None,
        text: None,
    }
}

/// Reading 1 was acknowledged, reading 2 only at the second try, reading 3 was QoS 0 in flight at a kill.
fn exhibit(records: Vec<StoredRecord>) -> Exhibit {
    let entry = |qos, fate| Entry { qos, fate, fingerprint: 7 };
    let mut tally = Tally::default();
    tally.entries.insert(stamp(1, 1), entry(QoS::AtLeastOnce, Fate::Acknowledged));
    tally.entries.insert(stamp(2, 1), entry(QoS::ExactlyOnce, Fate::Unanswered));
    tally.entries.insert(stamp(2, 2), entry(QoS::ExactlyOnce, Fate::Acknowledged));
    tally.entries.insert(stamp(3, 1), entry(QoS::AtMostOnce, Fate::InFlight));
    let ledger = Ledger { ingested: 4, acked: 4, ..Ledger::default() };
    let status = AgentStatus { balanced: true, ledger, ..AgentStatus::default() };
    Exhibit {
        name: "press".into(),
        tally,
        outstanding: 0,
        status,
        inventory: Inventory { records, lacking: false },
    }
}

fn whole() -> Vec<StoredRecord> {
    vec![stored(1, Some(stamp(1, 1)), 7), stored(2, Some(stamp(2, 1)), 7), stored(3, Some(stamp(2, 2)), 7)]
}

#[test]
fn a_second_try_is_counted_apart_and_the_proof_holds() {
    let proof = Proof::of(&[exhibit(whole())]);
    assert_eq!(proof.objections(), Vec::<String>::new());
    assert_eq!(proof.to_string(), "ledger: balanced, 2 published, 2 stored, 0 missing, 0 duplicated");
    let device = &proof.devices[0];
    assert_eq!((device.resent, device.in_flight, device.by_qos), ((1, 1), (1, 0), [0, 1, 1]));
}

#[test]
fn a_missing_a_doubled_a_damaged_and_a_foreign_record_are_each_noticed() {
    let objection = |change: fn(&mut Vec<StoredRecord>)| {
        let mut records = whole();
        change(&mut records);
        let proof = Proof::of(&[exhibit(records)]);
        assert!(!proof.holds());
        proof.objections().join("; ")
    };
    let said = objection(|records| drop(records.remove(2)));
    assert!(said.contains("1 acknowledged readings are not at the hub: m/2#2"), "{said}");
    let said = objection(|records| records.push(stored(4, Some(stamp(2, 1)), 7)));
    assert!(said.contains("more than once: m/2#1"), "{said}");
    let said = objection(|records| records[0].fingerprint = 8);
    assert!(said.contains("say something else at the hub: m/1#1"), "{said}");
    let said = objection(|records| records.push(stored(4, None, 7)));
    assert!(said.contains("published by nobody"), "{said}");
    let said = objection(|records| records[2].seq = 9);
    assert!(said.contains("3 is missing and not declared"), "{said}");
}

#[test]
fn an_unsettled_agent_is_not_balanced() {
    let mut exhibit = exhibit(whole());
    exhibit.status.ledger = Ledger { ingested: 4, acked: 3, pending: 1, ..Ledger::default() };
    exhibit.outstanding = 2;
    let proof = Proof::of(&[exhibit]);
    assert!(proof.to_string().starts_with("ledger: NOT balanced"), "{proof}");
    assert_eq!(proof.objections().len(), 2);
}
