//! Several hubs and their agents: the real engines and the real journal, with an oracle in the place of Raft.
//!
//! ```text
//! agent engine ◀─▶ hub engine ◀── peer frames ──▶ hub engine ◀─▶ agent engine
//!      ▲ journal        ▲ journal  ╲            ╱  ▲ journal
//!                       └──────── oracle: table, placement, who is full
//! ```
//!
//! Agents here want level quorum and are no clones (the world of one hub has those). Most of what goes wrong goes wrong with hubs: power, disks,
//! old copies, roads between them, pauses, and a membership that changes meanwhile. One disk of a hub at a time is lost or damaged, and the
//! next only when all are full and whole again; now and then all are lost, and one comes back from a copy. In worlds that age ([`ageing`])
//! each hub keeps records for a time of its own, scrubs, compares, and is queried. There the disks of devices wear, too ([`wearing`]), whatever
//! happens to hubs meanwhile: they are damaged, and now and then one is set back to an older copy ([`setback`]).
//!
//! Promise: as for [`crate::world`]: one seed, one history; the first broken promise ends it.
//!
//! | room | what stands there |
//! |---|---|
//! | [`plan`] | what a seed means |
//! | [`ageing`] | how stores of hubs age and are damaged |
//! | [`wearing`] | how disks of devices wear |
//! | [`oracle`] | what the cluster has committed, and who hears of it when |
//! | [`hub`] | one hub with its disk |
//! | [`roads`] | its connections to the others |
//! | [`disk`] | its commits |
//! | [`serving`] | what it reads, and for whom |
//! | [`saying`] | what it says to agents, and of what it alarms people |
//! | [`damage`] | what is damaged, found and moved aside |
//! | [`mending`] | what it asks for again, and what it knows of the others' copies |
//! | [`upkeep`] | what it says of its own store |
//! | [`agent`] | one agent, which turns to the next hub when one fails |
//! | [`authoring`] | its commits |
//! | [`reading`] | what it reads, and what it does about damage |
//! | [`setback`] | its store is put back from an older copy |
//! | [`truth`] | what is on which disk of hubs, and what agents were told |
//! | [`possession`] | what is on disks of devices, and what damage took there |
//! | [`mishap`] | what goes wrong |
//! | [`disaster`] | all hubs are lost, and one comes back from a copy under the next epoch |
//! | [`finish`] | when everything has converged, and what is asked then |

pub mod ageing;
mod agent;
mod authoring;
mod damage;
mod disaster;
mod disk;
mod finish;
mod hub;
mod mending;
mod mishap;
mod oracle;
pub mod plan;
pub mod possession;
mod reading;
mod roads;
mod saying;
mod serving;
pub mod setback;
pub mod truth;
mod upkeep;
pub mod wearing;

use std::collections::BTreeMap;

use millrace_model::{Moment, NodeId};
use millrace_sim::{Network, Node, Notice, Timeline, Transport};
use millrace_wire::{Frame, PeerFrame};

use crate::Report;
use crate::invariants::{Verdict, Violation};
use crate::passing::{self, Next, Stillness};
use crate::transcript::Transcript;
pub use ageing::Ageing;
use agent::{Agent, AgentHappening};
use hub::{Hub, HubHappening};
use oracle::{Oracle, OracleHappening};
pub use plan::{ClusterFault, ClusterPlan};
use truth::Truth;

/// The first node of an agent; hub `n` is node `n`.
const AGENTS: Node = 1_000;

/// What travels.
#[derive(Clone, PartialEq, Debug)]
enum Talk {
    Agent(Frame),
    Peer(PeerFrame),
}

/// What will happen.
#[derive(Clone, Debug)]
enum Happening {
    Hub { node: NodeId, generation: u32, what: HubHappening },
    Agent { place: usize, generation: u32, what: AgentHappening },
    Oracle(OracleHappening),
    StartHub(NodeId),
    StartAgent(usize),
    Resume(NodeId),
    Publish(usize),
    Fault(ClusterFault),
    Lift(ClusterFault),
    Heal,
    Watch,
}

/// A world of several hubs.
#[derive(Debug)]
pub struct ClusterWorld {
    plan: ClusterPlan,
    now: Moment,
    random: fastrand::Rng,
    timeline: Timeline<Happening>,
    network: Network<Talk>,
    hubs: BTreeMap<NodeId, Hub>,
    agents: Vec<Agent>,
    oracle: Oracle,
    truth: Truth,
    transcript: Transcript,
    violation: Option<Violation>,
    healed_at: Option<Moment>,
    over: bool,
    /// Somebody was told that records of the only hub are lost.
    overdue: bool,
    /// Whether any device is set back.
    sets_back: bool,
    faults: usize,
    told: usize,
}

/// The node of a hub.
fn node_of(hub: NodeId) -> Node {
    Node::try_from(hub.0).unwrap_or(0)
}

impl ClusterWorld {
    /// The world that `plan` describes; `print` prints its transcript.
    #[must_use]
    pub fn new(plan: ClusterPlan, print: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let mut world = Self {
            now: Moment(0),
            timeline: Timeline::default(),
            network: Network::new(random.u64(..), Transport::default()),
            hubs: BTreeMap::new(),
            agents: Vec::new(),
            oracle: Oracle::default(),
            truth: Truth::default(),
            transcript: Transcript::new(print),
            violation: None,
            healed_at: None,
            over: false,
            overdue: false,
            sets_back: plan
                .faults
                .iter()
                .any(|(_, fault)| matches!(fault, ClusterFault::RestoreAgent { .. })),
            faults: 0,
            told: 0,
            random,
            plan,
        };
        world.found();
        world
    }

    fn found(&mut self) {
        for _ in 0..self.plan.hubs {
            self.add_hub(true);
        }
        self.steer();
        for place in 0..self.plan.agents {
            self.settle_agent(place);
            let at = Moment(self.random.u64(0..1_000_000));
            self.timeline.at(at, Happening::StartAgent(place));
            self.timeline.at(at, Happening::Publish(place));
        }
        for (at, fault) in self.plan.faults.clone() {
            self.timeline.at(at, Happening::Fault(fault));
        }
        self.timeline.at(self.plan.heal_at, Happening::Heal);
    }

    /// Lets it run to its end.
    #[must_use]
    pub fn run(mut self) -> Report {
        let limit = self.plan.heal_at + self.plan.converge_within;
        let mut stillness = Stillness::default();
        while self.violation.is_none() && !self.over {
            let before = self.now;
            match passing::next(&mut self.network, &mut self.timeline, limit, &mut self.now) {
                Next::Noticed(notice) => self.noticed(notice),
                Next::Happens(happening) => self.happen(happening),
                Next::OutOfTime => self.out_of_time(),
            }
            self.check(stillness.moved(before, self.now));
        }
        Report {
            violation: self.violation,
            hash: self.transcript.hash(),
            last_lines: self.transcript.last(),
            told: self.told,
            at_hub: self.truth.written.len(),
            faults: self.faults,
            wear: self.truth.wear,
            ended_at: self.now,
        }
    }

    /// Remembers the first broken promise.
    fn check(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict
            && self.violation.is_none()
        {
            self.transcript.note(self.now, format_args!("!! {violation}"));
            self.violation = Some(violation);
        }
    }

    fn noticed(&mut self, notice: Notice<Talk>) {
        let node = notice.node();
        if node >= AGENTS {
            self.agent_noticed((node - AGENTS) as usize, notice);
        } else {
            let node = NodeId(node.into());
            let generation = self.hubs.get(&node).map_or(0, |hub| hub.generation);
            self.happen(Happening::Hub { node, generation, what: HubHappening::Noticed(notice) });
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Hub { node, generation, what } => self.hub_happened(node, generation, what),
            Happening::Agent { place, generation, what } => self.agent_happened(place, generation, what),
            Happening::Oracle(what) => self.oracle_happened(what),
            Happening::StartHub(node) => self.start_hub(node),
            Happening::StartAgent(place) => self.start_agent(place),
            Happening::Resume(node) => self.resume(node),
            Happening::Publish(place) => self.publish(place),
            Happening::Fault(fault) => self.go_wrong(fault),
            Happening::Lift(fault) => self.lift(&fault),
            Happening::Heal => self.heal(),
            Happening::Watch => self.watch(),
        }
    }

    /// Puts a frame on the road, through the real codec.
    fn carry(&mut self, connection: u64, node: Node, channel: u8, talk: Talk) {
        let (same, bytes) = match &talk {
            Talk::Agent(frame) => {
                let back = millrace_wire::encode(frame).and_then(|bytes| millrace_wire::decode(&bytes));
                (back.as_ref() == Ok(frame), if let Frame::Run(run) = frame { run.cost() } else { 0 })
            }
            Talk::Peer(frame) => {
                let back = frame.encode().and_then(|bytes| PeerFrame::decode(&bytes));
                (back.as_ref() == Ok(frame), if let PeerFrame::Run(run) = frame { run.run.cost() } else { 0 })
            }
        };
        if !same {
            return self.check(Err(Violation::new("content", format!("the codec changed {talk:?}"))));
        }
        self.network.send(connection, node, channel, talk, bytes, self.now);
    }
}
