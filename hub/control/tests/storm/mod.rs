//! One voyage: hubs, clients, a plan of faults, and what must hold.
//!
//! | room | what stands there |
//! |---|---|
//! | [`underlay`] | sockets of the simulated network |
//! | [`road`] | requests and answers of the consensus over the real link |
//! | [`hub`] | what runs on each machine |
//! | [`client`] | who uses it, and writes down what it saw |
//! | [`world`] | what all of them share, outside of their machines |
//! | [`plan`] | which fault when |

pub mod client;
pub mod hub;
#[path = "../operating/mod.rs"]
mod operating;
pub mod plan;
pub mod road;
pub mod underlay;
pub mod world;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millrace_hub_control::NodeId;
use millrace_sim::linear::Verdict;
use turmoil::{Builder, Sim};

use plan::{Fault, Plan};
use world::{Phase, World};

/// How long clients work under faults.
const FAULTS: Duration = Duration::from_secs(40);
/// Until everybody must decide again: a lease, an election, and a new connection with its handshake.
const HEALING: Duration = Duration::from_secs(10);
/// How long nothing may happen afterwards.
const CALM: Duration = Duration::from_secs(15);
/// Terms that one fault may cost: an election, and another one when votes split.
const TERMS_PER_FAULT: u64 = 2;
/// Time moves in such steps.
const TICK: Duration = Duration::from_millis(1);

/// What is sailed.
#[derive(Clone, Copy, Debug)]
pub struct Voyage {
    pub seed: u64,
    pub nodes: u64,
}

/// What became of it.
pub struct Log {
    voyage: Voyage,
    faults: usize,
    terms: u64,
    verdict: Verdict,
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { voyage: Voyage { seed, nodes }, faults, terms, verdict } = self;
        let Verdict { acknowledged, unknown, .. } = verdict;
        write!(
            f,
            "seed {seed}: {nodes} hubs, {faults} faults, {terms} terms, {acknowledged} acknowledged, {unknown} unknown"
        )
    }
}

impl Voyage {
    /// Sails it.
    ///
    /// # Panics
    /// When a promise is broken, with the seed.
    pub fn sail(self) -> Log {
        let Self { seed, nodes } = self;
        let mut builder = Builder::new();
        builder.rng_seed(seed).tick_duration(TICK).simulation_duration(Duration::from_secs(3_600));
        builder.min_message_latency(Duration::from_millis(1)).max_message_latency(Duration::from_millis(8));
        builder.udp_capacity(10_000).enable_random_order();
        let mut sim = builder.build();
        let world = Arc::new(World::new(seed, nodes));
        for id in 1..=nodes {
            let world = Arc::clone(&world);
            sim.host(hub::name(id), move || hub::run(Arc::clone(&world), id));
        }
        let mut helm = Helm { sim, world, voyage: self };
        helm.until("a first leader", HEALING, |world| world.leader().is_some());
        helm.world.enter(Phase::Work);
        let before = helm.world.term();
        let faults = helm.suffer();
        let after = helm.world.term();
        let bound = before + TERMS_PER_FAULT * faults as u64 + TERMS_PER_FAULT;
        assert!(
            after <= bound,
            "seed {seed}: an election storm: term {before}, {faults} faults, term {after}"
        );

        helm.world.enter(Phase::Healed);
        helm.until("every hub to decide again", HEALING, World::all_decided);
        let term = helm.world.term();
        helm.pass(CALM);
        assert_eq!(helm.world.term(), term, "seed {seed}: an election without a fault");
        helm.world.enter(Phase::Reading);
        helm.until("every hub to read everything", HEALING, World::all_read);
        let verdict = helm.world.history.judge();
        assert!(verdict.is_linearizable(), "seed {seed}: {verdict}");
        Log { voyage: self, faults, terms: after - before, verdict }
    }
}

fn pairs(one: &[NodeId], other: &[NodeId], mut change: impl FnMut(String, String)) {
    for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
        change(hub::name(a), hub::name(b));
    }
}

/// Who moves time.
struct Helm<'a> {
    sim: Sim<'a>,
    world: Arc<World>,
    voyage: Voyage,
}

impl Helm<'_> {
    fn step(&mut self) {
        let seed = self.voyage.seed;
        if let Err(error) = self.sim.step() {
            panic!("seed {seed}: at {:?}: {error}", self.sim.elapsed());
        }
    }

    fn pass(&mut self, length: Duration) {
        let end = self.sim.elapsed() + length;
        while self.sim.elapsed() < end {
            self.step();
        }
    }

    fn until(&mut self, what: &str, limit: Duration, is_so: impl Fn(&World) -> bool) {
        let end = self.sim.elapsed() + limit;
        while !is_so(&self.world) {
            let seed = self.voyage.seed;
            assert!(
                self.sim.elapsed() < end,
                "seed {seed}: waited {limit:?} for {what}: {}",
                self.world.state()
            );
            self.step();
        }
    }

    /// Plays the plan, and mends everything. Returns how many faults there were.
    fn suffer(&mut self) -> usize {
        let mut plan = Plan::new(self.voyage.seed, self.voyage.nodes);
        let end = self.sim.elapsed() + FAULTS;
        let mut count = 0;
        while self.sim.elapsed() < end {
            self.pass(plan.pause());
            let leader = self.world.leader();
            let fault = plan.next(leader);
            count += 1;
            self.begin(&fault);
            self.pass(plan.length());
            self.mend(&fault);
        }
        count
    }

    fn begin(&mut self, fault: &Fault) {
        match fault {
            Fault::Cut(one, other) => pairs(one, other, |a, b| self.sim.partition(a, b)),
            Fault::CutOneWay(from, to) => pairs(from, to, |a, b| self.sim.partition_oneway(a, b)),
            Fault::Hold(one, others) => pairs(&[*one], others, |a, b| self.sim.hold(a, b)),
            Fault::Loss(rate) => self.sim.set_fail_rate(*rate),
            Fault::Slow(latency) => self.sim.set_max_message_latency(*latency),
            Fault::Crash(nodes, lost_power) => {
                for node in nodes {
                    // What the process does to its files while it is torn down, no killed process does.
                    let image = self.world.image(*node, *lost_power);
                    self.sim.crash(hub::name(*node));
                    self.world.crashed(*node, &image);
                }
            }
            Fault::Clock(seconds) => self.world.step_clock(*seconds),
        }
    }

    fn mend(&mut self, fault: &Fault) {
        match fault {
            Fault::Cut(one, other) => pairs(one, other, |a, b| self.sim.repair(a, b)),
            Fault::CutOneWay(from, to) => pairs(from, to, |a, b| self.sim.repair_oneway(a, b)),
            Fault::Hold(one, others) => pairs(&[*one], others, |a, b| self.sim.release(a, b)),
            Fault::Loss(_) => self.sim.set_fail_rate(0.0),
            Fault::Slow(_) => self.sim.set_max_message_latency(Duration::from_millis(8)),
            Fault::Crash(nodes, _) => nodes.iter().for_each(|node| self.sim.bounce(hub::name(*node))),
            Fault::Clock(_) => {}
        }
    }
}
