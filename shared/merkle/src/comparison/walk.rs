//! The way down the two trees, only where they differ.
//!
//! Nodes are asked for level by level, the lowest first, so that what waits stays small however much differs. Nothing is asked of nodes
//! wholly below the higher of both first ordinals: one of the holders may have let their rows go.
//!
//! Promise: ends. Each question is about nodes below those of an earlier one, or the same ones more widely, once.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::NodeHash;

use super::difference::{Cut, Difference};
use super::outlines::Outlines;
use super::slots;
use crate::contradiction::{Contradiction, both};
use crate::node::Place;
use crate::question::{About, NAMES_MAX, NARROW, Told, WIDE};
use crate::responder::nodes_max;

/// Places two levels below the top up to which both levels are asked for at once: their hashes then weigh less than another round trip.
const PLACES_FEW: u64 = 64;

/// Why nodes are looked at, in the order in which that is done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Look {
    /// They differ.
    Down,
    /// They differ, but the beginnings of their children's hashes do not.
    Again,
    /// One has children below the other one's floor whose whole hashes are wanted there.
    Adopt,
}

/// The walk.
#[derive(Debug)]
pub(super) struct Walk {
    /// Everything below it was let go here.
    mine_from: u64,
    /// Everything below it was let go there.
    theirs_from: u64,
    /// Whether hashes that they lack are of interest, too.
    gives: bool,
    /// The top, when the nodes two levels below it are few: both levels are asked for at once.
    leap: Option<u8>,
    open: BTreeMap<(Look, u8), BTreeSet<u64>>,
    leaves: BTreeSet<u64>,
    look: Look,
}

impl Walk {
    /// From the top, where the roots differ.
    pub(super) fn new(outlines: &Outlines, gives: bool, difference: &mut Difference) -> Self {
        let (mine, theirs) = (outlines.mine.summary.root, outlines.theirs.summary.root);
        let top = Place { level: mine.level.max(theirs.level).max(1), index: 0 };
        let (mine_from, theirs_from) = (outlines.mine.first_ordinal, outlines.theirs.first_ordinal);
        let few = top.level >= 2 && outlines.leaves() >> (4 * (top.level - 2)) < PLACES_FEW;
        let leap = (few && mine_from.max(theirs_from) == 0).then_some(top.level);
        let mut walk = Self {
            mine_from,
            theirs_from,
            gives,
            leap,
            open: BTreeMap::new(),
            leaves: BTreeSet::new(),
            look: Look::Down,
        };
        let (mine, theirs) = (mine.hash.map(|hash| hash.0), theirs.hash.map(|hash| hash.0));
        walk.visit(
            top,
            mine.as_ref().map(|hash| &hash[..]),
            theirs.as_ref().map(|hash| &hash[..]),
            difference,
        );
        walk
    }

    /// The next question, about at most so many nodes or names; `None` when there is nothing left to look at.
    pub(super) fn next(&mut self, nodes_left: u64) -> Result<Option<About>, Cut> {
        if self.leaves.is_empty() && self.open.is_empty() {
            return Ok(None);
        }
        let left = usize::try_from(nodes_left).unwrap_or(usize::MAX);
        if left == 0 {
            return Err(Cut::Budget);
        }
        if self.leaves.len() >= NAMES_MAX || self.open.is_empty() {
            return Ok(Some(About::Names { ordinals: some(&mut self.leaves, NAMES_MAX.min(left)) }));
        }
        let Some(mut first) = self.open.first_entry() else { return Ok(None) };
        let (look, level) = *first.key();
        let width = if look == Look::Down { NARROW } else { WIDE };
        let depth = if look == Look::Down && self.leap == Some(level) { 2 } else { 1 };
        let indexes = some(first.get_mut(), nodes_max(depth, width).min(left));
        if first.get().is_empty() {
            first.remove();
        }
        self.look = look;
        Ok(Some(About::Nodes { level, indexes, depth, width }))
    }

    /// Takes what both said of the nodes that were asked for last.
    pub(super) fn take(
        &mut self,
        (level, indexes, depth, width): (u8, &[u64], u8, u8),
        mine: &Told,
        theirs: &Told,
        difference: &mut Difference,
    ) -> Result<(), Contradiction> {
        let (mine, theirs) = both(mine, theirs, |told| slots::read(told, indexes.len(), depth, width))?;
        for (index, (mine, theirs)) in indexes.iter().zip(mine.iter().zip(&theirs)) {
            let at = Place { level, index: *index };
            let mut differing = false;
            for (place, mine, theirs) in mine.differing(theirs) {
                differing = true;
                let child = below(at, depth, place);
                let moves = self.wants(child, mine, theirs) || self.owes(child, mine, theirs);
                if self.look != Look::Adopt || moves {
                    self.visit(child, mine, theirs, difference);
                }
            }
            if !differing && width == NARROW {
                self.open.entry((Look::Again, level)).or_default().insert(*index);
            } else if !differing {
                difference.unsettled += 1;
            }
        }
        Ok(())
    }

    /// Whether their hash of a place should stand here too, although nothing under it can be compared any more. Below the own floor it
    /// should when nothing is known here, or when they still keep something there. What both remember only, nobody can check: the
    /// higher hash wins, so that all holders come to the same one; or the own one, when the other one is given what it lacks.
    fn wants(&self, at: Place, mine: Option<&[u8]>, theirs: Option<&[u8]>) -> bool {
        let higher = !self.gives && theirs > mine;
        let better = mine.is_none() || !at.is_below(self.theirs_from) || higher;
        at.is_below(self.mine_from) && theirs.is_some() && better
    }

    /// The same, seen from them.
    fn owes(&self, at: Place, mine: Option<&[u8]>, theirs: Option<&[u8]>) -> bool {
        self.gives && at.is_below(self.theirs_from) && mine.is_some() && !self.wants(at, mine, theirs)
    }

    /// Decides what is done about a place that differs. `mine` and `theirs` are its hashes, or their beginnings.
    fn visit(&mut self, at: Place, mine: Option<&[u8]>, theirs: Option<&[u8]>, difference: &mut Difference) {
        if !at.is_below(self.mine_from.max(self.theirs_from)) {
            match at.level {
                0 => self.leaves.insert(at.index),
                level => self.open.entry((Look::Down, level)).or_default().insert(at.index),
            };
            return;
        }
        let (wanted, moved) = if self.wants(at, mine, theirs) {
            (theirs, &mut difference.adopt)
        } else if self.owes(at, mine, theirs) {
            (mine, &mut difference.give)
        } else {
            difference.unsettled += 1;
            return;
        };
        match wanted.unwrap_or_default().try_into() {
            Ok(whole) => moved.push((at, NodeHash(whole))),
            Err(_) => {
                let parent = at.parent();
                self.open.entry((Look::Adopt, parent.level)).or_default().insert(parent.index);
            }
        }
    }
}

/// The place so many levels below another one.
fn below(at: Place, depth: u8, place: u8) -> Place {
    Place { level: at.level.saturating_sub(depth), index: (at.index << (4 * depth)) | u64::from(place) }
}

/// Takes the first few out.
fn some(from: &mut BTreeSet<u64>, count: usize) -> Vec<u64> {
    std::iter::from_fn(|| from.pop_first()).take(count).collect()
}
