//! Hubs die, sleep, are cut off; and no living one is taken for dead.

use std::time::Duration;

use millrace_hub_engine::membership::{Input, Liveness, Output, Preset};
use millrace_model::NodeId;

use super::cluster::{BEGUN, Cluster};

#[test]
fn a_killed_hub_is_down_at_all_others_within_the_presets_bound() {
    for preset in [Preset::Lan, Preset::Wan] {
        let mut all = Vec::new();
        for count in [2, 3, 5, 7] {
            for seed in 0..10 {
                let mut cluster = Cluster::formed(preset, seed, count);
                cluster.run(Duration::from_millis(seed * 397));
                cluster.kill(2);
                let took = cluster.run_until(Duration::from_secs(120), |cluster| cluster.all_miss(2));
                assert!(
                    took <= preset.numbers().detection,
                    "{preset:?}, {count} hubs, seed {seed}: {took:?}"
                );
                all.push(took);
            }
        }
        all.sort();
        println!(
            "{preset:?}: a dead hub is down everywhere after {:?} (median), {:?} (worst)",
            all[all.len() / 2],
            all[all.len() - 1]
        );
    }
}

#[test]
fn a_road_that_loses_every_fifth_datagram_kills_nobody() {
    for preset in [Preset::Lan, Preset::Wan] {
        let mut suspicions = 0;
        for (seed, count) in [(1, 5), (2, 5), (3, 5), (4, 3), (5, 3), (6, 2)] {
            let mut cluster = Cluster::formed(preset, seed, count);
            cluster.weather.loss_percent = 20;
            cluster.run(Duration::from_secs(600));
            assert!(cluster.downs().is_empty(), "{preset:?}, seed {seed}: {:?}", cluster.downs());
            // Who refutes in time keeps its life.
            assert!(
                cluster.hubs.values().all(|hub| hub.me().life == BEGUN + 1_000),
                "{preset:?}, seed {seed}"
            );
            suspicions += cluster.suspicions();
        }
        assert!(suspicions > 0, "the road was not bad enough to show anything");
        println!("{preset:?}: {suspicions} times suspected, in 60 minutes of 20 hubs, all refuted");
    }
}

#[test]
fn on_good_roads_nobody_is_suspected() {
    for preset in [Preset::Lan, Preset::Wan] {
        let mut cluster = Cluster::formed(preset, 9, 5);
        cluster.run(Duration::from_secs(600));
        assert_eq!((cluster.suspicions(), cluster.downs().len()), (0, 0), "{preset:?}");
    }
}

#[test]
fn a_slow_hub_is_suspected_at_most_and_never_down() {
    for seed in 0..5 {
        let mut cluster = Cluster::formed(Preset::Lan, seed, 5);
        for _ in 0..60 {
            cluster.sleep(4);
            cluster.run(Duration::from_millis(1_800));
            cluster.wake(4);
            cluster.run(Duration::from_millis(700));
        }
        assert!(cluster.downs().is_empty(), "seed {seed}: {:?}", cluster.downs());
        assert!(cluster.suspicions() > 0, "seed {seed}: it was not slow enough to show anything");
    }
}

#[test]
fn a_hub_that_slept_is_back_at_once_and_takes_nobody_for_dead() {
    for seed in 0..10 {
        let mut cluster = Cluster::formed(Preset::Lan, seed, 5);
        cluster.sleep(4);
        cluster.run(Duration::from_secs(30));
        assert!(cluster.all_miss(4));
        cluster.wake(4);
        let took = cluster.run_until(Duration::from_secs(60), Cluster::all_see_all);
        assert!(took <= Duration::from_secs(5), "seed {seed}: {took:?}");
        cluster.run(Duration::from_secs(30));
        let judged =
            cluster.seen.iter().filter(|(_, at, output)| *at == 4 && matches!(output, Output::Down(_)));
        assert_eq!(judged.count(), 0, "seed {seed}");
        assert!(cluster.all_see_all() && cluster.hubs[&4].counts().sleeps == 1);
        assert!(cluster.hubs[&4].me().life > BEGUN + 1_000, "it began a new life");
    }
}

#[test]
fn a_partition_heals() {
    for preset in [Preset::Lan, Preset::Wan] {
        for seed in 0..5 {
            let mut cluster = Cluster::formed(preset, seed, 5);
            let all = (1..=5).map(NodeId).collect::<Vec<_>>();
            (1..=5).for_each(|node| cluster.input(node, Input::Joined(all.clone())));
            for (left, right) in [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)] {
                cluster.cuts.extend([(left, right), (right, left)]);
            }
            cluster.run(Duration::from_secs(120));
            assert_eq!(cluster.liveness(1, 2), Some(Liveness::Alive));
            assert_eq!(cluster.liveness(1, 3), Some(Liveness::Down));
            assert_eq!(cluster.liveness(4, 2), Some(Liveness::Down));
            cluster.cuts.clear();
            let took = cluster.run_until(Duration::from_secs(120), Cluster::all_see_all);
            let bound = preset.numbers().announce_every * 2 + Duration::from_secs(5);
            assert!(took <= bound, "{preset:?}, seed {seed}: {took:?}");
            cluster.run(Duration::from_secs(120));
            assert!(cluster.all_see_all() && cluster.all_know_all(), "{preset:?}, seed {seed}");
        }
    }
}

#[test]
fn a_hub_that_is_cut_off_says_that_it_is_alone_and_comes_back() {
    let mut cluster = Cluster::formed(Preset::Lan, 7, 3);
    (1..=3).for_each(|node| cluster.input(node, Input::Joined(vec![NodeId(1), NodeId(2), NodeId(3)])));
    cluster.cuts.extend([(1, 2), (2, 1), (1, 3), (3, 1)]);
    cluster.run(Duration::from_secs(30));
    assert!(cluster.seen.iter().any(|(_, at, output)| (*at, output) == (1, &Output::Alone)));
    cluster.cuts.clear();
    let took = cluster.run_until(Duration::from_secs(60), Cluster::all_see_all);
    assert!(took <= Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_road_cut_in_one_direction_kills_nobody_while_a_third_hub_reaches_both() {
    let mut cluster = Cluster::formed(Preset::Lan, 8, 5);
    cluster.cuts.insert((1, 2));
    cluster.run(Duration::from_secs(600));
    assert!(cluster.downs().is_empty(), "{:?}", cluster.downs());
}
