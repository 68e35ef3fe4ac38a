//! What the program answers when it is asked for what cannot be, and with which code.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use millrace_hub::Places;
use millrace_hub::places::SeatFile;
use serde_json::Value;

use crate::process::{PROGRAM, Process, answer, call, run};

/// A directory with a hub that was made and does not run.
fn founded() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("hub");
    answer(&[
        "init",
        "--data",
        text(&data),
        "--name",
        "hub-a",
        "--region",
        "r",
        "--address",
        "127.0.0.1:7443",
    ]);
    (dir, data)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What is refused, with this code and these words.
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let output = call(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    for word in words {
        assert!(said(&output).contains(word), "{arguments:?}: `{word}` is not in {}", said(&output));
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn keys_come_back_byte_for_byte_and_one_that_is_not_there_has_a_code_of_its_own() {
    let (_dir, data) = founded();
    let (_hub, _runtime) = run(&data).await;
    let kv = |words: &[&str]| call(&[&["kv"], words, &["--data", text(&data)]].concat());
    let bytes = b"\xff\0\n";
    let mut put = Command::new(PROGRAM)
        .args(["kv", "put", "layout", "-", "--data", text(&data)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    put.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(put.wait().unwrap().success());
    assert_eq!(kv(&["get", "layout"]).stdout, bytes);
    assert!(kv(&["put", "recipe", "17"]).status.success());
    assert_eq!(kv(&["get", "recipe"]).stdout, b"17");
    let all = kv(&["get", "", "--prefix"]).stdout;
    assert!(String::from_utf8(all).unwrap().contains("layout\tbase64:/wAK\n"));

    let place = ["--data", text(&data)];
    refused(&[&["kv", "get", "nosuch"], &place[..]].concat(), 1, &["there is no key `nosuch`"]);
    for empty in [&["kv", "get", ""][..], &["kv", "put", "", "v"], &["kv", "del", ""], &["kv", "watch", ""]] {
        refused(&[empty, &place].concat(), 64, &["the key is empty", "hint:"]);
    }
    refused(&[&["kv", "txn", "nosuch.json"], &place[..]].concat(), 64, &["nosuch.json", "hint:"]);
}

#[tokio::test]
async fn a_hub_that_is_alone_does_not_drain_unless_it_is_forced() {
    let (_dir, data) = founded();
    let (_hub, _runtime) = run(&data).await;
    refused(&["drain", "--data", text(&data)], 75, &["no other hub", "--force"]);
    // A hub that drains is not ready, so `status` ends with 75.
    let draining = || {
        let status = call(&["status", "--data", text(&data), "--json"]);
        serde_json::from_slice::<Value>(&status.stdout).unwrap()["draining"].clone()
    };
    assert_eq!(draining(), false);
    answer(&["drain", "--force", "--data", text(&data)]);
    assert_eq!(draining(), true);
}

#[tokio::test]
async fn only_a_stopped_hub_is_forced_and_a_restored_one_has_the_name_that_it_was_given() {
    let (dir, data) = founded();
    let (hub, _runtime) = run(&data).await;
    refused(&["force-new-cluster", "--yes", "--data", text(&data)], 75, &["stop the hub first"]);
    let (backup, restored) = (dir.path().join("backup"), dir.path().join("new"));
    answer(&["backup", "--data", text(&data), text(&backup)]);
    drop(hub);
    let words = answer(&["restore", "--from", text(&backup), "--data", text(&restored), "--name", "hub-new"]);
    assert!(words.starts_with("hub hub-new ("), "{words}");
    let nowhere = dir.path().join("nosuch");
    refused(&["force-new-cluster", "--yes", "--data", text(&nowhere)], 78, &["there is no hub in"]);
    refused(&["backup", "--check", text(&nowhere)], 65, &["`millrace-hub backup --check`"]);
}

/// A token that lets a hub of this name join at the hub in `data`, which is reached at `address`.
fn hub_token(data: &Path, name: &str, address: &str) -> String {
    answer(&["token", "create", "--hub", "--data", text(data), "--name", name, "--address", address])
}

#[tokio::test]
async fn a_hub_joins_at_an_address_of_its_own() {
    let (dir, data) = founded();
    let (_hub, runtime) = run(&data).await;
    let reached = runtime.quic.to_string();
    let token = hub_token(&data, "hub-b", &reached);
    let second = dir.path().join("hub-b");
    let join = ["join", "--data", text(&second), "--region", "s", "--token", token.trim(), "--address"];
    let at = |address| [&join[..], &[address]].concat();
    refused(&at("127.0.0.1:7443"), 77, &["127.0.0.1:7443 is that of hub `hub-a`"]);
    // The same token: the certificate is there already.
    let words = answer(&at("127.0.0.1:7444"));
    assert!(words.contains(&format!("run --data {} --listen 127.0.0.1:7444", text(&second))), "{words}");
}

#[tokio::test]
async fn a_join_that_waits_says_so() {
    let (dir, data) = founded();
    let token = hub_token(&data, "b", "127.0.0.1:9");
    let joining = Command::new(PROGRAM)
        .args(["join", "--region", "s", "--address", "127.0.0.1:7444", "--token", token.trim(), "--data"])
        .arg(dir.path().join("hub-b"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut joining = Process(joining);
    let mut line = String::new();
    BufReader::new(joining.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("trying 127.0.0.1:9 again"), "{line}");
}

#[test]
fn a_directory_without_a_hub_and_a_file_are_answered_with_what_can_be_done() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, file) = (dir.path().join("empty"), dir.path().join("afile"));
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(&file, "").unwrap();
    let ways = ["millrace-hub init", "millrace-hub join", "token create --hub --replace NAME"];
    refused(&["run", "--data", text(&empty)], 78, &ways);
    let init = ["init", "--name", "a", "--region", "r", "--address", "127.0.0.1:7443", "--data", text(&file)];
    refused(&init, 64, &["afile is not a directory"]);
}

#[test]
fn a_witness_has_nothing_that_could_be_backed_up() {
    let (dir, data) = founded();
    let places = Places::new(&data);
    let seat = places.read_seat().unwrap().unwrap();
    places.write_seat(&SeatFile { witness: true, ..seat }).unwrap();
    let backup = dir.path().join("backup");
    refused(&["backup", "--data", text(&data), text(&backup)], 64, &["is a witness", "hint:"]);
    assert!(!backup.exists(), "nothing is begun");
}

#[tokio::test]
async fn names_of_hubs_are_checked_and_no_advice_is_given_twice() {
    let (_dir, data) = founded();
    let replacing = ["token", "create", "--hub", "--replace", "nosuch", "--data", text(&data)];
    refused(&replacing, 64, &["there is no hub `nosuch`"]);
    let (_hub, _runtime) = run(&data).await;
    refused(&replacing, 64, &["there is no hub `nosuch`"]);
    assert!(
        answer(&["token", "create", "--replace", "hub-a", "--data", text(&data)]).starts_with("millrace1.")
    );
    let plan = ["placement", "plan", "--add", "r/hub-a", "--data", text(&data)];
    refused(&plan, 64, &["there is a hub `hub-a` already"]);
    let over = call(&["lease", "renew", "99", "--data", text(&data)]);
    assert_eq!(said(&over).matches("ask for a new one").count(), 1, "{}", said(&over));
}
