//! Two hubs that hold many journals.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use millrace_merkle::question::JOURNALS_MAX;
use millrace_merkle::survey::QUESTIONS_MAX;
use millrace_merkle::{Answer, PartitionSet, Question, Sums, Survey, responder};
use millrace_model::digest::Summary;
use millrace_model::{DeviceId, Incarnation, JournalId, Lane, Partition};
use proptest::prelude::{any, proptest};
use proptest::test_runner::Config;

#[derive(Clone, Default)]
pub struct Hub {
    journals: BTreeMap<JournalId, Summary>,
    sums: Sums,
}

impl Hub {
    fn set(&mut self, journal: JournalId, tail: u64) {
        let new = Summary { tail, ..Summary::default() };
        let old = self.journals.insert(journal, new).unwrap_or_default();
        self.sums.replace(&journal, &old, &new);
    }

    pub fn answer(&self, question: &Question) -> Answer {
        let of = |partition| {
            let journals = self.journals.iter().filter(move |(id, _)| Partition::of(&id.device) == partition);
            Ok::<_, Infallible>(journals.map(|(id, summary)| Ok((*id, *summary))))
        };
        responder::survey(question, &self.sums, of).unwrap()
    }

    fn has(&self, journal: &JournalId) -> u64 {
        self.journals.get(journal).map_or(0, |summary| summary.tail)
    }
}

pub fn journal(device: u8, incarnation: u64) -> JournalId {
    JournalId {
        device: DeviceId::from_bytes([device; 16]),
        incarnation: Incarnation::new(incarnation.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        lane: Lane::Urgent,
    }
}

/// Runs a survey to its end. Returns it, and the journals in the order in which they came.
fn run(mine: &Hub, theirs: &Hub, shared: PartitionSet, questions_max: u32) -> (Survey, Vec<JournalId>) {
    let mut survey = Survey::new(shared, questions_max);
    let mut found = Vec::new();
    while !survey.is_done() {
        while let Some(question) = survey.poll_question() {
            survey.answered(mine.answer(&question), theirs.answer(&question)).unwrap();
        }
        let before = found.len();
        found.extend(std::iter::from_fn(|| survey.poll_journal()));
        assert!(found.len() - before <= 3 * JOURNALS_MAX, "{} at a time", found.len() - before);
    }
    (survey, found)
}

proptest! {
    #![proptest_config(Config { cases: 120, ..Config::default() })]

    #[test]
    fn a_survey_finds_exactly_the_journals_that_differ(
        devices in proptest::collection::btree_map(any::<u8>(), 0_u64..400, 0..12),
        changes in proptest::collection::vec((any::<bool>(), any::<u8>(), 0_u64..400, 0_u64..4), 0..30),
        shared in proptest::collection::btree_set(any::<u8>(), 0..256),
        all in any::<bool>(),
    ) {
        let mut hubs = [Hub::default(), Hub::default()];
        for (device, count) in &devices {
            (0..*count).for_each(|at| hubs.iter_mut().for_each(|hub| hub.set(journal(*device, at), at + 1)));
        }
        let known: Vec<u8> = devices.keys().copied().collect();
        for (which, device, at, tail) in changes {
            let device = known.get(usize::from(device) % known.len().max(1)).copied().unwrap_or(device);
            hubs[usize::from(which)].set(journal(device, at), tail);
        }
        let shared: PartitionSet = shared.into_iter().map(Partition).collect();
        let shared = if all { PartitionSet::ALL } else { shared };
        let [mine, theirs] = &hubs;
        let everywhere: BTreeSet<JournalId> = mine.journals.keys().chain(theirs.journals.keys()).copied().collect();
        let wanted: Vec<JournalId> = everywhere
            .into_iter()
            .filter(|id| shared.contains(Partition::of(&id.device)) && mine.has(id) != theirs.has(id))
            .collect();
        let (survey, mut found) = run(mine, theirs, shared, QUESTIONS_MAX);
        assert!(!survey.is_cut());
        assert_eq!(survey.figures().journals, found.len() as u64);
        found.sort_unstable();
        assert_eq!(found, wanted);
        if wanted.is_empty() {
            assert_eq!(survey.figures().questions, u32::from(!shared.is_empty()));
        }
    }
}

#[test]
fn hubs_that_have_the_same_need_one_question() {
    let mut hub = Hub::default();
    (0..200).for_each(|at| hub.set(journal(at, 1), 5));
    let (survey, found) = run(&hub, &hub.clone(), PartitionSet::ALL, QUESTIONS_MAX);
    assert_eq!((found.len(), survey.figures().questions, survey.figures().bytes), (0, 1, 16));
}

#[test]
fn one_journal_among_ten_thousand_of_a_partition_is_found_in_few_bytes() {
    let mut hub = Hub::default();
    (0..10_000).for_each(|at| hub.set(journal(3, at), 5));
    let mut other = hub.clone();
    other.set(journal(3, 1_234), 6);
    let (survey, found) = run(&hub, &other, PartitionSet::ALL, QUESTIONS_MAX);
    assert_eq!(found, [journal(3, 1_234)]);
    println!("{:?}", survey.figures());
    assert!(survey.figures().questions == 4 && survey.figures().bytes < 7_000, "{:?}", survey.figures());
}

#[test]
fn a_hub_that_is_blank_hears_of_every_journal_little_by_little() {
    let mut hub = Hub::default();
    (0..9_000).for_each(|at| hub.set(journal(3, at), 5));
    (0..50).for_each(|at| hub.set(journal(at, 1), 5));
    for (mine, theirs) in [(&Hub::default(), &hub), (&hub, &Hub::default())] {
        let (_, found) = run(mine, theirs, PartitionSet::ALL, QUESTIONS_MAX);
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), hub.journals.len());
        assert_eq!(found.len(), hub.journals.len());
    }
}

#[test]
fn a_survey_that_may_ask_no_more_says_so() {
    let mut hub = Hub::default();
    (0..200).for_each(|at| hub.set(journal(at, 1), 5));
    let (survey, found) = run(&hub, &Hub::default(), PartitionSet::ALL, 7);
    assert!(survey.is_cut() && !found.is_empty() && found.len() < 200);
    assert_eq!(survey.figures().questions, 7);
}
