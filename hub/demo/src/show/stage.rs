//! The stage: three regions with a hub each, four devices, their machines, and the proof at the end.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_demo::patience::{Look, until};
use millrace_demo::proof::Exhibit;
use millrace_demo::sensors::LineKind;
use millrace_demo::{Hub, HubOptions, Plant, PlantError, Proof, Road, address};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::device::{Device, Part};
use super::failover::Failovers;
use super::site::Site;
use super::timeline::Timeline;

/// The regions; the hub of each is called after it.
const REGIONS: [&str; 3] = ["north", "south", "west"];

/// Each device, with a pace that one laptop core carries easily. QoS 0 only where no agent is killed by the story.
const PARTS: [Part; 4] = [
    Part { name: "press-line", region: 0, kind: LineKind::Presses, per_second: 120, unsure: false },
    Part { name: "robot-cell", region: 1, kind: LineKind::Robots, per_second: 100, unsure: false },
    Part { name: "paint-shop", region: 1, kind: LineKind::Robots, per_second: 80, unsure: false },
    Part { name: "energy", region: 2, kind: LineKind::Meters, per_second: 60, unsure: true },
];

/// A killed process verifies its store, and a link that was cut is found whole by the next probe of QUIC, whose pauses
/// grow as long as the cut was.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// The stage.
pub(crate) struct Stage {
    /// The regions.
    pub(crate) sites: Vec<Arc<Site>>,
    /// In the order of the table.
    pub(crate) devices: Vec<Arc<Device>>,
    /// What happened.
    pub(crate) timeline: Arc<Timeline>,
    /// How long devices were without a hub.
    pub(crate) failovers: Arc<Failovers>,
    closing: watch::Sender<bool>,
    voices: tokio::sync::Mutex<JoinSet<Result<(), PlantError>>>,
}

/// The proof, and what went wrong on the way to it.
pub(crate) struct Verdict {
    /// By hub: what each has on its own disk.
    pub(crate) proofs: Vec<(String, Proof)>,
    /// Bytes on each device's roads, up and down.
    pub(crate) roads: Vec<(u64, u64)>,
    trouble: Vec<String>,
}

impl Verdict {
    /// Whether nothing speaks against it.
    pub(crate) fn holds(&self) -> bool {
        !self.proofs.is_empty()
            && self.trouble.is_empty()
            && self.proofs.iter().all(|(_, proof)| proof.holds())
    }

    /// What speaks against it.
    pub(crate) fn objections(&self) -> Vec<String> {
        let mut objections = self.trouble.clone();
        for (hub, proof) in &self.proofs {
            objections.extend(proof.objections().into_iter().map(|objection| format!("{hub}: {objection}")));
        }
        objections
    }

    /// The proof that tells least in the cluster's favour: its line speaks for all.
    pub(crate) fn weakest(&self) -> Option<&Proof> {
        self.proofs
            .iter()
            .map(|(_, proof)| proof)
            .max_by_key(|proof| (!proof.holds(), proof.objections().len()))
    }
}

/// Three hubs, each with a road of its own to every other.
async fn found(plant: &Plant, timeline: &Arc<Timeline>) -> Result<Vec<Arc<Site>>, PlantError> {
    let addresses = REGIONS.map(|_| address::free());
    let addresses: Vec<SocketAddr> = addresses.into_iter().collect::<Result<_, _>>()?;
    let name = |region: &str| format!("hub-{region}");
    let mut hubs: Vec<(Hub, Vec<Road>)> = Vec::new();
    for (number, region) in REGIONS.iter().enumerate() {
        let (mut roads, mut by_name) = (Vec::new(), BTreeMap::new());
        for (other, target) in REGIONS.iter().zip(&addresses).filter(|(other, _)| *other != region) {
            let road = plant.road_to(*target).await?;
            by_name.insert(name(other), road.addr());
            roads.push(road);
        }
        let options = HubOptions {
            name: name(region),
            region: (*region).to_owned(),
            quic: addresses.get(number).copied(),
            roads: by_name,
            witness: false,
            machine: None,
        };
        let hub = match hubs.first() {
            None => Hub::start(plant, options).await?,
            Some((founder, _)) => Hub::join(plant, founder, options).await?,
        };
        timeline.say(&format!("{} runs in region {region}; its API is at http://{}", hub.name(), hub.http()));
        hubs.push((hub, roads));
    }
    if let Some((founder, _)) = hubs.first() {
        founder.complete(REGIONS.len(), SETTLE_LIMIT).await?;
        timeline.say("the three hubs are one cluster: each of them is full, and votes");
    }
    let sites = REGIONS.iter().zip(hubs);
    Ok(sites
        .map(|(region, (hub, roads))| Arc::new(Site::new(region, hub, roads, Arc::clone(timeline))))
        .collect())
}

/// Name, state and fullness of every member.
fn standing(members: &Value) -> Vec<(String, String, bool)> {
    let all = members.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text =
        |member: &Value, key: &str| member.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    all.iter()
        .map(|member| (text(member, "name"), text(member, "state"), text(member, "filled") == "full"))
        .collect()
}

impl Stage {
    /// Starts everything; the machines begin to speak. `aloud` prints what happens.
    pub(crate) async fn build(plant: &Plant, seed: u64, aloud: bool) -> Result<Arc<Self>, PlantError> {
        let timeline = Arc::new(Timeline::new(aloud));
        let sites = found(plant, &timeline).await?;
        let (closing, _) = watch::channel(false);
        let mut devices = Vec::new();
        let mut voices = JoinSet::new();
        for (number, part) in (1..).zip(&PARTS) {
            let seed = seed.wrapping_mul(31).wrapping_add(number);
            let device = Arc::new(Device::start(plant, &sites, part, seed, Arc::clone(&timeline)).await?);
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
        let (failovers, voices) = (Arc::default(), tokio::sync::Mutex::new(voices));
        Ok(Arc::new(Self { sites, devices, timeline, failovers, closing, voices }))
    }

    /// Something happened.
    pub(crate) fn say(&self, what: &str) {
        self.timeline.say(what);
    }

    /// Runs a deed beside everything else, until the proof.
    pub(crate) async fn spawn(&self, deed: impl Future<Output = Result<(), PlantError>> + Send + 'static) {
        self.voices.lock().await.spawn(deed);
    }

    /// The region whose hub has most agents now.
    pub(crate) async fn busiest(&self) -> Option<usize> {
        let mut counts = vec![0_usize; self.sites.len()];
        for device in &self.devices {
            let hub = device.hub().await;
            let at = self.sites.iter().position(|site| Some(&site.name) == hub.as_ref());
            if let Some(count) = at.and_then(|at| counts.get_mut(at)) {
                *count += 1;
            }
        }
        let running = counts
            .iter()
            .enumerate()
            .filter(|(at, _)| self.sites.get(*at).is_some_and(|site| site.is_alive()));
        running.max_by_key(|(at, count)| (**count, usize::MAX - at)).map(|(at, _)| at)
    }

    /// Kills a region's hub, and follows the devices that had a session with it.
    pub(crate) async fn kill_hub(&self, at: usize) -> Result<(), PlantError> {
        let Some(site) = self.sites.get(at) else { return Ok(()) };
        let mut orphans = Vec::new();
        for device in &self.devices {
            if device.hub().await.as_ref() == Some(&site.name) {
                orphans.push(Arc::clone(device));
            }
        }
        let since = Instant::now();
        if site.kill().await? {
            for device in orphans {
                let (failovers, from, timeline) =
                    (Arc::clone(&self.failovers), site.name.clone(), Arc::clone(&self.timeline));
                self.spawn(async move {
                    failovers.follow(device, from, since, timeline).await;
                    Ok(())
                })
                .await;
            }
        }
        Ok(())
    }

    /// Cuts a region off from the others, or heals it: its hub loses the other hubs, and devices elsewhere lose its hub.
    pub(crate) fn set_region_cut(&self, at: usize, cut: bool) {
        let Some(site) = self.sites.get(at) else { return };
        if !site.set_cut(cut) {
            return;
        }
        // Roads of a hub lead to the others in the order of the regions, itself left out.
        for (number, other) in self.sites.iter().enumerate() {
            let towards = if at < number { at } else { at.wrapping_sub(1) };
            for (place, road) in other.roads.iter().enumerate() {
                if number == at || place == towards {
                    set(road, cut);
                }
            }
        }
        for device in &self.devices {
            device.region_cut(at, cut);
        }
        let what = if cut { "cut off from the other regions" } else { "connected again" };
        self.say(&format!("region {} {what}", site.region));
    }

    /// Ends the machines' talk, repairs everything, waits until everything has arrived everywhere, and weighs it.
    ///
    /// # Errors
    /// When a hub cannot be read. What goes wrong before that speaks against the proof.
    pub(crate) async fn prove(&self) -> Result<Verdict, PlantError> {
        let mut trouble = Vec::new();
        self.closing.send_replace(true);
        for (at, site) in self.sites.iter().enumerate() {
            self.set_region_cut(at, false);
            note(&mut trouble, &site.name, site.revive().await);
        }
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
        let mut statuses = Vec::new();
        for device in &self.devices {
            note(&mut trouble, &device.name, device.publisher.drained(SETTLE_LIMIT).await);
            let mut agent = device.agent.lock().await;
            note(&mut trouble, &device.name, agent.settled(SETTLE_LIMIT).await.map(|_| ()));
            let status = agent.status().await;
            note(&mut trouble, &device.name, status.as_ref().map(|_| ()).map_err(ToString::to_string));
            statuses.push(status.unwrap_or_default());
        }
        let mut proofs = Vec::new();
        for site in &self.sites {
            let hub = site.hub.lock().await;
            // A majority has everything by now; whoever was away is filled by the others.
            let what = format!("{} to have every reading", site.name);
            let weighed = until(&what, SETTLE_LIMIT, || async {
                let proof = self.weigh(&hub, &statuses).await?;
                let objections = proof.objections();
                Ok(if objections.is_empty() {
                    Look::Found(proof)
                } else {
                    Look::NotYet(objections.join("; "))
                })
            });
            match weighed.await {
                Ok(proof) => proofs.push((site.name.clone(), proof)),
                Err(error) => {
                    trouble.push(error.to_string());
                    proofs.push((site.name.clone(), self.weigh(&hub, &statuses).await?));
                }
            }
        }
        self.agree(&mut trouble).await;
        let roads = self.devices.iter().map(|device| device.traffic());
        Ok(Verdict { proofs, roads: roads.collect(), trouble })
    }

    async fn weigh(&self, hub: &Hub, statuses: &[millrace_demo::AgentStatus]) -> Result<Proof, PlantError> {
        let mut exhibits = Vec::new();
        for (device, status) in self.devices.iter().zip(statuses) {
            exhibits.push(Exhibit {
                name: device.name.clone(),
                tally: device.publisher.tally(),
                outstanding: device.publisher.outstanding(),
                status: status.clone(),
                inventory: hub.kept_of(&device.id).await?,
            });
        }
        Ok(Proof::of(&exhibits))
    }

    /// Every hub must say the same of all.
    async fn agree(&self, trouble: &mut Vec<String>) {
        let mut said: Vec<Vec<(String, String, bool)>> = Vec::new();
        for site in &self.sites {
            match site.hub.lock().await.members().await {
                Ok(members) => said.push(standing(&members)),
                Err(error) => trouble.push(format!("{}: {error}", site.name)),
            }
        }
        if said.windows(2).any(|pair| matches!(pair, [one, other] if one != other)) {
            trouble.push(format!("the hubs do not agree on their members: {said:?}"));
        }
    }

    /// Stops the agents, then the hubs, in good order.
    pub(crate) async fn close(&self) {
        for device in &self.devices {
            let ended = device.agent.lock().await.process.terminate().await;
            self.note_end(&format!("agent of {}", device.name), ended);
        }
        for site in &self.sites {
            let ended = site.hub.lock().await.process.terminate().await;
            self.note_end(&site.name, ended);
        }
    }

    fn note_end(&self, who: &str, ended: Result<std::process::ExitStatus, PlantError>) {
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => self.say(&format!("{who} ended with {status}")),
            Err(error) => self.say(&error.to_string()),
        }
    }
}

/// Cuts a road, or heals it.
pub(crate) fn set(road: &Road, cut: bool) {
    if cut {
        road.cut();
    } else {
        road.heal();
    }
}

fn note<E: Display>(trouble: &mut Vec<String>, who: &str, result: Result<(), E>) {
    if let Err(error) = result {
        trouble.push(format!("{who}: {error}"));
    }
}
