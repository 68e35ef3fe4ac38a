//! Whole files of one of three hubs are damaged or gone. It starts and becomes equal again, or refuses to start with a message that
//! says what to do; doing that helps.

use std::fs;
use std::path::{Path, PathBuf};

use millrace_demo::{Hub, PlantError};

use super::scene::{Scene, journal, stopped};

/// Damage to a stopped hub.
type Hurt = fn(&Hub);

/// How often systemd would have started it again by then.
const STARTS_MAX: usize = 3;

/// Starts a hub as systemd does. The exit code and the last words of one that does not want to.
async fn started(hub: &mut Hub) -> Result<(), (String, String)> {
    let mut refused = (String::new(), String::new());
    for _ in 0..STARTS_MAX {
        match hub.restart().await {
            Ok(()) => return Ok(()),
            Err(PlantError::Exited { status, tail, .. }) => {
                let words = tail.rsplit("starts ---").next().unwrap_or_default().to_owned();
                assert!(!words.contains("panicked"), "{words}");
                refused = (status, words);
            }
            Err(error) => panic!("{error}"),
        }
    }
    Err(refused)
}

/// Moves a file, and what begins with its name, aside.
fn move_aside(path: &Path) {
    let (directory, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
    let aside = directory.join("aside");
    fs::create_dir_all(&aside).unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_str().unwrap().starts_with(name) {
            fs::rename(entry.path(), aside.join(entry.file_name())).unwrap();
        }
    }
}

fn halve(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn zero(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, vec![0; bytes.len()]).unwrap();
}

/// Hurts the third hub; it ends whole and equal, and so do the others. What it said when it refused to start, and `cure` was needed.
async fn survives(
    scene: &mut Scene,
    what: &str,
    hurt: impl FnOnce(&Hub),
    cure: impl FnOnce(&Hub),
) -> Option<(String, String)> {
    stopped(&mut scene.hubs[2]).await;
    hurt(&scene.hubs[2]);
    let refused = started(&mut scene.hubs[2]).await.err();
    println!("{what}: {refused:?}");
    if let Some((status, words)) = &refused {
        assert!(["65", "74", "78"].iter().any(|code| status.ends_with(code)), "{what}: {status}: {words}");
        cure(&scene.hubs[2]);
        started(&mut scene.hubs[2]).await.unwrap();
    }
    ends_equal(scene).await;
    refused
}

/// Starts the third hub as systemd does, and does what it says when it refuses or keeps ending, until it has everything.
pub(super) async fn nursed(scene: &mut Scene) {
    let mut ends = 0;
    loop {
        let refused = started(&mut scene.hubs[2]).await.err();
        if refused.is_none() && scene.is_whole_at(&scene.hubs[2]).await {
            return ends_equal(scene).await;
        }
        let words = match refused {
            Some((_, words)) => words,
            None => {
                let status = scene.hubs[2].process.ended(super::scene::LIMIT).await.unwrap();
                assert_eq!(status.code(), Some(74));
                scene.words(&scene.hubs[2])
            }
        };
        println!("it ends: {words}");
        assert!(words.contains("move journal.db") && words.contains("aside"), "{words}");
        ends += 1;
        assert!(ends <= STARTS_MAX + 1, "what it says does not help: {words}");
        if words.contains("exit=65") || ends == STARTS_MAX {
            move_aside(&journal(&scene.hubs[2]));
        }
    }
}

async fn ends_equal(scene: &mut Scene) {
    for at in [2, 0, 1] {
        scene.whole_at(&scene.hubs[at]).await;
    }
    scene.hubs[0].complete(3, super::scene::LIMIT).await.unwrap();
    scene.equal_at(&scene.hubs[2]).await;
    for hub in &mut scene.hubs {
        hub.process.must_run().unwrap();
    }
    let log = scene.log(&scene.hubs[2]);
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_truncated_zeroed_or_gone_is_filled_again() {
    let mut scene = Scene::of(3, 3_000).await;
    let aside = |hub: &Hub| move_aside(&journal(hub));
    let hurts: [(&str, Hurt); 4] = [
        ("truncated", |hub| halve(&journal(hub))),
        ("zeroed", |hub| zero(&journal(hub))),
        ("gone", |hub| fs::remove_file(journal(hub)).unwrap()),
        ("empty", |hub| fs::write(journal(hub), b"").unwrap()),
    ];
    for (what, hurt) in hurts {
        let refused = survives(&mut scene, what, hurt, aside).await;
        if let Some((_, words)) = refused {
            assert!(words.contains("journal.db") && words.contains("aside"), "{what}: {words}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_ahead_log_that_is_damaged_is_made_up_for() {
    let mut scene = Scene::of(3, 2_000).await;
    scene.publish(1_000).await;
    scene.whole_at(&scene.hubs[2]).await;
    scene.hubs[2].process.kill().await.unwrap();
    let log = PathBuf::from(format!("{}-wal", journal(&scene.hubs[2]).display()));
    let mut bytes = fs::read(&log).unwrap();
    assert!(bytes.len() > 40_000, "{}", bytes.len());
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0x5a);
    fs::write(&log, bytes).unwrap();
    if let Err((status, words)) = started(&mut scene.hubs[2]).await {
        panic!("{status}: {words}");
    }
    ends_equal(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_that_are_damaged_are_said_and_the_hub_joins_again() {
    let mut scene = Scene::of(3, 1_000).await;
    let control = |hub: &Hub| hub.data().join("control");
    let files: Vec<String> = fs::read_dir(control(&scene.hubs[2]))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".db"))
        .flat_map(|name| [format!("{name}-wal"), name])
        .collect();
    assert!(!files.is_empty());
    for name in &files {
        for (how, hurt) in [("truncated", halve as fn(&Path)), ("zeroed", zero)] {
            let what = format!("{name} {how}");
            // What an orderly end has carried over has no log.
            let hurts = |hub: &Hub| {
                let path = control(hub).join(name);
                if path.exists() {
                    hurt(&path);
                }
            };
            let cure = |hub: &Hub| {
                let aside = hub.data().join("control.aside");
                let _ = fs::remove_dir_all(&aside);
                fs::rename(control(hub), aside).unwrap();
            };
            if let Some((_, words)) = survives(&mut scene, &what, hurts, cure).await {
                assert!(words.contains("control") && words.contains("aside"), "{what}: {words}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_that_are_garbage_cost_nothing_and_names_that_are_garbage_are_asked_for() {
    let mut scene = Scene::of(3, 1_000).await;
    for name in ["repairs.json", "scrub.json", "retention.json", "seen.jsonl", "about.json", "cluster.json"] {
        let mut kept = fs::read(scene.hubs[2].data().join(name)).unwrap_or_default();
        if name == "about.json" {
            // Written anew, as the hub says.
            let address = scene.hubs[2].quic().to_string();
            let about = serde_json::json!({ "name": "hub-3", "region": "region-3", "addresses": [address] });
            kept = about.to_string().into_bytes();
        }
        let garbage = |hub: &Hub| fs::write(hub.data().join(name), b"\x00\xff{garbage").unwrap();
        let cure = |hub: &Hub| fs::write(hub.data().join(name), &kept).unwrap();
        if let Some((_, words)) = survives(&mut scene, name, garbage, cure).await {
            assert!(["about.json", "cluster.json"].contains(&name), "{name}: {words}");
            assert!(words.contains(name), "{name}: {words}");
        }
    }
}
