//! What holds in every world, whatever happens in whatever order.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_agent_engine::{Config, Policy};
use millrace_model::{Incarnation, JournalId, Lane, Seq};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config as Cases;

use crate::hub::old_segments;
use crate::store::DEVICE;
use crate::world::{Step, World};

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![Just(Lane::Urgent), Just(Lane::Normal), Just(Lane::Bulk)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (lane(), 1_u8..12).prop_map(|(lane, count)| Step::Arrive(lane, count)),
        1 => lane().prop_map(Step::Unfit),
        10 => Just(Step::Flush),
        2 => Just(Step::Refuse),
        10 => any::<u8>().prop_map(Step::Read),
        6 => Just(Step::Connect),
        1 => Just(Step::Cut),
        8 => Just(Step::ToHub),
        8 => Just(Step::ToAgent),
        4 => Just(Step::HubFlush),
        6 => Just(Step::Wake),
        2 => (0_u16..3_000).prop_map(Step::Pass),
        1 => (prop_oneof![Just(None), Just(Some(0)), (1_u64..5_000).prop_map(Some)], any::<bool>())
            .prop_map(|(rate, metered)| Step::Rate(rate, metered)),
    ]
}

/// Crashes, restored snapshots and damage too.
fn hard_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => step(),
        1 => Just(Step::Restart),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Restore),
        1 => (lane(), any::<u8>()).prop_map(|(lane, which)| Step::Damage(lane, which)),
        1 => lane().prop_map(Step::Doubt),
    ]
}

/// A hub that lies: numbers near what is here, and at the end of all numbers.
fn lie() -> impl Strategy<Value = Step> {
    let number = || prop_oneof![0_u64..20, Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()];
    (any::<u8>(), lane(), number(), number())
        .prop_map(|(kind, lane, first, last)| Step::Lie(kind, lane, first, last))
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Block),
        Just(Policy::DropOldest),
        Just(Policy::DropNewest),
        (2_u32..5).prop_map(Policy::Thin),
    ]
}

fn config(budget: u64, policies: [Policy; 3], grace: u64) -> Config {
    let mut config = Config::new(DEVICE, "test 1");
    (config.disk_budget_bytes, config.disk_reserve_bytes) = (budget, 0);
    (config.policies, config.grace) = (policies, Duration::from_secs(grace));
    config
}

fn cases(cases: u32) -> Cases {
    // A fixed seed: the same worlds on every machine. The fleet simulation roams further.
    Cases {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..Cases::default()
    }
}

type History = BTreeMap<JournalId, BTreeMap<Seq, u64>>;

/// An older life: in each lane the records that are `kept`, with another payload each.
fn history(kept: &[bool]) -> History {
    let journal = |lane| JournalId { device: DEVICE, incarnation: Incarnation::new(99), lane };
    let records = |lane: Lane| {
        let seqs = (1_u64..).zip(kept).filter(|(_, kept)| **kept).map(|(seq, _)| seq);
        seqs.map(|seq| (seq, seq * 10 + u64::from(lane.code()))).collect()
    };
    Lane::ALL.into_iter().map(|lane| (journal(lane), records(lane))).collect()
}

/// What of it fits: the urgent lane first, the newest first, whole segments.
fn within(old: &History, limit: u64) -> History {
    let mut left = Some(limit);
    let fits = |records: &BTreeMap<Seq, u64>| {
        let mut found = BTreeMap::new();
        for segment in old_segments(records).into_iter().rev() {
            left = left.and_then(|left| left.checked_sub(8 * segment.len() as u64));
            if left.is_some() {
                found.extend(segment);
            }
        }
        found
    };
    let fits = old.values().map(fits).collect::<Vec<_>>();
    old.keys().copied().zip(fits).collect()
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn with_room_on_the_disk_everything_is_acknowledged_once_and_arrives(
        steps in prop::collection::vec(step(), 1..250),
        segment in 2_u64..9,
        window in 64_u64..2_000,
        grace in 0_u64..100,
    ) {
        let policies = [Policy::Block, Policy::DropOldest, Policy::DropOldest];
        // The smallest window of a hub is 64 KiB.
        let refused = steps.iter().any(|step| matches!(step, Step::Refuse));
        let mut world = World::new(config(1 << 30, policies, grace), segment, window << 10);
        steps.into_iter().for_each(|step| world.step(step));
        assert!(world.heals(), "{:?}; {} wait", world.engine.status(), world.waiting.len());
        if !refused {
            assert_eq!(world.store.ledger().evicted, 0, "nothing is given up while there is room");
        }
    }

    #[test]
    fn a_small_disk_never_stops_the_agent_for_good(
        steps in prop::collection::vec(step(), 1..250),
        policies in [policy(), policy(), policy()],
        budget in 2_500_u64..6_000,
        grace in 0_u64..100,
    ) {
        let mut world = World::new(config(budget, policies, grace), 4, 1 << 20);
        steps.into_iter().for_each(|step| world.step(step));
        assert!(world.heals(), "{:?}; {} wait", world.engine.status(), world.waiting.len());
    }

    #[test]
    fn crashes_restored_disks_and_damage_lose_nothing_silently(
        steps in prop::collection::vec(hard_step(), 1..300),
        segment in 2_u64..9,
    ) {
        let policies = [Policy::Block, Policy::DropOldest, Policy::DropOldest];
        let mut world = World::new(config(1 << 30, policies, 5), segment, 1 << 20);
        steps.into_iter().for_each(|step| world.step(step));
        assert!(world.heals(), "{:?}; {} wait", world.engine.status(), world.waiting.len());
    }

    #[test]
    fn what_damage_took_comes_back_as_far_as_the_hub_has_it(
        steps in prop::collection::vec(hard_step(), 1..300),
        segment in 2_u64..9,
    ) {
        let policies = [Policy::Block, Policy::DropOldest, Policy::DropOldest];
        let mut world = World::new(config(1 << 30, policies, 1_000_000_000), segment, 1 << 20);
        steps.into_iter().for_each(|step| world.step(step));
        assert!(world.heals(), "{:?}; {} wait", world.engine.status(), world.waiting.len());
        for which in [0, 100, 200] {
            Lane::ALL.into_iter().for_each(|lane| world.step(Step::Damage(lane, which)));
        }
        Lane::ALL.into_iter().for_each(|lane| world.step(Step::Doubt(lane)));
        assert!(world.heals(), "{:?}; {} wait", world.engine.status(), world.waiting.len());
        assert!(world.comes_to_have_what_the_hub_has(), "{:?}", world.engine.status());
    }

    #[test]
    fn history_comes_back_within_its_limit_and_once_whatever_interrupts_it(
        steps in prop::collection::vec(hard_step(), 1..250),
        kept in prop::collection::vec(any::<bool>(), 1..60),
        limit in 0_u64..600,
        partial in 0_u8..3,
    ) {
        let policies = [Policy::Block, Policy::DropOldest, Policy::DropOldest];
        let mut config = config(1 << 30, policies, 5);
        config.history_bytes = limit;
        let old = history(&kept);
        let mut world = World::new(config, 4, 1 << 20);
        world.hub.partial_answers = partial;
        world.wants_history(old.clone());
        steps.into_iter().for_each(|step| world.step(step));
        assert!(world.heals(), "{:?}; {} wait", world.engine.status(), world.waiting.len());
        let came = old.keys().map(|journal| (*journal, world.store.payloads(journal))).collect();
        assert_eq!(within(&old, limit), came);
        assert_eq!(world.store.ledger().evicted, world.store.evicted_of_current(), "nothing of it is a loss");
    }

    #[test]
    fn a_hub_that_lies_neither_stops_nor_spins_an_agent(
        steps in prop::collection::vec(prop_oneof![5 => hard_step(), 2 => lie()], 1..250),
    ) {
        let policies = [Policy::Block, Policy::DropOldest, Policy::DropOldest];
        let mut world = World::new(config(1 << 30, policies, 5), 4, 1 << 20);
        steps.into_iter().for_each(|step| world.step(step));
    }
}
