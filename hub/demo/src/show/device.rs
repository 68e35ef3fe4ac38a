//! One device of the plant: its agent, its road, its machines, and what can be done to them.
//!
//! Promise: deeds on one device follow one another; each says on the timeline what it did.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{Agent, AgentOptions, Hub, Plant, PlantError, Publisher, Road};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

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
    /// Its road to the hub.
    pub(crate) road: Road,
    /// Its machines' MQTT client.
    pub(crate) publisher: Publisher,
    /// Its process. Locked while it starts or stops.
    pub(crate) agent: tokio::sync::Mutex<Agent>,
    http: Mutex<String>,
    line: tokio::sync::Mutex<Line>,
    per_second: u32,
    alive: AtomicBool,
    timeline: Arc<Timeline>,
}

/// What a device is made of.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) kind: LineKind,
    /// Readings per second.
    pub(crate) per_second: u32,
    /// Whether its machines use QoS 0.
    pub(crate) unsure: bool,
}

impl Device {
    /// Enrols and starts an agent behind a road of its own.
    pub(crate) async fn start(
        plant: &Plant,
        hub: &Hub,
        part: &Part,
        seed: u64,
        timeline: Arc<Timeline>,
    ) -> Result<Self, PlantError> {
        let Part { name, kind, per_second, unsure } = *part;
        let road = plant.road(hub).await?;
        let mut agent = Agent::start(plant, hub, AgentOptions::new(name, road.addr())).await?;
        let status = agent.online(Duration::from_secs(20)).await?;
        let publisher = agent.publisher(&format!("{name}-gateway"));
        Ok(Self {
            name: name.to_owned(),
            id: status.device,
            road,
            publisher,
            http: Mutex::new(agent.http().to_owned()),
            agent: tokio::sync::Mutex::new(agent),
            line: tokio::sync::Mutex::new(Line::new(name, kind, unsure, seed)),
            per_second,
            alive: AtomicBool::new(true),
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

    /// Cuts the road, or heals it.
    pub(crate) fn set_cut(&self, cut: bool) {
        if cut == self.road.is_cut() {
            return;
        }
        if cut {
            self.road.cut();
            self.timeline.say(&format!("link of {} cut", self.name));
        } else {
            self.road.heal();
            self.timeline.say(&format!("link of {} healed", self.name));
        }
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
