//! Hubs find each other, leave, come back.

use std::time::Duration;

use millrace_hub_engine::membership::{Input, Liveness, Output, Preset};
use millrace_model::NodeId;

use super::cluster::{BEGUN, Cluster};

#[test]
fn five_hubs_find_each_other_from_one_announcement_each() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(Preset::Lan, seed);
        (1..=5).for_each(|node| cluster.start(node, BEGUN + 1_000));
        (2..=5).for_each(|node| cluster.input(node, Input::Joined(vec![NodeId(1)])));
        let took = cluster.run_until(Duration::from_secs(60), Cluster::all_see_all);
        assert!(took <= Duration::from_secs(3), "seed {seed}: {took:?}");
        assert!(cluster.downs().is_empty());
    }
}

#[test]
fn a_hub_that_leaves_is_known_to_be_gone_at_once() {
    for (preset, bound) in
        [(Preset::Lan, Duration::from_millis(500)), (Preset::Wan, Duration::from_millis(1_500))]
    {
        for seed in 0..10 {
            let mut cluster = Cluster::formed(preset, seed, 5);
            cluster.input(3, Input::Leave);
            let took = cluster.run_until(Duration::from_secs(60), |cluster| cluster.all_miss(3));
            assert!(took <= bound, "{preset:?}, seed {seed}: {took:?}");
        }
    }
}

#[test]
fn a_hub_that_left_says_goodbye_some_times_and_then_nothing() {
    let mut cluster = Cluster::formed(Preset::Lan, 1, 3);
    cluster.input(3, Input::Leave);
    let took =
        cluster.run_until(Duration::from_secs(60), |cluster| cluster.hubs[&3].poll_timeout().is_none());
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let (life, sent) = (cluster.hubs[&3].me().life, cluster.hubs[&3].counts().sent_datagrams);
    cluster.run(Duration::from_secs(60));
    assert_eq!((cluster.hubs[&3].me().life, cluster.hubs[&3].counts().sent_datagrams), (life, sent));
    assert!(cluster.all_miss(3));
}

#[test]
fn a_goodbye_over_a_bad_road_is_heard_by_all() {
    for seed in 0..10 {
        let mut cluster = Cluster::formed(Preset::Lan, seed, 5);
        cluster.weather.loss_percent = 20;
        cluster.input(3, Input::Leave);
        cluster.run(Duration::from_secs(1));
        cluster.kill(3);
        let took = cluster.run_until(Duration::from_secs(60), |cluster| cluster.all_miss(3));
        assert!(took <= Duration::from_secs(1), "seed {seed}: {took:?}");
    }
}

#[test]
fn a_hub_that_starts_again_comes_back_with_a_higher_life() {
    for (gap, seed) in [(Duration::from_millis(100), 1), (Duration::from_secs(30), 2)] {
        let mut cluster = Cluster::formed(Preset::Lan, seed, 5);
        cluster.kill(2);
        cluster.run(gap);
        cluster.start(2, BEGUN + 2_000);
        cluster.input(2, Input::Joined(vec![NodeId(1)]));
        let back = |cluster: &Cluster| {
            let at =
                |at: u64| cluster.hubs[&at].member(NodeId(2)).map(|view| (view.peer.life, view.liveness));
            [1, 3, 4, 5].into_iter().all(|node| at(node) == Some((BEGUN + 2_000, Liveness::Alive)))
        };
        let took = cluster.run_until(Duration::from_secs(60), back);
        assert!(took <= Duration::from_secs(2), "{gap:?}: {took:?}");
        let renamed = cluster.seen.iter().any(|(_, at, output)| {
            *at == 1 && matches!(output, Output::Renamed { before, after } if before.life < after.life)
        });
        assert!(renamed);
    }
}

#[test]
fn a_hub_whose_clock_went_back_goes_on_above_the_life_that_the_others_know() {
    for gap in [Duration::from_millis(100), Duration::from_secs(30)] {
        let mut cluster = Cluster::formed(Preset::Lan, 3, 5);
        cluster.kill(2);
        cluster.run(gap);
        cluster.start(2, BEGUN + 5);
        let all = (1..=5).map(NodeId).collect::<Vec<_>>();
        (1..=5).for_each(|node| cluster.input(node, Input::Joined(all.clone())));
        let took = cluster.run_until(Duration::from_secs(60), |cluster| {
            cluster.all_see_all() && cluster.all_know_all() && cluster.hubs[&2].me().life > BEGUN + 1_000
        });
        assert!(took <= Duration::from_secs(20), "{gap:?}: {took:?}");
    }
}
