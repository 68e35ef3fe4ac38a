//! Real hub processes on machines of their own, killed, halted and cut off, while clients write down what they saw: some order must
//! explain it.
//!
//! Twenty short runs, each under its own seed; `MILLRACE_SEED=7 MILLRACE_RUNS=200 cargo test -p millrace-demo --test linearizability`
//! makes others, or more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::path::PathBuf;
use std::time::Duration;

use millrace_demo::kv::{Kv, KvError};
use millrace_demo::nemesis::{Fault, Nemesis, begin, mend};
use millrace_demo::observer::{Load, observe, read_all};
use millrace_demo::patience::{Look, until};
use millrace_demo::process::run;
use millrace_demo::{Cluster, ClusterOptions, Hub, Plant};
use millrace_sim::linear::{Act, History};
use tokio::time::{Instant, timeout};

const RUNS: u64 = 20;
/// How long clients work in a run.
const LENGTH: Duration = Duration::from_secs(3);
/// Until every hub answers again: an election, and new connections.
const PATIENCE: Duration = Duration::from_secs(20);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn load(cluster: &Cluster, seed: u64, length: Duration) -> Load {
    let sockets = cluster.hubs.iter().map(Hub::socket).collect();
    Load { sockets, clients: 6, keys: 3, prefix: format!("run-{seed}/"), seed, start: Instant::now(), length }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_saw_of_killed_halted_and_parted_hubs_can_be_explained() {
    let plant = Plant::build().unwrap();
    let mut cluster = Cluster::start(&plant, &ClusterOptions { hubs: 3, machines: true }).await.unwrap();
    let first = number("MILLRACE_SEED", 1);
    for seed in first..first + number("MILLRACE_RUNS", RUNS) {
        let load = load(&cluster, seed, LENGTH);
        let watching = tokio::spawn(observe(load.clone()));
        let faults = Nemesis::new(seed).torment(&mut cluster, LENGTH).await.unwrap();
        let history = watching.await.unwrap();
        assert!(
            read_all(&load, &history, PATIENCE).await,
            "seed {seed}: not every hub answers after {faults:?}"
        );
        let verdict = history.judge();
        let told: Vec<String> = faults.iter().map(Fault::to_string).collect();
        println!("seed {seed}: {}: {verdict}", told.join(", "));
        assert!(verdict.is_linearizable(), "seed {seed}: {told:?}\n{verdict}");
        assert!(verdict.acknowledged > 20, "seed {seed}: too little to be a test: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_halted_for_half_a_minute_says_nothing_that_is_not_so() {
    let plant = Plant::build().unwrap();
    let mut cluster = Cluster::start(&plant, &ClusterOptions { hubs: 3, machines: false }).await.unwrap();
    let leader = cluster.leader().await.unwrap();
    let load = load(&cluster, 0, Duration::from_secs(34));
    let watching = tokio::spawn(observe(load.clone()));
    let book = plant.directory().join("race");
    let racing: Vec<_> = cluster
        .hubs
        .iter()
        .map(|hub| tokio::spawn(race(plant.programs().hub.clone(), hub.data().to_owned(), book.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let halt = Fault::Halt(leader);
    begin(&mut cluster, &halt).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    mend(&mut cluster, &halt).await.unwrap();
    let history = watching.await.unwrap();
    assert!(read_all(&load, &history, PATIENCE).await, "not every hub answers");
    let verdict = history.judge();
    println!("{verdict}");
    assert!(verdict.is_linearizable(), "{verdict}");
    assert!(verdict.acknowledged > 500, "the others went on without it: {verdict}");
    let next = cluster.leader().await.unwrap();
    assert_ne!(next, leader, "another one leads since");
    for racer in racing {
        racer.await.unwrap();
    }
    held_by_one_at_a_time(&std::fs::read_to_string(&book).unwrap());
}

/// Takes a lock again and again at one hub, and writes into `book` when its command begins and ends.
async fn race(program: PathBuf, data: PathBuf, book: PathBuf) {
    let end = Instant::now() + Duration::from_secs(33);
    let script = format!(
        "echo \"$MILLRACE_FENCE begins\" >> {book}; sleep 0.2; echo \"$MILLRACE_FENCE ends\" >> {book}",
        book = book.display()
    );
    let data = data.to_str().unwrap();
    let words = ["lock", "race", "--ttl", "3s", "--data", data, "--", "sh", "-c", &script];
    while Instant::now() < end {
        // A hub that is halted answers nobody, and whoever asks it gets no lock.
        let _ = timeout(Duration::from_secs(10), run(&program, &words, "millrace-hub lock")).await;
    }
}

/// Fences only rise, and nobody works with one after a higher one was given.
fn held_by_one_at_a_time(book: &str) {
    let mut newest = 0_u64;
    for line in book.lines() {
        let (fence, what) = line.split_once(' ').unwrap();
        let fence: u64 = fence.parse().unwrap();
        match what {
            "begins" => assert!(fence > newest, "{fence} after {newest}:\n{book}"),
            _ => assert_eq!(fence, newest, "{fence} still worked when {newest} had begun:\n{book}"),
        }
        newest = fence;
    }
    let count = book.lines().filter(|line| line.ends_with("begins")).count();
    assert!(count > 30, "too few to be a race:\n{book}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_cut_off_refuses_at_once_and_a_stale_answer_would_be_noticed() {
    let plant = Plant::build().unwrap();
    let mut cluster = Cluster::start(&plant, &ClusterOptions { hubs: 3, machines: true }).await.unwrap();
    let load = load(&cluster, 0, Duration::ZERO);
    let history = History::new();
    let (mut apart, mut other) = (cluster.hubs[0].kv(), cluster.hubs[1].kv());
    let now = || u64::try_from(load.start.elapsed().as_micros()).unwrap();
    let write = async |kv: &mut Kv, value: u64| {
        let act = Act::Write(value);
        let call = history.call(1, 0, act, now());
        let written = kv.put("cut/0", &value.to_string()).await;
        match &written {
            Ok(()) => call.done(act, now()),
            Err(KvError::Void(_)) => call.void(),
            Err(KvError::Unknown(_)) => drop(call),
        }
        written
    };
    write(&mut apart, 1).await.unwrap();
    begin(&mut cluster, &Fault::CutOff(0)).await.unwrap();
    until("the others to decide without it", PATIENCE, || async {
        let decided = write(&mut cluster.hubs[1].kv(), 2).await;
        Ok(decided.map_or_else(|error| Look::NotYet(error.to_string()), Look::Found))
    })
    .await
    .unwrap();
    write(&mut other, 3).await.unwrap();
    until("it to know that it is alone", PATIENCE, || async {
        let refused = cluster.hubs[0].kv().put("cut/1", "x").await;
        let alone = matches!(&refused, Err(KvError::Void(why)) if why.contains("no-quorum"));
        Ok(if alone { Look::Found(()) } else { Look::NotYet(format!("{refused:?}")) })
    })
    .await
    .unwrap();
    let asked = Instant::now();
    assert!(matches!(write(&mut apart, 4).await, Err(KvError::Void(why)) if why.contains("no quorum")));
    assert!(asked.elapsed() < Duration::from_secs(1), "at once, not after {:?}", asked.elapsed());
    assert!(history.judge().is_linearizable(), "{}", history.judge());

    // What it knows is old; taken for a linearizable read, it must not pass.
    let call = history.call(2, 0, Act::Read(None), now());
    let stale = apart.get_local("cut/0").await.unwrap();
    assert_eq!(stale.as_deref(), Some("1"));
    call.done(Act::Read(Some(1)), now());
    let verdict = history.judge();
    assert!(!verdict.is_linearizable(), "{verdict}");
    mend(&mut cluster, &Fault::CutOff(0)).await.unwrap();
}
