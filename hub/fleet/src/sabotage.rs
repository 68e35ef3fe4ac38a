//! Broken behaviour on purpose: each switch makes the world break one promise, and a test says which invariant sees it.
//!
//! Absent: switches in the engines or the journal. The world around them lies.

/// What the world breaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// Sensors are told as soon as their publication arrives.
    EarlyPuback,
    /// The agent's store believes that everything is acknowledged, and trims.
    EarlyTrim,
    /// The hub's store says that it stored a run, and did not.
    ForgetfulHub,
    /// The hub acknowledges runs as they come in.
    EarlyAck,
    /// The agent's store drops its open gaps instead of declaring them.
    SilentLoss,
    /// A flush at the agent that was said to have happened is gone after a crash.
    LyingFlush,
    /// The hub's store numbers the records of a run one too high.
    Misplacement,
    /// A restored agent is never told that it went back in time, because the hub's Welcome hides it.
    BlindHub,
}

impl Sabotage {
    /// Everything that can be broken.
    pub const ALL: [Self; 8] = [
        Self::EarlyPuback,
        Self::EarlyTrim,
        Self::ForgetfulHub,
        Self::EarlyAck,
        Self::SilentLoss,
        Self::LyingFlush,
        Self::Misplacement,
        Self::BlindHub,
    ];
}

/// What a world of several hubs breaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum ClusterSabotage {
    /// Nothing.
    #[default]
    None,
    /// Hubs are told that every store is full.
    GullibleHubs,
    /// Hubs' disks forget a run now and then, and say that they flushed it.
    ForgetfulDisks,
    /// A hub says for ever that it has synced what it once synced: partitions switch before the sync.
    RememberedSync,
    /// One replica drops a record now and then that it says it holds.
    DroppedRecords,
    /// What hubs say that they flushed gets lost between them.
    LostAnswers,
    /// Hubs that fill themselves say that they know what all hubs hold.
    EmptyWitnesses,
    /// Hubs that lost records do not ask for them.
    IdleMending,
    /// Hubs that lost records ask for all before them, too.
    GreedyMending,
    /// The scrub reads everything and says nothing.
    BlindScrub,
    /// Queries hand out what does not verify.
    CredulousReads,
    /// Stores forget what they let go, so that it may come back.
    ForgottenFloors,
    /// Damage takes sound records with it.
    CarelessQuarantine,
    /// Devices do not ask for what they lost.
    IdleRegaining,
    /// Devices that lost records ask for all before them, too.
    GreedyRegaining,
    /// Devices' stores forget what they let go, so that it may come back.
    ForgetfulDevices,
    /// Hubs bring devices other records than these lost.
    Changelings,
}

impl ClusterSabotage {
    /// Everything that can be broken.
    pub const ALL: [Self; 16] = [
        Self::GullibleHubs,
        Self::ForgetfulDisks,
        Self::RememberedSync,
        Self::DroppedRecords,
        Self::LostAnswers,
        Self::EmptyWitnesses,
        Self::IdleMending,
        Self::GreedyMending,
        Self::BlindScrub,
        Self::CredulousReads,
        Self::ForgottenFloors,
        Self::CarelessQuarantine,
        Self::IdleRegaining,
        Self::GreedyRegaining,
        Self::ForgetfulDevices,
        Self::Changelings,
    ];
}
