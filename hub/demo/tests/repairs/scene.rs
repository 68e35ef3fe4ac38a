//! A device, its hubs, and the knife: rows are taken by the `sqlite3` program, bytes by their place in the file.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millrace_demo::patience::{Look, until};
use millrace_demo::process::Said;
use millrace_demo::proof::Exhibit;
use millrace_demo::sensors::{Line, LineKind};
use millrace_demo::{
    Agent, AgentOptions, AgentStatus, Body, Cluster, ClusterOptions, DeviceProof, Hub, Inventory, Plant,
    PlantError, Publication, Publisher, Stamp,
};
use rumqttc::QoS;
use serde_json::Value;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The device.
pub(crate) const DEVICE: &str = "press-line";

/// Hubs of one cluster, and one device whose readings all of them have.
pub(crate) struct Scene {
    pub(crate) plant: Plant,
    pub(crate) hubs: Vec<Hub>,
    pub(crate) agent: Agent,
    pub(crate) publisher: Publisher,
    line: Line,
    pub(crate) status: AgentStatus,
}

impl Scene {
    /// With so many hubs, and so many readings on each of them.
    pub(crate) async fn of(hubs: usize, readings: usize) -> Self {
        let plant = Plant::build().unwrap();
        let options = ClusterOptions { hubs, ..ClusterOptions::default() };
        let hubs = Cluster::start(&plant, &options).await.unwrap().hubs;
        let roads: Vec<_> = hubs.iter().map(Hub::quic).collect();
        let options = AgentOptions::among(DEVICE, &roads, "", "hub");
        let mut agent = Agent::start(&plant, &hubs[0], options).await.unwrap();
        let status = agent.online(LIMIT).await.unwrap();
        let publisher = agent.publisher("presses");
        let line = Line::new(DEVICE, LineKind::Presses, false, 21);
        let mut scene = Self { plant, hubs, agent, publisher, line, status };
        scene.publish(readings).await;
        for hub in &scene.hubs {
            scene.whole_at(hub).await;
        }
        scene
    }

    /// Publishes more, and waits until a hub has it.
    pub(crate) async fn publish(&mut self, readings: usize) {
        self.publisher.publish_from(&mut self.line, readings).await.unwrap();
        self.publisher.drained(LIMIT).await.unwrap();
        self.status = self.agent.settled(LIMIT).await.unwrap();
    }

    /// What the first hub answers to a command while the device goes on publishing.
    pub(crate) async fn tried_while_it_publishes(&mut self, words: &[&str]) -> Said {
        let Self { hubs, publisher, line, .. } = self;
        let mut command = std::pin::pin!(hubs[0].tried(words));
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                said = &mut command => return said.unwrap(),
                _ = pace.tick() => publisher.publish_from(line, 1).await.unwrap(),
            }
        }
    }

    /// Publishes blocks of 8 KiB that no compression makes small, and waits until a hub has them.
    pub(crate) async fn publish_blocks(&mut self, blocks: u64) {
        let mut chance = fastrand::Rng::with_seed(23);
        for number in 1..=blocks {
            let mut block = vec![0; 8_192];
            chance.fill(&mut block);
            let stamp = Stamp { source: "camera".into(), number, attempt: 1 };
            let topic = "plant/hall/camera/frame".to_owned();
            let publication = Publication { topic, qos: QoS::AtLeastOnce, stamp, body: Body::Binary(block) };
            self.publisher.publish(publication).await.unwrap();
        }
        self.publish(0).await;
    }

    /// What `inventory` proves. Whatever a hub serves must be what was published.
    fn judged(&self, hub: &Hub, inventory: Inventory) -> DeviceProof {
        let proof = DeviceProof::of(&Exhibit {
            name: DEVICE.into(),
            tally: self.publisher.tally(),
            outstanding: self.publisher.outstanding(),
            status: self.status.clone(),
            inventory,
        });
        let name = hub.name();
        assert_eq!(proof.damaged, [], "{name} serves what was never published");
        assert_eq!((&proof.duplicated, proof.foreign), (&Vec::new(), 0), "{name} serves too much");
        proof
    }

    /// One look at what this very hub has.
    pub(crate) async fn look(&self, hub: &Hub) -> Result<DeviceProof, PlantError> {
        Ok(self.judged(hub, hub.kept_of(&self.status.device).await?))
    }

    /// One look at what this hub answers to a query, whoever has it. When something is missing it must say so.
    pub(crate) async fn asked(&self, hub: &Hub) -> Result<DeviceProof, PlantError> {
        let inventory = hub.inventory_of(&self.status.device).await?;
        let lacking = inventory.lacking;
        let proof = self.judged(hub, inventory);
        let short = !proof.missing.is_empty() || !proof.faults.is_empty();
        assert!(!short || lacking, "{} lacks {} and does not say so", hub.name(), proof.missing.len());
        Ok(proof)
    }

    /// Waits until `hub` has everything on its own disk. No look on the way may see anything wrong.
    pub(crate) async fn whole_at(&self, hub: &Hub) {
        assert!(self.is_whole_at(hub).await, "it ended:\n{}", hub.process.log_tail());
    }

    /// The same; `false` when the hub ends before that.
    pub(crate) async fn is_whole_at(&self, hub: &Hub) -> bool {
        until(&format!("{} to have every reading", hub.name()), LIMIT, || async {
            if self.words(hub).contains(" exit=") {
                return Ok(Look::Found(false));
            }
            let proof = self.look(hub).await?;
            let objections = millrace_demo::Proof { devices: vec![proof] }.objections();
            Ok(if objections.is_empty() { Look::Found(true) } else { Look::NotYet(objections.join("; ")) })
        })
        .await
        .unwrap()
    }

    /// What `hub` has said since it was started last.
    pub(crate) fn words(&self, hub: &Hub) -> String {
        self.log(hub).rsplit("starts ---").next().unwrap_or_default().to_owned()
    }

    /// Waits until `hub` and every other one have equal roots, as `millrace-hub repair` finds them.
    pub(crate) async fn equal_at(&self, hub: &Hub) {
        for other in self.hubs.iter().filter(|other| other.name() != hub.name()) {
            let words = ["repair", "--hub", other.name(), "--json"];
            until("equal roots", LIMIT, || async {
                let said = hub.tried(&words).await?;
                let answer: Value = serde_json::from_str(&said.out).unwrap_or_default();
                let equal = said.code == Some(0) && answer["equal"] == true;
                let one = answer["reports"].as_array().is_some_and(|reports| reports.len() == 1);
                Ok(if equal && one { Look::Found(()) } else { Look::NotYet(format!("{said:?}")) })
            })
            .await
            .unwrap();
        }
    }

    /// Gives the hub or agent `name` other tables in its config, beside those that it began with, for its next start.
    pub(crate) fn configure(&self, name: &str, tables: &str) {
        const MORE: &str = "# more";
        let path = self.plant.directory().join(format!("{name}.toml"));
        let config = std::fs::read_to_string(&path).unwrap();
        let began = config.split(MORE).next().unwrap();
        std::fs::write(&path, format!("{began}\n{MORE}\n{tables}\n")).unwrap();
    }

    /// What `hub` has said, in its log.
    pub(crate) fn log(&self, hub: &Hub) -> String {
        String::from_utf8_lossy(&std::fs::read(hub.process.log()).unwrap()).into_owned()
    }
}

/// Waits until `hub` has mended everything, and returns its reports of that.
pub(crate) async fn mended(hub: &Hub) -> Vec<Value> {
    until(&format!("{} to be mended", hub.name()), LIMIT, || async {
        let said = hub.command(&["repairs", "--json", "-n", "1000"]).await?;
        let answer: Value = serde_json::from_str(&said).unwrap();
        let mine = |one: &&Value| one["hub"] == hub.name();
        let running = answer["running"].as_array().unwrap().iter().filter(mine).count();
        let reports = answer["reports"].as_array().unwrap();
        let reports: Vec<Value> =
            reports.iter().filter(mine).filter(|one| one["kind"] == "mended").cloned().collect();
        let over = running == 0 && !reports.is_empty();
        Ok(if over { Look::Found(reports) } else { Look::NotYet(said) })
    })
    .await
    .unwrap()
}

/// The sum of one figure of reports.
pub(crate) fn sum(reports: &[Value], key: &str) -> u64 {
    reports.iter().map(|report| report[key].as_u64().unwrap()).sum()
}

/// Waits until it is on the device's disk that everything is safe at its hub.
pub(crate) async fn acks_written(agent: &Agent) {
    let file = agent.data().join("journal.db");
    until("the acks to be written down", LIMIT, || async {
        let unacked = sqlite3_at(&file, "SELECT sum(ingested - acked) FROM journal");
        Ok(if unacked == "0" { Look::Found(()) } else { Look::NotYet(unacked) })
    })
    .await
    .unwrap();
}

/// Ends `hub` as `systemctl stop` does.
pub(crate) async fn stopped(hub: &mut Hub) {
    assert!(hub.process.terminate().await.unwrap().success());
}

pub(crate) fn journal(hub: &Hub) -> PathBuf {
    hub.data().join("journal.db")
}

/// What a plant engineer types at a stopped hub: `sqlite3 journal.db "…"`.
pub(crate) fn sqlite3(hub: &Hub, script: &str) -> String {
    sqlite3_at(&journal(hub), script)
}

pub(crate) fn sqlite3_at(file: &Path, script: &str) -> String {
    let output = Command::new("sqlite3").arg(file).arg(script).output();
    let output = output.expect("the program `sqlite3` is needed: `make packages` installs it");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && errors.is_empty(), "sqlite3: {said}{errors}");
    said.trim().to_owned()
}

/// The segments of the longest journal, oldest first, with how many records each has.
const SEGMENTS: &str = "SELECT first_seq, count, body FROM segment WHERE journal = \
    (SELECT journal FROM segment GROUP BY journal ORDER BY sum(count) DESC LIMIT 1) ORDER BY first_seq";

/// The bodies of these segments, and how many records each has.
pub(crate) fn segments(hub: &Hub) -> Vec<(u64, u64)> {
    segments_at(&journal(hub))
}

/// The same, of the journal of a stopped hub or agent.
pub(crate) fn segments_at(file: &Path) -> Vec<(u64, u64)> {
    let said = sqlite3_at(file, SEGMENTS);
    let number = |text: Option<&str>| text.unwrap().parse::<u64>().unwrap();
    let rows = said.lines().map(|line| line.split('|').skip(1));
    rows.map(|mut row| (number(row.next()), number(row.next()))).map(|(count, body)| (body, count)).collect()
}

/// Where a piece of a segment's body stands in the database of a stopped hub.
pub(crate) fn place_of_body(hub: &Hub, body: u64) -> u64 {
    place_of_body_at(&journal(hub), body)
}

/// The same, of the journal of a stopped hub or agent.
pub(crate) fn place_of_body_at(path: &Path, body: u64) -> u64 {
    sqlite3_at(path, "PRAGMA wal_checkpoint(TRUNCATE)");
    let file = std::fs::read(path).unwrap();
    // Some piece lies within one page. Of a body's beginning, which stands with others in a page, an older copy may be in the file, too.
    let places = [0, 20, 40, 60].into_iter().filter_map(|from| {
        let piece = format!("substr(bytes, length(bytes) / 2 + {from}, 16)");
        let hex = sqlite3_at(path, &format!("SELECT hex({piece}) FROM body WHERE id = {body}"));
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let piece: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        file.windows(16).position(|window| window == piece)
    });
    places.map(|place| place as u64).next().expect("a piece of the body is in the file")
}

/// Flips one bit, whoever has the file open.
pub(crate) fn flip(hub: &Hub, at: u64) {
    flip_at(&journal(hub), at);
}

/// The same, of the journal of a hub or agent.
pub(crate) fn flip_at(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0b0001_0000], at).unwrap();
}

/// Deletes segments in the middle of the longest journal, with their bodies: up to `records` records. How many it were.
pub(crate) fn delete(hub: &Hub, records: u64) -> u64 {
    delete_at(&journal(hub), records)
}

/// The same, of the journal of a stopped hub or agent.
pub(crate) fn delete_at(file: &Path, records: u64) -> u64 {
    let doomed = format!(
        "CREATE TEMP TABLE doomed AS SELECT first_seq, count, body FROM \
         (SELECT *, sum(count) OVER (ORDER BY first_seq) AS up_to FROM ({SEGMENTS})) \
         WHERE up_to > 1024 AND up_to <= 1024 + {records};"
    );
    let script = format!(
        "{doomed} SELECT sum(count) FROM doomed; \
         DELETE FROM segment WHERE body IN (SELECT body FROM doomed); \
         DELETE FROM body WHERE id IN (SELECT body FROM doomed);"
    );
    let deleted = sqlite3_at(file, &script).parse().unwrap();
    assert!(deleted > records / 2, "{deleted} of {records}");
    deleted
}

/// Restarts the agent with other tables in its config, beside those that it began with.
pub(crate) async fn restarted_agent(scene: &mut Scene, tables: &str) {
    assert!(scene.agent.process.terminate().await.unwrap().success());
    scene.configure(DEVICE, tables);
    scene.agent.restart().await.unwrap();
    scene.agent.online(LIMIT).await.unwrap();
}
