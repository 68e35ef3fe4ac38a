//! What goes wrong between and with hub processes, drawn from a seed.
//!
//! Promise: everything that was broken is mended when [`Nemesis::torment`] returns: all hubs run, all roads are open.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{Cluster, Hub, PlantError};

/// What happens to hubs. Numbers are places in [`Cluster::hubs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a new start.
    Kill(usize),
    /// SIGKILL for all at once.
    KillAll,
    /// SIGSTOP, and SIGCONT later.
    Halt(usize),
    /// Nothing passes between it and the others.
    CutOff(usize),
    /// Nothing that it sends arrives.
    Mute(usize),
    /// Nothing that is sent to it arrives.
    Deafen(usize),
    /// It sees one of the others no more, and that one does not see it; a third one sees both.
    Quarrel(usize, usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(hub) => write!(f, "hub {hub} is killed"),
            Self::KillAll => f.write_str("all hubs are killed"),
            Self::Halt(hub) => write!(f, "hub {hub} is halted"),
            Self::CutOff(hub) => write!(f, "hub {hub} is cut off"),
            Self::Mute(hub) => write!(f, "hub {hub} is not heard"),
            Self::Deafen(hub) => write!(f, "hub {hub} hears nothing"),
            Self::Quarrel(one, other) => write!(f, "hubs {one} and {other} lose each other"),
        }
    }
}

/// Who breaks things.
#[derive(Debug)]
pub struct Nemesis {
    rng: fastrand::Rng,
}

impl Nemesis {
    /// One of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed) }
    }

    /// The next fault for a cluster of so many hubs.
    pub fn next(&mut self, hubs: usize) -> Fault {
        let hub = self.rng.usize(..hubs.max(1));
        let other = (hub + 1 + self.rng.usize(..hubs.saturating_sub(1).max(1))) % hubs.max(1);
        match self.rng.u8(..10) {
            0 | 1 => Fault::Kill(hub),
            2 => Fault::KillAll,
            3 | 4 => Fault::Halt(hub),
            5 | 6 => Fault::CutOff(hub),
            7 => Fault::Mute(hub),
            8 => Fault::Deafen(hub),
            _ => Fault::Quarrel(hub, other),
        }
    }

    /// Breaks and mends for `length`. Returns what was done.
    ///
    /// # Errors
    /// When something cannot be broken or mended.
    pub async fn torment(
        &mut self,
        cluster: &mut Cluster,
        length: Duration,
    ) -> Result<Vec<Fault>, PlantError> {
        let end = Instant::now() + length;
        let mut done = Vec::new();
        while Instant::now() < end {
            sleep(Duration::from_millis(self.rng.u64(100..500))).await;
            let fault = self.next(cluster.hubs.len());
            begin(cluster, &fault).await?;
            let most = if self.rng.bool() { 500 } else { 2_500 };
            sleep(Duration::from_millis(self.rng.u64(100..most))).await;
            mend(cluster, &fault).await?;
            done.push(fault);
        }
        Ok(done)
    }
}

/// Breaks it.
///
/// # Errors
/// When a signal cannot be sent, or a road not be cut.
pub async fn begin(cluster: &mut Cluster, fault: &Fault) -> Result<(), PlantError> {
    let count = cluster.hubs.len();
    let others = |hub: usize| (0..count).filter(move |other| *other != hub);
    match *fault {
        Fault::Kill(hub) => {
            if let Some(hub) = cluster.hubs.get_mut(hub) {
                hub.process.kill().await?;
            }
        }
        Fault::KillAll => {
            for hub in &mut cluster.hubs {
                hub.process.kill().await?;
            }
        }
        Fault::Halt(hub) => cluster.hubs.get(hub).map_or(Ok(()), |hub| hub.process.halt())?,
        Fault::CutOff(hub) => cluster.network()?.part(&[hub], &others(hub).collect::<Vec<_>>())?,
        Fault::Mute(hub) => others(hub).try_for_each(|other| cluster.network()?.cut_one_way(hub, other))?,
        Fault::Deafen(hub) => others(hub).try_for_each(|other| cluster.network()?.cut_one_way(other, hub))?,
        Fault::Quarrel(one, other) => cluster.network()?.part(&[one], &[other])?,
    }
    Ok(())
}

/// Mends it.
///
/// # Errors
/// When a hub does not start, or a road cannot be opened.
pub async fn mend(cluster: &mut Cluster, fault: &Fault) -> Result<(), PlantError> {
    match *fault {
        Fault::Kill(hub) => {
            if let Some(hub) = cluster.hubs.get_mut(hub) {
                hub.restart().await?;
            }
        }
        Fault::KillAll => Hub::restart_all(&mut cluster.hubs).await?,
        Fault::Halt(hub) => cluster.hubs.get(hub).map_or(Ok(()), |hub| hub.process.go_on())?,
        Fault::CutOff(_) | Fault::Mute(_) | Fault::Deafen(_) | Fault::Quarrel(..) => {
            cluster.network()?.heal()?;
        }
    }
    Ok(())
}
