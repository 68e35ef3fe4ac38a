//! The stage: a hub, three devices, their machines, and the proof at the end.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use millrace_demo::proof::Exhibit;
use millrace_demo::sensors::LineKind;
use millrace_demo::{Hub, HubOptions, Plant, PlantError, Proof};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::device::{Device, Part};
use super::timeline::Timeline;

/// Each device, with a pace that one laptop core carries easily. QoS 0 only where no agent is killed by the story.
const PARTS: [Part; 3] = [
    Part { name: "press-line", kind: LineKind::Presses, per_second: 150, unsure: false },
    Part { name: "robot-cell", kind: LineKind::Robots, per_second: 120, unsure: false },
    Part { name: "energy", kind: LineKind::Meters, per_second: 60, unsure: true },
];

/// A killed agent verifies its store, and a link that was cut is found whole by the next probe of QUIC, whose pauses
/// grow as long as the cut was.
const SETTLE_LIMIT: Duration = Duration::from_secs(40);

/// The stage.
pub(crate) struct Stage {
    /// The hub.
    pub(crate) hub: Hub,
    /// In the order of the table.
    pub(crate) devices: Vec<Arc<Device>>,
    /// What happened.
    pub(crate) timeline: Arc<Timeline>,
    closing: watch::Sender<bool>,
    voices: tokio::sync::Mutex<JoinSet<Result<(), PlantError>>>,
}

/// The proof, and what went wrong on the way to it.
pub(crate) struct Verdict {
    pub(crate) proof: Proof,
    /// Bytes on each device's road, up and down.
    pub(crate) roads: Vec<(u64, u64)>,
    trouble: Vec<String>,
}

impl Verdict {
    /// Whether nothing speaks against it.
    pub(crate) fn holds(&self) -> bool {
        self.proof.holds() && self.trouble.is_empty()
    }

    /// What speaks against it.
    pub(crate) fn objections(&self) -> Vec<String> {
        [self.trouble.clone(), self.proof.objections()].concat()
    }
}

impl Stage {
    /// Starts everything; the machines begin to speak. `aloud` prints what happens.
    pub(crate) async fn build(plant: &Plant, seed: u64, aloud: bool) -> Result<Arc<Self>, PlantError> {
        let timeline = Arc::new(Timeline::new(aloud));
        let hub = Hub::start(plant, HubOptions::default()).await?;
        timeline.say(&format!("hub runs; its API is at http://{}", hub.http()));
        let (closing, _) = watch::channel(false);
        let mut devices = Vec::new();
        let mut voices = JoinSet::new();
        for (number, part) in (1..).zip(&PARTS) {
            let seed = seed.wrapping_mul(31).wrapping_add(number);
            let device = Arc::new(Device::start(plant, &hub, part, seed, Arc::clone(&timeline)).await?);
            let agent = device.agent.lock().await;
            timeline.say(&format!(
                "{} is enrolled and online; its MQTT broker is at {}",
                part.name,
                agent.mqtt()
            ));
            drop(agent);
            devices.push(Arc::clone(&device));
            let closing = closing.subscribe();
            voices.spawn(async move { device.speak(closing).await });
        }
        Ok(Arc::new(Self { hub, devices, timeline, closing, voices: tokio::sync::Mutex::new(voices) }))
    }

    /// Something happened.
    pub(crate) fn say(&self, what: &str) {
        self.timeline.say(what);
    }

    /// Runs a deed beside everything else, until the proof.
    pub(crate) async fn spawn(&self, deed: impl Future<Output = Result<(), PlantError>> + Send + 'static) {
        self.voices.lock().await.spawn(deed);
    }

    /// Ends the machines' talk, repairs everything, waits until everything has arrived, and weighs it.
    ///
    /// # Errors
    /// When the hub cannot be read. What goes wrong before that speaks against the proof.
    pub(crate) async fn prove(&self) -> Result<Verdict, PlantError> {
        let mut trouble = Vec::new();
        self.closing.send_replace(true);
        for device in &self.devices {
            device.set_cut(false);
            note(&mut trouble, &device.name, device.revive().await);
        }
        let mut voices = self.voices.lock().await;
        while let Some(ended) = voices.join_next().await {
            match ended {
                Ok(ended) => note(&mut trouble, "a machine", ended),
                Err(error) => trouble.push(error.to_string()),
            }
        }
        let mut exhibits = Vec::new();
        for device in &self.devices {
            note(&mut trouble, &device.name, device.publisher.drained(SETTLE_LIMIT).await);
            let mut agent = device.agent.lock().await;
            note(&mut trouble, &device.name, agent.settled(SETTLE_LIMIT).await.map(|_| ()));
            let status = agent.status().await;
            note(&mut trouble, &device.name, status.as_ref().map(|_| ()).map_err(ToString::to_string));
            exhibits.push(Exhibit {
                name: device.name.clone(),
                tally: device.publisher.tally(),
                outstanding: device.publisher.outstanding(),
                status: status.unwrap_or_default(),
                inventory: self.hub.inventory_of(&device.id).await?,
            });
        }
        let roads = self.devices.iter().map(|device| device.road.traffic());
        let roads = roads.map(|traffic| (traffic.up_bytes, traffic.down_bytes)).collect();
        Ok(Verdict { proof: Proof::of(&exhibits), roads, trouble })
    }

    /// Stops the agents in good order. The hub ends with the stage.
    pub(crate) async fn close(&self) {
        for device in &self.devices {
            let ended = device.agent.lock().await.process.terminate().await;
            match ended {
                Ok(status) if status.success() => {}
                Ok(status) => self.say(&format!("agent of {} ended with {status}", device.name)),
                Err(error) => self.say(&error.to_string()),
            }
        }
    }
}

fn note<E: Display>(trouble: &mut Vec<String>, who: &str, result: Result<(), E>) {
    if let Err(error) = result {
        trouble.push(format!("{who}: {error}"));
    }
}
