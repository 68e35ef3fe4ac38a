//! The book of hubs: seeds first, then hubs; the operator's roads before all.

use millrace_link::Road;
use millrace_model::AckLevel;

use super::*;

const NOW: Moment = Moment(1_000_000);

fn id(number: u8) -> HubId {
    HubId::from_bytes([number; 16])
}

fn told(number: u8) -> HubEndpoint {
    HubEndpoint {
        hub: id(number),
        name: format!("hub-{number}"),
        region: "eu-1".to_owned(),
        addresses: vec![format!("told-{number}:1")],
        load_permille: 0,
        draining: false,
        replica: true,
    }
}

fn settings(addresses: &[&str], follow: bool) -> HubSettings {
    let addresses = addresses.iter().map(ToString::to_string).collect();
    HubSettings { addresses, follow, region: None, road: Road::FIBRE, level: AckLevel::Hub }
}

fn fresh(addresses: &[&str], follow: bool) -> Hubs {
    Hubs::new(&settings(addresses, follow), Memory::default(), 1)
}

fn seed(address: &str) -> Target {
    Target::Seed(address.to_owned())
}

#[test]
fn seeds_are_tried_in_turn_until_a_hub_has_told_of_the_others() {
    let mut hubs = fresh(&["a:1", "b:1"], true);
    assert_eq!([hubs.next(NOW), hubs.next(NOW)], [Some(seed("a:1")), Some(seed("b:1"))]);
    assert!(!hubs.elsewhere(NOW), "everybody was tried: a pause is due");
    assert_eq!(hubs.next(NOW), Some(seed("a:1")), "and then it begins anew");
    assert!(hubs.answered("b:1", &seed("b:1"), id(2), NOW));
    hubs.welcomed();
    assert_eq!(hubs.next(NOW), Some(seed("b:1")), "the one that answered comes first");
    assert!(hubs.learn(vec![told(1), told(2)]));
    assert!(!hubs.learn(vec![told(1), HubEndpoint { load_permille: 500, ..told(2) }]), "a figure is no news");
    hubs.welcomed();
    assert!(matches!(hubs.next(NOW), Some(Target::Hub(_))));
    assert_eq!(fresh(&[], true).next(NOW), None);
}

#[test]
fn a_hub_that_answers_at_an_operators_address_is_reached_there_alone() {
    let mut hubs = fresh(&["tunnel:1"], true);
    hubs.answered("tunnel:1", &seed("tunnel:1"), id(1), NOW);
    hubs.learn(vec![told(1), told(2)]);
    assert_eq!(hubs.addresses(&Target::Hub(id(1))), ["tunnel:1"]);
    assert_eq!(hubs.addresses(&Target::Hub(id(2))), ["told-2:1"], "others as hubs tell");
    let mut alone = fresh(&["tunnel:1", "tunnel:2"], false);
    alone.answered("tunnel:1", &seed("tunnel:1"), id(1), NOW);
    alone.learn(vec![told(1), told(2), told(3)]);
    assert_eq!(alone.addresses(&Target::Hub(id(2))), [""; 0]);
    let order: Vec<_> = (0..2).filter_map(|_| alone.next(NOW)).collect();
    assert_eq!(order, [Target::Hub(id(1)), seed("tunnel:2")], "nobody else is dialled");
    assert!(!alone.elsewhere(NOW));
    assert!(alone.answered("tunnel:2", &seed("tunnel:2"), id(2), NOW));
    assert_eq!(alone.addresses(&Target::Hub(id(2))), ["tunnel:2"]);
}

#[test]
fn an_address_at_which_several_hubs_answer_leads_to_none_of_them() {
    let mut hubs = fresh(&["any:1"], true);
    hubs.answered("any:1", &seed("any:1"), id(1), NOW);
    hubs.learn(vec![told(1), told(2)]);
    assert_eq!(hubs.addresses(&Target::Hub(id(1))), ["any:1"]);
    assert!(hubs.answered("any:1", &Target::Hub(id(1)), id(2), NOW));
    assert_eq!(hubs.addresses(&Target::Hub(id(1))), ["told-1:1"]);
    assert_eq!(hubs.addresses(&Target::Hub(id(2))), ["told-2:1"]);
    assert_eq!(hubs.others(Some(id(1)), NOW), [Target::Hub(id(2)), seed("any:1")]);
}

#[test]
fn an_address_whose_hub_was_replaced_leads_to_the_new_one() {
    let mut hubs = fresh(&["a:1"], true);
    hubs.answered("a:1", &seed("a:1"), id(1), NOW);
    hubs.learn(vec![told(1), told(2)]);
    hubs.learn(vec![told(2), told(3)]);
    assert!(hubs.answered("a:1", &seed("a:1"), id(3), NOW));
    assert_eq!(hubs.addresses(&Target::Hub(id(3))), ["a:1"]);
}

#[test]
fn everybody_is_tried_once_before_a_pause() {
    let mut hubs = fresh(&["a:1"], true);
    hubs.learn(vec![told(1), told(2), told(3)]);
    hubs.failed(&Target::Hub(id(1)), NOW);
    let mut tried = BTreeSet::from([Target::Hub(id(1))]);
    while hubs.elsewhere(NOW) {
        let target = hubs.next(NOW).unwrap();
        assert!(tried.insert(target.clone()), "{target:?} twice");
        hubs.failed(&target, NOW);
    }
    assert_eq!(tried.len(), 4, "three hubs and the seed: {tried:?}");
    assert!(hubs.next(NOW).is_some());
}

#[test]
fn what_is_remembered_makes_the_same_book() {
    let mut hubs = fresh(&[], true);
    hubs.learn(vec![told(1), HubEndpoint { draining: true, ..told(2) }]);
    hubs.answered("told-1:1", &Target::Hub(id(1)), id(1), NOW);
    hubs.routes().measured(id(1), Duration::from_millis(7), NOW);
    let memory = Memory { seeds: vec!["token:1".to_owned()], ..hubs.memory(NOW) };
    let again = Hubs::new(&settings(&[], true), memory.clone(), 2);
    let rows = again.table(NOW);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].0.hub, rows[0].0.rtt_us), (id(1), Some(7_000)));
    assert!(!rows[1].0.draining, "that was then");
    assert_eq!(again.memory(NOW).seeds, memory.seeds);
    assert_eq!(again.memory(NOW).answered, memory.answered);
}

#[test]
fn where_an_operators_addresses_lead_is_found_out() {
    let mut hubs = fresh(&["tunnel:1", "tunnel:2"], false);
    hubs.answered("tunnel:1", &seed("tunnel:1"), id(1), NOW);
    hubs.learn(vec![told(1), told(2)]);
    let probes: Vec<_> = (0..60).filter_map(|s| hubs.probe(Some(id(1)), Moment(s * 1_000_000))).collect();
    assert_eq!(probes, [seed("tunnel:2")]);
}

#[test]
fn an_address_that_hubs_have_replaced_comes_last_and_holds_nobody_up() {
    let memory = Memory { seeds: vec!["removed:1".to_owned()], ..Memory::default() };
    let mut hubs = Hubs::new(&settings(&[], true), memory, 1);
    assert!(!hubs.is_replaced(&seed("removed:1")), "it is all that is known");
    hubs.learn(vec![told(1), told(2)]);
    // A hub that fell is passed over for a while, and still goes before the token's address.
    hubs.failed(&Target::Hub(id(2)), NOW);
    hubs.failed(&Target::Hub(id(2)), NOW);
    hubs.welcomed();
    let round: Vec<_> = (0..3).filter_map(|_| hubs.next(NOW)).collect();
    assert_eq!(round, [Target::Hub(id(1)), Target::Hub(id(2)), seed("removed:1")]);
    assert!(hubs.is_replaced(&round[2]) && !hubs.is_replaced(&round[1]));
    hubs.failed(&Target::Hub(id(1)), NOW);
    assert_eq!(hubs.others(Some(id(2)), NOW), [Target::Hub(id(1)), seed("removed:1")]);
    let named = fresh(&["tunnel:1"], true);
    assert!(!named.is_replaced(&seed("tunnel:1")), "the operator may know a road that hubs do not");
}
