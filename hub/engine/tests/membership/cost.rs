//! What it costs when nothing happens.

use std::time::Duration;

use millrace_hub_engine::membership::{Input, Preset};
use millrace_model::NodeId;

use super::cluster::{Cluster, profile};

/// What a datagram costs beside its own bytes: IPv6 and UDP headers 48, QUIC's header, frame and tag 32, and a packet that
/// acknowledges it 90. QUIC acknowledges every second packet, so this is more than it is.
const OVERHEAD_BYTES: u64 = 48 + 32 + 90;

/// Bytes of one pair of hubs in a second, both directions, that the project allows itself.
const BUDGET_BYTES: u64 = 5_000;

fn bytes_per_pair_and_second(
    cluster: &mut Cluster,
    seconds: u64,
    mut each_second: impl FnMut(&mut Cluster, u64),
) -> u64 {
    let (datagrams, bytes) = cluster.sent;
    for second in 0..seconds {
        each_second(cluster, second);
        cluster.run(Duration::from_secs(1));
    }
    let hubs = cluster.hubs.len() as u64;
    let spent = cluster.sent.1 - bytes + (cluster.sent.0 - datagrams) * OVERHEAD_BYTES;
    spent / seconds / (hubs * (hubs - 1) / 2)
}

#[test]
fn hubs_with_nothing_to_say_stay_within_the_budget_of_a_pair() {
    for preset in [Preset::Lan, Preset::Wan] {
        for hubs in [2, 3, 5, 7] {
            let mut cluster = Cluster::formed(preset, 1, hubs);
            cluster.run(Duration::from_secs(30));
            let rate = bytes_per_pair_and_second(&mut cluster, 600, |_, _| ());
            println!("{preset:?}, {hubs} hubs: {rate} B/s for each pair, with headers and acknowledgements");
            assert!(rate <= BUDGET_BYTES, "{preset:?}, {hubs} hubs: {rate}");
        }
    }
}

#[test]
fn a_load_that_flickers_stays_within_the_budget_of_a_pair() {
    for preset in [Preset::Lan, Preset::Wan] {
        for hubs in [2, 3, 5, 7] {
            let mut cluster = Cluster::formed(preset, 1, hubs);
            cluster.run(Duration::from_secs(30));
            let flicker = |cluster: &mut Cluster, second: u64| {
                for node in 1..=hubs {
                    let mut busy = profile(node, "busy");
                    busy.load_permille = u16::try_from((second * 37 + node * 11) % 1_000).unwrap();
                    cluster.input(node, Input::ProfileChanged(busy));
                }
            };
            let rate = bytes_per_pair_and_second(&mut cluster, 120, flicker);
            println!("{preset:?}, {hubs} hubs, load flickers: {rate} B/s for each pair");
            assert!(rate <= BUDGET_BYTES, "{preset:?}, {hubs} hubs: {rate}");
        }
    }
}

#[test]
fn a_dead_hub_costs_no_more_than_a_living_one() {
    let mut cluster = Cluster::formed(Preset::Lan, 1, 3);
    (1..=3).for_each(|node| cluster.input(node, Input::Joined((1..=3).map(NodeId).collect())));
    cluster.kill(3);
    cluster.run(Duration::from_secs(30));
    let rate = bytes_per_pair_and_second(&mut cluster, 600, |_, _| ());
    assert!(rate <= BUDGET_BYTES, "{rate}");
}
