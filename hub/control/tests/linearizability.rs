//! The checker of histories: what it accepts, and that it refuses what is wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

#[path = "cluster/linear.rs"]
mod linear;

use linear::{Act, Operation, is_linearizable};

fn operation(act: Act, called: u64, returned: u64) -> Operation {
    Operation { act, called, returned: Some(returned) }
}

fn unknown(act: Act, called: u64) -> Operation {
    Operation { act, called, returned: None }
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
