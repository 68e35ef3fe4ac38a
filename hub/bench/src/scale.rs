//! How large everything is measured.

use std::time::Duration;

/// Sizes of one run.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Scale {
    /// Whether these are the sizes that figures may be quoted at.
    pub(crate) full: bool,
    /// How often a part is measured; the median counts.
    pub(crate) rounds: usize,
    /// Publications in one MQTT measurement.
    pub(crate) publications: usize,
    /// Records of the backlog that is shipped.
    pub(crate) backlog: u64,
    /// Records of the backlog that memory and reconnects are measured with.
    pub(crate) deep: u64,
    /// How long live readings are watched.
    pub(crate) live: Duration,
    /// How long a process rests before its memory is read.
    pub(crate) rest: Duration,
    /// Connected agents.
    pub(crate) agents: usize,
    /// Cuts and reconnects.
    pub(crate) reconnects: usize,
    /// How long each crowd of clients puts.
    pub(crate) puts: Duration,
    /// Hubs that are killed.
    pub(crate) kills: usize,
    /// How long hubs that are all well watch each other under load.
    pub(crate) watch: Duration,
    /// Records of two holders that are compared.
    pub(crate) compared: &'static [u64],
    /// So many records other methods are given too: negentropy then takes 80 bytes of memory for each, rsync 96 of disk.
    pub(crate) beside_max: u64,
}

impl Scale {
    pub(crate) const fn full() -> Self {
        Self {
            full: true,
            rounds: 3,
            publications: 400_000,
            backlog: 1_000_000,
            deep: 10_000_000,
            live: Duration::from_secs(60),
            rest: Duration::from_secs(10),
            agents: 1_000,
            reconnects: 5,
            puts: Duration::from_secs(5),
            kills: 20,
            watch: Duration::from_secs(600),
            compared: &[1_000_000, 10_000_000, 100_000_000],
            beside_max: 100_000_000,
        }
    }

    pub(crate) const fn quick() -> Self {
        Self {
            full: false,
            rounds: 1,
            publications: 50_000,
            backlog: 100_000,
            deep: 100_000,
            live: Duration::from_secs(5),
            rest: Duration::from_secs(2),
            agents: 50,
            reconnects: 1,
            puts: Duration::from_secs(1),
            kills: 2,
            watch: Duration::from_secs(10),
            compared: &[200_000],
            beside_max: 200_000,
        }
    }
}
