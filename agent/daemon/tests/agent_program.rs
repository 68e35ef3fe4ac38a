//! The agent as a process of its own, without a hub: it takes readings, keeps them across SIGKILL, shows its ledger.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use millrace_host::Clock;
use millrace_journal::{Author, Options, Store};
use millrace_link::enrolment::EnrolmentRefusal;
use millrace_link::{
    Accepted, Admission, CertificateAuthority, CertificateRequest, Identity, JoinSecret, JoinToken, Listener,
    PeerIdentity, Role, ServerOptions, Verdict,
};
use millrace_model::store::Change;
use millrace_model::{DeviceId, HubId, Incarnation, Lane, Record, SeqRange, Topic, Wall};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value;

const DAY: Duration = Duration::from_secs(86_400);

/// A data directory with an identity, as enrolment leaves it.
fn enrolled(directory: &Path) {
    let now = Clock::system().wall();
    let authority = CertificateAuthority::fresh("test", now).unwrap();
    let request = CertificateRequest::fresh().unwrap();
    let role = Role::Device(DeviceId::from_bytes([7; 16]));
    let certificate = authority.issue(request.csr_der(), role, "press-7", DAY, now).unwrap();
    let identity = Identity::granted(&request, &certificate, authority.certificate_pem()).unwrap();
    identity.save(&directory.join("identity")).unwrap();
}

fn agent() -> Command {
    Command::new(env!("CARGO_BIN_EXE_millrace-agent"))
}

struct Running {
    child: Child,
    mqtt: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn start(directory: &Path) -> Running {
    let file = directory.join("agent.toml");
    let text = format!(
        "data_dir = {directory:?}\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [hub]\naddresses = [\"127.0.0.1:9\"]\n"
    );
    std::fs::write(&file, text).unwrap();
    let runtime = directory.join("runtime.json");
    let _old = std::fs::remove_file(&runtime);
    let mut child = agent().args(["run", "--config"]).arg(&file).stderr(Stdio::inherit()).spawn().unwrap();
    for _ in 0..1_000 {
        if let Some(text) = std::fs::read(&runtime).ok().filter(|text| !text.is_empty()) {
            let runtime: Value = serde_json::from_slice(&text).unwrap();
            let address = runtime["mqtt"].as_str().unwrap();
            let mqtt = address.rsplit(':').next().unwrap().parse().unwrap();
            return Running { child, mqtt };
        }
        assert!(child.try_wait().unwrap().is_none(), "the agent ended before it was ready");
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the agent was not ready within 10 s");
}

fn status(directory: &Path) -> Value {
    let output = agent().args(["status", "--json", "--data"]).arg(directory).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Publishes with QoS 1 and waits until `count` publications are acknowledged.
async fn publish(port: u16, count: usize) {
    let mut options = MqttOptions::new("sensor", "127.0.0.1", port);
    options.set_inflight(100);
    let (client, mut connection) = AsyncClient::new(options, 200);
    let sending = tokio::spawn(async move {
        for number in 0..count {
            let payload = format!("{{\"reading\":{number}}}");
            client.publish("plant/press-7/temperature", QoS::AtLeastOnce, false, payload).await.unwrap();
        }
        client
    });
    let mut acknowledged = 0;
    while acknowledged < count {
        if let Event::Incoming(Packet::PubAck(_)) = connection.poll().await.unwrap() {
            acknowledged += 1;
        }
    }
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn what_was_acknowledged_survives_sigkill_and_the_ledger_balances() {
    let directory = tempfile::tempdir().unwrap();
    enrolled(directory.path());
    let mut agent = start(directory.path());
    publish(agent.mqtt, 1_500).await;
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    drop(agent);
    let agent = start(directory.path());
    publish(agent.mqtt, 10).await;
    let status = status(directory.path());
    // 1,510 readings, and one `open` record for each of two starts.
    assert_eq!(status["ledger"]["ingested"], 1_512, "{status}");
    assert_eq!(status["ledger"]["pending"], 1_512);
    assert_eq!(status["balanced"], true);
    assert_eq!(status["name"], "press-7");
}

#[tokio::test]
async fn sigterm_ends_it_in_good_order_and_verify_finds_nothing_wrong() {
    let directory = tempfile::tempdir().unwrap();
    enrolled(directory.path());
    let mut agent = start(directory.path());
    publish(agent.mqtt, 100).await;
    let pid = agent.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(agent.child.wait().unwrap().success(), "it ends with 0");
    assert!(!directory.path().join("runtime.json").exists());
    let output = self::agent().args(["verify", "--json", "--data"]).arg(directory.path()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["clean"], &report["records"]), (&Value::Bool(true), &Value::from(101)), "{report}");
}

#[test]
fn commands_that_cannot_work_say_why_and_how_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["run", "--data"], 78, "millrace-agent enroll"),
        (&["status", "--data"], 69, "no agent runs"),
        (&["verify", "--data"], 78, "--data"),
        (&["query", "--data"], 78, "there is no journal"),
        (&["enroll", "--token", "millrace1.x", "--data"], 64, "copy the whole line"),
    ];
    for (arguments, code, words) in cases {
        let output = agent().args(arguments).arg(directory.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
    }
}

/// A journal with 2,048 sealed readings, of which the second thousand has a flipped bit.
fn damaged(directory: &Path) {
    let author = Author { device: DeviceId::from_bytes([7; 16]), incarnation_if_new: Incarnation::new(1) };
    let path = directory.join("journal.db");
    let mut store = Store::open(&path, &Options::agent(author)).unwrap();
    let record = |number: i64| {
        let topic = Topic::new("plant/press-7/temperature").unwrap();
        Record::data(topic, number.to_string().into(), Wall(number * 1_000_000), 1)
    };
    let append = Change::Append { lane: Lane::Normal, records: (1..=2_048).map(record).collect() };
    store.commit(1, &[append]).unwrap();
    let id = store.journals()[1].journal;
    let runs = store.load(&id, SeqRange::new(1_025, 2_048).unwrap(), usize::MAX).unwrap();
    drop(store);
    let needle = &runs[0].body[runs[0].body.len() - 64..];
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(64).position(|window| window == needle).unwrap();
    bytes[at + 32] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn damage_is_located_and_everything_else_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    damaged(directory.path());
    let call = |arguments: &[&str]| {
        let output = agent().args(arguments).arg("--data").arg(directory.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(65), "{arguments:?}: {}", said(&output));
        (String::from_utf8(output.stdout.clone()).unwrap(), said(&output))
    };
    let place = "/0000000000000001/normal 1025–2048: ";
    let (page, _) = call(&["verify"]);
    assert!(page.contains("damaged: ") && page.contains(place), "{page}");
    let report: Value = serde_json::from_str(&call(&["verify", "--json"]).0).unwrap();
    let finding = &report["findings"][0];
    assert_eq!((&finding["lane"], &finding["first"]), (&"normal".into(), &1_025.into()), "{report}");
    assert_eq!(finding["last"], 2_048);
    assert!(finding["journal"].as_str().unwrap().ends_with("/normal"), "{report}");

    let (json, errors) = call(&["query", "--json", "--limit", "10000"]);
    assert!(errors.contains(place) && !errors.contains("may you read it"), "{errors}");
    let answer: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(answer["records"].as_array().unwrap().len(), 1_024);
    assert_eq!((&answer["damaged"][0]["first"], &answer["damages"]), (&1_025.into(), &1.into()));
    assert!(call(&["query", "--newest", "--limit", "5"]).0.contains("plant/press-7/temperature"));
}

#[test]
fn an_identity_that_is_there_and_of_no_use_is_not_enrolled_over() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let token = JoinToken {
        ca: CertificateAuthority::fresh("test", Clock::system().wall()).unwrap().key_hash(),
        addresses: vec!["127.0.0.1:9".into()],
        secret: JoinSecret::fresh().unwrap(),
        expires: Clock::system().wall().plus(DAY),
        name: None,
        labels: BTreeMap::new(),
    };
    let token = token.to_string();
    let own = directory.path().join("identity/identity.pem");
    let says = |words: [&str; 2]| {
        for arguments in [&["run"][..], &["enroll", "--token", &token]] {
            let output = agent().args(arguments).arg("--data").arg(directory.path()).output().unwrap();
            let said = said(&output);
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
            assert!(!said.contains("millrace-agent enroll"), "{said}");
        }
    };
    enrolled(directory.path());
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o644)).unwrap();
    says(["identity/identity.pem can be read by others", "chmod 600"]);
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::remove_file(directory.path().join("identity/ca.pem")).unwrap();
    says(["identity/ca.pem is gone", "any other machine of the cluster"]);
    enrolled(directory.path());
    std::fs::write(&own, "garbage").unwrap();
    says(["identity/identity.pem is damaged", "put back a copy"]);
    assert_eq!(std::fs::read(&own).unwrap(), b"garbage", "nothing was written over it");
}

struct Everyone;

impl Admission for Everyone {
    fn admits(&self, _peer: &PeerIdentity) -> Verdict {
        Verdict::Unknown
    }
}

#[tokio::test]
async fn a_hub_that_refuses_an_enrolment_hears_that_its_answer_came() {
    let now = Clock::system().wall();
    let authority = CertificateAuthority::fresh("test", now).unwrap();
    let request = CertificateRequest::fresh().unwrap();
    let role = Role::Hub(HubId::from_bytes([1; 16]));
    let certificate = authority.issue(request.csr_der(), role, "hub-1", DAY, now).unwrap();
    let identity = Identity::granted(&request, &certificate, authority.certificate_pem()).unwrap();
    let clock = Arc::new(|| Clock::system().wall());
    let options = ServerOptions::new(identity, Arc::new(Everyone), clock);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
    let token = JoinToken {
        ca: authority.key_hash(),
        addresses: vec![listener.local_addr().unwrap().to_string()],
        secret: JoinSecret::fresh().unwrap(),
        expires: now.plus(DAY),
        name: None,
        labels: BTreeMap::new(),
    };
    let directory = tempfile::tempdir().unwrap();
    let mut enroll = agent();
    enroll.args(["enroll", "--token", &token.to_string(), "--data"]).arg(directory.path());
    let asking = tokio::task::spawn_blocking(move || enroll.output().unwrap());
    let Some(Accepted::Enrolment(enrolment)) = listener.accept().await else { panic!("no enrolment") };
    enrolment.refuse(EnrolmentRefusal::Used, "press-6 has used it").await.unwrap();
    let output = asking.await.unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", said(&output));
    assert!(said(&output).contains("press-6 has used it"), "{}", said(&output));
}

#[tokio::test]
async fn the_status_says_what_waits_and_how_long_the_certificate_lives() {
    let directory = tempfile::tempdir().unwrap();
    enrolled(directory.path());
    let agent = start(directory.path());
    publish(agent.mqtt, 20).await;
    let status = status(directory.path());
    assert_eq!(status["backlog"]["records"], 21, "{status}");
    assert!(status["backlog"]["bytes"].as_u64().unwrap() > 0, "{status}");
    assert!(
        status["backlog"]["oldest"].is_string() && status["backlog"]["oldest_age_s"].is_u64(),
        "{status}"
    );
    assert_eq!(status["certificate"]["state"], "fresh");
    let left = status["certificate"]["left_s"].as_u64().unwrap();
    assert!((86_000..=86_400).contains(&left), "{left}");
    assert!(
        status["link"].get("last_error").is_some() && status["mqtt"].get("clients").is_some(),
        "{status}"
    );
    let page = self::agent().args(["status", "--data"]).arg(directory.path()).output().unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("backlog      21 records, about ") && page.contains(" left, until "), "{page}");

    let runtime = std::fs::read(directory.path().join("runtime.json")).unwrap();
    let runtime: Value = serde_json::from_slice(&runtime).unwrap();
    let mut stream = std::net::TcpStream::connect(runtime["http"].as_str().unwrap()).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
    let mut metrics = String::new();
    std::io::Read::read_to_string(&mut stream, &mut metrics).unwrap();
    for name in ["backlog_records 21", "backlog_bytes ", "backlog_oldest_age_seconds ", "mqtt_connected 1"] {
        assert!(metrics.contains(&format!("\nmillrace_agent_{name}")), "{name} is not in {metrics}");
    }
    let until = status["certificate"]["not_after_s"].as_u64().unwrap();
    assert!(metrics.contains("\nmillrace_agent_certificate_expiry_timestamp_seconds "), "{until}: {metrics}");
}

#[tokio::test]
async fn what_it_stores_is_its_owners_alone_and_older_files_are_closed() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    enrolled(directory.path());
    let mode =
        |name: &str| std::fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    drop(start(directory.path()));
    let stored = ["journal.db", "journal.db-lock", "journal.db-reserve"];
    assert_eq!(stored.map(mode), [0o600; 3]);
    for name in stored {
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(directory.path().join(name), open).unwrap();
    }
    let _agent = start(directory.path());
    assert_eq!(stored.map(mode), [0o600; 3], "an older version left them open");
}

#[tokio::test]
async fn a_second_agent_on_the_same_directory_is_told_so_once() {
    let directory = tempfile::tempdir().unwrap();
    enrolled(directory.path());
    let _first = start(directory.path());
    let file = directory.path().join("agent.toml");
    let second = agent().args(["run", "--config"]).arg(&file).output().unwrap();
    assert_eq!(second.status.code(), Some(75), "{}", said(&second));
    assert_eq!(said(&second).matches("in use by another process").count(), 1, "{}", said(&second));
}

#[test]
fn a_port_that_is_taken_is_said_once_and_ends_with_69() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    for (mqtt, http) in
        [("127.0.0.1:0".to_owned(), taken.to_string()), (taken.to_string(), "127.0.0.1:0".to_owned())]
    {
        let directory = tempfile::tempdir().unwrap();
        enrolled(directory.path());
        let file = directory.path().join("agent.toml");
        let place = directory.path();
        let text = format!("data_dir = {place:?}\n[mqtt]\nlisten = {mqtt:?}\n[http]\nlisten = {http:?}\n");
        std::fs::write(&file, text).unwrap();
        let output = agent().args(["run", "--config"]).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{}", said(&output));
        assert_eq!(said(&output).matches("in use").count(), 1, "{}", said(&output));
    }
}
