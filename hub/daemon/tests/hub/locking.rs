//! `millrace-hub lock`, a real process beside a real hub: what happens to its command when the lock is lost.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::process::{PROGRAM, answer, call, run};
use crate::world::soon;

/// A lock that is held while a shell and what it started run.
struct Held {
    lock: Child,
    lease: u64,
    /// The shell's child.
    grandchild: u32,
}

/// Takes the lock `press` for so long, and runs `script` with what it starts in the background noted.
async fn held(data: &Path, ttl: &str, script: &str) -> Held {
    let noted = data.join("grandchild");
    let script = format!("{script} & echo $! > {0}.new; mv {0}.new {0}; wait; wait", noted.display());
    let mut lock = Command::new(PROGRAM)
        .args(["lock", "press", "--json", "--ttl", ttl, "--data"])
        .arg(data)
        .args(["--", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(lock.stdout.take().unwrap()).lines();
    let said: Value = serde_json::from_str(&soon(lines.next_line()).await.unwrap().unwrap()).unwrap();
    let grandchild = soon(async {
        loop {
            match std::fs::read_to_string(&noted) {
                Ok(text) => return text.trim().parse().unwrap(),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await;
    assert!(lives(grandchild));
    Held { lock, lease: said["lease"].as_u64().unwrap(), grandchild }
}

/// Whether the process is there and does anything: one that has ended may wait for somebody to note it.
fn lives(process: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
    state.is_ok_and(|state| {
        state.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

async fn ended(held: &mut Held) -> ExitStatus {
    let status = soon(held.lock.wait()).await.unwrap();
    soon(async {
        while lives(held.grandchild) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    status
}

fn hub(dir: &Path) -> String {
    let data = dir.join("hub").to_str().unwrap().to_owned();
    answer(&["init", "--data", &data, "--name", "h", "--region", "r", "--address", "127.0.0.1:0"]);
    data
}

#[tokio::test]
async fn when_the_lease_is_revoked_the_command_ends_with_everything_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let data = hub(dir.path());
    let (_hub, _) = run(Path::new(&data)).await;
    let mut held = held(Path::new(&data), "3s", "sleep 600").await;
    answer(&["lease", "revoke", &held.lease.to_string(), "--data", &data]);
    assert_eq!(ended(&mut held).await.code(), Some(75));
}

#[tokio::test]
async fn a_command_that_does_not_listen_is_killed_and_so_is_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let data = hub(dir.path());
    let (_hub, _) = run(Path::new(&data)).await;
    let mut held =
        held(Path::new(&data), "3s", "trap '' TERM; (trap '' TERM; while :; do sleep 1; done)").await;
    answer(&["lease", "revoke", &held.lease.to_string(), "--data", &data]);
    assert_eq!(ended(&mut held).await.code(), Some(75));
}

#[tokio::test]
async fn a_holder_that_was_paused_for_longer_than_its_lease_ends_its_command_when_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = hub(dir.path());
    let (_hub, _) = run(Path::new(&data)).await;
    let mut held = held(Path::new(&data), "1s", "sleep 600").await;
    let signal = |name: &str| {
        let id = held.lock.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    };
    signal("STOP");
    soon(async {
        while call(&["elect", "press", "--show", "--json", "--data", &data])
            .stdout
            .windows(7)
            .any(|w| w == b"\"fence\"")
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(lives(held.grandchild), "nobody can end it meanwhile: that is what the fence is for");
    signal("CONT");
    assert_eq!(ended(&mut held).await.code(), Some(75));
}

#[tokio::test]
async fn a_command_that_ends_by_itself_gives_its_own_code_and_the_lock_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = hub(dir.path());
    let (_hub, _) = run(Path::new(&data)).await;
    for code in [0, 7] {
        let script = format!("test -n \"$MILLRACE_FENCE\" && exit {code}");
        let ran = call(&["lock", "press", "--try-once", "--data", &data, "--", "sh", "-c", &script]);
        assert_eq!(ran.status.code(), Some(code), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let taken = held(Path::new(&data), "10s", "sleep 600").await;
    let late = call(&["lock", "press", "--try-once", "--data", &data, "--", "true"]);
    assert_eq!(late.status.code(), Some(75));
    let id = taken.lock.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    let mut taken = taken;
    assert_eq!(ended(&mut taken).await.code(), Some(0), "it was told to end");
}
