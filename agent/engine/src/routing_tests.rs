//! Routing: near, calm, and never without a hub.

use super::*;

const NORTH: u8 = 1;
const SOUTH: u8 = 2;
const WEST: u8 = 3;

fn hub(number: u8) -> HubId {
    HubId::from_bytes([number; 16])
}

fn candidate(number: u8, region: &str) -> Candidate {
    Candidate { hub: hub(number), region: region.to_owned(), load: 0, replica: true, draining: false }
}

fn three() -> Vec<Candidate> {
    vec![candidate(NORTH, "north"), candidate(SOUTH, "south"), candidate(WEST, "west")]
}

fn routes(region: Option<&str>) -> Routes {
    let mut routes = Routes::new(Weights::DEFAULTS, region.map(str::to_owned), 1);
    routes.learn(three());
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
            routes.measured(hub(number), ms(rtt));
        }
        assert_eq!(routes.choose(at(0)), Some(hub(nearest)), "{region:?}");
    }
}

#[test]
fn a_replica_and_an_idle_hub_are_worth_a_detour() {
    let mut routes = routes(None);
    for number in [NORTH, SOUTH, WEST] {
        routes.measured(hub(number), ms(20));
    }
    let mut table = three();
    (table[0].load, table[1].replica) = (900, false);
    routes.learn(table);
    assert_eq!(routes.choose(at(0)), Some(hub(WEST)));
    let costs: Vec<u64> = routes.table(at(0)).iter().map(|row| row.cost_us).collect();
    assert_eq!(costs, [20_000, 35_000, 68_600]);
}

#[test]
fn a_hub_falls_after_two_failures_and_is_tried_again_when_its_pause_is_over() {
    let mut routes = routes(None);
    for (number, rtt) in [(NORTH, 10), (SOUTH, 20), (WEST, 30)] {
        routes.measured(hub(number), ms(rtt));
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
    routes.measured(hub(NORTH), ms(40));
    routes.measured(hub(SOUTH), ms(33));
    routes.measured(hub(WEST), ms(200));
    assert_eq!(routes.reconsider(hub(NORTH), at(0)), None);
    assert_eq!(routes.reconsider(hub(NORTH), at(500)), None, "seven milliseconds are no reason");
    for _ in 0..40 {
        routes.measured(hub(SOUTH), ms(5));
    }
    assert_eq!(routes.reconsider(hub(NORTH), at(600)), None, "not at once");
    assert_eq!(routes.reconsider(hub(NORTH), at(659)), None);
    assert_eq!(routes.reconsider(hub(NORTH), at(720)), Some(hub(SOUTH)));
    for _ in 0..40 {
        routes.measured(hub(SOUTH), ms(60));
    }
    assert_eq!(routes.reconsider(hub(NORTH), at(721)), None, "the gain is gone");
}

#[test]
fn a_hub_that_drains_or_has_left_is_left_at_once() {
    let mut routes = routes(None);
    routes.measured(hub(NORTH), ms(1));
    let mut table = three();
    table[0].draining = true;
    routes.learn(table);
    assert!(routes.reconsider(hub(NORTH), at(0)).is_some_and(|to| to != hub(NORTH)));
    routes.learn(vec![candidate(SOUTH, "south")]);
    assert_eq!(routes.reconsider(hub(NORTH), at(0)), Some(hub(SOUTH)));
}

#[test]
fn agents_with_the_same_hubs_do_not_move_at_the_same_moment() {
    let moved = |seed| {
        let mut routes = Routes::new(Weights::DEFAULTS, None, seed);
        routes.learn(three());
        routes.measured(hub(NORTH), ms(100));
        routes.measured(hub(SOUTH), ms(1));
        (0..200).find(|second| routes.reconsider(hub(NORTH), at(*second)).is_some())
    };
    let seconds: std::collections::BTreeSet<Option<u64>> = (0..50).map(moved).collect();
    assert!(seconds.len() > 20, "{seconds:?}");
    assert!(seconds.iter().all(|second| second.is_some_and(|second| (60..=121).contains(&second))));
}
