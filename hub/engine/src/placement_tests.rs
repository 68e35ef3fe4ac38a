//! Placement: fair, stable, and never with fewer replicas than before.

use super::*;

fn sites(regions: &[(&str, &[u64])]) -> Vec<Site> {
    let of = |(region, nodes): &(&str, &[u64])| {
        nodes
            .iter()
            .map(|node| Site { node: NodeId(*node), region: (*region).to_owned() })
            .collect::<Vec<_>>()
    };
    regions.iter().flat_map(of).collect()
}

#[test]
fn every_region_has_a_replica_before_any_has_two() {
    let sites = sites(&[("north", &[1, 2, 3]), ("south", &[4]), ("west", &[5, 6])]);
    let region = |node: &NodeId| &sites.iter().find(|site| site.node == *node).unwrap().region;
    for (partition, nodes) in target(&sites, 3) {
        let regions: BTreeSet<&String> = nodes.iter().map(region).collect();
        assert_eq!((nodes.len(), regions.len()), (3, 3), "{partition}");
    }
    for (partition, nodes) in target(&sites, 5) {
        let regions: BTreeSet<&String> = nodes.iter().map(region).collect();
        assert_eq!((nodes.len(), regions.len()), (5, 3), "{partition}");
    }
}

#[test]
fn fewer_hubs_than_replicas_keep_everything_all_of_them() {
    let two = sites(&[("north", &[1]), ("south", &[2])]);
    assert!(target(&two, 3).values().all(|nodes| nodes.len() == 2));
    assert!(target(&[], 3).values().all(Vec::is_empty));
}

#[test]
fn hubs_of_one_region_share_evenly() {
    let mut placement = Placement::default();
    placement.begin(&target(&sites(&[("north", &[1, 2, 3, 4, 5, 6])]), 3));
    for (node, partitions) in placement.load() {
        // 128 is fair; 30 are about four standard deviations.
        assert!((98..=158).contains(&partitions), "{node} keeps {partitions}");
    }
}

#[test]
fn a_hub_that_joins_takes_and_nothing_else_moves() {
    let few = sites(&[("north", &[1, 2]), ("south", &[3, 4]), ("west", &[5])]);
    let more = sites(&[("north", &[1, 2]), ("south", &[3, 4]), ("west", &[5, 6])]);
    let mut placement = Placement::default();
    placement.begin(&target(&few, 3));
    let moves = placement.plan(&target(&more, 3));
    assert!((90..=166).contains(&moves.len()), "{} of 256 move, 128 are fair", moves.len());
    assert!(moves.iter().all(|m| m.add == [NodeId(6)] && m.remove == [NodeId(5)]));
}

#[test]
fn whoever_leaves_stays_until_everybody_who_joins_is_full() {
    let all = |nodes: &[u64]| -> BTreeMap<Partition, Vec<NodeId>> {
        Partition::all().map(|p| (p, nodes.iter().map(|n| NodeId(*n)).collect())).collect()
    };
    let partition = Partition(7);
    let mut placement = Placement::default();
    assert!(placement.begin(&all(&[1, 2, 3])));
    assert!(placement.begin(&all(&[1, 4, 5])));
    assert_eq!((placement.version, placement.moving()), (2, 256));
    let replicas = |placement: &Placement| placement.of(partition).unwrap().replicas.clone();
    assert!(placement.joined(partition, NodeId(4)));
    assert!(!placement.joined(partition, NodeId(4)), "told twice, counted once");
    assert_eq!(replicas(&placement), [NodeId(1), NodeId(2), NodeId(3)]);
    let recipients: Vec<u64> = placement.of(partition).unwrap().recipients().map(|n| n.0).collect();
    assert_eq!(recipients, [1, 2, 3, 4, 5]);
    let safe = |flushed: &[u64]| {
        let count = |of: &[NodeId]| of.iter().filter(|node| flushed.contains(&node.0)).count();
        placement.of(partition).unwrap().quorums().all(|(of, at_least)| count(of) >= at_least)
    };
    assert!(safe(&[1, 2, 4]), "two of the old, two of the new");
    assert!(!safe(&[1, 2, 3]), "one of the new is not enough");
    assert!(!safe(&[1, 4, 5]), "one of the old is not enough");
    assert!(placement.joined(partition, NodeId(5)));
    assert_eq!(replicas(&placement), [NodeId(1), NodeId(4), NodeId(5)]);
    assert_eq!(placement.moving(), 255);
}

#[test]
fn a_move_that_is_called_off_changes_no_replica() {
    let all = |nodes: &[u64]| -> BTreeMap<Partition, Vec<NodeId>> {
        Partition::all().map(|p| (p, nodes.iter().map(|n| NodeId(*n)).collect())).collect()
    };
    let mut placement = Placement::default();
    placement.begin(&all(&[1, 2]));
    placement.begin(&all(&[1, 3]));
    assert!(placement.begin(&all(&[1, 2])));
    assert_eq!(placement.moving(), 0);
    assert!(!placement.joined(Partition(0), NodeId(3)), "it is not asked for any more");
    assert!(!placement.begin(&all(&[1, 2])), "nothing new changes no version");
}

#[test]
fn partitions_that_are_on_too_few_hubs_are_counted() {
    let mut placement = Placement::default();
    assert_eq!(placement.short_of(1), 256, "nobody keeps them");
    placement.begin(&Partition::all().map(|p| (p, vec![NodeId(1)])).collect());
    assert_eq!((placement.short_of(1), placement.short_of(2)), (0, 256));
}
