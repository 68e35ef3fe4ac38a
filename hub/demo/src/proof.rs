//! The proof: what the publishers know against what the hub holds, reading by reading.
//!
//! | claim | meaning |
//! |---|---|
//! | published | readings whose publication was acknowledged (QoS 1, 2) or written to a connection that lived on (QoS 0) |
//! | stored | those of them that the hub holds, with the payload that was published |
//! | missing | those that it does not hold |
//! | duplicated | publications that it holds more than once, and records that nobody published |
//! | resent | publications whose answer was lost with a killed agent; MQTT lets a sensor publish the reading again, so the hub may hold both tries; counted apart, each at most once |
//! | in flight | QoS 0 publications written just before a kill; MQTT promises nothing for them; counted apart |
//!
//! Promise: every record and every publication is in exactly one of these.

use std::fmt;
use std::time::Duration;

use millrace_model::Ledger;

use crate::patience::{Look, until};
use crate::{Agent, AgentStatus, Hub, Inventory, PlantError, Publisher, Stamp, Tally};

/// What is known of one device.
#[derive(Debug, Clone)]
pub struct Exhibit {
    /// Its name.
    pub name: String,
    /// What its publishers know.
    pub tally: Tally,
    /// Publications that still have no answer.
    pub outstanding: usize,
    /// What its agent says.
    pub status: AgentStatus,
    /// What the hub holds of it.
    pub inventory: Inventory,
}

impl Exhibit {
    /// Waits until everything is answered, has arrived, and every loss is declared at the hub; reads both sides.
    ///
    /// # Errors
    /// When something is not answered, or has not arrived, within `limit`.
    pub async fn gather(
        hub: &Hub,
        agent: &mut Agent,
        publishers: &[&Publisher],
        limit: Duration,
    ) -> Result<Self, PlantError> {
        for publisher in publishers {
            publisher.drained(limit).await?;
        }
        let device = agent.settled(limit).await?.device;
        // Losses are declared a moment after they were counted, by records that must arrive themselves.
        let what = format!("the declaration of every loss of {}", agent.name());
        let inventory = until(&what, limit, || async {
            let (inventory, status) = (hub.inventory_of(&device).await?, agent.status().await?);
            let (declared, lost) = (inventory.declared(), status.ledger.evicted + status.ledger.rejected);
            let seen = format!("{declared} of {lost}");
            Ok(if declared >= lost { Look::Found(inventory) } else { Look::NotYet(seen) })
        })
        .await?;
        let status = agent.settled(limit).await?;
        let tally = publishers.iter().fold(Tally::default(), |sum, publisher| sum.with(publisher.tally()));
        Ok(Self { name: agent.name().to_owned(), tally, outstanding: 0, status, inventory })
    }
}

/// What follows for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProof {
    /// Its name.
    pub name: String,
    /// Readings that must be at the hub.
    pub published: u64,
    /// Those of them by QoS 0, 1 and 2.
    pub by_qos: [u64; 3],
    /// Those of them that are.
    pub stored: u64,
    /// Those of them that are not.
    pub missing: Vec<Stamp>,
    /// Stored more than once.
    pub duplicated: Vec<Stamp>,
    /// Stored with another payload or topic than published.
    pub damaged: Vec<Stamp>,
    /// Data at the hub that nobody published.
    pub foreign: u64,
    /// Publications whose answer was lost, and how many of them are stored.
    pub resent: (u64, u64),
    /// QoS 0 publications that a kill may have taken, and how many of them are stored.
    pub in_flight: (u64, u64),
    /// Publications without an answer at the end.
    pub outstanding: u64,
    /// The agent's count.
    pub ledger: Ledger,
    /// Whether it adds up, and nothing is pending.
    pub balanced: bool,
    /// Records that the agent declared lost.
    pub declared: u64,
    /// Places in journals that are taken twice, or missing and not declared.
    pub faults: Vec<String>,
}

impl DeviceProof {
    /// Weighs one device.
    #[must_use]
    pub fn of(exhibit: &Exhibit) -> Self {
        let Exhibit { name, tally, outstanding, status, inventory } = exhibit;
        let copies = inventory.copies();
        let mut proof = Self {
            name: name.clone(),
            published: 0,
            by_qos: [0; 3],
            stored: 0,
            missing: Vec::new(),
            duplicated: Vec::new(),
            damaged: Vec::new(),
            foreign: 0,
            resent: (0, 0),
            in_flight: (0, 0),
            outstanding: *outstanding as u64,
            ledger: status.ledger,
            balanced: status.adds_up() && status.ledger.pending == 0,
            declared: inventory.declared(),
            faults: inventory.faults(),
        };
        for (stamp, entry) in &tally.entries {
            let found = copies.get(stamp).map_or(&[][..], Vec::as_slice);
            proof.weigh(stamp, entry, found);
        }
        let unknown = |stamp: Option<&Stamp>| stamp.is_none_or(|stamp| !tally.entries.contains_key(stamp));
        let foreign = inventory.data().filter(|record| unknown(record.stamp.as_ref()));
        proof.foreign = foreign.count() as u64;
        proof
    }

    fn weigh(&mut self, stamp: &Stamp, entry: &crate::tally::Entry, found: &[u64]) {
        if entry.fate.is_certain() {
            self.published += 1;
            if let Some(count) = self.by_qos.get_mut(usize::from(crate::book::level(entry.qos))) {
                *count += 1;
            }
            if found.is_empty() {
                self.missing.push(stamp.clone());
            } else {
                self.stored += 1;
            }
        } else {
            let doubt =
                if entry.fate == crate::Fate::InFlight { &mut self.in_flight } else { &mut self.resent };
            doubt.0 += 1;
            doubt.1 += u64::from(!found.is_empty());
        }
        if found.len() > 1 {
            self.duplicated.push(stamp.clone());
        }
        if found.iter().any(|fingerprint| *fingerprint != entry.fingerprint) {
            self.damaged.push(stamp.clone());
        }
    }

    /// Whether nothing speaks against it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.objections().is_empty()
    }

    /// What speaks against it, a sentence each.
    #[must_use]
    pub fn objections(&self) -> Vec<String> {
        let mut objections = Vec::new();
        let mut object = |count: usize, what: &str, which: String| {
            if count > 0 {
                objections.push(format!("{}: {count} {what}{which}", self.name));
            }
        };
        object(self.missing.len(), "acknowledged readings are not at the hub: ", some(&self.missing));
        object(self.duplicated.len(), "publications are at the hub more than once: ", some(&self.duplicated));
        object(self.damaged.len(), "readings say something else at the hub: ", some(&self.damaged));
        object(
            usize::try_from(self.foreign).unwrap_or(usize::MAX),
            "records were published by nobody",
            String::new(),
        );
        object(
            usize::try_from(self.outstanding).unwrap_or(usize::MAX),
            "publications were never answered",
            String::new(),
        );
        object(self.faults.len(), "faults in journals: ", some(&self.faults));
        if !self.balanced {
            objections.push(format!("{}: the agent's ledger is not settled: {:?}", self.name, self.ledger));
        }
        objections
    }
}

/// The first few of a list.
fn some<T: fmt::Display>(all: &[T]) -> String {
    let shown: Vec<String> = all.iter().take(5).map(T::to_string).collect();
    let more = if all.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// The proof for a whole plant.
#[derive(Debug, Clone)]
pub struct Proof {
    /// One per device.
    pub devices: Vec<DeviceProof>,
}

impl Proof {
    /// Weighs all devices.
    #[must_use]
    pub fn of(exhibits: &[Exhibit]) -> Self {
        Self { devices: exhibits.iter().map(DeviceProof::of).collect() }
    }

    /// Panics with every objection when it does not hold: for tests.
    ///
    /// # Panics
    /// When it does not hold.
    #[expect(clippy::panic, reason = "tests end here, and want the whole list")]
    pub fn must_hold(&self) {
        let objections = self.objections();
        if !objections.is_empty() {
            panic!("{self}\n{}", objections.join("\n"));
        }
    }

    /// Whether nothing speaks against it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.devices.iter().all(DeviceProof::holds)
    }

    /// What speaks against it.
    #[must_use]
    pub fn objections(&self) -> Vec<String> {
        self.devices.iter().flat_map(DeviceProof::objections).collect()
    }

    /// Sums a count over all devices.
    #[must_use]
    pub fn sum(&self, count: impl Fn(&DeviceProof) -> u64) -> u64 {
        self.devices.iter().map(count).sum()
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let balanced = self.devices.iter().all(|device| device.balanced);
        write!(
            out,
            "ledger: {}, {} published, {} stored, {} missing, {} duplicated",
            if balanced { "balanced" } else { "NOT balanced" },
            self.sum(|device| device.published),
            self.sum(|device| device.stored),
            self.sum(|device| device.missing.len() as u64),
            self.sum(|device| device.duplicated.len() as u64 + device.foreign),
        )
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
