//! The real program: its command line, its files, and what is left after it was killed.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use millrace_host::Clock;
use millrace_hub::{Places, Runtime};
use millrace_journal::decisions::{DecisionLog, LogOptions};
use millrace_link::{CertificateRequest, ClientOptions, Dialer, Wishes};
use millrace_model::Wall;
use serde_json::Value;

use crate::agent::Agent;
use crate::world::soon;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_millrace-hub");

/// A hub in a process of its own, killed when dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn call(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).env_remove("MILLRACE_HUB_DATA").output().unwrap()
}

pub fn answer(arguments: &[&str]) -> String {
    let output = call(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&answer(arguments)).unwrap()
}

pub async fn run(data: &Path) -> (Process, Runtime) {
    run_as(Command::new(PROGRAM), data).await
}

/// Runs a hub by way of `command`, to which the arguments are added.
async fn run_as(mut command: Command, data: &Path) -> (Process, Runtime) {
    let places = Places::new(data);
    // What a killed hub left must not be taken for this one's word.
    let _ = std::fs::remove_file(data.join("runtime.json"));
    let child = command
        .args(["run", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"])
        .arg(data)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let runtime = soon(async {
        loop {
            match places.announced() {
                Some(runtime) => return runtime,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    let process = Process(child);
    let runtime = runtime.await;
    assert_eq!(runtime.pid, process.0.id());
    (process, runtime)
}

fn dialer() -> Dialer {
    let clock = Clock::system();
    Dialer::new(ClientOptions::new(std::sync::Arc::new(move || clock.wall())))
}

pub fn signal(process: &Process, name: &str) {
    let pid = process.0.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

#[test]
fn a_token_can_be_made_and_the_status_awaited_while_the_hub_is_starting() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("hub");
    let data_text = data.to_str().unwrap();
    answer(&["init", "--data", data_text, "--name", "h", "--region", "r", "--address", "127.0.0.1:7443"]);
    for round in 0..3 {
        let mut hub = Command::new(PROGRAM);
        hub.args(["run", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", data_text]);
        let _hub = Process(hub.stderr(Stdio::null()).spawn().unwrap());
        let token = answer(&["token", "create", "--data", data_text]);
        assert!(token.starts_with("millrace1."), "{token}");
        let status = json(&["status", "--data", data_text, "--wait", "30s", "--json"]);
        assert_eq!(status["ready"], true, "round {round}");
    }
}

#[tokio::test]
async fn a_killed_hub_has_everything_that_it_acked() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("hub");
    let data_text = data.to_str().unwrap();
    answer(&["init", "--data", data_text, "--name", "h", "--region", "r", "--address", "127.0.0.1:0"]);
    let mut identity = None;
    let mut acked = 0;
    for round in 0..3_u64 {
        let (mut process, runtime) = run(&data).await;
        let dialer = dialer();
        if identity.is_none() {
            let token = answer(&["token", "create", "--data", data_text, "--name", "press-7"]);
            let token = token.trim().parse().unwrap();
            let request = CertificateRequest::fresh().unwrap();
            let none = Wishes::default();
            identity = Some(dialer.enroll(runtime.quic, &token, &request, &none).await.unwrap().identity);
        }
        let identity = identity.as_ref().unwrap();
        let connection = dialer.connect(runtime.quic, identity).await.unwrap();
        let mut agent = Agent::over(connection, identity, 1).await;
        agent.hello(&[]).await;
        let welcome = agent.welcome().await;
        assert!(welcome.session > round << 32);
        for _ in 0..20 {
            agent.run(acked + 1, "a/b", &["1", "2", "3", "4", "5"], Wall(1_800_000_000_000_000)).await;
            acked += 5;
        }
        agent.acked_since(acked - 99, acked).await;
        // Some more are under way when it dies: they may be there or not.
        agent.run(acked + 1, "a/b", &["1", "2", "3", "4", "5"], Wall(1_800_000_000_000_000)).await;
        process.0.kill().unwrap();
        process.0.wait().unwrap();
    }
    let report = json(&["verify", "--data", data_text, "--json"]);
    assert_eq!(report["clean"], true, "{report}");
    assert!(report["records"].as_u64().unwrap() >= acked, "{report}");
    let (process, _runtime) = run(&data).await;
    let page = json(&["query", "--data", data_text, "--limit", "10000", "--json"]);
    let mut numbers: Vec<u64> =
        page["records"].as_array().unwrap().iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "each once, none missing");
    assert!(numbers.len() as u64 >= acked);
    drop(process);
}

/// A write beyond the limit of a file's size fails as a broken disk does, with the signal that would tell about it ignored.
#[tokio::test]
async fn a_hub_whose_disk_fails_ends_with_74_and_has_everything_that_it_acked() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("hub");
    let data_text = data.to_str().unwrap();
    answer(&["init", "--data", data_text, "--name", "h", "--region", "r", "--address", "127.0.0.1:0"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 6000; exec \"$@\"", "sh", PROGRAM]);
    let (mut process, runtime) = run_as(limited, &data).await;
    let token = answer(&["token", "create", "--data", data_text]).trim().parse().unwrap();
    let (dialer, request) = (dialer(), CertificateRequest::fresh().unwrap());
    let none = Wishes::default();
    let identity = dialer.enroll(runtime.quic, &token, &request, &none).await.unwrap().identity;
    let connection = dialer.connect(runtime.quic, &identity).await.unwrap();
    let mut agent = Agent::over(connection, &identity, 1).await;
    agent.hello(&[]).await;
    agent.welcome().await;
    let large = "0123456789abcdef".repeat(4_096);
    let mut acked = 0;
    for seq in 1..200 {
        let wall = Wall(1_800_000_000_000_000);
        let sent = agent.try_run(seq, "a/b", &[&large], wall).await;
        if !sent || !agent.try_acked(seq).await {
            break;
        }
        acked = seq;
    }
    assert!(acked > 5, "{acked}");
    let ended = soon(tokio::task::spawn_blocking(move || process.0.wait().unwrap())).await.unwrap();
    assert_eq!(ended.code(), Some(74));

    let (_process, _runtime) = run(&data).await;
    let page = json(&["query", "--data", data_text, "--limit", "1000", "--json"]);
    let found = page["records"].as_array().unwrap().len() as u64;
    assert!(found >= acked, "{found} of {acked}");
}

#[tokio::test]
async fn the_command_line_works_with_and_without_a_running_hub() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("hub");
    let data_text = data.to_str().unwrap();
    let init = ["init", "--data", data_text, "--name", "h", "--region", "r", "--address", "127.0.0.1:7443"];
    assert_eq!(call(&["run", "--data", data_text]).status.code(), Some(78), "no hub there yet");
    let absent = call(&["token", "create", "--data", data_text]);
    assert_eq!(absent.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("millrace-hub init"));
    answer(&init);
    assert_eq!(call(&init).status.code(), Some(64), "nothing is overwritten");
    assert_eq!(call(&["status", "--data", data_text]).status.code(), Some(69));
    assert_eq!(call(&["frobnicate"]).status.code(), Some(64));

    assert!(answer(&["token", "create", "--data", data_text]).starts_with("millrace1."));
    assert_eq!(json(&["devices", "--data", data_text, "--json"])["devices"], serde_json::json!([]));

    let (mut process, runtime) = run(&data).await;
    let token = json(&["token", "create", "--data", data_text, "--label", "line=2", "--json"]);
    assert_eq!(token["labels"]["line"], "2");
    assert_eq!(token["addresses"][0], "127.0.0.1:7443");
    let url = format!("http://{}", runtime.http);
    let status = json(&["status", "--url", &url, "--json"]);
    assert_eq!((&status["name"], &status["ready"]), (&Value::from("h"), &Value::from(true)));
    let busy = call(&["verify", "--data", data_text]);
    assert_eq!(busy.status.code(), Some(75), "the store belongs to the running hub");
    assert!(String::from_utf8_lossy(&busy.stderr).contains("--peer"));
    let wrong = call(&["query", "--data", data_text, "--from", "soon"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("hint:"));
    let revoke = call(&["devices", "revoke", "nobody", "--reason", "r", "--data", data_text]);
    assert_eq!(revoke.status.code(), Some(64));

    signal(&process, "HUP");
    assert_eq!(call(&["status", "--data", data_text]).status.code(), Some(0), "a reload interrupts nothing");
    signal(&process, "TERM");
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
    assert!(!data.join("runtime.json").exists() && !data.join("admin.sock").exists());
    let decisions = || {
        let log = DecisionLog::open(&data.join("control/control-log.db"), &LogOptions::default()).unwrap();
        (log.head(), log.vote())
    };
    let before = decisions();
    assert_eq!(json(&["verify", "--data", data_text, "--json"])["clean"], true);
    assert_eq!(json(&["devices", "--data", data_text, "--json"])["devices"], serde_json::json!([]));
    assert_eq!(decisions(), before, "whoever only looks takes no part in deciding");
}

#[tokio::test]
async fn a_flipped_bit_is_found_by_verify() {
    let world = crate::world::World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    agent.run(1, "a/b", &["needle in the hay"], Wall(1_800_000_000_000_000)).await;
    agent.acked(1).await;
    let dir = world.stop().await;
    let data = dir.path().join("hub");
    let data_text = data.to_str().unwrap();
    assert_eq!(call(&["verify", "--data", data_text]).status.code(), Some(0));
    assert_eq!(json(&["devices", "--data", data_text, "--json"])["devices"][0]["records"], 1);
    let journal = data.join("journal.db");
    let mut bytes = std::fs::read(&journal).unwrap();
    let at = bytes.windows(6).position(|window| window == b"needle").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let found = call(&["verify", "--data", data_text, "--json"]);
    assert_eq!(found.status.code(), Some(65));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!((&found["clean"], &found["findings"][0]["first"]), (&Value::from(false), &Value::from(1)));
    assert!(String::from_utf8(call(&["verify", "--data", data_text]).stdout).unwrap().contains("damaged:"));
}

#[tokio::test]
async fn a_query_shows_what_is_whole_and_names_what_is_damaged() {
    let world = crate::world::World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    agent.run(1, "a/b", &["needle in the hay", "7"], Wall(1_800_000_000_000_000)).await;
    agent.acked(2).await;
    drop(agent);
    let world = world
        .restarted_with(|config| {
            let journal = config.places.journal();
            let mut bytes = std::fs::read(&journal).unwrap();
            let at = bytes.windows(6).position(|window| window == b"needle").unwrap();
            bytes[at] ^= 1;
            std::fs::write(&journal, bytes).unwrap();
        })
        .await;
    let asking = {
        let mut query = tokio::process::Command::new(PROGRAM);
        query.args(["query", "--json", "--data"]).arg(world.places().root());
        query.output().await.unwrap()
    };
    let said = String::from_utf8(asking.stderr).unwrap();
    assert_eq!(asking.status.code(), Some(65), "{said}");
    assert!(said.contains("damaged and not shown: ") && said.contains("/normal 1–1: "), "{said}");
    let answer: Value = serde_json::from_slice(&asking.stdout).unwrap();
    assert_eq!(answer["records"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!((&answer["records"][0]["seq"], &answer["damaged"][0]["first"]), (&2.into(), &1.into()));
    assert_eq!(answer["damages"], 1);
}

#[tokio::test]
async fn the_command_line_follows_records_as_they_arrive() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let world = crate::world::World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    agent.run(1, "a/b", &["1", "2"], Wall(1_800_000_000_000_000)).await;
    agent.acked(2).await;
    let mut tail = tokio::process::Command::new(PROGRAM)
        .args(["tail", "--follow", "--lines", "1", "--json", "--topic", "a/#", "--data"])
        .arg(world.places().root())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = soon(lines.next_line()).await.unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["payload"].clone()
    };
    assert_eq!(next().await, 2, "the latest");
    agent.run(3, "a/b", &["3"], Wall(1_700_000_000_000_000)).await;
    assert_eq!(next().await, 3, "new here, although its clock says earlier");
    world.stop().await;
    assert_eq!(soon(tail.wait()).await.unwrap().code(), Some(69));
}

#[test]
fn a_config_is_checked_and_the_example_passes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hub.toml");
    std::fs::write(&file, answer(&["config", "example"])).unwrap();
    let file_text = file.to_str().unwrap();
    answer(&["config", "check", file_text]);
    std::fs::write(&file, "[http]\nlisten = \"everywhere\"\n").unwrap();
    let found = call(&["config", "check", file_text, "--json"]);
    assert_eq!(found.status.code(), Some(78));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!((&found["line"], &found["key"]), (&Value::from(2), &Value::from("http.listen")));
    assert_eq!(call(&["run", "--config", file_text]).status.code(), Some(78));
    assert!(answer(&["completions", "bash"]).contains("millrace-hub"));
}

#[tokio::test]
async fn a_damaged_registry_stops_the_start_and_names_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("hub");
    let data_text = data.to_str().unwrap();
    answer(&["init", "--data", data_text, "--name", "h", "--region", "r", "--address", "127.0.0.1:7443"]);
    // As a hub of before left it, with a bit flipped.
    let line = "{\"check\":\"0123456789abcdef\",\"entry\":{\"kind\":\"token\"}}\n";
    std::fs::write(data.join("registry.jsonl"), line).unwrap();
    let output = call(&["run", "--data", data_text, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 1 of"));
}

#[tokio::test]
async fn sighup_reads_quotas_and_retention_again_and_keeps_the_old_ones_when_they_are_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("hub"), dir.path().join("hub.toml"));
    let data_text = data.to_str().unwrap();
    answer(&["init", "--data", data_text, "--name", "h", "--region", "r", "--address", "127.0.0.1:0"]);
    std::fs::write(&file, "").unwrap();
    let mut command = Command::new(PROGRAM);
    command.env("MILLRACE_HUB_CONFIG", &file);
    let (process, runtime) = run_as(command, &data).await;
    let token = answer(&["token", "create", "--data", data_text, "--name", "press-7"]);
    let request = CertificateRequest::fresh().unwrap();
    let none = Wishes::default();
    let token = token.trim().parse().unwrap();
    let identity = dialer().enroll(runtime.quic, &token, &request, &none).await.unwrap().identity;
    let credit = async || {
        let connection = dialer().connect(runtime.quic, &identity).await.unwrap();
        let mut agent = Agent::over(connection, &identity, 1).await;
        agent.hello(&[]).await;
        agent.welcome().await.credit
    };
    let until = async |wanted: u64| {
        soon(async {
            while credit().await != wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    };
    assert_eq!(credit().await, 8 << 20);
    std::fs::write(&file, "[quota]\ndevice_rate = \"1KiB/s\"\n").unwrap();
    signal(&process, "HUP");
    until(128 << 10).await;
    std::fs::write(&file, "[quota]\ndevice_rate = \"fast\"\n").unwrap();
    signal(&process, "HUP");
    std::fs::write(&file, "[quota]\ndevice_memory = \"2MiB\"\n").unwrap();
    signal(&process, "HUP");
    until(2 << 20).await;
}

#[tokio::test]
async fn a_hub_whose_data_directory_is_removed_ends_with_74() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("hub");
    let data_text = data.to_str().unwrap();
    answer(&["init", "--data", data_text, "--name", "h", "--region", "r", "--address", "127.0.0.1:7443"]);
    let (mut process, _) = run(&data).await;
    std::fs::rename(&data, dir.path().join("away")).unwrap();
    let ended = soon(async {
        loop {
            match process.0.try_wait().unwrap() {
                Some(status) => return status,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    assert_eq!(ended.await.code(), Some(74));
}
