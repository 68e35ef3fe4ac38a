//! Routing: near, calm, and never without a hub.

use super::*;

const NORTH: u8 = 1;
const SOUTH: u8 = 2;
const WEST: u8 = 3;

fn hub(number: u8) -> HubId {
    HubId::from_bytes([number; 16])
}

fn candidate(number: u8, region: &str) -> Candidate {
    Candidate {
        hub: hub(number),
        region: region.to_owned(),
        load_permille: 0,
        replica: true,
        draining: false,
    }
}

fn three() -> Vec<Candidate> {
    vec![candidate(NORTH, "north"), candidate(SOUTH, "south"), candidate(WEST, "west")]
}

fn routes(region: Option<&str>) -> Routes {
    let mut routes = Routes::new(Weights::DEFAULTS, region.map(str::to_owned), 1);
    routes.learn(three());
    routes
}

fn routes_without_north() -> Routes {
    let mut routes = Routes::new(Weights::DEFAULTS, None, 1);
    routes.learn(vec![candidate(SOUTH, "south")]);
    routes
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(seconds: u64) -> Moment {
    Moment(seconds * 1_000_000)
}

#[test]
fn the_nearest_hub_is_dialled_and_the_preferred_region_may_be_a_little_farther() {
    for (region, nearest) in [(None, SOUTH), (Some("north"), NORTH), (Some("west"), SOUTH)] {
        let mut routes = routes(region);
        for (number, rtt) in [(NORTH, 30), (SOUTH, 10), (WEST, 90)] {
            routes.measured(hub(number), ms(rtt), at(0));
        }
        assert_eq!(routes.choose(at(0)), Some(hub(nearest)), "{region:?}");
    }
}

#[test]
fn a_replica_and_an_idle_hub_are_worth_a_detour() {
    let mut routes = routes(None);
    for number in [NORTH, SOUTH, WEST] {
        routes.measured(hub(number), ms(20), at(0));
    }
    let mut table = three();
    (table[0].load_permille, table[1].replica) = (900, false);
    routes.learn(table);
    assert_eq!(routes.choose(at(0)), Some(hub(WEST)));
    let costs: Vec<u64> = routes.table(at(0)).iter().map(|row| row.cost_us).collect();
    assert_eq!(costs, [20_000, 35_000, 68_600]);
}

#[test]
fn a_hub_falls_after_two_failures_and_is_tried_again_when_its_pause_is_over() {
    let mut routes = routes(None);
    for (number, rtt) in [(NORTH, 10), (SOUTH, 20), (WEST, 30)] {
        routes.measured(hub(number), ms(rtt), at(0));
    }
    routes.failed(hub(NORTH), at(1));
    assert_eq!(routes.choose(at(1)), Some(hub(NORTH)), "once is chance");
    routes.failed(hub(NORTH), at(2));
    assert_eq!(routes.choose(at(2)), Some(hub(SOUTH)));
    assert_eq!(routes.choose(at(8)), Some(hub(NORTH)), "the pause is at most five seconds");
    for second in 8..20 {
        routes.failed(hub(NORTH), at(second));
    }
    assert_eq!(routes.choose(at(100)), Some(hub(SOUTH)), "pauses grow");
    assert_eq!(routes.choose(at(20 + 300)), Some(hub(NORTH)), "up to five minutes");
}

#[test]
fn there_is_always_somebody_to_dial() {
    let mut routes = routes(None);
    for (order, number) in [SOUTH, NORTH, WEST].into_iter().enumerate() {
        for _ in 0..4 {
            routes.failed(hub(number), at(order as u64 * 100));
        }
    }
    assert_eq!(routes.choose(at(5)), Some(hub(SOUTH)), "its pause ends first");
    assert_eq!(Routes::new(Weights::DEFAULTS, None, 1).choose(at(0)), None);
    let mut draining = three();
    draining.iter_mut().for_each(|candidate| candidate.draining = true);
    let mut routes = Routes::new(Weights::DEFAULTS, None, 1);
    routes.learn(draining);
    routes.learn(Vec::new());
    assert!(routes.choose(at(0)).is_some(), "one that wants nobody, when nobody else is there");
}

#[test]
fn a_session_moves_only_for_a_clear_gain_that_lasts() {
    let mut routes = routes(None);
    routes.measured(hub(NORTH), ms(40), at(0));
    routes.measured(hub(SOUTH), ms(33), at(0));
    routes.measured(hub(WEST), ms(200), at(0));
    assert_eq!(routes.reconsider(hub(NORTH), at(0)), None);
    assert_eq!(routes.reconsider(hub(NORTH), at(500)), None, "seven milliseconds are no reason");
    for _ in 0..40 {
        routes.measured(hub(SOUTH), ms(5), at(0));
    }
    assert_eq!(routes.reconsider(hub(NORTH), at(600)), None, "not at once");
    assert_eq!(routes.reconsider(hub(NORTH), at(659)), None);
    assert_eq!(routes.reconsider(hub(NORTH), at(720)), Some(hub(SOUTH)));
    for _ in 0..40 {
        routes.measured(hub(SOUTH), ms(60), at(0));
    }
    assert_eq!(routes.reconsider(hub(NORTH), at(721)), None, "the gain is gone");
}

#[test]
fn a_hub_that_drains_or_has_left_the_cluster_is_left_within_two_seconds() {
    let mut routes = routes(None);
    routes.measured(hub(NORTH), ms(1), at(0));
    let mut table = three();
    table[0].draining = true;
    routes.learn(table);
    assert!(routes.reconsider(hub(NORTH), at(0)).is_none_or(|to| to != hub(NORTH)), "chance spreads agents");
    assert!(routes.reconsider(hub(NORTH), at(2)).is_some_and(|to| to != hub(NORTH)));
    let mut routes = routes_without_north();
    let _chance = routes.reconsider(hub(NORTH), at(0));
    assert_eq!(routes.reconsider(hub(NORTH), at(2)), Some(hub(SOUTH)));
}

#[test]
fn agents_with_the_same_hubs_do_not_move_at_the_same_moment() {
    let moved = |seed| {
        let mut routes = Routes::new(Weights::DEFAULTS, None, seed);
        routes.learn(three());
        routes.measured(hub(NORTH), ms(100), at(0));
        routes.measured(hub(SOUTH), ms(1), at(0));
        (0..200).find(|second| routes.reconsider(hub(NORTH), at(*second)).is_some())
    };
    let seconds: std::collections::BTreeSet<Option<u64>> = (0..50).map(moved).collect();
    assert!(seconds.len() > 20, "{seconds:?}");
    assert!(seconds.iter().all(|second| second.is_some_and(|second| (60..=121).contains(&second))));
}

#[test]
fn a_hub_that_failed_is_moved_to_only_after_three_good_answers() {
    let mut routes = routes(None);
    routes.measured(hub(NORTH), ms(100), at(0));
    routes.measured(hub(SOUTH), ms(1), at(0));
    routes.failed(hub(SOUTH), at(0));
    let moves = |routes: &mut Routes, from: u64| {
        (from..from + 200).find(|second| routes.reconsider(hub(NORTH), at(*second)).is_some())
    };
    assert_eq!(moves(&mut routes, 0), None);
    for hit in 1..=3 {
        assert_eq!(moves(&mut routes, hit * 1_000), None, "after {hit} hits");
        routes.measured(hub(SOUTH), ms(1), at(hit * 1_000 + 500));
    }
    assert!(moves(&mut routes, 4_000).is_some());
    routes.failed(hub(SOUTH), at(5_000));
    routes.served(hub(SOUTH));
    assert!(moves(&mut routes, 5_000).is_some(), "a session that does its work says more than any probe");
}

#[test]
fn the_dial_itself_has_the_last_word_on_a_move() {
    let mut routes = routes(None);
    routes.measured(hub(NORTH), ms(400), at(0));
    routes.measured(hub(SOUTH), ms(20), at(0));
    assert!(routes.confirms(hub(NORTH), hub(SOUTH), ms(30)));
    assert!(!routes.confirms(hub(NORTH), hub(SOUTH), ms(390)), "what slows one road down slows down both");
    let mut table = three();
    table[0].draining = true;
    routes.learn(table);
    assert!(routes.confirms(hub(NORTH), hub(SOUTH), ms(390)), "one that wants nobody is left all the same");
}

#[test]
fn each_hub_is_measured_soon_and_then_rarely_and_never_the_present_one() {
    let mut routes = routes(None);
    let mut probed: Vec<(u64, HubId)> = Vec::new();
    for second in 0..3_600 {
        if let Some(hub) = routes.probe(Some(hub(NORTH)), at(second)) {
            routes.measured(hub, ms(20), at(second));
            probed.push((second, hub));
        }
    }
    assert!(probed.iter().all(|(_, other)| *other != hub(NORTH)));
    for other in [SOUTH, WEST] {
        let times: Vec<u64> = probed.iter().filter(|(_, at)| *at == hub(other)).map(|(at, _)| *at).collect();
        assert!(times[0] <= 6, "{times:?}");
        assert!(times.windows(2).all(|pair| (300..=602).contains(&(pair[1] - pair[0]))), "{times:?}");
    }
}

#[test]
fn a_hub_that_fell_is_measured_when_its_pause_is_over_until_it_is_trusted() {
    let mut routes = routes(None);
    for _ in 0..2 {
        routes.failed(hub(SOUTH), at(100));
    }
    routes.measured(hub(WEST), ms(20), at(100));
    let mut hits = Vec::new();
    for second in 100..400 {
        if routes.probe(Some(hub(NORTH)), at(second)) == Some(hub(SOUTH)) {
            routes.measured(hub(SOUTH), ms(20), at(second));
            hits.push(second);
        }
    }
    assert_eq!(hits.len(), 3, "{hits:?}");
    assert!(hits[0] >= 102 && hits[2] <= 116, "{hits:?}");
}
