//! The numbers that an engine is run with. The daemon reads them from its configuration file.

use std::time::Duration;

use millrace_model::{AckLevel, Fence, HubId};
use millrace_wire::HubEndpoint;

use crate::retention::WhenFull;

/// The numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Who this hub is.
    pub hub: HubId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// How durable a record is once it is flushed here. A hub alone is all replicas that there are.
    pub level: AckLevel,
    /// All hubs that agents may turn to, this one among them.
    pub hubs: Vec<HubEndpoint>,
    /// How often the cluster was made anew after a disaster; agents and hubs of another epoch are told apart by it.
    pub epoch: u64,
    /// This hub is one of a cluster, be it of one: agents are taken in once it knows its place, or it would call safe what is on its own
    /// disk alone.
    pub clustered: bool,
    /// Fences begin after this one. It must be larger than any that an earlier process gave out.
    pub fence_base: Fence,
    /// Connected devices at once. The next one is told to come back later.
    pub links_max: usize,
    /// Incarnations of one device connected at once; the next one is refused. More than one is a clone, and an alarm.
    pub incarnations_online_max: usize,
    /// Bytes of runs that may be in memory, of all devices together: what is granted as credit.
    pub memory_budget_bytes: u64,
    /// Most credit that one device gets.
    pub credit_max_bytes: u64,
    /// Bytes of runs per second that one device may send in the long run, on all its connections together; `None` is
    /// unlimited.
    pub device_rate: Option<u64>,
    /// Bytes that the journals of one device may take here.
    pub device_bytes_max: u64,
    /// Journals of one device: a device that was restored or cloned too often has to be looked at.
    pub device_journals_max: usize,
    /// Separate ranges of one journal: an honest agent leaves few holes.
    pub journal_ranges_max: usize,
    /// Bytes that the store may take on disk. When full, agents are told to come back later.
    pub disk_budget_bytes: u64,
    /// How long records are kept after they came, at least; `None`: as long as there is room.
    pub keep: Option<Duration>,
    /// What happens when the disk budget is used up.
    pub when_full: WhenFull,
    /// Bytes that are fetched in one batch when records were lost to damage.
    pub repair_batch_bytes: u64,
    /// How long after a comparison with another holder the next one comes.
    pub repair_interval: Duration,
    /// How long this hub may lack what it lost, or differ from another one, before that is an alarm.
    pub consistency_timeout: Duration,
    /// How long a connection may take to say Hello.
    pub greeting_timeout: Duration,
    /// After this a dead connection is closed by the road; one that stands for longer lives.
    pub idle_timeout: Duration,
}

impl Config {
    /// The rate of one device, if there is one to keep.
    pub(crate) fn rate(&self) -> Option<u64> {
        self.device_rate.filter(|rate| *rate > 0)
    }

    /// What a hub does unless told otherwise.
    #[must_use]
    pub fn new(hub: HubId, name: &str, region: &str) -> Self {
        Self {
            hub,
            name: name.to_owned(),
            region: region.to_owned(),
            level: AckLevel::Quorum,
            hubs: Vec::new(),
            epoch: 1,
            clustered: false,
            fence_base: 0,
            links_max: 20_000,
            incarnations_online_max: 4,
            memory_budget_bytes: 256 << 20,
            credit_max_bytes: 8 << 20,
            device_rate: None,
            device_bytes_max: 1 << 40,
            device_journals_max: millrace_wire::limits::JOURNALS_MAX,
            journal_ranges_max: millrace_model::limits::RANGES_MAX / 2,
            disk_budget_bytes: 1 << 42,
            keep: None,
            when_full: WhenFull::Refuse,
            repair_batch_bytes: 16 << 20,
            repair_interval: Duration::from_secs(6 * 3_600),
            consistency_timeout: Duration::from_secs(3_600),
            greeting_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }
}
