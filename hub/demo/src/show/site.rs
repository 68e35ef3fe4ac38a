//! One region with its hub: the process, its roads to the other hubs, and what can be done to them.
//!
//! Promise: each deed says on the timeline what it did. A region that is cut off keeps its own devices and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use millrace_demo::{Hub, PlantError, Road};

use super::timeline::Timeline;

/// A region.
pub(crate) struct Site {
    /// Its name.
    pub(crate) region: String,
    /// Its hub's name.
    pub(crate) name: String,
    /// The hub. Locked while it starts or stops.
    pub(crate) hub: tokio::sync::Mutex<Hub>,
    /// Its roads to the other hubs.
    pub(crate) roads: Vec<Road>,
    http: Mutex<String>,
    alive: AtomicBool,
    cut: AtomicBool,
    timeline: Arc<Timeline>,
}

impl Site {
    pub(crate) fn new(region: &str, hub: Hub, roads: Vec<Road>, timeline: Arc<Timeline>) -> Self {
        Self {
            region: region.to_owned(),
            name: hub.name().to_owned(),
            http: Mutex::new(hub.http().to_owned()),
            hub: tokio::sync::Mutex::new(hub),
            roads,
            alive: AtomicBool::new(true),
            cut: AtomicBool::new(false),
            timeline,
        }
    }

    /// Where its hub answers HTTP.
    pub(crate) fn http(&self) -> String {
        self.http.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether its hub runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Whether the region is cut off.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Notes that the region is cut off, or not any more. Whether that is new.
    pub(crate) fn set_cut(&self, cut: bool) -> bool {
        self.cut.swap(cut, Ordering::Relaxed) != cut
    }

    /// Kills the hub with SIGKILL. Whether it ran.
    pub(crate) async fn kill(&self) -> Result<bool, PlantError> {
        let mut hub = self.hub.lock().await;
        let ran = self.alive.swap(false, Ordering::Relaxed);
        if ran {
            hub.process.kill().await?;
            self.timeline.say(&format!("{} killed (SIGKILL)", self.name));
        }
        Ok(ran)
    }

    /// Starts the hub again, if it does not run.
    pub(crate) async fn revive(&self) -> Result<(), PlantError> {
        let mut hub = self.hub.lock().await;
        if !self.is_alive() {
            hub.restart().await?;
            hub.http().clone_into(&mut self.http.lock().unwrap_or_else(PoisonError::into_inner));
            self.alive.store(true, Ordering::Relaxed);
            self.timeline.say(&format!("{} runs again", self.name));
        }
        Ok(())
    }
}
