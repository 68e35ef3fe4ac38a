//! Reading the children of nodes that a holder told.

use crate::contradiction::Fault;
use crate::node::ARITY;
use crate::question::{Slots, Told};

/// The beginnings of hashes, one for each place, of each node that was asked for.
pub(super) fn read(told: &Told, asked: usize, depth: u8, width: u8) -> Result<Vec<Places<'_>>, Fault> {
    let Told::Nodes(nodes) = told else { return Err(Fault::Misplaced) };
    if nodes.len() != asked {
        return Err(Fault::Count { what: "nodes", asked, found: nodes.len() });
    }
    nodes.iter().map(|slots| Places::read(slots, depth, width)).collect()
}

/// The places below one node.
pub(super) struct Places<'a>(Vec<Option<&'a [u8]>>);

impl<'a> Places<'a> {
    fn read(slots: &'a Slots, depth: u8, width: u8) -> Result<Self, Fault> {
        if slots.taken.len() * 8 != ARITY.saturating_pow(depth.into()) {
            return Err(Fault::Slots);
        }
        let mut hashes = slots.hashes.chunks_exact(width.into());
        let bits = slots.taken.iter().flat_map(|byte| (0..8).map(move |bit| byte & (1 << bit) != 0));
        let places = bits.map(|taken| if taken { hashes.next().map(Some) } else { Some(None) });
        let places = places.collect::<Option<Vec<_>>>().ok_or(Fault::Slots)?;
        if hashes.next().is_some() || !hashes.remainder().is_empty() {
            return Err(Fault::Slots);
        }
        Ok(Self(places))
    }

    /// The places in which the other one has something else: which, what is here, and what is there.
    pub(super) fn differing<'b>(
        &'b self,
        other: &'b Self,
    ) -> impl Iterator<Item = (u8, Option<&'a [u8]>, Option<&'a [u8]>)> + 'b {
        let both = (0..=u8::MAX).zip(self.0.iter().zip(&other.0));
        both.filter(|(_, (mine, theirs))| mine != theirs)
            .map(|(place, (mine, theirs))| (place, *mine, *theirs))
    }
}
