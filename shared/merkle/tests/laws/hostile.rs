//! Peers that answer nonsense, and long answers in pages.

use bytes::Bytes;
use fastrand::Rng;
use millrace_merkle::comparison::{Cut, Limits};
use millrace_merkle::contradiction::{Fault, Holder as Who};
use millrace_merkle::question::{CHECKS_MAX, SPANS_MAX, Slots};
use millrace_merkle::survey::QUESTIONS_MAX;
use millrace_merkle::{
    About, Answer, Comparison, Contradiction, Outline, PartitionSet, Question, Survey, Told, spans,
};
use millrace_model::digest::{Root, Summary};
use millrace_model::{
    DeviceId, JournalId, NodeHash, RangeSet, RecordCheck, SegmentHash, SegmentName, SeqRange,
};
use proptest::prelude::{any, proptest};

use crate::holder::Holder;
use crate::surveys::{Hub, journal};

fn noise(chance: &mut Rng, count: usize) -> Bytes {
    (0..count).map(|_| chance.u8(..)).collect()
}

/// A number that is small, or anything.
fn number(chance: &mut Rng) -> u64 {
    match chance.u8(..4) {
        0 => chance.u64(..),
        1 => u64::MAX - chance.u64(..4),
        _ => chance.u64(..60),
    }
}

/// An answer to the question that is well formed in most parts and means nothing. The rarer, the more wrong.
fn nonsense(chance: &mut Rng, about: &About, wrong: u8) -> Told {
    let is_wrong = |chance: &mut Rng| chance.u8(..100) < wrong;
    if is_wrong(chance) {
        return [Told::Unknown, Told::Unreadable, Told::Names(Vec::new()), Told::Nodes(Vec::new())]
            [chance.usize(..4)]
        .clone();
    }
    match about {
        About::Outline { from } => {
            let spans = if chance.u8(..8) == 0 { SPANS_MAX as u64 } else { chance.u64(..5) };
            let ranges = (0..spans).filter_map(|at| SeqRange::only(from + at * 3).into());
            let present = spans::encode(&ranges.collect(), *from).0;
            let present = if is_wrong(chance) { noise(chance, 9) } else { present };
            let hash = chance.bool().then(|| NodeHash([chance.u8(..); 16]));
            let levels = if is_wrong(chance) { 255 } else { 17 };
            let root = Root { level: chance.u8(..levels), hash };
            Told::Outline(Outline {
                floor: number(chance),
                head: if is_wrong(chance) { number(chance) } else { u64::MAX },
                first_ordinal: number(chance),
                summary: Summary { root, tail: number(chance) },
                present,
                more: spans > 5,
            })
        }
        About::Nodes { indexes, depth, width, .. } => {
            let slots = |chance: &mut Rng| {
                let taken = noise(chance, if *depth == 1 { 2 } else { 32 });
                let count: u32 = taken.iter().map(|byte| byte.count_ones()).sum();
                let count = count as usize * usize::from(*width) + usize::from(is_wrong(chance));
                Slots { taken, hashes: noise(chance, count) }
            };
            let count = indexes.len() + usize::from(is_wrong(chance));
            Told::Nodes((0..count).map(|_| slots(chance)).collect())
        }
        About::Names { ordinals } => {
            let name = |ordinal: &u64| SegmentName {
                ordinal: ordinal.wrapping_add(u64::from(is_wrong(chance))),
                first: 1 + chance.u64(..200),
                count: if is_wrong(chance) { chance.u32(..) } else { chance.u32(1..1_025) },
                hash: SegmentHash([chance.u8(..); 32]),
            };
            Told::Names(ordinals.iter().map(name).collect())
        }
        About::Checks { ranges } => {
            let first = ranges.first().unwrap_or_default().saturating_sub(u64::from(is_wrong(chance)));
            let count = if chance.bool() { CHECKS_MAX } else { chance.usize(..CHECKS_MAX + 2) };
            let check = RecordCheck(chance.u64(..));
            Told::Checks((0..count as u64).map(|at| (first.saturating_add(at), check)).collect())
        }
    }
}

/// Drives a comparison with any answers until it ends.
fn drive(
    limits: Limits,
    mut answers: impl FnMut(&About) -> (Told, Told),
) -> (Comparison, Result<(), Contradiction>) {
    let mut comparison = Comparison::new(limits);
    let mut end = Ok(());
    while let Some(about) = comparison.poll_question() {
        assert!(comparison.poll_question().is_none(), "one question at a time");
        let (mine, theirs) = answers(&about);
        end = comparison.answered(mine, theirs);
        let asked = comparison.difference().figures;
        assert!(asked.questions <= 20_000 && asked.nodes <= limits.nodes_max.max(16) + 16, "{asked:?}");
    }
    assert!(comparison.is_done());
    (comparison, end)
}

proptest! {
    #[test]
    fn a_peer_that_answers_nonsense_ends_the_comparison_and_harms_nobody(
        seed in any::<u64>(), wrong in 0_u8..10, both in any::<bool>(), nodes_max in 0_u64..300,
    ) {
        let mut chance = Rng::with_seed(seed);
        let plan: Vec<SeqRange> = (0..40).filter_map(|at| SeqRange::starting(at * 3 + 1, 3)).collect();
        let mut mine = Holder::beginning_at(1, &plan);
        (1..=120).for_each(|seq| mine.store(seq, 1));
        (0..40).for_each(|ordinal| assert!(mine.seal(ordinal)));
        let limits = Limits { nodes_max, both, ..Limits::DEFAULT };
        let (comparison, end) = drive(limits, |about| {
            (mine.answer(about), nonsense(&mut chance, about, wrong))
        });
        assert!(end.is_ok() || end.clone().is_err_and(|fault| fault.who == Who::Theirs), "{end:?}");
        assert!(!comparison.difference().equal || comparison.difference().is_empty());
    }

    #[test]
    fn two_holders_that_both_talk_nonsense_come_to_an_end(seed in any::<u64>(), wrong in 0_u8..6, both in any::<bool>()) {
        let mut chance = Rng::with_seed(seed);
        let limits = Limits { nodes_max: 400, both, ..Limits::DEFAULT };
        let (comparison, _) = drive(limits, |about| {
            (nonsense(&mut chance, about, wrong), nonsense(&mut chance, about, wrong))
        });
        assert!(comparison.difference().adopt.len() < 10_000);
    }

    #[test]
    fn a_hub_that_lists_nonsense_ends_the_survey(seed in any::<u64>()) {
        let mut chance = Rng::with_seed(seed);
        let (mine, mut survey) = (Hub::default(), Survey::new(PartitionSet::ALL, 500));
        while !survey.is_done() {
            while survey.poll_journal().is_some() {}
            let Some(question) = survey.poll_question() else { continue };
            let theirs = match (&question, chance.u8(..8)) {
                (_, 0) => Answer::Buckets(noise(&mut chance, 2_048)),
                (_, 1) => Answer::Journals { journals: vec![(journal(chance.u8(..), 1), 1)], more: chance.bool() },
                (Question::Root(_), _) => Answer::Root(NodeHash([chance.u8(..); 16])),
                (Question::Partitions(_), _) => Answer::Partitions(noise(&mut chance, 2_048)),
                (Question::Journals { bucket: None, .. }, _) => Answer::Buckets(noise(&mut chance, 2_048)),
                _ => Answer::Journals { journals: Vec::new(), more: false },
            };
            if survey.answered(mine.answer(&question), theirs).is_err() {
                assert!(survey.poll_question().is_none());
            }
            assert!(survey.figures().questions <= 500);
        }
    }
}

fn outline(present: &RangeSet, from: u64) -> Told {
    let (present, more) = spans::encode(present, from);
    let summary = Summary { tail: from, ..Summary::default() };
    Told::Outline(Outline { floor: 1, head: u64::MAX, first_ordinal: 0, summary, present, more })
}

#[test]
fn outlines_of_several_pages_are_put_together() {
    let holes =
        |step: u64, count: u64| (0..count).map(|at| SeqRange::only(at * step + 1)).collect::<RangeSet>();
    let (mine, theirs) = (holes(2, 12_000), holes(3, 20_000));
    let (comparison, end) = drive(Limits::DEFAULT, |about| match about {
        About::Outline { from } => (outline(&mine, *from), outline(&theirs, *from)),
        other => panic!("{other:?}"),
    });
    assert_eq!(end, Ok(()));
    let found = comparison.into_difference();
    assert_eq!((found.pull, found.push), (theirs.difference(&mine), mine.difference(&theirs)));
}

#[test]
fn pages_that_do_not_end_are_a_contradiction() {
    let mine = RangeSet::from(SeqRange::only(1));
    let (_, end) = drive(Limits::DEFAULT, |about| match about {
        About::Outline { from } => {
            let endless: RangeSet = (0..=SPANS_MAX as u64).map(|at| SeqRange::only(from + at * 2)).collect();
            (outline(&mine, *from), outline(&endless, *from))
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(end, Err(Contradiction { who: Who::Theirs, fault: Fault::Pages }));
    assert_eq!(end.unwrap_err().to_string(), "the peer answered what cannot be: its pages do not end");
}

#[test]
fn long_tails_are_compared_page_by_page() {
    let mut mine = Holder::beginning_at(1, &[]);
    mine.rows.extend((1..=10_000).map(|seq| (seq, 1)));
    mine.head = 10_000;
    let mut theirs = mine.clone();
    for seq in [5, 4_096, 4_097, 9_999] {
        theirs.rows.insert(seq, 2);
    }
    let found = mine.compare(&mut theirs, Limits::DEFAULT);
    let rows = [SeqRange::only(5), SeqRange::new(4_096, 4_097).unwrap(), SeqRange::only(9_999)];
    assert_eq!(found.rows, rows.into_iter().collect());
    assert_eq!(found.figures.questions, 4);
}

#[test]
fn a_store_that_cannot_be_read_ends_the_comparison_and_says_so() {
    let present = RangeSet::from(SeqRange::only(1));
    for (mine, theirs, cut) in [
        (outline(&present, 1), Told::Unreadable, Cut::TheirsUnreadable),
        (Told::Unreadable, outline(&present, 1), Cut::MineUnreadable),
    ] {
        let (comparison, end) = drive(Limits::DEFAULT, |_| (mine.clone(), theirs.clone()));
        assert_eq!((end, comparison.difference().cut), (Ok(()), Some(cut)));
        assert!(!comparison.difference().equal);
    }
}

#[test]
fn lists_of_journals_out_of_order_or_of_another_partition_are_refused() {
    let mut survey = Survey::new(PartitionSet::ALL, QUESTIONS_MAX);
    let stranger = JournalId { device: DeviceId::from_bytes([200; 16]), ..journal(1, 1) };
    let mut end = Ok(());
    while let Some(question) = survey.poll_question() {
        let mine = Hub::default().answer(&question);
        let theirs = match question {
            Question::Root(_) => Answer::Root(NodeHash([1; 16])),
            Question::Partitions(_) => Answer::Partitions(vec![1; 2_048].into()),
            _ => Answer::Journals { journals: vec![(stranger, 1)], more: false },
        };
        end = survey.answered(mine, theirs);
    }
    assert_eq!(end, Err(Contradiction { who: Who::Theirs, fault: Fault::Order("journals") }));
}
