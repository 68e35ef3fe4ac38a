//! Three and five hubs over the real link (QUIC, TLS, certificates, frames) on a simulated network in simulated time, each
//! history under a seed.
//!
//! | invariant | where |
//! |---|---|
//! | reads and writes are linearizable, nothing acknowledged is lost | `linear::History`, at the end |
//! | a term has one leader | `World::told`, every 10 ms |
//! | elections do not storm: each fault costs few terms, and without faults there are none | `Voyage::sail` |
//! | after healing everybody decides again within seconds | `Voyage::sail` |
//!
//! What is simulated: time, the network (delay, loss, cuts in one or both directions, packets held back and set free), the
//! processes (a crash drops everything that was not on disk; `lost_power` also what SQLite had not flushed), and the wall
//! clock of certificates. What is real: the consensus, its files, the link. Not repeatable byte for byte: keys of TLS and of
//! QUIC come from the operating system, so a seed repeats the plan of faults and the network's dice, not every packet.
//!
//! `MILLRACE_SEEDS=500 MILLRACE_SEED=1 cargo test -p millrace-hub-control --test turmoil` sails more, or others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod storm;

use storm::Voyage;

/// Seeds in CI: about a second each.
const SEEDS: u64 = 12;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn sail(nodes: u64, offset: u64, share: u64) {
    let first = number("MILLRACE_SEED", 1);
    for seed in first..first + number("MILLRACE_SEEDS", SEEDS) / share {
        let voyage = Voyage { seed: seed * 2 + offset, nodes };
        let log = voyage.sail();
        println!("{log}");
    }
}

#[test]
fn three_hubs_keep_every_promise_under_faults() {
    sail(3, 0, 1);
}

#[test]
fn five_hubs_keep_every_promise_under_faults() {
    sail(5, 1, 3);
}
