//! The fleet under a handful of seeds, every scenario, determinism, and proof that the invariants see what they should.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::time::Duration;

use millrace_hub_fleet::fault::Fault;
use millrace_hub_fleet::{
    Ageing, ClusterFault, ClusterPlan, ClusterSabotage, ClusterWorld, Plan, Report, Sabotage, World,
    scenario, swarm,
};
use millrace_journal::sabotage::Harm;

fn kept(name: &str, report: &Report) {
    if let Some(violation) = &report.violation {
        panic!("{name}: {violation}\n{}", report.last_lines.join("\n"));
    }
}

#[test]
fn a_handful_of_seeds_keep_every_promise() {
    let outcome = swarm::run(1, 12, 2, |seed, report| kept(&format!("seed {seed}"), report));
    assert_eq!((outcome.passed, outcome.failed.len()), (12, 0));
    assert!(outcome.told > 5_000, "{} publications are no test", outcome.told);
    assert!(outcome.faults > 30, "{} faults are no test", outcome.faults);
}

#[test]
fn every_scenario_keeps_every_promise() {
    for scenario in scenario::ALL {
        kept(scenario.name, &scenario.run(false));
    }
}

#[test]
fn scenarios_are_found_by_their_names_and_no_two_share_one() {
    for scenario in scenario::ALL {
        let found = scenario::named(scenario.name).unwrap();
        assert_eq!(found.story, scenario.story);
    }
    assert!(scenario::named("calm").is_none());
}

#[test]
fn one_seed_has_one_history() {
    for seed in [3, 34, 58, 101] {
        let (once, again) = (swarm::run_seed(seed, false), swarm::run_seed(seed, false));
        assert_eq!(once.hash, again.hash, "seed {seed}");
        assert_eq!(once.last_lines, again.last_lines, "seed {seed}");
    }
    assert_ne!(swarm::run_seed(3, false).hash, swarm::run_seed(4, false).hash);
}

#[test]
fn a_swarm_comes_to_the_same_however_many_jobs_it_has() {
    let hashes = |jobs| {
        let mut seen = std::collections::BTreeMap::new();
        let outcome = swarm::run(1, 4, jobs, |seed, report| {
            seen.insert(seed, report.hash);
        });
        (outcome.told, outcome.faults, seen)
    };
    assert_eq!(hashes(1), hashes(3));
}

/// The invariant that sees a broken promise.
fn seen_by(plan: Plan, sabotage: Sabotage) -> &'static str {
    let report = World::new(plan.sabotaged(sabotage), false).run();
    report.violation.unwrap_or_else(|| panic!("nobody saw {sabotage:?}")).invariant
}

#[test]
fn an_early_puback_is_seen() {
    assert_eq!(seen_by(Plan::quiet(1, 2), Sabotage::EarlyPuback), "puback");
}

#[test]
fn an_early_trim_is_seen() {
    assert_eq!(seen_by(cut_off(), Sabotage::EarlyTrim), "trim");
}

#[test]
fn an_early_ack_of_the_hub_is_seen() {
    assert_eq!(seen_by(Plan::quiet(1, 2), Sabotage::EarlyAck), "hub_ack");
}

#[test]
fn a_hub_that_forgets_records_is_seen() {
    assert_eq!(seen_by(Plan::quiet(1, 2), Sabotage::ForgetfulHub), "hub_ack");
}

#[test]
fn a_hub_that_misplaces_records_is_seen() {
    assert_eq!(seen_by(Plan::quiet(1, 2), Sabotage::Misplacement), "content");
}

#[test]
fn a_loss_that_nobody_declares_is_seen() {
    assert_eq!(seen_by(Plan::quiet(1, 2), Sabotage::SilentLoss), "declaration");
}

#[test]
fn a_disk_that_lies_about_flushes_is_seen() {
    let plan = Plan::quiet(1, 1)
        .with(5_000, Fault::Backup { site: 0 })
        .with(9_000, Fault::CrashAgent { site: 0, span: Duration::from_millis(500) });
    assert_eq!(seen_by(plan, Sabotage::LyingFlush), "survival");
}

#[test]
fn a_hub_that_overlooks_a_rollback_is_seen() {
    let plan = scenario::named("restored-and-offline").unwrap().plan().unwrap();
    // The second branch's segments do not fit between those of the first: the hub's store declines them.
    assert_eq!(seen_by(plan, Sabotage::BlindHub), "protocol");
}

/// The invariant that sees a broken promise among several hubs.
fn seen_among(plan: ClusterPlan, sabotage: ClusterSabotage) -> &'static str {
    let honest = ClusterWorld::new(plan.clone(), false).run();
    kept("the same without sabotage", &honest);
    let report = ClusterWorld::new(plan.sabotaged(sabotage), false).run();
    report.violation.unwrap_or_else(|| panic!("nobody saw {sabotage:?}")).invariant
}

fn wiped() -> ClusterPlan {
    ClusterPlan::quiet(2, 3).with(6_000, ClusterFault::Wipe { hub: 0 })
}

#[test]
fn hubs_that_count_an_empty_store_are_seen() {
    assert_eq!(seen_among(wiped(), ClusterSabotage::GullibleHubs), "quorum");
}

#[test]
fn hubs_that_say_they_flushed_and_did_not_are_seen() {
    assert_eq!(seen_among(wiped(), ClusterSabotage::ForgetfulDisks), "quorum");
}

#[test]
fn a_hub_that_stays_without_having_synced_is_seen_when_the_next_disk_is_lost() {
    // Hub 3 joins and syncs. Then it is cut off from the others, though not from control, and hub 2 leaves: what is on hubs 1 and 2 must
    // come to hub 3 before.
    let span = Duration::from_secs(60);
    let cut = |a| ClusterFault::Cut { a, b: 2, both: true, times: 1, span };
    let plan = ClusterPlan::quiet(2, 2)
        .with(2_000, ClusterFault::Join)
        .with(8_000, cut(0))
        .with(8_000, cut(1))
        .with(12_000, ClusterFault::Leave { hub: 1 })
        .with(17_000, ClusterFault::Wipe { hub: 0 });
    assert_eq!(seen_among(plan, ClusterSabotage::RememberedSync), "loss");
}

#[test]
fn a_seed_finds_a_hub_that_stays_without_having_synced() {
    let plan = ClusterPlan::from_seed(85, 2);
    assert_eq!(seen_among(plan, ClusterSabotage::RememberedSync), "loss");
}

#[test]
fn a_replica_that_drops_records_is_seen() {
    assert_eq!(seen_among(ClusterPlan::quiet(2, 3), ClusterSabotage::DroppedRecords), "replicas");
}

#[test]
fn hubs_that_do_not_hear_each_other_are_seen() {
    assert_eq!(seen_among(ClusterPlan::quiet(2, 3), ClusterSabotage::LostAnswers), "convergence");
}

#[test]
fn a_hub_that_bears_witness_before_it_is_full_is_seen() {
    // Agents find the two hubs that join empty before those can fill themselves.
    let span = Duration::from_secs(26);
    let cut = |b| ClusterFault::Cut { a: 0, b, both: true, times: 1, span };
    let mut plan = ClusterPlan::quiet(2, 3)
        .with(12_000, ClusterFault::Backup { hub: 0 })
        .with(14_000, ClusterFault::Disaster { hub: 0 })
        .with(14_150, cut(1))
        .with(14_150, cut(2));
    plan.heal_at = millrace_model::Moment(45_000_000);
    assert_eq!(seen_among(plan, ClusterSabotage::EmptyWitnesses), "loss");
}

/// Three hubs, one of which is damaged in every way.
fn worn() -> ClusterPlan {
    let plan = ClusterPlan::quiet(6, 3).ageing(Ageing::CALM);
    let mut at = 6_000;
    Harm::ALL.into_iter().fold(plan, |plan, harm| {
        at += 2_500;
        plan.with(at, ClusterFault::Damage { hub: 0, harm, off: None })
    })
}

#[test]
fn every_harm_is_found_and_mended_without_anybodys_command() {
    let report = ClusterWorld::new(worn(), false).run();
    kept("worn", &report);
    let wear = report.wear;
    assert_eq!(wear.harms, Harm::ALL.len() as u64, "{wear:?}");
    assert!(wear.damaged > 100 && wear.mended == wear.damaged, "{wear:?}");
}

#[test]
fn hubs_that_do_not_mend_are_seen() {
    assert_eq!(seen_among(worn(), ClusterSabotage::IdleMending), "agreement");
}

#[test]
fn a_hub_that_asks_for_more_than_it_lost_is_seen() {
    assert_eq!(seen_among(worn(), ClusterSabotage::GreedyMending), "thrift");
}

#[test]
fn a_scrub_that_finds_nothing_is_seen() {
    // What was sealed long ago nobody else reads.
    let harm = ClusterFault::Damage { hub: 0, harm: Harm::FlippedBody, off: None };
    let ageing = Ageing { read_every: Duration::from_secs(3_600), ..Ageing::CALM };
    let plan = ClusterPlan::quiet(6, 3).ageing(ageing).with(9_000, harm);
    assert_eq!(seen_among(plan, ClusterSabotage::BlindScrub), "agreement");
}

#[test]
fn a_hub_that_hands_out_what_does_not_verify_is_seen() {
    let ageing = Ageing { read_every: Duration::from_millis(50), ..Ageing::CALM };
    let harm = ClusterFault::Damage { hub: 0, harm: Harm::FlippedRow, off: None };
    let plan =
        (0..10).fold(ClusterPlan::quiet(6, 3).ageing(ageing), |plan, n| plan.with(9_000 + n * 900, harm));
    assert_eq!(seen_among(plan, ClusterSabotage::CredulousReads), "served");
}

#[test]
fn a_hub_that_takes_back_what_it_let_go_is_seen() {
    let keeps = vec![None, Some(Duration::from_secs(3)), None];
    let crash = ClusterFault::Crash { hub: 0, span: Duration::from_millis(500) };
    let plan = ClusterPlan::quiet(6, 3).ageing(Ageing { keeps, ..Ageing::CALM }).with(18_000, crash);
    assert_eq!(seen_among(plan, ClusterSabotage::ForgottenFloors), "trimmed");
}

#[test]
fn damage_that_takes_sound_records_with_it_is_seen() {
    assert_eq!(seen_among(worn(), ClusterSabotage::CarelessQuarantine), "aside");
}

/// Three hubs, and a device that is damaged in every way and keeps what is acknowledged for so many seconds.
fn worn_device(grace: u64) -> ClusterPlan {
    let grace = Duration::from_secs(grace);
    let plan = ClusterPlan::quiet(6, 3).ageing(Ageing { grace, devices_scrub: true, ..Ageing::CALM });
    let mut at = 6_000;
    Harm::ALL.into_iter().fold(plan, |plan, harm| {
        at += 2_500;
        plan.with(at, ClusterFault::DamageAgent { agent: 0, harm, off: None })
    })
}

#[test]
fn what_damage_takes_from_a_device_comes_back_without_anybodys_command() {
    let report = ClusterWorld::new(worn_device(3_600), false).run();
    kept("a worn device", &report);
    let wear = report.wear;
    assert!(wear.device_harms > 3 && wear.device_damaged > 100, "{wear:?}");
    assert_eq!(wear.device_regained, wear.device_damaged, "{wear:?}");
}

#[test]
fn devices_that_do_not_get_back_what_they_lost_are_seen() {
    assert_eq!(seen_among(worn_device(3_600), ClusterSabotage::IdleRegaining), "agreement");
}

#[test]
fn a_device_that_fetches_more_than_it_lost_is_seen() {
    assert_eq!(seen_among(worn_device(3_600), ClusterSabotage::GreedyRegaining), "thrift");
}

#[test]
fn a_device_that_takes_back_what_it_let_go_is_seen() {
    assert_eq!(seen_among(worn_device(3), ClusterSabotage::ForgetfulDevices), "trimmed");
}

#[test]
fn hubs_that_bring_a_device_other_records_are_seen() {
    assert_eq!(seen_among(worn_device(3_600), ClusterSabotage::Changelings), "served");
}

#[test]
fn one_seed_of_several_hubs_has_one_history() {
    let run = |seed| ClusterWorld::new(ClusterPlan::from_seed(seed, 4), false).run();
    assert_eq!(run(7).hash, run(7).hash);
    assert_ne!(run(7).hash, run(8).hash);
}

/// An agent that writes while its road is cut.
fn cut_off() -> Plan {
    Plan::quiet(1, 2).with(3_000, Fault::Cut { site: 0, up: true, down: true, span: Duration::from_secs(15) })
}

#[test]
fn every_way_to_break_a_promise_has_its_test() {
    let here = include_str!("fleet.rs");
    for sabotage in Sabotage::ALL {
        assert!(here.contains(&format!(" Sabotage::{sabotage:?})")), "{sabotage:?}");
    }
    for sabotage in ClusterSabotage::ALL {
        assert!(here.contains(&format!(" ClusterSabotage::{sabotage:?})")), "{sabotage:?}");
    }
}
