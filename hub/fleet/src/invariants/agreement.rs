//! P8: after healing all replicas of a partition have the same records above the highest floor among them, and the same digest, without
//! anybody's command. So has the device that writes there: what it lost came back, what it has not got no hub has either.
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
use crate::cluster::truth::Truth;

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

/// Tail rows of one journal.
type Rows = BTreeMap<Seq, RecordCheck>;

/// Some ranges, which may touch.
pub type RangeSets = Vec<SeqRange>;

fn differ(what: String) -> Verdict {
    Err(Violation::new("agreement", what))
}

/// Who has a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// A hub.
    Hub(NodeId),
    /// The device that writes the journal, by its place.
    Device(usize),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub(node) => write!(out, "hub {node}"),
            Self::Device(place) => write!(out, "agent {place}"),
        }
    }
}

/// Everything has converged: the replicas of each journal agree, as far as their stores say.
///
/// # Errors
/// When two do not.
pub fn reached(truth: &Truth, placement: &Placement, copies: &BTreeMap<NodeId, Copy>) -> Verdict {
    let mut journals: Vec<JournalId> = copies.values().flat_map(|copy| copy.states.keys().copied()).collect();
    journals.sort_unstable();
    journals.dedup();
    // Where a device that was set back wrote two records under one number, each hub keeps the one that it got.
    for journal in journals.into_iter().filter(|journal| !truth.setbacks.is_forked(journal)) {
        alike(&journal, &replicas_of(placement, &journal, copies))?;
    }
    Ok(())
}

/// Everything has converged: the journals that a device writes are alike at it and at the hub of its session, in both directions. (A hub
/// that keeps records for longer may have some that the device lost and its hub let go.)
///
/// # Errors
/// When one is not.
pub fn with_device(place: usize, copy: &Copy, (node, hub): (NodeId, &Copy)) -> Verdict {
    for journal in copy.states.values().filter(|state| !state.retired).map(|state| state.journal) {
        alike(&journal, &[(Holder::Device(place), copy), (Holder::Hub(node), hub)])?;
    }
    Ok(())
}

fn replicas_of<'a>(
    placement: &Placement,
    journal: &JournalId,
    copies: &'a BTreeMap<NodeId, Copy>,
) -> Vec<(Holder, &'a Copy)> {
    let assignment = placement.of(Partition::of(&journal.device));
    let nodes = assignment.map_or(&[][..], |assignment| &assignment.replicas);
    nodes.iter().filter_map(|node| Some((Holder::Hub(*node), copies.get(node)?))).collect()
}

/// These hold the same of a journal, as far as they can be compared.
fn alike(journal: &JournalId, holders: &[(Holder, &Copy)]) -> Verdict {
    let state = |copy: &Copy| copy.states.get(journal).cloned();
    let floor = holders.iter().filter_map(|(_, copy)| Some(state(copy)?.floor)).max().unwrap_or(1);
    let floors = holders.iter().filter_map(|(_, copy)| Some(state(copy)?.floor));
    if floors.into_iter().any(|floor| divides(floor, journal, holders)) {
        return Ok(());
    }
    let kept = SeqRange::new(floor, Seq::MAX).map(RangeSet::from).unwrap_or_default();
    let mut first: Option<(Holder, &Copy, RangeSet, Option<_>, Rows)> = None;
    for (holder, copy) in holders.iter().copied() {
        let state = state(copy);
        let here = state.as_ref().map(|state| state.present.intersection(&kept)).unwrap_or_default();
        let root = state.as_ref().and_then(|state| state.summary.root.hash);
        let mut tail = match &copy.tails {
            Some(tails) => tails.get(journal).cloned().unwrap_or_default(),
            None => BTreeMap::new(),
        };
        let said = state.map_or(0, |state| state.summary.tail);
        let sum = tail.values().fold(0_u64, |sum, check| sum.wrapping_add(check.0));
        if copy.tails.is_some() && sum != said {
            return differ(format!("{holder} sums up another tail of {journal} than it has"));
        }
        tail.retain(|seq, _| *seq >= floor);
        let sealed = |copy: &Copy| -> Vec<SeqRange> {
            let all = copy.segments.get(journal).into_iter().flatten().copied();
            all.filter(|range| range.first() >= floor).collect()
        };
        match &first {
            None => first = Some((holder, copy, here, root, tail)),
            Some((other, of, ..)) if sealed(of) != sealed(copy) => {
                let what = format!(
                    "{journal} above {floor}: {other} has segments {:?}, {holder} {:?}",
                    sealed(of),
                    sealed(copy)
                );
                return differ(what);
            }
            Some((other, _, theirs, ..)) if *theirs != here => {
                return differ(format!("{journal} above {floor}: {other} has {theirs}, {holder} {here}"));
            }
            Some((.., theirs, _))
                if *theirs != root
                    && (stranded(floor, journal, holders) || is_behind(floor, journal, holders)) => {}
            Some((other, of, _, theirs, _)) if *theirs != root => {
                let tree = |copy: &Copy| {
                    let state = copy.states.get(journal)?;
                    Some((state.floor, state.first_ordinal, state.next_ordinal, state.summary.root))
                };
                let what = format!(
                    "{journal}: floor, ordinals and root of {other} are {:?}, of {holder} {:?}",
                    tree(of),
                    tree(copy)
                );
                return differ(what);
            }
            Some((other, .., theirs)) if *theirs != tail => {
                return differ(format!("{journal}: {other} has another tail than {holder}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Whether a floor goes through a segment that another one has: whoever let the first of its records go as rows cannot seal the others, and
/// has neither the segment nor let it go, until its floor has passed all of it. Its records are compared all the same ([`super::replicas`]).
fn divides(floor: Seq, journal: &JournalId, replicas: &[(Holder, &Copy)]) -> bool {
    let segments = replicas.iter().filter_map(|(_, copy)| copy.segments.get(journal)).flatten();
    segments.into_iter().any(|range| range.first() < floor && floor <= range.last())
}

/// Whether one has rows in front of a segment that another one let go: whoever could have named the segment of those rows has let it go
/// before that one heard its name. Its records are whole, and it stays without that leaf until its own floor has passed them. So does one that
/// lacks what all others let go before it came there, at the beginning (it was filled later) or behind (it was away): its own floor stands
/// before that, so it takes over no hashes.
fn stranded(floor: Seq, journal: &JournalId, replicas: &[(Holder, &Copy)]) -> bool {
    let segments = |copy: &Copy| copy.segments.get(journal).cloned().unwrap_or_default();
    let last = replicas.iter().flat_map(|(_, copy)| segments(copy)).map(SeqRange::first).max().unwrap_or(0);
    let mut states = replicas.iter().filter_map(|(_, copy)| copy.states.get(journal));
    let late = states.any(|state| {
        let passed = SeqRange::new(state.floor, floor.saturating_sub(1));
        passed.is_some_and(|passed| !state.present.covers(passed))
    });
    let Some(passed) = SeqRange::new(1, floor.saturating_sub(1).min(last)) else { return false };
    late || replicas.iter().any(|(_, copy)| {
        let present = copy.states.get(journal).map(|state| state.present.within(passed)).unwrap_or_default();
        !present.difference(&segments(copy).into_iter().collect()).is_empty()
    })
}

/// Whether a device keeps what its hub let go, perhaps before it heard how that was sealed: the hub takes no hash of it from the device, and
/// tells its own when the device has let it go, too.
fn is_behind(floor: Seq, journal: &JournalId, holders: &[(Holder, &Copy)]) -> bool {
    let devices = holders.iter().filter(|(holder, _)| matches!(holder, Holder::Device(_)));
    devices.filter_map(|(_, copy)| copy.states.get(journal)).any(|state| state.floor < floor)
}

/// Everything has converged, and `damaged` was found when everything that `holder` stores was read.
///
/// # Errors
/// When anything is.
pub fn sound(holder: Holder, damaged: &[String]) -> Verdict {
    match damaged.first() {
        None => Ok(()),
        Some(what) => differ(format!("{holder}: {what}, and {} more", damaged.len() - 1)),
    }
}
