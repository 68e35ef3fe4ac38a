//! What holds in every world, whatever devices say in whatever order.

use std::time::Duration;

use millrace_hub_engine::{Config, WhenFull};
use millrace_model::{HubId, Lane};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::{Config as Cases, RngSeed};

use crate::world::{Step, World};

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![Just(Lane::Urgent), Just(Lane::Normal), Just(Lane::Bulk)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u8..3).prop_map(|device| Step::Open { device }),
        5 => (any::<u8>(), 0_u8..3, 0_u8..12, any::<bool>())
            .prop_map(|(link, incarnation, head, check)| Step::Hello { link, incarnation, head, check }),
        12 => (any::<u8>(), lane(), 0_u8..12, 0_u8..5, 0_u8..8, 0_u8..20).prop_map(
            |(link, lane, first, count, history, short)| {
                // Most devices write one history; some were cloned, and some are damaged.
                Step::Run { link, lane, first, count, history: history / 7, short: short == 0 }
            }
        ),
        2 => (any::<u8>(), lane(), 0_u8..12, 0_u8..5)
            .prop_map(|(link, lane, first, count)| Step::Seal { link, lane, first, count }),
        2 => (any::<u8>(), 0_u8..4, 0_u8..12, 0_u8..5)
            .prop_map(|(link, incarnation, first, count)| Step::Compare { link, incarnation, first, count }),
        1 => any::<u8>().prop_map(|link| Step::Nonsense { link }),
        2 => any::<u8>().prop_map(|link| Step::Closed { link }),
        8 => Just(Step::Flush),
        1 => Just(Step::Refuse),
        6 => Just(Step::Read),
        3 => Just(Step::Wake),
        2 => (0_u16..3_000).prop_map(Step::Pass),
        1 => (0_u8..3).prop_map(|device| Step::Revoke { device }),
        3 => (0_u16..40).prop_map(|hours| Step::Retain { hours }),
    ]
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(3_600 * count)
}

fn config() -> Config {
    Config::new(HubId::from_bytes([9; 16]), "hub", "north")
}

proptest! {
    // A fixed seed: the same worlds on every machine. The fleet simulation roams further.
    #![proptest_config(Cases {
        cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..Cases::default()
    })]

    #[test]
    fn every_run_is_answered_once_it_is_flushed_and_nothing_else_is(
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut world = World::new(config());
        steps.into_iter().for_each(|step| world.step(step));
        world.comes_to_rest();
    }

    #[test]
    fn narrow_limits_send_devices_away_and_break_nothing(
        steps in prop::collection::vec(step(), 1..250),
        links in 1_usize..5,
        journals in 1_usize..6,
        holes in 1_usize..4,
        bytes in 10_u64..500,
        rate in prop_oneof![Just(None), (1_u64..1_000).prop_map(Some)],
        disk in 1_u64..50,
        keep in prop_oneof![Just(None), (1_u64..100).prop_map(Some)],
        least in prop_oneof![Just(None), (0_u64..50).prop_map(Some)],
    ) {
        let mut config = config();
        (config.links_max, config.device_journals_max, config.journal_ranges_max) = (links, journals, holes);
        (config.device_bytes_max, config.device_rate) = (bytes, rate);
        config.disk_budget_bytes = disk * crate::store::RECORD_BYTES;
        config.keep = keep.map(hours);
        config.when_full = least.map_or(WhenFull::Refuse, |least| WhenFull::DropOldest { keep_at_least: hours(least) });
        // Below the smallest window: the hub must not mind.
        config.credit_max_bytes = 1_000;
        let mut world = World::new(config);
        steps.into_iter().for_each(|step| world.step(step));
        world.comes_to_rest();
    }
}
