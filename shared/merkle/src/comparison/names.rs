//! What the names of segments say of a place in which leaves differ.

use std::collections::BTreeMap;

use millrace_model::limits::SEGMENT_RECORDS_MAX;
use millrace_model::{NodeHash, SegmentName, SeqRange};

use super::difference::{Contested, Difference};
use super::outlines::Outlines;
use crate::contradiction::{Contradiction, Fault, both};
use crate::node::Place;
use crate::question::Told;

/// Takes what both said of the segments that were asked for; with `gives`, what they lack of what was let go there is of interest, too.
pub(super) fn take(
    ordinals: &[u64],
    told: (&Told, &Told),
    (outlines, gives): (&Outlines, bool),
    difference: &mut Difference,
) -> Result<(), Contradiction> {
    let (mine, theirs) = both(told.0, told.1, |told| read(told, ordinals))?;
    for ordinal in ordinals {
        judge((mine.get(ordinal), theirs.get(ordinal)), *ordinal, (outlines, gives), difference);
    }
    Ok(())
}

type Named = (SegmentName, SeqRange);

fn read(told: &Told, ordinals: &[u64]) -> Result<BTreeMap<u64, Named>, Fault> {
    let Told::Names(names) = told else { return Err(Fault::Misplaced) };
    if !names.is_sorted_by(|one, next| one.ordinal < next.ordinal)
        || names.iter().any(|name| ordinals.binary_search(&name.ordinal).is_err())
    {
        return Err(Fault::Order("names"));
    }
    let fits = |name: &SegmentName| name.first > 0 && name.count as usize <= SEGMENT_RECORDS_MAX;
    let named = names.iter().map(|name| {
        let range = name.range().filter(|_| fits(name)).ok_or(Fault::Name(name.ordinal))?;
        Ok((name.ordinal, (*name, range)))
    });
    named.collect()
}

fn judge(
    names: (Option<&Named>, Option<&Named>),
    ordinal: u64,
    (outlines, gives): (&Outlines, bool),
    difference: &mut Difference,
) {
    let kept = |range: &SeqRange| range.last() >= difference.floor;
    match names {
        (Some((mine, one)), Some((theirs, other))) if mine != theirs && kept(one) && kept(other) => {
            difference.contested.push(Contested { mine: Some(*mine), theirs: Some(*theirs) });
        }
        // Their first ordinal says less than their floor when a holder does not know it.
        (None, Some((theirs, range))) if range.last() < outlines.mine.floor => {
            difference.adopt.push((Place::leaf(ordinal), NodeHash::of_segment(&theirs.hash)));
        }
        (Some((mine, range)), None) if gives && range.last() < outlines.theirs.floor => {
            difference.give.push((Place::leaf(ordinal), NodeHash::of_segment(&mine.hash)));
        }
        (None, Some((theirs, range))) if kept(range) && outlines.mine.present.covers(*range) => {
            difference.seal.push(*theirs);
        }
        (Some((mine, range)), None) if kept(range) && outlines.theirs.present.covers(*range) => {
            difference.contested.push(Contested { mine: Some(*mine), theirs: None });
        }
        // What is missing explains it; it is on its way.
        (None, Some((_, range))) if !difference.pull.within(*range).is_empty() => {}
        (Some((_, range)), None) if !difference.push.within(*range).is_empty() => {}
        _ => difference.unsettled += 1,
    }
}
