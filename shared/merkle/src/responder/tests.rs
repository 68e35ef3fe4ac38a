//! Tests of what a holder answers.

use super::*;
use crate::tree::Update;
use millrace_model::{DeviceId, Incarnation, Lane, NodeHash};
use std::convert::Infallible;

fn leaf(ordinal: u64) -> NodeHash {
    NodeHash((u128::from(ordinal) << 64 | 0xabcd).to_be_bytes())
}

/// The nodes and the root over so many leaves.
fn tree(leaves: u64) -> (BTreeMap<Place, Node>, Root) {
    let (mut rows, mut update) = (BTreeMap::new(), Update::default());
    for ordinal in 0..leaves {
        let Ok(()) = update.set(&mut rows, ordinal, Some(leaf(ordinal)));
    }
    let Ok(changes) = update.finish(&mut rows, Root::default());
    (changes.nodes.into_iter().collect(), changes.root)
}

fn ask(level: u8, indexes: &[u64], depth: u8, width: u8) -> About {
    About::Nodes { level, indexes: indexes.to_vec(), depth, width }
}

fn told(about: &About, rows: &mut BTreeMap<Place, Node>, root: Root) -> Vec<Slots> {
    match nodes(about, rows, root) {
        Ok(Told::Nodes(told)) => told,
        other => panic!("{other:?}"),
    }
}

fn together(slots: &[Slots], part: impl Fn(&Slots) -> &Bytes) -> Vec<u8> {
    slots.iter().flat_map(|slots| part(slots).to_vec()).collect()
}

#[test]
fn two_levels_are_told_as_one_row_of_256_places() {
    let (mut rows, root) = tree(40);
    let two = told(&ask(2, &[0], 2, NARROW), &mut rows, root);
    let one = told(&ask(1, &[0, 1, 2], 1, NARROW), &mut rows, root);
    assert_eq!((two[0].taken.len(), two[0].hashes.len()), (32, 40 * 4));
    assert_eq!(two[0].taken[..6], together(&one, |slots| &slots.taken));
    assert_eq!(two[0].hashes[..], together(&one, |slots| &slots.hashes));
}

#[test]
fn what_stands_above_the_root_has_the_root_as_its_first_child() {
    let (mut rows, root) = tree(16);
    let above = told(&ask(3, &[0, 1], 1, WIDE), &mut rows, root);
    assert_eq!(above[0].hashes[..], root.hash.unwrap().0[..]);
    assert_eq!((&above[0].taken[..], &above[1].taken[..]), (&[1, 0][..], &[0, 0][..]));
    let through = told(&ask(2, &[0], 2, NARROW), &mut rows, root);
    assert_eq!(through[0].hashes.len(), 16 * 4);
}

#[test]
fn rows_that_were_let_go_are_told_as_empty() {
    let (mut rows, root) = tree(40);
    rows.retain(|at, _| !at.is_below(20));
    let told = told(&ask(1, &[0, 1], 1, NARROW), &mut rows, root);
    assert_eq!((told[0].hashes.len(), told[1].hashes.len()), (0, 16 * 4));
}

#[test]
fn questions_over_a_limit_are_refused_with_words() {
    let many: Vec<u64> = (0..1_025).collect();
    let refused = |about| fits(&about).unwrap_err().to_string();
    assert_eq!(refused(ask(5, &many, 1, NARROW)), "1025 nodes are asked for; 1024 is the limit");
    assert_eq!(refused(ask(5, &many[..257], 1, WIDE)), "257 nodes are asked for; 256 is the limit");
    assert_eq!(refused(ask(5, &many[..65], 2, NARROW)), "65 nodes are asked for; 64 is the limit");
    assert_eq!(refused(ask(5, &many[..17], 2, WIDE)), "17 nodes are asked for; 16 is the limit");
    assert_eq!(fits(&ask(5, &many[..1_024], 1, NARROW)), Ok(()));
    assert_eq!(fits(&ask(0, &[0], 1, NARROW)), Err(Unfit::Level(0)));
    assert_eq!(fits(&ask(17, &[0], 1, NARROW)), Err(Unfit::Level(17)));
    assert_eq!(fits(&ask(1, &[0], 2, NARROW)), Err(Unfit::Depth { level: 1, depth: 2 }));
    assert_eq!(fits(&ask(1, &[0], 1, 5)), Err(Unfit::Width(5)));
    assert_eq!(fits(&ask(3, &[2, 2], 1, NARROW)), Err(Unfit::Order));
    assert_eq!(fits(&ask(16, &[1], 1, NARROW)), Err(Unfit::Index { level: 16, index: 1 }));
    assert_eq!(fits(&ask(15, &[15], 1, NARROW)), Ok(()));
    assert_eq!(refused(About::Names { ordinals: many }), "1025 names are asked for; 1024 is the limit");
    assert_eq!(fits(&About::Names { ordinals: vec![3, 1] }), Err(Unfit::Order));
}

fn journals(count: u64) -> Vec<Result<(JournalId, Summary), Infallible>> {
    let journal = |number| JournalId {
        device: DeviceId::from_bytes([9; 16]),
        incarnation: Incarnation::new(number),
        lane: Lane::Bulk,
    };
    let summary = |number| Summary { tail: number + 1, ..Summary::default() };
    (0..count).rev().map(|number| Ok((journal(number), summary(number)))).collect()
}

fn listed(count: u64, bucket: Option<u8>, after: Option<JournalId>) -> Answer {
    let question = Question::Journals { partition: Partition(0), bucket, after };
    survey(&question, &Sums::default(), |_| Ok(journals(count).into_iter())).unwrap()
}

#[test]
fn few_journals_are_listed_and_many_are_summed_up_in_buckets() {
    let Answer::Journals { journals: few, more: false } = listed(255, None, None) else { panic!("few") };
    assert_eq!((few.len(), few.is_sorted()), (255, true));
    let Answer::Buckets(buckets) = listed(256, None, None) else { panic!("many") };
    assert_eq!(buckets.len(), 8 * BUCKETS);
    let Answer::Journals { journals: some, more: false } = listed(256, Some(157), None) else {
        panic!("some")
    };
    let sum = some.iter().fold(0_u64, |sum, (_, entry)| sum.wrapping_add(*entry));
    assert_eq!(buckets[157 * 8..158 * 8], sum.to_be_bytes());
}

#[test]
fn a_long_list_goes_on_behind_the_last_journal() {
    let mut seen = 1;
    let mut after = journals(3_000).pop().and_then(Result::ok).map(|(journal, _)| journal);
    loop {
        let Answer::Journals { journals, more } = listed(3_000, None, after) else { panic!("a list") };
        seen += journals.len();
        after = journals.last().map(|(journal, _)| *journal);
        if !more {
            break;
        }
        assert_eq!(journals.len(), JOURNALS_MAX);
    }
    assert_eq!(seen, 3_000);
}

#[test]
fn a_question_about_one_journal_is_not_answered_by_the_survey() {
    let Ok((journal, _)) = journals(1).remove(0);
    let question = Question::Journal { journal, about: About::Outline { from: 1 } };
    let answer = survey(&question, &Sums::default(), |_| Ok(journals(1).into_iter()));
    assert_eq!(answer, Err(Unanswered::Unfit(Unfit::Misdirected)));
}
