//! Who is taken in, as what, and how that is answered.

use millrace_link::KeyHash;
use millrace_model::HubId;

use super::*;
use crate::cluster::record::EnrolledRecord;

const NOW: Wall = Wall(1_800_000_000_000_000);

fn caller(number: u8, name: &str) -> Caller {
    let (hub, key) = (HubId::from_bytes([number; 16]), KeyHash::from_bytes([number; 32]));
    Caller { hub, node: None, key, name: name.into() }
}

fn question(name: &str, control: u64) -> Question {
    Question {
        name: name.into(),
        region: "south".into(),
        addresses: vec!["hub-2:7443".into()],
        witness: false,
        control: Incarnation::new(control),
    }
}

/// What a plan leads to.
fn carry_out(table: &mut Table, caller: &Caller, question: &Question, number: u64) -> NodeId {
    let plan = plan(table, caller, question, (NodeId(number), number), NOW).unwrap();
    let Plan::New(txn) = plan else { panic!("a new number was due") };
    for op in txn.then {
        match op {
            Op::Put { key, value, .. } => {
                if let Some(key) = keys::Key::of(&key) {
                    table.take_in(&key, Some(&value), number);
                }
            }
            Op::Delete { range: KeyRange::One(key), .. } => {
                table.take_in(&keys::Key::of(&key).unwrap(), None, number);
            }
            other => panic!("{other:?}"),
        }
    }
    NodeId(number)
}

fn enrol(table: &mut Table, caller: &Caller, replace: Option<&str>) {
    let record = EnrolledRecord {
        key: caller.key,
        name: caller.name.clone(),
        replace: replace.map(str::to_owned),
        witness: None,
        at: NOW,
    };
    table.enrolled.insert(caller.hub, record);
}

#[test]
fn a_hub_gets_a_number_once_and_another_life_of_it_gets_another() {
    let mut table = Table::default();
    let hub = caller(2, "hub-2");
    let asked = |table: &Table, control| plan(table, &hub, &question("hub-2", control), (NodeId(7), 7), NOW);
    assert!(matches!(asked(&table, 1), Err(JoinRefusal::Stranger)));
    enrol(&mut table, &hub, None);
    assert_eq!(carry_out(&mut table, &hub, &question("hub-2", 1), 2), NodeId(2));
    assert!(table.enrolled.is_empty());
    assert_eq!(table.hub(NodeId(2)).unwrap().state, HubState::Joining);
    assert!(matches!(asked(&table, 1), Ok(Plan::Known(NodeId(2)))), "the answer was lost");
    carry_out(&mut table, &hub, &question("hub-2", 9), 3);
    assert_eq!(table.hub(NodeId(2)).unwrap().state, HubState::Leaving);
    assert_eq!((table.node_of(&hub.hub), table.was_removed(&hub.hub)), (Some(NodeId(3)), false));
}

#[test]
fn a_taken_name_needs_a_token_that_replaces_its_holder() {
    let mut table = Table::default();
    let (old, new) = (caller(2, "hub-2"), caller(3, "hub-2"));
    enrol(&mut table, &old, None);
    carry_out(&mut table, &old, &question("hub-2", 1), 2);
    enrol(&mut table, &new, None);
    let refused = plan(&table, &new, &question("hub-2", 5), (NodeId(3), 3), NOW);
    assert!(matches!(refused, Err(JoinRefusal::Taken { node: NodeId(2), .. })));
    enrol(&mut table, &new, Some("hub-2"));
    carry_out(&mut table, &new, &question("hub-2", 5), 3);
    assert_eq!(table.hub(NodeId(2)).unwrap().state, HubState::Leaving);
    assert_eq!(table.named("hub-2").unwrap().node, NodeId(3));
}

#[test]
fn what_a_hub_says_of_itself_has_to_make_sense() {
    let mut table = Table::default();
    let hub = caller(2, "hub-2");
    enrol(&mut table, &hub, None);
    for wrong in [
        question("hub-3", 1),
        Question { region: String::new(), ..question("hub-2", 1) },
        Question { addresses: vec![], ..question("hub-2", 1) },
        Question { addresses: vec!["hub-2:0".into()], ..question("hub-2", 1) },
    ] {
        let refused = plan(&table, &hub, &wrong, (NodeId(2), 2), NOW);
        assert!(matches!(refused, Err(JoinRefusal::Unfit(_))), "{wrong:?}");
    }
}

#[test]
fn a_hub_that_was_removed_does_not_take_itself_back_in() {
    let mut table = Table::default();
    let hub = caller(2, "hub-2");
    enrol(&mut table, &hub, None);
    carry_out(&mut table, &hub, &question("hub-2", 1), 2);
    table.hubs.get_mut(&NodeId(2)).unwrap().value.state = HubState::Leaving;
    for control in [1, 9] {
        let asked = plan(&table, &hub, &question("hub-2", control), (NodeId(3), 3), NOW);
        assert!(matches!(asked, Err(JoinRefusal::Removed)), "{control}");
    }
}

#[test]
fn a_witness_stays_one_whatever_it_asks_for_and_a_hub_does_not_become_one() {
    for witness in [true, false] {
        let mut table = Table::default();
        let hub = caller(2, "hub-2");
        let asked = |control, witness| Question { witness, ..question("hub-2", control) };
        enrol(&mut table, &hub, None);
        carry_out(&mut table, &hub, &asked(1, witness), 2);
        for control in [1, 9] {
            let other = plan(&table, &hub, &asked(control, !witness), (NodeId(3), 3), NOW);
            assert!(matches!(other, Err(JoinRefusal::OnlyWitness | JoinRefusal::NoWitness)), "{control}");
        }
        assert!(plan(&table, &hub, &asked(9, witness), (NodeId(3), 3), NOW).is_ok());
    }
}

#[test]
fn a_token_says_whether_a_witness_joins_and_one_of_before_leaves_it_open() {
    let hub = caller(2, "hub-2");
    let may = |bound, witness| {
        let mut table = Table::default();
        enrol(&mut table, &hub, None);
        table.enrolled.get_mut(&hub.hub).unwrap().witness = bound;
        let asked = Question { witness, ..question("hub-2", 1) };
        plan(&table, &hub, &asked, (NodeId(2), 2), NOW).is_ok()
    };
    assert!(may(Some(true), true) && !may(Some(true), false));
    assert!(may(Some(false), false) && !may(Some(false), true));
    assert!(may(None, true) && may(None, false));
    let before: EnrolledRecord =
        serde_json::from_str(&format!("{{\"key\":\"{}\",\"name\":\"hub-2\",\"at\":1}}", hub.key)).unwrap();
    assert_eq!(before.witness, None);
}

#[test]
fn a_reply_is_read_as_it_is_written_and_a_number_as_it_always_was() {
    let joined = Joined { node: NodeId(7), epoch: 2, seeds: vec!["a:1".into()], ca_key: None };
    let text = serde_json::to_string(&JoinReply::Joined(joined.clone())).unwrap();
    assert_eq!(serde_json::from_str::<Joined>(&text).unwrap(), joined);
    for (refusal, code) in [
        (JoinRefusal::Removed, "refused"),
        (JoinRefusal::Witness, "ask-another"),
        (JoinRefusal::Undecided(ControlError::Overloaded), "try-again"),
        (JoinRefusal::Record(RegistryError::Contended), "try-again"),
    ] {
        let reply = JoinReply::Refused { code: refusal.code(), text: refusal.to_string() };
        let text = serde_json::to_string(&reply).unwrap();
        assert!(text.contains(&format!("\"{code}\"")), "{text}");
        assert_eq!(serde_json::from_str::<JoinReply>(&text).unwrap(), reply);
    }
    let newer: JoinReply = serde_json::from_str("{\"code\":\"later\",\"text\":\"not yet\"}").unwrap();
    assert_eq!(newer, JoinReply::Refused { code: RefusalCode::Unknown, text: "not yet".into() });
}

#[test]
fn an_address_belongs_to_one_hub_unless_that_hub_is_replaced() {
    let mut table = Table::default();
    let (old, new) = (caller(2, "hub-2"), caller(3, "hub-3"));
    enrol(&mut table, &old, None);
    carry_out(&mut table, &old, &question("hub-2", 1), 2);
    enrol(&mut table, &new, None);
    let asked =
        |table: &Table, question: &Question| plan(table, &new, question, (NodeId(3), 3), NOW).map(|_| ());
    let refused = asked(&table, &question("hub-3", 5)).unwrap_err();
    assert!(refused.to_string().contains("hub-2:7443 is that of hub `hub-2`"), "{refused}");
    let elsewhere = Question { addresses: vec!["hub-3:7443".into()], ..question("hub-3", 5) };
    assert!(asked(&table, &elsewhere).is_ok());
    enrol(&mut table, &new, Some("hub-2"));
    assert!(asked(&table, &question("hub-3", 5)).is_ok());
}
