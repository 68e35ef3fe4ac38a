//! What is told of the hubs, and when.

use millrace_hub_engine::placement::{Site, target};

use super::*;

fn listed(number: u64) -> Listed {
    Listed {
        node: NodeId(number),
        hub: id(number),
        name: format!("hub-{number}"),
        region: format!("region-{number}"),
        addresses: vec![format!("hub-{number}:7443")],
        witness: false,
        member: true,
    }
}

fn id(number: u64) -> HubId {
    HubId::from_bytes([u8::try_from(number % 256).unwrap(); 16])
}

const WELL: Heard = Heard { alive: true, draining: false, load_permille: 0 };

#[test]
fn members_are_told_witnesses_are_not_and_who_seems_gone_wants_no_agents() {
    let table = vec![
        listed(1),
        Listed { witness: true, ..listed(2) },
        Listed { member: false, ..listed(3) },
        listed(4),
        listed(5),
        Listed { addresses: Vec::new(), ..listed(6) },
        listed(7),
    ];
    let roster = BTreeMap::from([
        (NodeId(1), Heard { load_permille: 749, ..WELL }),
        (NodeId(3), WELL),
        (NodeId(4), Heard { alive: false, ..WELL }),
        (NodeId(5), Heard { draining: true, load_permille: 5_000, ..WELL }),
    ]);
    let told: Vec<_> = endpoints(&table, &roster)
        .into_iter()
        .map(|hub| (hub.name, hub.load_permille, hub.draining))
        .collect();
    let line = |number: u64, load, draining| (format!("hub-{number}"), load, draining);
    let nobody_heard_of = line(7, 0, false);
    assert_eq!(
        told,
        [line(1, 700, false), line(3, 0, true), line(4, 0, true), line(5, 1_000, true), nobody_heard_of]
    );
}

#[test]
fn more_hubs_than_a_frame_holds_are_told_without_those_that_want_nobody() {
    let table: Vec<Listed> = (1..=70).map(listed).collect();
    let roster = (1..=10).map(|node| (NodeId(node), Heard { draining: true, ..WELL })).collect();
    let told = endpoints(&table, &roster);
    assert_eq!(told.len(), HUBS_MAX);
    assert_eq!(told.iter().filter(|hub| hub.draining).count(), HUBS_MAX - 60);
}

#[test]
fn a_hub_that_drains_says_so_of_itself_before_gossip_does() {
    let own = endpoints(&[listed(1)], &BTreeMap::new()).remove(0);
    let hubs = Hubs::alone(&own);
    assert_eq!(hubs.view().endpoints(), std::slice::from_ref(&own));
    assert!(hubs.drain(true) && !hubs.drain(true) && hubs.view().draining);
    hubs.decided(NodeId(2), vec![listed(1), listed(2)], Placement::default());
    hubs.heard(BTreeMap::from([(NodeId(1), WELL), (NodeId(2), WELL)]));
    let draining: Vec<bool> = hubs.view().endpoints().iter().map(|hub| hub.draining).collect();
    assert_eq!(draining, [false, true]);
    assert!(hubs.drain(false));
    assert!(hubs.view().endpoints().iter().all(|hub| !hub.draining));
}

#[test]
fn the_replicas_of_a_device_are_those_of_its_partition() {
    let view = View { table: (1..=4).map(listed).collect(), ..View::default() };
    assert_eq!(view.replicas(Partition(7)), None, "nothing is decided");
    let site = |node: u64| Site { node: NodeId(node), region: format!("region-{node}") };
    let sites: Vec<Site> = (1..=4).map(site).collect();
    let mut placement = Placement::default();
    placement.begin(&target(&sites, 3));
    let view = View { placement, ..view };
    assert!(Partition::all().all(|partition| view.replicas(partition).is_some_and(|hubs| hubs.len() == 3)));
}
