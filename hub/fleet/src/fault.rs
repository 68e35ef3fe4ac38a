//! What goes wrong.

use std::time::Duration;

use millrace_sim::Weather;

/// One thing that goes wrong. Sites are named by their place in the plan.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// Nothing gets through between a site and the hub for a while.
    Cut {
        /// Which site.
        site: usize,
        /// Towards the hub.
        up: bool,
        /// From the hub.
        down: bool,
        /// How long.
        span: Duration,
    },
    /// Bad weather between a site and the hub for a while.
    Storm {
        /// Which site.
        site: usize,
        /// Both ways.
        weather: Weather,
        /// How long.
        span: Duration,
    },
    /// An agent loses power, and comes back.
    CrashAgent {
        /// Which site.
        site: usize,
        /// How long it is off.
        span: Duration,
    },
    /// An agent stops in good order, and comes back.
    RestartAgent {
        /// Which site.
        site: usize,
        /// How long it is off.
        span: Duration,
    },
    /// The hub loses power, and comes back.
    CrashHub {
        /// How long it is off.
        span: Duration,
    },
    /// The hub stops in good order, and comes back.
    RestartHub {
        /// How long it is off.
        span: Duration,
    },
    /// An agent loses its disk, and starts on a new one.
    Wipe {
        /// Which site.
        site: usize,
    },
    /// Somebody keeps a copy of an agent's directory.
    Backup {
        /// Which site.
        site: usize,
    },
    /// An agent is restored from the last copy, if there is one.
    Restore {
        /// Which site.
        site: usize,
    },
    /// A second machine starts with a copy of an agent's directory and identity.
    Clone {
        /// Which site.
        site: usize,
    },
    /// A device's wall clock jumps, by seconds.
    ClockJump {
        /// Which site.
        site: usize,
        /// How far.
        seconds: i64,
    },
    /// An agent's disk refuses commits for a while.
    AgentDiskFull {
        /// Which site.
        site: usize,
        /// How long.
        span: Duration,
    },
    /// The hub's disk refuses commits for a while.
    HubDiskFull {
        /// How long.
        span: Duration,
    },
    /// A bandwidth budget holds for a while.
    Allowance {
        /// Which site.
        site: usize,
        /// Bytes per second.
        rate: Option<u64>,
        /// Whether bytes cost money.
        metered: bool,
        /// How long.
        span: Duration,
    },
}
