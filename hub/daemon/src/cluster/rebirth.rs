//! A cluster made anew after a disaster: what the old one decided, with one hub left in it, under the next epoch.
//!
//! ```text
//!  old decisions (a backup, or the files of the last hub) ──▶ reborn() ──▶ control.dump ──first start──▶ a cluster of one
//! ```
//!
//! Promise: devices, tokens, revocations, settings and users' keys stay; every hub of before is gone, and its certificate
//! refused; numbers of hubs go on above the old ones; everybody who knew an old epoch is told apart, also when a backup is restored twice or
//! is older than the last new cluster: an epoch is the second in which it began.
//! Absent: reading and writing files ([`crate::backup`]), taking the new seat ([`super::seat`]).

use bytes::Bytes;
use millrace_hub_control::Dump;
use millrace_hub_engine::placement::{Placement, Site, target};
use millrace_link::KeyHash;
use millrace_model::{HubId, Incarnation, NodeId, Wall};
use serde::Serialize;

use super::keys::{self, Key};
use super::record::{ClusterRecord, GoneRecord, HubRecord, HubState};
use super::table::Table;
use crate::places::About;

/// Between two clusters that are made from the same decisions, a second apart, there is room for so many changes (as a power of two):
/// twice what was ever measured. The numbers stay below 2^53, so that programs that count in floating point see them whole.
const CHANGES_PER_SECOND_BITS: u32 = 16;

/// The hub that begins anew.
#[derive(Debug, Clone, Copy)]
pub struct Survivor<'a> {
    /// What it is called, and where it stands and is reached.
    pub about: &'a About,
    /// Its id: its own of before, or a new one.
    pub hub: HubId,
    /// Its key.
    pub key: KeyHash,
    /// The new life of its decisions' directory.
    pub control: Incarnation,
    /// When.
    pub now: Wall,
}

/// The new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reborn {
    /// What it begins with.
    pub dump: Dump,
    /// The survivor's number in it.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: u64,
}

/// Why there is no new cluster.
#[derive(Debug, thiserror::Error)]
pub enum RebirthError {
    /// They are not a cluster's decisions.
    #[error("what was decided says nothing of a cluster: is it the right directory?")]
    NoCluster,
    /// A record cannot be written. A fault in the program.
    #[error("a record of the new cluster cannot be written: {0}")]
    Record(#[from] serde_json::Error),
}

/// Makes a new cluster of one out of what an old one decided.
///
/// # Errors
/// [`RebirthError`].
pub fn reborn(old: &Dump, survivor: &Survivor<'_>) -> Result<Reborn, RebirthError> {
    let mut table = Table::default();
    let mut next = NodeId(1);
    for (key, value) in &old.entries {
        if &key[..] == keys::NEXT_NODE.as_bytes() {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            next = number.map_or(next, NodeId);
        } else if let Some(key) = Key::of(key) {
            table.take_in(&key, Some(value), old.revision);
        }
    }
    let cluster = table.cluster.clone().ok_or(RebirthError::NoCluster)?;
    // A counter that was lost is made up for by what stands in the table.
    let highest = table.hubs.keys().chain(table.gone.keys()).max().map_or(0, |node| node.0);
    let node = NodeId(next.0.max(highest + 1));
    let epoch = following(cluster.epoch, survivor.now);
    // Two clusters that are made from the same decisions give different fences.
    let begins = epoch << CHANGES_PER_SECOND_BITS;

    let about = survivor.about;
    let me = HubRecord {
        node,
        hub: survivor.hub,
        name: about.name.clone(),
        region: about.region.clone(),
        addresses: about.addresses.clone(),
        witness: false,
        control: survivor.control,
        store: None,
        state: HubState::Member,
        joined_at: survivor.now,
        key: survivor.key,
    };
    // Above the old one, so that nobody takes the new placement for an older one.
    let mut placement = Placement::default();
    placement.version = table.placement.value.version;
    placement.begin(&target(&[Site { node, region: about.region.clone() }], table.settings.value.replicas));

    let stays = |key: &Bytes| {
        !matches!(Key::of(key), Some(Key::Hub(_) | Key::Placement | Key::Cluster | Key::EnrolledHub(_)))
            && &key[..] != keys::NEXT_NODE.as_bytes()
    };
    let mut entries: Vec<(Bytes, Bytes)> =
        old.entries.iter().filter(|(key, _)| stays(key)).cloned().collect();
    entries.push(entry(keys::CLUSTER, &ClusterRecord { epoch, ..cluster })?);
    entries.push(entry(keys::PLACEMENT, &placement)?);
    entries.push(entry(keys::hub(node), &me)?);
    for before in table.records().filter(|before| before.hub != survivor.hub) {
        let gone = GoneRecord { hub: before.hub, name: before.name.clone(), at: survivor.now };
        entries.push(entry(keys::gone(before.node), &gone)?);
    }
    entries.push((keys::NEXT_NODE.into(), (node.0 + 1).to_string().into()));
    entries.sort();
    let (revision, next_lease) = (old.revision.max(begins), old.next_lease.max(begins));
    Ok(Reborn { dump: Dump { entries, revision, next_lease, ..old.clone() }, node, epoch })
}

/// The epoch after `epoch`: the second of now, so that it differs from that of every other cluster that was or will be made from the
/// same backup, or is made while an older one is restored; and higher in any case, however wrong the clock is.
fn following(epoch: u64, now: Wall) -> u64 {
    let seconds = u64::try_from(now.0 / 1_000_000).unwrap_or(0);
    seconds.max(epoch + 1)
}

fn entry(key: impl Into<Bytes>, record: &impl Serialize) -> Result<(Bytes, Bytes), serde_json::Error> {
    Ok((key.into(), serde_json::to_vec(record)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::record::Settings;

    const NOW: Wall = Wall(1_800_000_000_000_000);

    fn hub(number: u64) -> HubRecord {
        HubRecord {
            node: NodeId(number),
            hub: HubId::from_bytes([u8::try_from(number).unwrap(); 16]),
            name: format!("hub-{number}"),
            region: format!("region-{number}"),
            addresses: Vec::new(),
            witness: false,
            control: Incarnation::new(number),
            store: None,
            state: HubState::Member,
            joined_at: NOW,
            key: KeyHash::from_bytes([9; 32]),
        }
    }

    fn entry(key: impl Into<Bytes>, record: &impl Serialize) -> (Bytes, Bytes) {
        super::entry(key, record).unwrap()
    }

    fn old() -> Dump {
        let cluster = ClusterRecord { name: "plant".into(), epoch: 3, founded_at: NOW };
        let sites = [1, 2].map(|node| Site { node: NodeId(node), region: format!("region-{node}") });
        let mut placement = Placement::default();
        placement.begin(&target(&sites, 3));
        let mut entries = vec![
            entry(keys::CLUSTER, &cluster),
            entry(keys::PLACEMENT, &placement),
            entry(keys::SETTINGS, &Settings::default()),
            entry(keys::hub(NodeId(1)), &hub(1)),
            entry(keys::hub(NodeId(2)), &hub(2)),
            (keys::NEXT_NODE.into(), Bytes::from("7")),
            (Bytes::from("plant/recipe"), Bytes::from("12")),
        ];
        entries.sort();
        Dump { revision: 40, next_lease: 5, budget_bytes: 1 << 20, entries }
    }

    fn survive(hub: HubId) -> Reborn {
        let about = About { name: "hub-1".into(), region: "region-1".into(), addresses: vec!["a:1".into()] };
        let (key, control) = (KeyHash::from_bytes([8; 32]), Incarnation::new(77));
        reborn(&old(), &Survivor { about: &about, hub, key, control, now: NOW }).unwrap()
    }

    fn table(dump: &Dump) -> Table {
        let mut table = Table::default();
        for (key, value) in &dump.entries {
            Key::of(key).map(|key| table.take_in(&key, Some(value), 1));
        }
        table
    }

    #[test]
    fn an_epoch_is_the_second_in_which_it_began_and_higher_than_the_one_before_whatever_the_clock_says() {
        assert_eq!(following(3, NOW), 1_800_000_000);
        assert_eq!(following(1_800_000_000, NOW), 1_800_000_001);
        assert_eq!(following(3, Wall(-5)), 4);
    }

    #[test]
    fn one_hub_is_left_under_a_new_number_and_the_others_are_gone() {
        let reborn = survive(HubId::from_bytes([1; 16]));
        assert_eq!((reborn.node, reborn.epoch), (NodeId(7), 1_800_000_000));
        let table = table(&reborn.dump);
        assert_eq!(table.hubs.keys().copied().collect::<Vec<_>>(), [NodeId(7)]);
        assert!(table.was_removed(&HubId::from_bytes([2; 16])));
        assert!(!table.was_removed(&HubId::from_bytes([1; 16])), "its certificate is still good");
        let placement = &table.placement.value;
        assert!(placement.assignments().all(|(_, assignment)| assignment.replicas == [NodeId(7)]));
        assert!(placement.version > 1);
        let value = |wanted: &str| {
            reborn.dump.entries.iter().find(|(key, _)| &key[..] == wanted.as_bytes()).map(|(_, v)| v.clone())
        };
        assert_eq!(value("plant/recipe"), Some(Bytes::from("12")));
        assert_eq!(value(keys::NEXT_NODE), Some(Bytes::from("8")));
        let begins = 1_800_000_000 << 16;
        assert_eq!((reborn.dump.revision, reborn.dump.next_lease), (begins, begins));
    }

    #[test]
    fn a_hub_with_a_new_identity_leaves_all_of_before_gone() {
        let reborn = survive(HubId::from_bytes([50; 16]));
        let table = table(&reborn.dump);
        assert_eq!(table.gone.len(), 2);
        assert_eq!(table.hubs[&NodeId(7)].value.hub, HubId::from_bytes([50; 16]));
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        let nothing = Dump { entries: Vec::new(), ..old() };
        let about = About { name: "a".into(), region: "b".into(), addresses: Vec::new() };
        let hub = HubId::from_bytes([1; 16]);
        let (key, control) = (KeyHash::from_bytes([8; 32]), Incarnation::new(77));
        let refused = reborn(&nothing, &Survivor { about: &about, hub, key, control, now: NOW });
        assert!(matches!(refused, Err(RebirthError::NoCluster)));
    }
}
