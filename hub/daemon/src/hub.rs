//! The hub as a whole: opens everything in order, runs it, and closes it in order.
//!
//! Promise: `runtime.json` and systemd's READY come only when agents and callers are taken. At an orderly end everything
//! that was received is flushed first; a poisoned store ends the process with exit code 74 instead, without another ack.
//! Absent: the command line, signals.

mod answering;
mod crew;
pub mod founding;
pub(crate) mod identity;
mod linking;
mod lives;
mod place;
mod start;
pub mod taking_part;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_host::schedules::Schedules;
use millrace_host::{Clock, Exit, Failure, Reload, Shutdown, systemd};
use millrace_hub_control::ControlError;
use millrace_hub_engine::membership::Profile;
use millrace_journal::Writer;
use millrace_link::{CloseCode, Identity, Listener};
use millrace_model::HubId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, timeout};

use crate::cluster::Cluster;
use crate::cluster::upkeep::Own;
use crate::config::Config;
use crate::driver::input::Input;
use crate::driver::{DriverHandle, Ended};
use crate::peers::Peers;
use crate::pulse::Pulse;
use crate::registrar::Registrar;
use crate::retention::{self, Looking};
use crew::{Crew, Leaver};

pub(crate) use start::{load_ca, open_sightings, registry_failure, store_failure};

/// How often the hub looks whether its own certificate is to be renewed.
const IDENTITY_CHECK: Duration = Duration::from_secs(1_800);
/// How often `systemctl status` gets a fresh line.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// How often it looks whether it still takes part in its cluster's decisions.
const STOPPED_CHECK: Duration = Duration::from_secs(1);
/// How long the driver may take to say why it ended, when those who talk to it end first.
const VERDICT_PATIENCE: Duration = Duration::from_secs(1);
/// How long callers and the journal's thread may take to end.
const END_PATIENCE: Duration = Duration::from_secs(6);

/// What helps when the store is poisoned.
const POISONED: &str = "the next start verifies the store; when this repeats, look at the disk, move journal.db and the files beside it \
                        whose names begin so aside, and start: the other hubs fill the store again";

/// A hub that runs.
pub struct Hub {
    config: Config,
    clock: Clock,
    shutdown: Shutdown,
    listener: Arc<Listener>,
    registrar: Arc<Registrar>,
    pulse: Arc<Pulse>,
    writer: Writer,
    handle: DriverHandle,
    driver: JoinHandle<Ended>,
    crew: Crew,
    quic: SocketAddr,
    http: SocketAddr,
    schedules: Schedules,
    looking: Looking,
    hub: HubId,
    cluster: Cluster,
    peers: Peers,
    /// A crew of its own: its goodbye is waited for before connections are cut.
    gossip: Crew,
    shows: Shows,
    rereading: Option<Rereading>,
}

/// What a hub shows of itself, to be changed while it runs.
struct Shows {
    /// To those that it dials.
    identity: watch::Sender<Identity>,
    /// In the table.
    own: watch::Sender<Own>,
    /// In gossip.
    profile: Arc<watch::Sender<Profile>>,
}

/// Reads the config again, as it stands now.
type Rereading = Arc<dyn Fn() -> Result<Config, Failure> + Send + Sync>;

impl Hub {
    /// Has each reload read the config again with `read`. Without this a reload reads the identity only.
    #[must_use]
    pub fn rereading(mut self, read: impl Fn() -> Result<Config, Failure> + Send + Sync + 'static) -> Self {
        self.rereading = Some(Arc::new(read));
        self
    }

    /// Where it listens for agents.
    #[must_use]
    pub const fn quic(&self) -> SocketAddr {
        self.quic
    }

    /// Where its HTTP API listens.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its part in its cluster.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What it says of itself in gossip. Whoever has it drain says so there.
    #[must_use]
    pub fn profile(&self) -> Arc<watch::Sender<Profile>> {
        Arc::clone(&self.shows.profile)
    }

    /// Runs until the shutdown starts or the store fails, then closes everything. Each request of `reload` reads the
    /// identity again, and of the config the quotas and retention; see [`Hub::rereading`].
    pub async fn run(mut self, mut reload: Option<Reload>) -> Exit {
        let mut identity = ticks(IDENTITY_CHECK);
        let mut status = ticks(STATUS_EVERY);
        let ended = loop {
            let left = tokio::select! {
                ended = &mut self.driver => break driven(ended),
                left = self.crew.leaver() => left,
                left = self.gossip.leaver() => left,
                () = requested(&mut reload) => { self.reload().await; continue }
                _ = identity.tick() => { self.renew_own().await; continue }
                _ = status.tick() => { self.tell_systemd().await; continue }
                why = stopped(self.cluster.clone()) => break Ended::Decisions(why),
            };
            if let Some(ended) = self.without(left).await {
                break ended;
            }
        };
        self.end(&ended).await
    }

    /// What the end of a task means; `None`: it was told to end.
    async fn without(&mut self, left: Leaver) -> Option<Ended> {
        if self.shutdown.is_triggered() && left.failure.is_none() {
            return None;
        }
        tracing::error!(name = left.name, why = left.why(), "a task of the hub has ended");
        // Whoever talked to the driver ends with it, and it says why; likewise with the consensus.
        if let Ok(ended) = timeout(VERDICT_PATIENCE, &mut self.driver).await {
            return Some(driven(ended));
        }
        if let Err(ControlError::Stopped(why)) = self.cluster.control().quorum() {
            return Some(Ended::Decisions(why));
        }
        Some(Ended::Task { name: left.name, why: left.why(), exit: left.exit() })
    }

    async fn end(self, ended: &Ended) -> Exit {
        self.pulse.serving(false);
        systemd::stopping();
        let (exit, code, text) = match ended {
            Ended::Asked => (Exit::Ok, CloseCode::Shutdown, "the hub stops"),
            Ended::Poisoned(_) | Ended::Decisions(_) => {
                (Exit::Io, CloseCode::Internal, "the hub's store failed")
            }
            Ended::Task { exit, .. } => (*exit, CloseCode::Internal, "the hub failed"),
            Ended::WriterGone => (Exit::Internal, CloseCode::Internal, "the hub failed"),
        };
        if exit != Exit::Ok {
            self.pulse.failed(&ended.to_string());
            let hint = matches!(ended, Ended::Poisoned(_)).then_some(POISONED);
            tracing::error!(%ended, exit = exit.code(), hint, "the hub ends");
        }
        self.shutdown.trigger();
        self.schedules.shutdown().await;
        // The others hear that it leaves before their connections are cut.
        self.gossip.end(END_PATIENCE).await;
        self.listener.close(code, text).await;
        self.crew.end(END_PATIENCE).await;
        let writer = self.writer;
        self.peers.close(code, text).await;
        if timeout(END_PATIENCE, self.cluster.close()).await.is_err() {
            tracing::warn!("the cluster's decisions do not close: the process ends without it");
        }
        let closed = tokio::task::spawn_blocking(move || drop(writer.stop()));
        if timeout(END_PATIENCE, closed).await.is_err() {
            tracing::warn!("the journal's thread does not end: the process ends without it");
        }
        self.config.places.withdraw();
        tracing::info!(exit = exit.code(), "the hub has stopped");
        exit
    }

    /// Reads the hub's identity again, as it stands on disk, and what of the config can change while it runs.
    async fn reload(&mut self) {
        systemd::reloading();
        if let Some(read) = self.rereading.clone() {
            match tokio::task::spawn_blocking(move || read()).await {
                Ok(Ok(config)) => self.reconfigure(config).await,
                Ok(Err(failure)) => tracing::error!(%failure, "the config cannot be used: the old one stays"),
                Err(error) => tracing::error!(%error, "the config could not be read"),
            }
        }
        let directory = self.config.places.identity();
        let loaded = tokio::task::spawn_blocking(move || Identity::load(&directory)).await;
        match loaded {
            Ok(Ok(identity)) => self.present(&identity),
            Ok(Err(error)) => tracing::error!(%error, "the identity cannot be read: the old one stays"),
            Err(error) => tracing::error!(%error, "the identity could not be read"),
        }
        systemd::ready();
    }

    /// Takes over quotas and retention. Whatever else differs needs a restart, and that is said.
    async fn reconfigure(&mut self, new: Config) {
        if new.retention.schedule != self.config.retention.schedule
            && let Err(error) = retention::schedule(
                &self.schedules,
                (retention::NAME, &new.retention.schedule),
                &self.looking,
            )
            .await
        {
            tracing::error!(%error, "the retention's schedule cannot be used: nothing is dropped until the next reload");
        }
        (self.config.quota, self.config.retention) = (new.quota.clone(), new.retention.clone());
        if new != self.config {
            tracing::warn!(
                "the config says more that is new: quotas and retention count from now on, the rest after a restart"
            );
        }
        let numbers = start::numbers(&self.config, self.hub);
        self.handle.tell(Input::Reconfigure(Box::new(numbers))).await;
        self.looking.ask();
        tracing::info!("quotas and retention are read again");
    }

    async fn renew_own(&self) {
        if self.registrar.ca().is_none() {
            match taking_part::renew_from_others(&self.config.places, &self.peers, self.clock.wall()).await {
                Ok(Some(identity)) => self.present(&identity),
                Ok(None) => {}
                Err(failure) => tracing::error!(%failure, "the hub's certificate is not renewed yet"),
            }
            return;
        }
        let (places, registrar) = (self.config.places.clone(), Arc::clone(&self.registrar));
        let (life, now) = (self.config.certificate_life, self.clock.wall());
        let current =
            tokio::task::spawn_blocking(move || identity::current(&places, registrar.ca(), life, now));
        match current.await {
            Ok(Ok(identity)) => self.present(&identity),
            Ok(Err(failure)) => tracing::error!(%failure, "the hub's certificate cannot be renewed"),
            Err(error) => tracing::error!(%error, "the hub's certificate could not be looked at"),
        }
    }

    fn present(&self, identity: &Identity) {
        match self.listener.replace_identity(identity) {
            Ok(()) => {
                let key = identity.own().public_key_hash;
                self.shows.identity.send_replace(identity.clone());
                self.shows.own.send_if_modified(|own| std::mem::replace(&mut own.key, key) != key);
            }
            Err(error) => tracing::error!(%error, "the identity cannot be used: the old one stays"),
        }
    }

    async fn tell_systemd(&self) {
        if let Some(now) = self.handle.snapshot().await {
            let records: u64 = now.devices.iter().map(|device| device.records).sum();
            let (count, bytes) = (millrace_host::terminal::count, millrace_host::terminal::bytes);
            systemd::status(&format!(
                "{} sessions, {} records, {} on disk{}",
                now.sessions,
                count(records),
                bytes(now.usage.used_bytes),
                if now.full { ", FULL" } else { "" }
            ));
        }
    }
}

fn driven(ended: Result<Ended, tokio::task::JoinError>) -> Ended {
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "the driver broke: this is a fault in the program");
        Ended::WriterGone
    })
}

/// Waits until this hub has stopped taking part in its cluster's decisions: its disk failed.
async fn stopped(cluster: Cluster) -> String {
    let mut look = ticks(STOPPED_CHECK);
    loop {
        look.tick().await;
        if let Err(ControlError::Stopped(why)) = cluster.control().quorum() {
            return why;
        }
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn requested(reload: &mut Option<Reload>) {
    match reload {
        Some(reload) => reload.requested().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::About;

    async fn hub(dir: &tempfile::TempDir) -> Hub {
        let clock = Clock::system();
        let about =
            About { name: "hub-1".into(), region: "north".into(), addresses: vec!["127.0.0.1:0".into()] };
        founding::found(dir.path(), &about, None, clock.wall()).unwrap();
        let mut config = crate::config::defaults(dir.path()).unwrap();
        let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
        (config.quic, config.http) = (here, here);
        Hub::start(config, clock, Shutdown::manual()).await.unwrap()
    }

    #[tokio::test]
    async fn a_hub_that_has_lost_a_task_ends_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut hub = hub(&dir).await;
        let pulse = Arc::clone(&hub.pulse);
        hub.crew.begin("a task of the test", async { panic!("a fault") });
        assert_eq!(hub.run(None).await, Exit::Internal);
        let said = millrace_host::http::Health::healthy(pulse.as_ref()).unwrap_err();
        assert!(said.contains("a task of the test") && said.contains("a fault"), "{said}");
    }

    #[tokio::test]
    async fn a_hub_that_is_told_to_stop_waits_for_nobody_who_does_not_end() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(&dir).await;
        hub.shutdown.trigger();
        // One task that does not end would take all of it.
        assert_eq!(timeout(END_PATIENCE, hub.run(None)).await, Ok(Exit::Ok));
    }
}
