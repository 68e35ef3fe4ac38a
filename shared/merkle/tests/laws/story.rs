//! How two holders of one journal came about: where they began, what they let go of, what befell them.

use millrace_model::{Seq, SeqRange};
use proptest::prelude::{Strategy, any, prop_oneof};

use crate::holder::{Holder, Segment};

/// What can befall a holder.
#[derive(Clone, Copy, Debug)]
pub enum Mishap {
    /// A segment is gone.
    Lost(u64),
    /// A segment's records are rows.
    Unsealed(u64),
    /// The same, and one of the records is gone.
    Torn(u64),
    /// A segment has other content, under another hash.
    Other(u64),
    /// A row is gone.
    RowLost(u64),
    /// A row has other content.
    RowOther(u64),
    /// Everything from here on has not come yet.
    Behind(u64),
}

pub fn mishap() -> impl Strategy<Value = Mishap> {
    let at = any::<u64>;
    prop_oneof![
        3 => at().prop_map(Mishap::Lost),
        3 => at().prop_map(Mishap::Unsealed),
        2 => at().prop_map(Mishap::Torn),
        3 => at().prop_map(Mishap::Other),
        2 => at().prop_map(Mishap::RowLost),
        3 => at().prop_map(Mishap::RowOther),
        1 => at().prop_map(Mishap::Behind),
    ]
}

/// How two holders came about.
#[derive(Clone, Debug)]
pub struct Story {
    /// Records of each segment.
    pub sizes: Vec<u64>,
    /// Records behind the last segment.
    pub tail: u64,
    /// For each holder: its floor as an ordinal, whether it kept the journal from the beginning, and what befell it.
    pub fates: [(usize, bool, Vec<Mishap>); 2],
}

pub fn story() -> impl Strategy<Value = Story> {
    let sizes = prop_oneof![
        proptest::collection::vec(1_u64..5, 0..40),
        proptest::collection::vec(1_u64..2, 200..330)
    ];
    let fate = || (0_usize..400, any::<bool>(), proptest::collection::vec(mishap(), 0..5));
    (sizes, 0_u64..6, fate(), fate()).prop_map(|(sizes, tail, one, other)| Story {
        sizes,
        tail,
        fates: [one, other],
    })
}

impl Story {
    fn plan(&self) -> Vec<SeqRange> {
        let mut next = 1;
        let ranges = self.sizes.iter().map(|size| {
            let range = SeqRange::starting(next, *size).unwrap();
            next += size;
            range
        });
        ranges.collect()
    }

    /// The ordinal of a holder's floor: half of them have none.
    fn floor(&self, which: usize) -> usize {
        let (floor, ..) = self.fates[which];
        if floor % 2 == 0 { 0 } else { floor / 2 % (self.sizes.len() + 1) }
    }

    /// The holder before anything befell it.
    pub fn whole(&self, which: usize) -> Holder {
        let plan = self.plan();
        let head = plan.last().map_or(0, |range| range.last()) + self.tail;
        let ordinal = self.floor(which);
        let floor = plan.get(ordinal).map_or(head - self.tail + 1, |range| range.first());
        let from_the_beginning = self.fates[which].1;
        let begin = if from_the_beginning { 1 } else { floor };
        let mut holder = Holder::beginning_at(begin, &plan);
        let bytes = |range: SeqRange| (range.first()..=range.last()).map(content).collect::<Vec<u8>>();
        for (ordinal, range) in (0..).zip(&plan).filter(|(_, range)| range.last() >= begin) {
            let contents = bytes(*range);
            holder.put(Segment { name: holder.name(ordinal, &contents), contents });
        }
        (head - self.tail + 1..=head).for_each(|seq| holder.store(seq, content(seq)));
        holder.trim(floor);
        holder
    }

    /// Both holders after everything; where segments are kept by both, or wherever they are kept.
    pub fn holders(&self, anywhere: bool) -> [Holder; 2] {
        let whole = [self.whole(0), self.whole(1)];
        let from = if anywhere { 0 } else { whole[0].first_ordinal().max(whole[1].first_ordinal()) };
        let mut which = 0;
        whole.map(|mut holder| {
            for mishap in &self.fates[which].2 {
                befall(&mut holder, *mishap, from);
            }
            which += 1;
            holder
        })
    }
}

/// What the author wrote under this number.
pub fn content(seq: Seq) -> u8 {
    (seq % 200) as u8
}

/// One of those that are here, by a random number.
fn pick<T: Copy>(from: impl Iterator<Item = T>, at: u64) -> Option<T> {
    let all: Vec<T> = from.collect();
    let at = at.checked_rem(all.len() as u64)?;
    all.get(usize::try_from(at).unwrap()).copied()
}

pub fn befall(holder: &mut Holder, mishap: Mishap, from: u64) {
    let segment = |at| pick(holder.segments.range(from..).map(|(ordinal, _)| *ordinal), at);
    let kept = holder.plan.get(usize::try_from(from).unwrap()).map_or(holder.head, |range| range.first());
    let row = |at| pick(holder.rows.range(kept..).map(|(seq, _)| *seq), at);
    match mishap {
        Mishap::Lost(at) => {
            if let Some(ordinal) = segment(at) {
                holder.lose(ordinal);
            }
        }
        Mishap::Unsealed(at) => {
            if let Some(ordinal) = segment(at) {
                holder.unseal(ordinal);
            }
        }
        Mishap::Torn(at) => {
            if let Some(ordinal) = segment(at) {
                let range = holder.segments[&ordinal].name.range().unwrap();
                holder.unseal(ordinal);
                holder.rows.remove(&(range.first() + at % range.count()));
            }
        }
        Mishap::Other(at) => {
            if let Some(ordinal) = segment(at) {
                let mut segment = holder.segments[&ordinal].clone();
                segment.contents[0] = 250 + (at % 6) as u8;
                segment.name = holder.name(ordinal, &segment.contents);
                holder.put(segment);
            }
        }
        Mishap::RowLost(at) => {
            if let Some(seq) = row(at) {
                holder.rows.remove(&seq);
            }
        }
        Mishap::RowOther(at) => {
            if let Some(seq) = row(at) {
                holder.rows.insert(seq, 250 + (at % 6) as u8);
            }
        }
        Mishap::Behind(at) => {
            if let Some(ordinal) = segment(at) {
                let last = holder.segments[&ordinal].name.first - 1;
                let gone: Vec<u64> = holder.segments.range(ordinal..).map(|(ordinal, _)| *ordinal).collect();
                gone.iter().for_each(|ordinal| drop(holder.lose(*ordinal)));
                holder.rows.retain(|seq, _| *seq <= last);
                holder.head = last.max(holder.floor - 1);
            }
        }
    }
}
