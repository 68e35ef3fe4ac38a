//! Time, and everybody in it.
//!
//! Promise: the engines and the journal are the real ones; this is only their world. The first broken promise ends it.
//!
//! | room | what stands there |
//! |---|---|
//! | [`site`] | one agent with its disk and sensors |
//! | [`agent`] | what an agent asks of the world, and what the world tells it |
//! | [`commit`] | an agent's commits, and what the model learns from them |
//! | [`hub`] | the hub, likewise |
//! | [`mishap`] | what goes wrong |
//! | [`finish`] | when everything has converged, and what is asked then |

mod agent;
mod commit;
mod finish;
mod hub;
mod mishap;
mod site;

use millrace_agent_engine::LoadRequest;
use millrace_hub_engine::Asker;
use millrace_merkle::About;
use millrace_model::{DeviceId, JournalId, Moment, SeqRange};
use millrace_sim::{ConnectionId, Network, Node, Notice, Timeline, Transport};
use millrace_wire::Frame;

use crate::Plan;
use crate::cluster::truth::Wear;
use crate::fault::Fault;
use crate::invariants::branches::Branch;
use crate::invariants::{Verdict, Violation};
use crate::model::Model;
use crate::passing::{self, Next, Stillness};
use crate::transcript::Transcript;
use hub::Hub;
use site::Site;

/// The hub's node; site `n` is node `n + 1`.
const HUB: Node = 0;

/// The node of a site.
fn node_of(site: usize) -> Node {
    Node::try_from(site + 1).unwrap_or(Node::MAX)
}

/// How often the world looks whether it has converged.
const WATCH: std::time::Duration = std::time::Duration::from_millis(500);

/// What will happen.
#[derive(Clone, Debug)]
enum Happening {
    Agent { site: usize, generation: u32, what: AgentHappening },
    Hub { generation: u32, what: HubHappening },
    StartSite(usize),
    StartHub,
    Tick { site: usize, sensor: usize },
    Fault(Fault),
    Lift(Fault),
    Heal,
    Watch,
}

/// What will happen to an agent's process, if it still lives then.
#[derive(Clone, Debug)]
enum AgentHappening {
    Timer(Moment),
    Flushed,
    Loaded(LoadRequest),
    Checked(JournalId, SeqRange),
    Surveyed(usize),
    Consulted { session: u64, number: u64, journal: JournalId, about: About },
    HungUp,
    Clocks,
    PowerOff { span: std::time::Duration },
}

/// What will happen to the hub's process, if it still lives then.
#[derive(Clone, Debug)]
enum HubHappening {
    Timer(Moment),
    Flushed,
    Checked(JournalId, SeqRange),
    Consulted { asker: Asker, number: u64, journal: JournalId, about: About },
    Closed(ConnectionId),
    Clock,
    PowerOff { span: std::time::Duration },
}

/// What became of a world.
#[derive(Clone, Debug)]
pub struct Report {
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// Hash of the transcript.
    pub hash: u64,
    /// The last lines of the transcript.
    pub last_lines: Vec<String>,
    /// Publications that publishers were told of.
    pub told: usize,
    /// Records at the hub.
    pub at_hub: usize,
    /// Things that went wrong, of those planned.
    pub faults: usize,
    /// What happened to the stores of hubs.
    pub wear: Wear,
    /// Virtual time when it ended.
    pub ended_at: Moment,
}

/// A world.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    now: Moment,
    random: fastrand::Rng,
    timeline: Timeline<Happening>,
    network: Network<Frame>,
    sites: Vec<Site>,
    hub: Hub,
    model: Model,
    branches: Vec<Branch>,
    transcript: Transcript,
    violation: Option<Violation>,
    healed_at: Option<Moment>,
    over: bool,
    faults: usize,
}

impl World {
    /// The world that `plan` describes; `print` prints its transcript.
    #[must_use]
    pub fn new(plan: Plan, print: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let network = Network::new(random.u64(..), Transport::default());
        let hub = Hub::new(&plan.hub, random.u64(..));
        let mut world = Self {
            now: Moment(0),
            timeline: Timeline::default(),
            network,
            sites: Vec::new(),
            hub,
            model: Model::default(),
            branches: Vec::new(),
            transcript: Transcript::new(print),
            violation: None,
            healed_at: None,
            over: false,
            faults: 0,
            random,
            plan,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        self.timeline.at(Moment(0), Happening::StartHub);
        for (place, plan) in self.plan.sites.clone().into_iter().enumerate() {
            let mut device = [0; 16];
            device.fill_with(|| self.random.u8(..));
            self.settle_site(place, DeviceId::from_bytes(device), plan);
            let at = Moment(self.random.u64(0..2_000_000));
            self.timeline.at(at, Happening::StartSite(place));
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
        self.report()
    }

    fn report(self) -> Report {
        Report {
            violation: self.violation,
            hash: self.transcript.hash(),
            last_lines: self.transcript.last(),
            told: self.model.told.len(),
            at_hub: self.model.hub.values().map(std::collections::BTreeMap::len).sum(),
            faults: self.faults,
            wear: Wear::default(),
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

    fn noticed(&mut self, notice: Notice<Frame>) {
        let node = notice.node();
        if node == HUB {
            self.hub_noticed(notice);
        } else {
            self.agent_noticed(node as usize - 1, notice);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Agent { site, generation, what } => {
                let lives = |site: &Site| site.engine.is_some() && site.generation == generation;
                if self.sites.get(site).is_some_and(lives) {
                    self.agent_happened(site, what);
                }
            }
            Happening::Hub { generation, what } => {
                if self.hub.engine.is_some() && self.hub.generation == generation {
                    self.hub_happened(what);
                }
            }
            Happening::StartSite(site) => self.start_site(site),
            Happening::StartHub => self.start_hub(),
            Happening::Tick { site, sensor } => self.tick(site, sensor),
            Happening::Fault(fault) => self.go_wrong(fault),
            Happening::Lift(fault) => self.lift(&fault),
            Happening::Heal => self.heal(),
            Happening::Watch => self.watch(),
        }
    }
}
