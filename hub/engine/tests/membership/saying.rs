//! Profiles and round trips.

use std::time::Duration;

use millrace_hub_engine::membership::{Input, Output, Preset};
use millrace_model::NodeId;

use super::cluster::{BEGUN, Cluster, profile};

#[test]
fn hubs_that_meet_know_each_others_profiles() {
    for preset in [Preset::Lan, Preset::Wan] {
        for seed in 0..5 {
            let mut cluster = Cluster::formed(preset, seed, 5);
            let took = cluster.run_until(Duration::from_secs(60), Cluster::all_know_all);
            assert!(took <= Duration::from_secs(2), "{preset:?}, seed {seed}: {took:?}");
        }
    }
}

#[test]
fn a_changed_profile_is_known_everywhere_within_two_seconds() {
    for preset in [Preset::Lan, Preset::Wan] {
        let mut cluster = Cluster::formed(preset, 4, 7);
        cluster.run(Duration::from_secs(60));
        let mut draining = profile(3, "hub-3");
        draining.draining = true;
        cluster.input(3, Input::ProfileChanged(draining));
        let took = cluster.run_until(Duration::from_secs(60), Cluster::all_know_all);
        assert!(took <= Duration::from_secs(2), "{preset:?}: {took:?}");
        assert!(cluster.hubs[&5].member(NodeId(3)).unwrap().profile.unwrap().1.draining);
    }
}

#[test]
fn the_newest_profile_wins_on_roads_that_lose_double_and_reorder() {
    for seed in 0..5 {
        let mut cluster = Cluster::formed(Preset::Lan, seed, 5);
        cluster.weather.loss_percent = 40;
        cluster.weather.duplicate_percent = 20;
        cluster.weather.reorder_percent = 20;
        for turn in 0..50 {
            let node = 1 + turn % 5;
            cluster.input(node, Input::ProfileChanged(profile(node, &format!("name {turn}"))));
            cluster.run(Duration::from_millis(130));
        }
        cluster.weather.loss_percent = 20;
        cluster.run_until(Duration::from_secs(60), Cluster::all_know_all);
        assert!(cluster.all_know_all(), "seed {seed}");
        assert_eq!(cluster.hubs[&1].member(NodeId(5)).unwrap().profile.unwrap().1.name, "name 49");
        assert!(cluster.seen.iter().any(|(_, _, output)| *output == Output::Profile(NodeId(5))));
    }
}

#[test]
fn a_hub_that_starts_again_is_believed_although_it_counts_from_one() {
    let mut cluster = Cluster::formed(Preset::Lan, 6, 3);
    (0..20).for_each(|n| cluster.input(2, Input::ProfileChanged(profile(2, &format!("old {n}")))));
    cluster.run(Duration::from_secs(20));
    cluster.kill(2);
    cluster.start(2, BEGUN + 2_000);
    cluster.input(2, Input::Joined(vec![NodeId(1)]));
    cluster.run_until(Duration::from_secs(20), |cluster| cluster.all_see_all() && cluster.all_know_all());
    assert_eq!(cluster.hubs[&3].member(NodeId(2)).unwrap().profile.unwrap().1.name, "hub-2");
}

#[test]
fn round_trips_are_measured() {
    let mut cluster = Cluster::formed(Preset::Wan, 5, 5);
    cluster.run(Duration::from_secs(60));
    for (at, hub) in &cluster.hubs {
        for view in hub.members() {
            let trip = view.round_trip.unwrap_or_else(|| panic!("{at} never measured {}", view.peer));
            assert!((240..=360).contains(&trip.as_millis()), "{trip:?}");
        }
    }
}
