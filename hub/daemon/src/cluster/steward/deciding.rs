//! What the steward does next: from the table and the members of the consensus, without touching either.
//!
//! | a hub's record | in the consensus | what is next |
//! |---|---|---|
//! | joining or member | not at all | add it as a learner |
//! | joining or member | learner | give it its vote |
//! | joining | voter | it is a member |
//! | member | voter | it gets its share of the placement, unless it is a witness |
//! | leaving | | its share goes to others |
//! | leaving, and another hub in its place could vote | voter or learner | remove it |
//! | leaving, without any share | voter or learner | remove it |
//! | leaving, without any share | not at all | bury it |
//! | none | voter or learner | remove it |
//!
//! A change of the voters that its leader left half done is finished before anything else is changed in the consensus: until
//! then decisions need a majority of the voters before it, too.
//!
//! Promise: pure. Each step is safe to take twice, and by two hubs that both think they lead. A move that is under way is not
//! begun again, so that nobody who has synced has to say so twice.
//! Absent: taking the steps ([`super`]).

use std::collections::{BTreeMap, BTreeSet};

use millrace_hub_control::{Member, MemberState};
use millrace_hub_engine::placement::{Assignment, Placement, target};
use millrace_model::{NodeId, Partition};

use crate::cluster::Table;
use crate::cluster::record::{HubRecord, HubState};

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Finish a change of the voters that is half done.
    Settle,
    /// Have the consensus send everything to a hub that has no vote.
    AddLearner(NodeId, Member),
    /// Give a learner its vote.
    Promote(NodeId),
    /// Say that a hub takes part.
    Welcome(NodeId),
    /// Begin to move partitions.
    Place(Placement),
    /// Take a hub out of the consensus.
    Remove(NodeId),
    /// Forget a hub, and remember that it is not to come back.
    Bury(NodeId),
}

/// Everything that can be done now, the most urgent first. `joint`: whether a change of the voters is half done.
#[must_use]
pub fn steps(table: &Table, members: &[MemberState], joint: bool) -> Vec<Step> {
    let known: BTreeMap<NodeId, &MemberState> =
        members.iter().map(|member| (NodeId(member.id), member)).collect();
    let leaving = || table.records().filter(|record| record.state == HubState::Leaving);
    let mut steps = Vec::new();
    if joint {
        steps.push(Step::Settle);
    } else {
        // A vote that nobody casts any more goes before its successor gets one: more votes would need a larger majority.
        let replaced = leaving().filter(|record| is_replaced(table, record, &known));
        steps.extend(replaced.map(|record| Step::Remove(record.node)));
        steps
            .extend(table.records().filter_map(|record| taking_in(record, known.get(&record.node).copied())));
    }
    if let Some(placement) = moved(table) {
        steps.push(Step::Place(placement));
    }
    let busy = with_share(&table.placement.value);
    let idle = leaving().filter(|record| !busy.contains(&record.node));
    let (present, absent): (Vec<NodeId>, Vec<NodeId>) =
        idle.map(|record| record.node).partition(|node| known.contains_key(node));
    steps.extend(absent.into_iter().map(Step::Bury));
    if !joint {
        // A table that is empty is one that was not received yet.
        let forgotten = known.keys().filter(|node| !table.hubs.is_empty() && !table.hubs.contains_key(node));
        for node in present.into_iter().chain(forgotten.copied()).map(Step::Remove) {
            if !steps.contains(&node) {
                steps.push(node);
            }
        }
    }
    steps
}

/// Whether another hub stands in the place of one that leaves, and could vote: the same hub in another life, which the one that
/// leaves has lost for good, or one that took the name of one that is silent.
fn is_replaced(table: &Table, old: &HubRecord, known: &BTreeMap<NodeId, &MemberState>) -> bool {
    let Some(before) = known.get(&old.node) else { return false };
    let takes_over = |new: &&HubRecord| {
        let same = new.hub == old.hub || (new.name == old.name && !before.current);
        same && new.state != HubState::Leaving && new.node > old.node
    };
    let can_vote = |new: &HubRecord| known.get(&new.node).is_some_and(|new| new.current);
    table.records().filter(takes_over).any(can_vote)
}

fn taking_in(record: &HubRecord, known: Option<&MemberState>) -> Option<Step> {
    match (record.state, known.map(|known| known.votes)) {
        (HubState::Leaving, _) | (HubState::Member, Some(true)) => None,
        (_, None) => Some(Step::AddLearner(record.node, member(record))),
        (_, Some(false)) => Some(Step::Promote(record.node)),
        (HubState::Joining, Some(true)) => Some(Step::Welcome(record.node)),
    }
}

/// What the consensus is told of a hub.
#[must_use]
pub fn member(record: &HubRecord) -> Member {
    Member {
        incarnation: record.control.bits(),
        address: record.addresses.join(","),
        region: record.region.clone(),
        witness: record.witness,
    }
}

/// The placement that fits the members, when the one that is decided does not lead there.
fn moved(table: &Table) -> Option<Placement> {
    let sites = table.sites();
    if sites.is_empty() {
        return None;
    }
    let wanted = target(&sites, table.settings.value.replicas);
    let placement = &table.placement.value;
    let led_to = |partition: &Partition| placement.of(*partition).map_or(&[] as &[NodeId], leads_to);
    let differs = |(partition, nodes): &(Partition, Vec<NodeId>)| led_to(partition) != nodes.as_slice();
    let differing: BTreeMap<Partition, Vec<NodeId>> = wanted.into_iter().filter(differs).collect();
    if differing.is_empty() {
        return None;
    }
    let mut placement = placement.clone();
    placement.begin(&differing).then_some(placement)
}

/// Where an assignment ends when everybody has synced.
fn leads_to(assignment: &Assignment) -> &[NodeId] {
    if assignment.target.is_empty() { &assignment.replicas } else { &assignment.target }
}

/// The hubs that keep something, or are about to.
fn with_share(placement: &Placement) -> BTreeSet<NodeId> {
    placement.assignments().flat_map(|(_, assignment)| assignment.recipients()).collect()
}

#[cfg(test)]
mod tests {
    use millrace_link::KeyHash;
    use millrace_model::{HubId, Incarnation, Wall};

    use super::*;
    use crate::cluster::table::Dated;

    fn record(node: u64, state: HubState) -> HubRecord {
        let byte = u8::try_from(node).unwrap();
        HubRecord {
            node: NodeId(node),
            hub: HubId::from_bytes([byte; 16]),
            name: format!("hub-{node}"),
            region: format!("region-{node}"),
            addresses: vec![format!("hub-{node}:7443")],
            witness: false,
            control: Incarnation::new(node),
            store: None,
            state,
            joined_at: Wall(0),
            key: KeyHash::from_bytes([byte; 32]),
        }
    }

    fn table(records: impl IntoIterator<Item = HubRecord>) -> Table {
        let dated = |record: HubRecord| (record.node, Dated { value: record, revision: 1 });
        Table { hubs: records.into_iter().map(dated).collect(), ..Table::default() }
    }

    fn voter(id: u64, votes: bool) -> MemberState {
        MemberState { id, member: Member::default(), votes, leads: id == 1, matched: None, current: true }
    }

    /// Takes every step as the real steward would, until there is none; what was done.
    fn settled(table: &mut Table, members: &mut Vec<MemberState>) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(step) = steps(table, members, false).into_iter().next() {
            match &step {
                Step::Settle => panic!("nothing is half done"),
                Step::AddLearner(node, _) => members.push(voter(node.0, false)),
                Step::Promote(node) => {
                    members.iter_mut().filter(|member| member.id == node.0).for_each(|m| m.votes = true);
                }
                Step::Welcome(node) => table.hubs.get_mut(node).unwrap().value.state = HubState::Member,
                Step::Place(placement) => table.placement.value = placement.clone(),
                Step::Remove(node) => members.retain(|member| member.id != node.0),
                Step::Bury(node) => drop(table.hubs.remove(node)),
            }
            done.push(match step {
                Step::Settle => "settle".to_owned(),
                Step::AddLearner(node, _) => format!("learner {node}"),
                Step::Promote(node) => format!("promote {node}"),
                Step::Welcome(node) => format!("welcome {node}"),
                Step::Place(_) => "place".to_owned(),
                Step::Remove(node) => format!("remove {node}"),
                Step::Bury(node) => format!("bury {node}"),
            });
            assert!(done.len() < 50, "{done:?}");
        }
        done
    }

    fn sync(table: &mut Table) {
        let joining: Vec<(Partition, NodeId)> = table
            .placement
            .value
            .assignments()
            .flat_map(|(partition, assignment)| assignment.joining.iter().map(move |node| (partition, *node)))
            .collect();
        for (partition, node) in joining {
            table.placement.value.joined(partition, node);
        }
    }

    #[test]
    fn a_hub_is_taken_in_step_by_step_and_gets_its_share_last() {
        let mut table = table([record(1, HubState::Member)]);
        let mut members = vec![voter(1, true)];
        assert_eq!(settled(&mut table, &mut members), ["place"]);
        table.hubs.insert(NodeId(2), Dated { value: record(2, HubState::Joining), revision: 1 });
        assert_eq!(settled(&mut table, &mut members), ["learner n2", "promote n2", "welcome n2", "place"]);
        assert_eq!(table.placement.value.moving(), 256);
    }

    #[test]
    fn a_move_that_is_under_way_is_not_begun_again() {
        let mut table = table([1, 2, 3].map(|node| record(node, HubState::Member)));
        let mut members = vec![voter(1, true), voter(2, true), voter(3, true)];
        let alone = target(&[table.sites().remove(0)], 3);
        table.placement.value.begin(&alone);
        assert_eq!(settled(&mut table, &mut members), ["place"]);
        let partition = Partition(7);
        assert!(table.placement.value.joined(partition, NodeId(2)));
        assert_eq!(steps(&table, &members, false), [], "hub 3 still syncs");
        let joining = &table.placement.value.of(partition).unwrap().joining;
        assert_eq!(*joining, [NodeId(3)].into());
    }

    #[test]
    fn a_hub_that_leaves_keeps_its_vote_until_others_have_its_share() {
        let mut table = table([1, 2, 3, 4].map(|node| record(node, HubState::Member)));
        let mut members = [1, 2, 3, 4].map(|node| voter(node, true)).to_vec();
        settled(&mut table, &mut members);
        sync(&mut table);
        table.hubs.get_mut(&NodeId(2)).unwrap().value.state = HubState::Leaving;
        assert_eq!(settled(&mut table, &mut members), ["place"]);
        sync(&mut table);
        assert_eq!(settled(&mut table, &mut members), ["remove n2", "bury n2"]);
        assert_eq!(settled(&mut table, &mut members), [""; 0]);
    }

    /// Three hubs with their shares, of which the second is gone and joins again as the fourth.
    fn rejoining() -> (Table, Vec<MemberState>) {
        let mut table = table([1, 2, 3].map(|node| record(node, HubState::Member)));
        let mut members = [1, 2, 3].map(|node| voter(node, true)).to_vec();
        settled(&mut table, &mut members);
        sync(&mut table);
        members[1].current = false;
        let old = &mut table.hubs.get_mut(&NodeId(2)).unwrap().value;
        old.state = HubState::Leaving;
        let new = HubRecord { node: NodeId(4), state: HubState::Joining, ..old.clone() };
        table.hubs.insert(NodeId(4), Dated { value: new, revision: 2 });
        (table, members)
    }

    #[test]
    fn a_lost_number_gives_its_vote_to_the_new_one_and_keeps_its_share_until_that_has_moved() {
        let (mut table, mut members) = rejoining();
        let expected = ["learner n4", "remove n2", "promote n4", "welcome n4", "place"];
        assert_eq!(settled(&mut table, &mut members), expected);
        assert!(with_share(&table.placement.value).contains(&NodeId(2)));
        sync(&mut table);
        assert_eq!(settled(&mut table, &mut members), ["bury n2"]);
    }

    #[test]
    fn a_vote_is_not_taken_before_the_new_number_could_use_one() {
        let (table, mut members) = rejoining();
        members.push(MemberState { current: false, ..voter(4, false) });
        assert_eq!(steps(&table, &members, false).first(), Some(&Step::Promote(NodeId(4))));
        assert!(!steps(&table, &members, false).contains(&Step::Remove(NodeId(2))));
    }

    #[test]
    fn a_hub_that_still_answers_hands_over_also_when_another_takes_its_name() {
        let (mut table, mut members) = rejoining();
        members[1].current = true;
        members.push(voter(4, false));
        table.hubs.get_mut(&NodeId(4)).unwrap().value.hub = HubId::from_bytes([4; 16]);
        assert!(!steps(&table, &members, false).contains(&Step::Remove(NodeId(2))));
        members[1].current = false;
        assert_eq!(steps(&table, &members, false).first(), Some(&Step::Remove(NodeId(2))));
    }

    #[test]
    fn a_change_that_is_half_done_is_finished_before_the_consensus_is_changed_again() {
        let (table, mut members) = rejoining();
        members.push(voter(4, true));
        let joint = steps(&table, &members, true);
        assert_eq!(joint.first(), Some(&Step::Settle));
        let touches = |step: &Step| !matches!(step, Step::Settle | Step::Place(_) | Step::Bury(_));
        assert!(!joint.iter().any(touches), "{joint:?}");
    }

    #[test]
    fn a_member_that_the_consensus_does_not_know_is_taken_in_again() {
        let mut table = table([1, 2].map(|node| record(node, HubState::Member)));
        let mut members = vec![voter(1, true)];
        assert_eq!(settled(&mut table, &mut members), ["learner n2", "promote n2", "place"]);
    }

    #[test]
    fn a_witness_votes_and_keeps_nothing() {
        let witness = HubRecord { witness: true, ..record(3, HubState::Joining) };
        let mut table = table([record(1, HubState::Member), record(2, HubState::Member), witness]);
        let mut members = vec![voter(1, true), voter(2, true)];
        settled(&mut table, &mut members);
        sync(&mut table);
        assert!(members.iter().any(|member| member.id == 3 && member.votes));
        assert!(!with_share(&table.placement.value).contains(&NodeId(3)));
    }

    #[test]
    fn a_member_that_nobody_knows_is_removed_but_not_by_a_hub_that_knows_nothing() {
        let members = [voter(1, true), voter(9, true)];
        assert_eq!(steps(&Table::default(), &members, false), []);
        let mut table = table([record(1, HubState::Member)]);
        settled(&mut table, &mut vec![voter(1, true)]);
        assert_eq!(steps(&table, &members, false), [Step::Remove(NodeId(9))]);
    }

    #[test]
    fn fewer_replicas_are_a_move_like_any_other() {
        let mut table = table([1, 2, 3].map(|node| record(node, HubState::Member)));
        let mut members = [1, 2, 3].map(|node| voter(node, true)).to_vec();
        settled(&mut table, &mut members);
        sync(&mut table);
        table.settings.value.replicas = 1;
        assert_eq!(settled(&mut table, &mut members), ["place"]);
        assert!(table.placement.value.moving() > 0, "who stays has to have what the others may have alone");
        sync(&mut table);
        assert_eq!(table.placement.value.moving(), 0);
        assert_eq!(table.placement.value.load().values().sum::<usize>(), 256);
    }
}
