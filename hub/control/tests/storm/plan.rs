//! Which fault when, drawn from a seed.

use std::time::Duration;

use millrace_hub_control::NodeId;

/// What happens to the cluster. Each is mended before the next one.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing passes between the two sides.
    Cut(Vec<NodeId>, Vec<NodeId>),
    /// Nothing passes from the first side to the other.
    CutOneWay(Vec<NodeId>, Vec<NodeId>),
    /// A hub is paused as its neighbours see it: everything is held back, and set free together.
    Hold(NodeId, Vec<NodeId>),
    /// Packets are lost at this rate.
    Loss(f64),
    /// Packets take up to so long.
    Slow(Duration),
    /// Processes end and start again; with lost power, what SQLite had not flushed is gone.
    Crash(Vec<NodeId>, bool),
    /// The wall clock is set by so many seconds.
    Clock(i64),
}

pub struct Plan {
    rng: fastrand::Rng,
    nodes: Vec<NodeId>,
}

impl Plan {
    pub fn new(seed: u64, nodes: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed ^ 0x5ea_f00d), nodes: (1..=nodes).collect() }
    }

    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.u64(least..=most))
    }

    /// Until the next fault.
    pub fn pause(&mut self) -> Duration {
        self.millis(500, 3_000)
    }

    /// How long it lasts: from a hiccup to much longer than a lease.
    pub fn length(&mut self) -> Duration {
        if self.rng.bool() { self.millis(50, 1_200) } else { self.millis(1_000, 6_000) }
    }

    /// The next fault; half of them hit the leader.
    pub fn next(&mut self, leader: Option<NodeId>) -> Fault {
        let any = self.nodes[self.rng.usize(..self.nodes.len())];
        let one = leader.filter(|_| self.rng.bool()).unwrap_or(any);
        let mut others: Vec<NodeId> = self.nodes.iter().copied().filter(|node| *node != one).collect();
        match self.rng.u8(..12) {
            0 | 1 => Fault::Cut(vec![one], others),
            // Whatever remains together may be a majority or not.
            2 => {
                self.rng.shuffle(&mut others);
                let side = others.split_off(self.rng.usize(1..others.len()));
                Fault::Cut(side, [vec![one], others].concat())
            }
            3 => Fault::CutOneWay(vec![one], others),
            4 => Fault::CutOneWay(others, vec![one]),
            5 => Fault::Hold(one, others),
            6 => Fault::Loss(f64::from(self.rng.u8(2..30)) / 100.0),
            7 => Fault::Slow(self.millis(30, 150)),
            8 => Fault::Crash(vec![one], false),
            9 => Fault::Crash(vec![one], true),
            10 => Fault::Crash(self.nodes.clone(), self.rng.bool()),
            _ => Fault::Clock(self.rng.i64(-86_400..86_400)),
        }
    }
}
