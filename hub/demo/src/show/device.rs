//! One device of the plant: its agent, its roads to the hubs, its machines, and what can be done to them.
//!
//! Promise: deeds on one device follow one another; each says on the timeline what it did.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{Agent, AgentOptions, AgentStatus, Plant, PlantError, Publisher, Road, http};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::site::Site;
use super::stage::set;
use super::timeline::Timeline;

/// Readings of a burst: a machine that sends what it buffered during a network change in the hall.
pub(crate) const BURST: usize = 3_000;

/// Between two handfuls of readings.
const TICK: Duration = Duration::from_millis(20);

/// A device.
pub(crate) struct Device {
    /// Its name.
    pub(crate) name: String,
    /// Its id, as the hub knows it.
    pub(crate) id: String,
    /// Its roads, one to the hub of each region.
    roads: Vec<Road>,
    /// Its own region.
    region: usize,
    /// Its machines' MQTT client.
    pub(crate) publisher: Publisher,
    /// Its process. Locked while it starts or stops.
    pub(crate) agent: tokio::sync::Mutex<Agent>,
    http: Mutex<String>,
    line: tokio::sync::Mutex<Line>,
    per_second: u32,
    alive: AtomicBool,
    cut: AtomicBool,
    timeline: Arc<Timeline>,
}

/// What a device is made of.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Where it stands.
    pub(crate) region: usize,
    pub(crate) kind: LineKind,
    /// Readings per second.
    pub(crate) per_second: u32,
    /// Whether its machines use QoS 0.
    pub(crate) unsure: bool,
}

impl Device {
    /// Enrols and starts an agent behind roads of its own. Its readings are acknowledged when a majority of the hubs has them.
    pub(crate) async fn start(
        plant: &Plant,
        sites: &[Arc<Site>],
        part: &Part,
        seed: u64,
        timeline: Arc<Timeline>,
    ) -> Result<Self, PlantError> {
        let Part { name, region, kind, per_second, unsure } = *part;
        let mut roads = Vec::new();
        for site in sites {
            roads.push(plant.road_to(site.hub.lock().await.quic()).await?);
        }
        let addresses: Vec<_> = roads.iter().map(Road::addr).collect();
        let home = sites.get(region).map_or("", |site| site.region.as_str());
        let options = AgentOptions::among(name, &addresses, home, "quorum");
        // Any hub takes it in; its own is as good as the others.
        let Some(site) = sites.get(region) else {
            return Err(PlantError::answer(name, &"it stands in no region"));
        };
        let mut agent = Agent::start(plant, &*site.hub.lock().await, options).await?;
        let status = agent.online(Duration::from_secs(20)).await?;
        let publisher = agent.publisher(&format!("{name}-gateway"));
        Ok(Self {
            name: name.to_owned(),
            id: status.device,
            roads,
            region,
            publisher,
            http: Mutex::new(agent.http().to_owned()),
            agent: tokio::sync::Mutex::new(agent),
            line: tokio::sync::Mutex::new(Line::new(name, kind, unsure, seed)),
            per_second,
            alive: AtomicBool::new(true),
            cut: AtomicBool::new(false),
            timeline,
        })
    }

    /// Where its agent answers HTTP.
    pub(crate) fn http(&self) -> String {
        self.http.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether its agent runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Its own region.
    pub(crate) const fn region(&self) -> usize {
        self.region
    }

    /// Whether its link to all hubs is cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// The hub that it has a session with.
    pub(crate) async fn hub(&self) -> Option<String> {
        let status = http::json::<AgentStatus>(&self.http(), "/status").await.ok()?;
        status.is_online().then_some(status.hub)
    }

    /// Bytes on its roads, up and down.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let all = self.roads.iter().map(Road::traffic);
        all.fold((0, 0), |(up, down), road| (up + road.up_bytes, down + road.down_bytes))
    }

    /// A region was cut off, or connected again: whoever stands elsewhere loses its hub, and who stands there all others.
    pub(crate) fn region_cut(&self, region: usize, cut: bool) {
        if self.is_cut() {
            return;
        }
        for (number, road) in self.roads.iter().enumerate() {
            if (number == region) != (self.region == region) {
                set(road, cut);
            }
        }
    }

    /// The machines speak until `closing`.
    pub(crate) async fn speak(&self, mut closing: watch::Receiver<bool>) -> Result<(), PlantError> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut owed = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = closing.wait_for(|closing| *closing) => return Ok(()),
            }
            // In thousandths of a reading, so that slow lines keep their pace too.
            owed += self.per_second * 20;
            for _ in 0..owed / 1_000 {
                self.publish_one().await?;
            }
            owed %= 1_000;
        }
    }

    async fn publish_one(&self) -> Result<(), PlantError> {
        let publication = self.line.lock().await.publication();
        match publication {
            Some(publication) => self.publisher.publish(publication).await,
            None => Ok(()),
        }
    }

    /// The machines send a buffer at once.
    pub(crate) async fn burst(&self) -> Result<(), PlantError> {
        self.timeline.say(&format!("{} sends a burst of {BURST} readings", self.name));
        for _ in 0..BURST {
            self.publish_one().await?;
        }
        Ok(())
    }

    /// Cuts its link to all hubs, or heals it.
    pub(crate) fn set_cut(&self, cut: bool) {
        if self.cut.swap(cut, Ordering::Relaxed) == cut {
            return;
        }
        self.roads.iter().for_each(|road| set(road, cut));
        let what = if cut { "cut" } else { "healed" };
        self.timeline.say(&format!("link of {} {what}", self.name));
    }

    /// Kills the agent with SIGKILL.
    pub(crate) async fn kill(&self) -> Result<(), PlantError> {
        let mut agent = self.agent.lock().await;
        if self.alive.swap(false, Ordering::Relaxed) {
            agent.process.kill().await?;
            self.timeline.say(&format!("agent of {} killed (SIGKILL)", self.name));
        }
        Ok(())
    }

    /// Starts the agent again, if it does not run.
    pub(crate) async fn revive(&self) -> Result<(), PlantError> {
        let mut agent = self.agent.lock().await;
        if !self.is_alive() {
            agent.restart().await?;
            agent.http().clone_into(&mut self.http.lock().unwrap_or_else(PoisonError::into_inner));
            self.alive.store(true, Ordering::Relaxed);
            self.timeline.say(&format!("agent of {} runs again", self.name));
        }
        Ok(())
    }
}
