//! P8: after healing all replicas of a partition have the same records above the highest floor among them, and the same digest, without
//! anybody's command.
//!
//! A digest speaks of segments that were let go as of those that are here; of tail rows it speaks only while they are here. So roots are
//! compared as they stand, and of tails what lies above the highest floor. Where a floor goes through the middle of a segment the two cannot be
//! compared, and are not, until it has passed; nor where all who knew a segment's name let it go before another one heard it, nor with a hub
//! that was filled after the others had let a beginning go.

use std::collections::BTreeMap;

use millrace_hub_engine::placement::Placement;
use millrace_model::store::JournalState;
use millrace_model::{JournalId, NodeId, Partition, RangeSet, RecordCheck, Seq, SeqRange};

use super::{Verdict, Violation};

/// One hub's store, as it was read.
#[derive(Clone, Debug, Default)]
pub struct Copy {
    /// What it says of its journals.
    pub states: BTreeMap<JournalId, JournalState>,
    /// The tail rows that it has, as they were read; `None`: they were not.
    pub tails: Option<BTreeMap<JournalId, BTreeMap<Seq, RecordCheck>>>,
    /// The segments that it has.
    pub segments: BTreeMap<JournalId, RangeSets>,
}

/// Some ranges, which may touch.
pub type RangeSets = Vec<SeqRange>;

fn differ(what: String) -> Verdict {
    Err(Violation::new("agreement", what))
}

/// Everything has converged: the replicas of each journal agree, as far as their stores say.
///
/// # Errors
/// When two do not.
pub fn reached(placement: &Placement, copies: &BTreeMap<NodeId, Copy>) -> Verdict {
    let mut journals: Vec<JournalId> = copies.values().flat_map(|copy| copy.states.keys().copied()).collect();
    journals.sort_unstable();
    journals.dedup();
    for journal in journals {
        let Some(assignment) = placement.of(Partition::of(&journal.device)) else { continue };
        let replicas: Vec<(NodeId, &Copy)> =
            assignment.replicas.iter().filter_map(|node| Some((*node, copies.get(node)?))).collect();
        let state = |copy: &Copy| copy.states.get(&journal).cloned();
        let floor = replicas.iter().filter_map(|(_, copy)| Some(state(copy)?.floor)).max().unwrap_or(1);
        let floors = replicas.iter().filter_map(|(_, copy)| Some(state(copy)?.floor));
        if floors.into_iter().any(|floor| divides(floor, &journal, &replicas)) {
            continue;
        }
        let kept = SeqRange::new(floor, Seq::MAX).map(RangeSet::from).unwrap_or_default();
        let mut first: Option<(NodeId, RangeSet, Option<_>, BTreeMap<Seq, RecordCheck>)> = None;
        for (node, copy) in replicas.iter().copied() {
            let state = state(copy);
            let here = state.as_ref().map(|state| state.present.intersection(&kept)).unwrap_or_default();
            let root = state.as_ref().and_then(|state| state.summary.root.hash);
            let mut tail = match &copy.tails {
                Some(tails) => tails.get(&journal).cloned().unwrap_or_default(),
                None => BTreeMap::new(),
            };
            let said = state.map_or(0, |state| state.summary.tail);
            let sum = tail.values().fold(0_u64, |sum, check| sum.wrapping_add(check.0));
            if copy.tails.is_some() && sum != said {
                return differ(format!("hub {node} sums up another tail of {journal} than it has"));
            }
            tail.retain(|seq, _| *seq >= floor);
            match &first {
                None => first = Some((node, here, root, tail)),
                Some((other, theirs, ..)) if *theirs != here => {
                    let what =
                        format!("{journal} above {floor}: hub {other} has {theirs}, hub {node} {here}");
                    return differ(what);
                }
                Some((.., theirs, _)) if *theirs != root && stranded(floor, &journal, &replicas) => {}
                Some((other, _, theirs, _)) if *theirs != root => {
                    let tree = |copy: &Copy| {
                        let state = copy.states.get(&journal)?;
                        Some((state.floor, state.first_ordinal, state.next_ordinal, state.summary.root))
                    };
                    let what = format!(
                        "{journal}: floor, ordinals and root of hub {other} are {:?}, of hub {node} {:?}",
                        copies.get(other).and_then(tree),
                        tree(copy)
                    );
                    return differ(what);
                }
                Some((other, _, _, theirs)) if *theirs != tail => {
                    let what = format!("{journal}: hub {other} has another tail than hub {node}");
                    return differ(what);
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Whether a floor goes through a segment that another one has: whoever let the first of its records go as rows cannot seal the others, and
/// has neither the segment nor let it go, until its floor has passed all of it. Its records are compared all the same ([`super::replicas`]).
fn divides(floor: Seq, journal: &JournalId, replicas: &[(NodeId, &Copy)]) -> bool {
    let segments = replicas.iter().filter_map(|(_, copy)| copy.segments.get(journal)).flatten();
    segments.into_iter().any(|range| range.first() < floor && floor <= range.last())
}

/// Whether a hub has rows in front of a segment that another one let go: whoever could have named the segment of those rows has let it go
/// before that hub heard its name. Its records are whole, and it stays without that leaf until its own floor has passed them. So does a hub that was
/// filled when the others had let the beginning go: its own floor still stands at the first record of all, so it takes over no hashes.
fn stranded(floor: Seq, journal: &JournalId, replicas: &[(NodeId, &Copy)]) -> bool {
    let segments = |copy: &Copy| copy.segments.get(journal).cloned().unwrap_or_default();
    let last = replicas.iter().flat_map(|(_, copy)| segments(copy)).map(SeqRange::first).max().unwrap_or(0);
    let states = replicas.iter().filter_map(|(_, copy)| copy.states.get(journal));
    let late = states.into_iter().any(|state| state.present.first().is_some_and(|first| first > state.floor));
    let Some(passed) = SeqRange::new(1, floor.saturating_sub(1).min(last)) else { return false };
    late || replicas.iter().any(|(_, copy)| {
        let present = copy.states.get(journal).map(|state| state.present.within(passed)).unwrap_or_default();
        !present.difference(&segments(copy).into_iter().collect()).is_empty()
    })
}

/// Everything has converged, and `damaged` was found when everything that hub `node` stores was read.
///
/// # Errors
/// When anything is.
pub fn sound(node: NodeId, damaged: &[String]) -> Verdict {
    match damaged.first() {
        None => Ok(()),
        Some(what) => differ(format!("hub {node}: {what}, and {} more", damaged.len() - 1)),
    }
}
