//! `millrace-hub lock`, a real process beside a real hub: what happens to its command when the lock is lost.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::process::{PROGRAM, answer, call, run};
use crate::world::soon;

/// A lock that is held while a shell and what it started run.
struct Held {
    lock: Child,
    lease: u64,
    /// The shell's child.
    grandchild: u32,
    /// Open, so that what complains does not end by that.
    _said: Lines<BufReader<ChildStderr>>,
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
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(lock.stderr.take().unwrap()).lines();
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
    Held { lock, lease: said["lease"].as_u64().unwrap(), grandchild, _said: lines }
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
    assert_eq!(ended(&mut taken).await.code(), Some(143), "the shell was told to end, and did");
}

fn told(process: &Child, signal: &str) {
    let id = process.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
}

#[tokio::test]
async fn what_tells_the_holder_to_end_tells_the_command_whose_code_counts() {
    let dir = tempfile::tempdir().unwrap();
    let data = hub(dir.path());
    let (_hub, _) = run(Path::new(&data)).await;
    let script = "trap 'kill $!; exit 7' TERM; sleep 600";
    let mut held = held(Path::new(&data), "10s", script).await;
    told(&held.lock, "TERM");
    assert_eq!(ended(&mut held).await.code(), Some(7), "its trap ran");
    let free = call(&["lock", "press", "--try-once", "--data", &data, "--", "echo", "only this"]);
    assert_eq!(free.stdout, b"only this\n", "standard output is the command's own");
    assert!(String::from_utf8_lossy(&free.stderr).contains("press is held, fence "));
}

#[tokio::test]
async fn a_holder_that_is_killed_takes_its_command_along() {
    let dir = tempfile::tempdir().unwrap();
    let data = hub(dir.path());
    let (_hub, _) = run(Path::new(&data)).await;
    let mut held = held(Path::new(&data), "10s", "exec sleep 600").await;
    // The shell itself: what it started is not told.
    let shell = parent(held.grandchild);
    assert!(lives(shell));
    told(&held.lock, "KILL");
    soon(held.lock.wait()).await.unwrap();
    soon(async {
        while lives(shell) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let left = held.grandchild.to_string();
    assert!(std::process::Command::new("kill").args(["-s", "KILL", &left]).status().unwrap().success());
}

/// The process that started this one.
fn parent(process: u32) -> u32 {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let rest = state.rsplit(')').next().unwrap().to_owned();
    rest.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn whoever_waits_goes_on_with_a_new_lease_and_whoever_is_told_to_end_meanwhile_has_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let data = hub(dir.path());
    let (_hub, _) = run(Path::new(&data)).await;
    let first = held(Path::new(&data), "10s", "sleep 600").await;
    let wait = |command: &[&str]| {
        Command::new(PROGRAM)
            .args(["lock", "press", "--ttl", "10s", "--data", &data, "--"])
            .args(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let mut waits = wait(&["echo", "ran"]);
    let lease = soon(async {
        loop {
            // The places in the row are named after their leases.
            let row = call(&["kv", "get", "lock/", "--prefix", "--keys-only", "--json", "--data", &data]);
            let row: Value = serde_json::from_slice(&row.stdout).unwrap();
            let leases = row["kvs"].as_array().unwrap().iter().filter_map(|place| place["lease"].as_u64());
            match leases.clone().find(|lease| *lease != first.lease) {
                Some(lease) => return lease,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await;
    answer(&["lease", "revoke", &lease.to_string(), "--data", &data]);
    let mut said = BufReader::new(waits.stderr.take().unwrap()).lines();
    let line = soon(said.next_line()).await.unwrap().unwrap();
    assert!(line.contains("waiting for press with a new lease"), "{line}");

    let mut told_to_end = wait(&["echo", "never"]);
    let mut first = first;
    // It listens before it asks for anything; the row has both then.
    soon(async {
        loop {
            let row = call(&["kv", "get", "lock/", "--prefix", "--keys-only", "--json", "--data", &data]);
            let row: Value = serde_json::from_slice(&row.stdout).unwrap();
            if row["kvs"].as_array().unwrap().len() == 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    told(&told_to_end, "TERM");
    assert_eq!(soon(told_to_end.wait()).await.unwrap().code(), Some(143), "`&& next` does not go on");

    told(&first.lock, "TERM");
    ended(&mut first).await;
    let ran = soon(waits.wait_with_output()).await.unwrap();
    assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(0), b"ran\n".as_slice()));
}

#[test]
fn a_name_or_a_life_that_no_hub_takes_is_refused_before_it_is_asked() {
    for (arguments, said) in [
        (["lock", "", "--ttl", "10s"], "1 to 1024 bytes"),
        (["lock", "press", "--ttl", "100ms"], "1 s to 366 days"),
        (["elect", "press", "--ttl", "400d"], "1 s to 366 days"),
    ] {
        let refused = call(&arguments);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(64) && text.contains(said), "{text}");
    }
}
