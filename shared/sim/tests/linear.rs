//! The checker of histories: what it accepts, that it refuses what is wrong, and that it shows why.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

use millrace_sim::linear::{Act, History, Operation, is_linearizable};

fn operation(act: Act, called: u64, returned: u64) -> Operation {
    Operation { client: 1, act, called, returned: Some(returned) }
}

fn unknown(act: Act, called: u64) -> Operation {
    Operation { client: 1, act, called, returned: None }
}

#[test]
fn good_histories_are_explained() {
    let good: [&[Operation]; 5] = [
        &[],
        &[operation(Act::Write(1), 0, 10), operation(Act::Read(Some(1)), 11, 12)],
        // A read beside a write may see either.
        &[
            operation(Act::Write(1), 0, 10),
            operation(Act::Read(None), 1, 9),
            operation(Act::Read(Some(1)), 1, 9),
        ],
        // What is unknown may happen late, or never.
        &[
            unknown(Act::Write(1), 0),
            operation(Act::Read(None), 50, 60),
            operation(Act::Read(Some(1)), 70, 80),
        ],
        &[
            unknown(Act::Write(1), 0),
            operation(Act::Swap(None, 2, true), 5, 9),
            operation(Act::Swap(Some(1), 3, false), 10, 20),
            operation(Act::Read(Some(2)), 21, 22),
        ],
    ];
    for history in good {
        assert!(is_linearizable(history), "{history:?}");
    }
}

#[test]
fn bad_histories_are_refused() {
    let bad: [&[Operation]; 6] = [
        // A lost write.
        &[operation(Act::Write(1), 0, 10), operation(Act::Read(None), 11, 12)],
        // A stale read.
        &[
            operation(Act::Write(1), 0, 1),
            operation(Act::Write(2), 2, 3),
            operation(Act::Read(Some(1)), 4, 5),
        ],
        // Two readers that disagree about the order.
        &[
            operation(Act::Write(1), 0, 100),
            operation(Act::Read(Some(1)), 1, 2),
            operation(Act::Read(None), 3, 4),
        ],
        // A value from nowhere.
        &[operation(Act::Read(Some(9)), 0, 1)],
        // Both swaps of one value.
        &[operation(Act::Swap(None, 1, true), 0, 10), operation(Act::Swap(None, 2, true), 0, 10)],
        // An unknown write that is seen, and then not any more.
        &[unknown(Act::Write(1), 0), operation(Act::Read(Some(1)), 5, 6), operation(Act::Read(None), 7, 8)],
    ];
    for history in bad {
        assert!(!is_linearizable(history), "{history:?}");
    }
}

#[test]
fn long_histories_with_many_at_once_are_decided_quickly() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut history = Vec::new();
    let mut value = None;
    for at in 0..400_u64 {
        let act = if rng.bool() { Act::Read(value) } else { Act::Write(at) };
        if let Act::Write(written) = act {
            value = Some(written);
        }
        let (early, late) = (rng.u64(..30), rng.u64(..30));
        history.push(operation(act, 1_000 + at * 10 - early, 1_000 + at * 10 + late));
    }
    assert!(is_linearizable(&history));
    history.push(operation(Act::Read(Some(u64::MAX)), 9_000, 9_001));
    assert!(!is_linearizable(&history));
}

#[test]
fn what_cannot_be_explained_is_shown_without_what_does_not_matter() {
    let history = History::new();
    let mut rng = fastrand::Rng::with_seed(5);
    let mut at = 0;
    for round in 0..60_u64 {
        // Whole rounds of honest work, and one read in the middle that sees an older value.
        let written = history.call(1, 7, Act::Write(round), at);
        written.done(Act::Write(round), at + 5);
        let found = if round == 30 { 28 } else { round };
        let read = history.call(rng.u64(2..9), 7, Act::Read(None), at + 6);
        read.done(Act::Read(Some(found)), at + 9);
        history.call(3, 8, Act::Write(round), at).done(Act::Write(round), at + 1);
        at += 10;
    }
    let verdict = history.judge();
    assert!(!verdict.is_linearizable());
    let [counterexample] = verdict.counterexamples.as_slice() else { panic!("{verdict}") };
    // The old write, a newer one that was done, and the read: neither order fits.
    assert_eq!((counterexample.key, counterexample.operations.len()), (7, 3), "{verdict}");
    let text = verdict.to_string();
    assert!(text.contains("NOT LINEARIZABLE: 180 operations acknowledged, 0 unknown"), "{text}");
    assert!(text.contains("read 28") && text.contains("wrote 28"), "{text}");
}

#[test]
fn a_call_that_was_dropped_may_have_happened_and_one_that_is_void_may_not() {
    let history = History::new();
    drop(history.call(1, 1, Act::Write(1), 0));
    drop(history.call(2, 1, Act::Read(None), 1));
    history.call(3, 1, Act::Read(None), 5).done(Act::Read(Some(1)), 6);
    let verdict = history.judge();
    assert!(verdict.is_linearizable(), "{verdict}");
    assert_eq!((verdict.acknowledged, verdict.unknown), (1, 1));
    let history = History::new();
    history.call(1, 1, Act::Write(1), 0).void();
    history.call(3, 1, Act::Read(None), 5).done(Act::Read(Some(1)), 6);
    assert!(!history.judge().is_linearizable());
}
