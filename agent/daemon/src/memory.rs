//! What an agent remembers of the hubs from one start to the next: `hubs.json`.
//!
//! ```json
//! { "version": 2,
//!   "seeds": ["hub-1.example:7443"],
//!   "hubs": [ { "hub": "0123…", "name": "hub-1", "region": "eu-1", "addresses": ["hub-1.example:7443"],
//!               "load_permille": 120, "draining": false, "replica": true, "rtt_us": 8400 } ],
//!   "answered": { "hub-1.example:7443": "0123…" } }
//! ```
//!
//! Promise: the form of version 1, a plain list of addresses, is read as seeds. A file that cannot be read counts as none:
//! then the configuration's addresses apply. Later versions only add fields.
//! Absent: what is made of it.

use std::collections::BTreeMap;

use millrace_model::HubId;
use millrace_wire::HubEndpoint;
use serde::{Deserialize, Serialize};

/// The version that is written.
const VERSION: u32 = 2;

/// Everything that is remembered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Addresses to begin with: those of the join token.
    pub seeds: Vec<String>,
    /// What hubs told last.
    pub hubs: Vec<Remembered>,
    /// Which hub answered at which address.
    pub answered: BTreeMap<String, HubId>,
    /// The region that was preferred: the agent's configuration says which is.
    pub region: Option<String>,
}

/// One hub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remembered {
    /// What hubs told of it.
    #[serde(flatten)]
    pub told: HubEndpoint,
    /// The round trip to it, if one was measured.
    #[serde(default)]
    pub rtt_us: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Whole {
    version: u32,
    #[serde(default)]
    seeds: Vec<String>,
    #[serde(default)]
    hubs: Vec<Remembered>,
    #[serde(default)]
    answered: BTreeMap<String, HubId>,
    #[serde(default)]
    region: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Whole(Whole),
    Addresses(Vec<String>),
}

impl Memory {
    /// A memory of addresses alone.
    #[must_use]
    pub fn of_seeds(seeds: Vec<String>) -> Self {
        Self { seeds, ..Self::default() }
    }

    /// What `bytes` say; nothing when they say nothing that can be understood.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Ok(Form::Whole(Whole { seeds, hubs, answered, region, .. })) => {
                Self { seeds, hubs, answered, region }
            }
            Ok(Form::Addresses(seeds)) => Self::of_seeds(seeds),
            Err(_) => Self::default(),
        }
    }

    /// The bytes to be kept.
    ///
    /// # Errors
    /// Never in practice: everything in it can be written as JSON.
    pub fn write(&self) -> serde_json::Result<Vec<u8>> {
        let Self { seeds, hubs, answered, region } = self.clone();
        serde_json::to_vec_pretty(&Whole { version: VERSION, seeds, hubs, answered, region })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_the_old_form_is_a_list_of_seeds() {
        let hub = HubId::from_bytes([7; 16]);
        let told = HubEndpoint {
            hub,
            name: "hub-1".to_owned(),
            region: "eu-1".to_owned(),
            addresses: vec!["hub:7443".to_owned()],
            load_permille: 120,
            draining: true,
            replica: true,
        };
        let memory = Memory {
            seeds: vec!["hub:7443".to_owned()],
            hubs: vec![Remembered { told, rtt_us: Some(8_400) }],
            answered: BTreeMap::from([("hub:7443".to_owned(), hub)]),
            region: None,
        };
        assert_eq!(Memory::read(&memory.write().unwrap()), memory);
        assert_eq!(Memory::read(b"[\"a:1\",\"b:2\"]").seeds, ["a:1", "b:2"]);
        assert_eq!(Memory::read(b"[\"a:1"), Memory::default());
        let later = br#"{ "version": 3, "seeds": ["a:1"], "what": 1, "hubs": [] }"#;
        assert_eq!(Memory::read(later).seeds, ["a:1"]);
    }
}
