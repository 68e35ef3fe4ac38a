//! Owners: which hub is asked about which partitions, so that every hub can answer every query.
//!
//! This hub answers for what it keeps itself, when its store is full and damage took nothing of it; for the rest the nearest hub is asked that keeps it. What
//! nobody who can be reached keeps whole is answered from what is here, and named: such an answer may be incomplete. A hub that has not
//! heard yet who keeps what, or whose store is not the one that the table calls full, keeps nothing whole.
//!
//! Promise: pure; every partition that is asked about is somebody's, or named as missing.
//! Absent: asking.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_model::partition::PARTITIONS;
use millrace_model::{DeviceId, NodeId, Partition};

use crate::cluster::Table;

/// Who answers for what.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Owners {
    /// What this hub answers for.
    pub(super) here: BTreeSet<Partition>,
    /// What others are asked about.
    pub(super) elsewhere: BTreeMap<NodeId, BTreeSet<Partition>>,
    /// Partitions of which no full copy can be reached: answered from what is here.
    pub(super) missing: BTreeSet<Partition>,
}

/// This hub, as one that keeps records.
#[derive(Clone, Copy)]
pub(super) struct Keeper<'a> {
    /// Its number.
    pub(super) me: NodeId,
    /// Whether its own store is known to be full.
    pub(super) whole: bool,
    /// Partitions of which it is fetching what damage took.
    pub(super) hurt: &'a BTreeSet<Partition>,
}

/// The partitions that a query is about: those of its devices, or all.
pub(super) fn asked(devices: Option<&[DeviceId]>) -> BTreeSet<Partition> {
    match devices {
        Some(devices) => devices.iter().map(Partition::of).collect(),
        None => Partition::all().collect(),
    }
}

impl Owners {
    /// Who answers for `asked`, as this hub knows the table. `reachable` says which other hubs can be asked now, and how far they are.
    pub(super) fn of(
        asked: &BTreeSet<Partition>,
        table: &Table,
        Keeper { me, whole, hurt }: Keeper<'_>,
        reachable: &BTreeMap<NodeId, Duration>,
    ) -> Self {
        let full = |node: &NodeId| match *node {
            node if node == me => whole,
            node => table.hub(node).and_then(|record| record.store).is_some_and(|store| store.full),
        };
        let mut owners = Self::default();
        for partition in asked {
            // Also a hub that is alone is told what to keep.
            let replicas = table.placement.value.of(*partition).map(|of| of.replicas.as_slice());
            let whole: Vec<NodeId> = replicas.unwrap_or_default().iter().copied().filter(full).collect();
            let nearest = || {
                let far = |node: &NodeId| Some((*reachable.get(node)?, *node));
                whole.iter().filter_map(far).min().map(|(_, node)| node)
            };
            if whole.contains(&me) && !hurt.contains(partition) {
                owners.here.insert(*partition);
            } else if let Some(node) = nearest() {
                owners.elsewhere.entry(node).or_default().insert(*partition);
            } else {
                owners.here.insert(*partition);
                owners.missing.insert(*partition);
            }
        }
        owners
    }

    /// A hub that was asked has not answered: what is here has to do.
    pub(super) fn failed(&mut self, node: NodeId) {
        if let Some(partitions) = self.elsewhere.remove(&node) {
            self.missing.extend(partitions);
        }
    }
}

/// Partitions as 64 hexadecimal digits: the first is the highest four of partition 255.
pub(super) fn to_text(partitions: &BTreeSet<Partition>) -> String {
    let mut bits = [0_u8; PARTITIONS / 8];
    for Partition(number) in partitions {
        let at = bits.len() - 1 - usize::from(number / 8);
        if let Some(byte) = bits.get_mut(at) {
            *byte |= 1 << (number % 8);
        }
    }
    bits.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`to_text`] wrote; `None` when it is something else.
pub(super) fn from_text(text: &str) -> Option<BTreeSet<Partition>> {
    if text.len() != PARTITIONS / 4 || !text.is_ascii() {
        return None;
    }
    let bytes =
        text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes = bytes.collect::<Option<Vec<u8>>>()?;
    let mut partitions = BTreeSet::new();
    for (byte, number) in bytes.iter().rev().zip((0..=u8::MAX).step_by(8)) {
        let set = (0..8).filter(|bit| byte & (1 << bit) != 0).map(|bit| Partition(number + bit));
        partitions.extend(set);
    }
    Some(partitions)
}

#[cfg(test)]
mod tests {
    use millrace_hub_engine::placement::{Site, target};
    use millrace_link::KeyHash;
    use millrace_model::{HubId, Incarnation, Wall};

    use super::*;
    use crate::cluster::Dated;
    use crate::cluster::record::{HubRecord, HubState, StoreRecord};

    static NOTHING: BTreeSet<Partition> = BTreeSet::new();

    const ME: Keeper<'static> = Keeper { me: NodeId(1), whole: true, hurt: &NOTHING };

    fn table(full: &[u64]) -> Table {
        let mut table = Table::default();
        for number in 1..=4 {
            let record = HubRecord {
                node: NodeId(number),
                hub: HubId::default(),
                name: format!("hub-{number}"),
                region: format!("region-{number}"),
                addresses: Vec::new(),
                witness: false,
                control: Incarnation::new(1),
                store: Some(StoreRecord { incarnation: Incarnation::new(1), full: full.contains(&number) }),
                state: HubState::Member,
                joined_at: Wall(0),
                key: KeyHash::from_bytes([0; 32]),
            };
            table.hubs.insert(NodeId(number), Dated { value: record, revision: 1 });
        }
        let sites: Vec<Site> =
            (1..=4).map(|n| Site { node: NodeId(n), region: format!("region-{n}") }).collect();
        table.placement.value.begin(&target(&sites, 2));
        table
    }

    fn near(nodes: &[(u64, u64)]) -> BTreeMap<NodeId, Duration> {
        nodes.iter().map(|(node, ms)| (NodeId(*node), Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn every_partition_is_answered_by_this_hub_or_the_nearest_that_keeps_it() {
        let table = table(&[1, 2, 3, 4]);
        let all = asked(None);
        let owners = Owners::of(&all, &table, ME, &near(&[(2, 9), (3, 1), (4, 5)]));
        let elsewhere: BTreeSet<Partition> = owners.elsewhere.values().flatten().copied().collect();
        assert_eq!(owners.here.union(&elsewhere).copied().collect::<BTreeSet<_>>(), all);
        assert!(owners.here.is_disjoint(&elsewhere) && owners.missing.is_empty());
        for (node, partitions) in &owners.elsewhere {
            for partition in partitions {
                let replicas = &table.placement.value.of(*partition).unwrap().replicas;
                assert!(replicas.contains(node) && !replicas.contains(&NodeId(1)));
                assert!(!replicas.contains(&NodeId(3)) || *node == NodeId(3), "the nearest is asked");
            }
        }
    }

    #[test]
    fn what_nobody_keeps_whole_is_answered_from_here_and_named() {
        let owners = Owners::of(&asked(None), &table(&[1]), ME, &near(&[(2, 1), (3, 1), (4, 1)]));
        assert!(owners.elsewhere.is_empty() && owners.here.len() == PARTITIONS);
        assert!(!owners.missing.is_empty() && owners.missing.len() < PARTITIONS);
        let mut owners =
            Owners::of(&asked(None), &table(&[1, 2, 3, 4]), ME, &near(&[(2, 1), (3, 1), (4, 1)]));
        let lost = owners.elsewhere[&NodeId(3)].clone();
        owners.failed(NodeId(3));
        assert_eq!(owners.missing, lost);
    }

    #[test]
    fn what_damage_took_here_is_answered_by_others_and_named_when_they_are_away() {
        let table = table(&[1, 2, 3, 4]);
        let kept = Owners::of(&asked(None), &table, ME, &BTreeMap::new()).here;
        let mine = kept.iter().find(|partition| {
            table.placement.value.of(**partition).is_some_and(|of| of.replicas.contains(&NodeId(1)))
        });
        let hurt = BTreeSet::from([*mine.unwrap()]);
        let me = Keeper { hurt: &hurt, ..ME };
        let owners = Owners::of(&hurt, &table, me, &near(&[(2, 1), (3, 1), (4, 1)]));
        assert!(owners.here.is_empty() && owners.missing.is_empty() && owners.elsewhere.len() == 1);
        let alone = Owners::of(&hurt, &table, me, &BTreeMap::new());
        assert_eq!((&alone.here, &alone.missing), (&hurt, &hurt));
    }

    #[test]
    fn a_hub_that_knows_of_no_placement_or_lost_its_store_answers_for_nothing() {
        let new = Owners::of(
            &asked(None),
            &Table::default(),
            Keeper { me: NodeId(5), whole: false, ..ME },
            &BTreeMap::new(),
        );
        assert_eq!((new.here.len(), new.missing.len()), (PARTITIONS, PARTITIONS));
        let all = table(&[1, 2, 3, 4]);
        let cut_off = Owners::of(&asked(None), &all, Keeper { whole: false, ..ME }, &BTreeMap::new());
        assert_eq!(
            cut_off.missing.len(),
            PARTITIONS,
            "the table calls a store full that is not here any more"
        );
        let others = near(&[(2, 1), (3, 1), (4, 1)]);
        let lost = Owners::of(&asked(None), &all, Keeper { whole: false, ..ME }, &others);
        assert!(lost.here.is_empty() && lost.missing.is_empty(), "others are asked");
    }

    #[test]
    fn partitions_read_back_what_they_print() {
        for partitions in [BTreeSet::new(), asked(None), [Partition(0), Partition(9), Partition(255)].into()]
        {
            assert_eq!(from_text(&to_text(&partitions)), Some(partitions));
        }
        assert_eq!(from_text("ff"), None);
        assert_eq!(from_text(&"x".repeat(64)), None);
    }
}
