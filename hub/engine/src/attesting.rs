//! Attesting: whether this hub has the very same records of a journal as its device states.
//!
//! Promise: pure. What is found equal was read from the own store for this one question: ranges, root, and the rows in between.
//! Absent: signing what was found (the daemon, `millrace-link`); what is done about a difference ([`crate::repair`]).

use millrace_merkle::{About, Outline, Told, spans};
use millrace_model::{RangeSet, SeqRange};
use millrace_wire::attesting::{Portion, tail_sum};
use millrace_wire::{Finding, Stated};

/// Looks at one journal, which may change while its rows are read.
const LOOKS_MAX: usize = 4;

/// A statement that no honest device makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it states what cannot be: {0}")]
pub struct Unstatable(&'static str);

/// What is present of a journal, as its device states it.
///
/// # Errors
/// When it does not fit the rest of the statement.
pub fn claimed(stated: &Stated) -> Result<RangeSet, Unstatable> {
    if stated.floor == 0 || stated.floor - 1 > stated.head {
        return Err(Unstatable("a journal that ends before it begins"));
    }
    let present =
        spans::decode(&stated.present, stated.floor).map_err(|_| Unstatable("ranges in disorder"))?;
    Ok(within(&present, stated.range()))
}

/// Compares what is here with what is stated, of which `claimed` is present there. `tell` asks the own store about that journal.
///
/// # Errors
/// The store's.
pub fn compared<E>(
    stated: &Stated,
    claimed: &RangeSet,
    mut tell: impl FnMut(&About) -> Result<Told, E>,
) -> Result<Finding, E> {
    let question = About::Outline { from: stated.floor };
    for _ in 0..LOOKS_MAX {
        let here = match tell(&question)? {
            Told::Outline(here) => here,
            Told::Unknown => return Ok(Finding::Unknown),
            _ => return Ok(Finding::Unreadable),
        };
        if here.floor > stated.floor {
            return Ok(Finding::Floor(here.floor));
        }
        let Ok(present) = spans::decode(&here.present, stated.floor) else { return Ok(Finding::Unreadable) };
        if here.more {
            return Ok(Finding::Unreadable);
        }
        let mine = within(&present, stated.range());
        let (hub_lacks, device_lacks) = (claimed.difference(&mine), mine.difference(claimed));
        let differs =
            Finding::Differs { hub_lacks: Portion::of(&hub_lacks), device_lacks: Portion::of(&device_lacks) };
        if !(hub_lacks.is_empty() && device_lacks.is_empty() && here.summary.root.hash == stated.root) {
            return Ok(differs);
        }
        let sum = if here.floor == stated.floor && here.head <= stated.head {
            here.summary.tail
        } else {
            let Some(sum) = tail_sum(&mut tell, stated.range())? else { return Ok(Finding::Unreadable) };
            // The rows were read after the outline: they count if nothing was sealed, moved or let go meanwhile.
            match tell(&question)? {
                Told::Outline(after) if is_steady(&here, &after) => sum,
                _ => continue,
            }
        };
        return Ok(if sum == stated.tail { Finding::Equal(mine.count()) } else { differs });
    }
    Ok(Finding::Unreadable)
}

fn is_steady(before: &Outline, after: &Outline) -> bool {
    (before.floor, before.summary.root.hash) == (after.floor, after.summary.root.hash)
}

fn within(present: &RangeSet, range: Option<SeqRange>) -> RangeSet {
    range.map(|range| present.within(range)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use bytes::Bytes;
    use millrace_model::digest::{Root, Summary};
    use millrace_model::{Incarnation, Lane, NodeHash, RecordCheck, Seq};
    use millrace_wire::Lodging;

    const ROOT: Option<NodeHash> = Some(NodeHash([3; 16]));

    /// A journal whose records up to `sealed` are in segments; the check of each row is its number.
    #[derive(Clone)]
    struct Holder {
        floor: Seq,
        head: Seq,
        sealed: Seq,
        present: RangeSet,
        root: Option<NodeHash>,
    }

    impl Holder {
        fn new(floor: Seq, head: Seq, sealed: Seq) -> Self {
            let present = SeqRange::new(floor, head).into_iter().collect();
            Self { floor, head, sealed, present, root: ROOT }
        }

        fn rows(&self, range: SeqRange) -> Vec<(Seq, RecordCheck)> {
            let tail = SeqRange::new(self.sealed + 1, Seq::MAX).unwrap();
            let rows = self.present.within(tail).within(range);
            rows.iter()
                .flat_map(|range| range.first()..=range.last())
                .map(|seq| (seq, RecordCheck(seq)))
                .collect()
        }

        fn tell(&self, about: &About) -> Result<Told, Infallible> {
            Ok(match about {
                About::Outline { from } => {
                    let tail = self.rows(SeqRange::new(1, Seq::MAX).unwrap());
                    let tail = tail.iter().map(|(_, check)| check.0).sum();
                    let (present, more) = spans::encode(&self.present, *from);
                    let summary = Summary { root: Root { level: 1, hash: self.root }, tail };
                    Told::Outline(Outline {
                        floor: self.floor,
                        head: self.head,
                        first_ordinal: 0,
                        summary,
                        present,
                        more,
                    })
                }
                About::Checks { ranges } => {
                    Told::Checks(ranges.iter().flat_map(|range| self.rows(range)).collect())
                }
                _ => Told::Unreadable,
            })
        }

        fn states(&self, floor: Seq, head: Seq) -> Stated {
            let journal = Lodging { incarnation: Incarnation::new(1), lane: Lane::Normal };
            let Ok(tail) = tail_sum(|about| self.tell(about), SeqRange::new(floor, head));
            let (present, _) = spans::encode(&self.present, floor);
            Stated { journal, floor, head, root: self.root, tail: tail.unwrap(), present }
        }

        fn finds(&self, stated: &Stated) -> Finding {
            let claimed = claimed(stated).unwrap();
            let Ok(finding) = compared(stated, &claimed, |about| self.tell(about));
            finding
        }
    }

    #[test]
    fn the_same_records_are_equal_whatever_lies_below_the_floor_or_behind_the_head() {
        let device = Holder::new(1, 1_500, 1_024);
        assert_eq!(device.finds(&device.states(1, 1_500)), Finding::Equal(1_500));
        let ahead = Holder::new(1, 1_600, 1_024);
        assert_eq!(ahead.finds(&device.states(1, 1_500)), Finding::Equal(1_500), "more came meanwhile");
        let trimmed = Holder::new(1_200, 1_500, 1_024);
        assert_eq!(
            device.finds(&trimmed.states(1_200, 1_500)),
            Finding::Equal(301),
            "the device let rows go"
        );
        assert_eq!(trimmed.finds(&device.states(1, 1_500)), Finding::Floor(1_200), "the hub let rows go");
        assert_eq!(trimmed.finds(&device.states(1_200, 1_500)), Finding::Equal(301));
        let empty = Holder::new(1_501, 1_500, 1_500);
        assert_eq!(device.finds(&Stated { tail: 0, ..empty.states(1_501, 1_500) }), Finding::Equal(0));
    }

    #[test]
    fn what_lacks_at_either_is_named() {
        let device = Holder::new(1, 1_500, 1_024);
        let behind = Holder::new(1, 1_400, 1_024);
        let portion = |first, last| {
            let ranges = SeqRange::new(first, last).into_iter().collect::<RangeSet>();
            Portion::of(&ranges)
        };
        let lacks = |hub_lacks, device_lacks| Finding::Differs { hub_lacks, device_lacks };
        assert_eq!(behind.finds(&device.states(1, 1_500)), lacks(portion(1_401, 1_500), Portion::default()));
        let mut holed = device.clone();
        holed.present.remove(SeqRange::new(7, 9).unwrap());
        assert_eq!(device.finds(&holed.states(1, 1_500)), lacks(Portion::default(), portion(7, 9)));
    }

    #[test]
    fn other_segments_or_rows_are_not_equal_though_nothing_lacks() {
        let device = Holder::new(1, 1_500, 1_024);
        let nothing = Finding::Differs { hub_lacks: Portion::default(), device_lacks: Portion::default() };
        let other = Holder { root: Some(NodeHash([4; 16])), ..device.clone() };
        assert_eq!(other.finds(&device.states(1, 1_500)), nothing);
        let stated = Stated { tail: 1, ..device.states(1, 1_500) };
        assert_eq!(device.finds(&stated), nothing);
    }

    #[test]
    fn a_journal_that_changes_at_every_look_is_not_attested() {
        let device = Holder::new(1, 1_500, 1_024);
        let stated = device.states(1, 1_400);
        let mut looks = 0_u8;
        let Ok(finding) = compared(&stated, &claimed(&stated).unwrap(), |about| {
            looks += 1;
            let told = device.tell(about)?;
            Ok::<_, Infallible>(match told {
                // The second look of each pair finds a new root, and the next first one the old again.
                Told::Outline(mut outline) if looks.is_multiple_of(3) => {
                    outline.summary.root.hash = None;
                    Told::Outline(outline)
                }
                told => told,
            })
        });
        assert_eq!(finding, Finding::Unreadable);
    }

    #[test]
    fn what_cannot_be_stated_is_refused() {
        let stated = Holder::new(1, 9, 0).states(1, 9);
        for wrong in [
            Stated { floor: 0, ..stated.clone() },
            Stated { floor: 11, present: Bytes::new(), ..stated.clone() },
            Stated { present: Bytes::from_static(&[0, 1, 1, 1]), ..stated },
        ] {
            assert!(claimed(&wrong).is_err(), "{wrong:?}");
        }
    }
}
