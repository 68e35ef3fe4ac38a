//! What a hub holds, read back through its API: the other side of the proof.
//!
//! Promise: every page is read; nothing is assumed about order beyond what the rows say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_model::notice::Gap;
use serde::Deserialize;
use serde_json::Value;

use crate::publication::{fingerprint, fingerprint_json};
use crate::{PlantError, Stamp, http};

/// Records per page.
const PAGE: u32 = 1_000;

/// A record at the hub.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    /// Device id, 32 hexadecimal digits.
    pub device: String,
    /// The device's name.
    pub name: String,
    /// Which life of the device's data directory wrote it.
    pub incarnation: String,
    /// Its lane.
    pub lane: String,
    /// Its number in the journal.
    pub seq: u64,
    /// `data`, `open`, `gap`, …
    pub kind: String,
    /// What it is about.
    pub topic: String,
    /// The device's wall clock at arrival, µs.
    pub wall_us: i64,
    /// How it arrived.
    pub qos: u8,
    /// Its stamp, when a publisher of ours made it.
    pub stamp: Option<Stamp>,
    /// [`fingerprint`] of topic and payload.
    pub fingerprint: u64,
    /// The loss that it declares.
    pub gap: Option<Gap>,
    /// Its payload, when that is text: JSON or not.
    pub text: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    records: Vec<Row>,
    next: Option<String>,
    #[serde(default)]
    complete: bool,
    #[serde(default)]
    damages: u64,
}

#[derive(Deserialize)]
struct Row {
    device: String,
    #[serde(default)]
    name: Option<String>,
    incarnation: String,
    lane: String,
    seq: u64,
    kind: String,
    topic: String,
    wall_us: i64,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    payload: Option<Value>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    base64: Option<String>,
}

impl Row {
    fn record(self) -> Result<StoredRecord, PlantError> {
        let (stamp, fingerprint, text) = match (&self.payload, &self.text, &self.base64) {
            (Some(value), _, _) => {
                (Stamp::of_json(value), fingerprint_json(&self.topic, value), Some(value.to_string()))
            }
            (None, Some(text), _) => {
                let bytes = text.as_bytes();
                (Stamp::of_payload(bytes), fingerprint(&self.topic, bytes), Some(text.clone()))
            }
            (None, None, Some(encoded)) => {
                let bytes =
                    STANDARD.decode(encoded).map_err(|error| PlantError::answer("the hub", &error))?;
                (Stamp::of_payload(&bytes), fingerprint(&self.topic, &bytes), None)
            }
            (None, None, None) => (None, fingerprint(&self.topic, b""), None),
        };
        let gap = self.payload.as_ref().filter(|_| self.kind == "gap");
        let gap = gap.and_then(|payload| serde_json::from_value(payload.clone()).ok());
        Ok(StoredRecord {
            device: self.device,
            name: self.name.unwrap_or_default(),
            incarnation: self.incarnation,
            lane: self.lane,
            seq: self.seq,
            kind: self.kind,
            topic: self.topic,
            wall_us: self.wall_us,
            qos: self.qos,
            stamp,
            fingerprint,
            gap,
            text,
        })
    }
}

/// A journal: device, incarnation, lane.
type Journal<'a> = (&'a str, &'a str, &'a str);

/// Records of a hub.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// In the order of the hub's answer.
    pub records: Vec<StoredRecord>,
    /// Whether a page said that it may lack something, or met damage.
    pub lacking: bool,
}

impl Inventory {
    /// Reads all pages that match `query` (`&name=value…`), of records of every kind.
    ///
    /// # Errors
    /// When the hub does not answer, or not as agreed.
    pub async fn take(hub: &str, query: &str) -> Result<Self, PlantError> {
        let (mut whole, mut cursor) = (Self::default(), None);
        let query = format!("&kind=all{query}");
        loop {
            let (page, next) = Self::page(hub, &query, PAGE, cursor.as_deref()).await?;
            whole.records.extend(page.records);
            whole.lacking |= page.lacking;
            match next {
                Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                Some(next) => {
                    return Err(PlantError::answer(hub, &format!("the cursor {next} stands still")));
                }
                None => return Ok(whole),
            }
        }
    }

    /// Reads one page; the cursor of the next one comes with it.
    ///
    /// # Errors
    /// When the hub does not answer, or not as agreed.
    pub async fn page(
        hub: &str,
        query: &str,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Self, Option<String>), PlantError> {
        let cursor = cursor.map(|cursor| format!("&cursor={}", http::query_text(cursor))).unwrap_or_default();
        let page: Page = http::json(hub, &format!("/v1/records?limit={limit}{query}{cursor}")).await?;
        let records = page.records.into_iter().map(Row::record).collect::<Result<_, _>>()?;
        Ok((Self { records, lacking: !page.complete || page.damages > 0 }, page.next))
    }

    /// Readings, without what Millrace writes itself.
    pub fn data(&self) -> impl Iterator<Item = &StoredRecord> {
        self.records.iter().filter(|record| record.kind == "data")
    }

    /// How often each stamp is there, and the fingerprints that it was seen with.
    #[must_use]
    pub fn copies(&self) -> BTreeMap<&Stamp, Vec<u64>> {
        let mut copies: BTreeMap<&Stamp, Vec<u64>> = BTreeMap::new();
        for record in self.data() {
            if let Some(stamp) = &record.stamp {
                copies.entry(stamp).or_default().push(record.fingerprint);
            }
        }
        copies
    }

    /// Declared losses.
    pub fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.records.iter().filter_map(|record| record.gap.as_ref())
    }

    /// How many records are declared lost.
    #[must_use]
    pub fn declared(&self) -> u64 {
        self.gaps().map(|gap| gap.count).sum()
    }

    /// Incarnations that wrote any of this.
    #[must_use]
    pub fn incarnations(&self) -> BTreeSet<&str> {
        self.records.iter().map(|record| record.incarnation.as_str()).collect()
    }

    /// Places in journals (device, incarnation, lane, number) that are taken twice, and numbers that are missing
    /// although no gap declares them.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut journals: BTreeMap<Journal<'_>, Vec<u64>> = BTreeMap::new();
        for record in &self.records {
            let journal = (record.device.as_str(), record.incarnation.as_str(), record.lane.as_str());
            journals.entry(journal).or_default().push(record.seq);
        }
        let mut faults = Vec::new();
        for (journal, mut numbers) in journals {
            let (_, incarnation, lane) = journal;
            numbers.sort_unstable();
            let mut expected = 1;
            for seq in numbers {
                if seq < expected {
                    faults.push(format!("{incarnation}/{lane}: {seq} is there twice"));
                }
                let missing = (expected..seq).find(|seq| !self.is_declared(journal, *seq));
                if let Some(missing) = missing {
                    faults.push(format!("{incarnation}/{lane}: {missing} is missing and not declared"));
                }
                expected = expected.max(seq + 1);
            }
        }
        faults
    }

    fn is_declared(&self, (_, incarnation, lane): Journal<'_>, seq: u64) -> bool {
        self.gaps().any(|gap| {
            let covered = gap.range.is_some_and(|(first, last)| (first..=last).contains(&seq));
            covered && gap.incarnation.to_string() == incarnation && gap.lane.to_string() == lane
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(seq: u64, kind: &str, rest: &Value) -> StoredRecord {
        let mut row = json!({"device":"d","name":"press","incarnation":"0000000000000009","lane":"normal",
            "seq":seq,"kind":kind,"topic":"t","wall_us":1,"qos":1});
        for (key, value) in rest.as_object().unwrap() {
            row[key] = value.clone();
        }
        serde_json::from_value::<Row>(row).unwrap().record().unwrap()
    }

    #[test]
    fn stamps_are_found_in_json_text_and_base64() {
        let stamp = Some("m/7#2".to_owned());
        let shown = |record: StoredRecord| record.stamp.map(|stamp| stamp.to_string());
        assert_eq!(shown(record(1, "data", &json!({"payload":{"id":"m/7","try":2}}))), stamp);
        assert_eq!(shown(record(1, "data", &json!({"text":"m/7#2\nabc"}))), stamp);
        assert_eq!(shown(record(1, "data", &json!({"base64":STANDARD.encode(b"m/7#2\n\xff")}))), stamp);
        assert_eq!(shown(record(1, "data", &json!({}))), None);
    }

    #[test]
    fn a_hole_is_a_fault_until_a_gap_declares_it() {
        let row = |seq| record(seq, "data", &json!({"payload":{}}));
        let mut inventory = Inventory { records: vec![row(1), row(4), row(4)], lacking: false };
        let faults = inventory.faults();
        assert_eq!(faults.len(), 2, "{faults:?}");
        let gap = json!({"payload":{"incarnation":"0000000000000009","lane":"normal","range":[2,3],"count":2,
            "reason":"drop-oldest","from":1,"to":2}});
        inventory.records = vec![row(1), row(4), record(5, "gap", &gap)];
        assert_eq!(inventory.faults(), Vec::<String>::new());
        assert_eq!(inventory.declared(), 2);
    }
}
