//! Rows are gone: from one of three hubs, from a hub that is alone, from a hub that is killed while it is mended.

use std::time::Duration;

use millrace_demo::patience::{Look, until};
use serde_json::Value;

use super::scene::{LIMIT, Scene, delete, journal, mended, sqlite3, stopped, sum};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_records_deleted_at_one_of_three_hubs_come_back_by_themselves() {
    let mut scene = Scene::of(3, 13_000).await;
    stopped(&mut scene.hubs[2]).await;
    let deleted = delete(&scene.hubs[2], 10_500);
    assert!(deleted >= 9_500, "{deleted}");
    scene.hubs[2].restart().await.unwrap();
    let reports = mended(&scene.hubs[2]).await;
    assert_eq!((sum(&reports, "lost"), sum(&reports, "fetched")), (deleted, deleted), "{reports:?}");
    assert!(sum(&reports, "bytes") > 0, "{reports:?}");
    assert!(reports.iter().all(|one| one["at"].as_str().unwrap().starts_with("20")), "{reports:?}");
    let sources: Vec<&Value> = reports.iter().flat_map(|one| one["sources"].as_array().unwrap()).collect();
    assert!(!sources.is_empty() && sources.iter().all(|from| from.as_str().unwrap().starts_with("hub-")));
    for hub in &scene.hubs {
        scene.whole_at(hub).await;
    }
    scene.equal_at(&scene.hubs[2]).await;
    scene.equal_at(&scene.hubs[0]).await;
    stopped(&mut scene.hubs[2]).await;
    scene.hubs[2].verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_at_a_hub_that_is_alone_come_back_from_the_device() {
    let mut scene = Scene::of(1, 6_000).await;
    let ledger = scene.status.ledger;
    stopped(&mut scene.hubs[0]).await;
    let deleted = delete(&scene.hubs[0], 4_500);
    scene.hubs[0].restart().await.unwrap();
    let reports = mended(&scene.hubs[0]).await;
    assert_eq!((sum(&reports, "lost"), sum(&reports, "fetched")), (deleted, deleted), "{reports:?}");
    assert!(reports.iter().all(|one| one["sources"] == serde_json::json!(["the device"])), "{reports:?}");
    // What was taken back waited for its ack as if it were new, and is acknowledged again.
    let safe = |status: &millrace_demo::AgentStatus| {
        assert!(status.adds_up(), "{status:?}");
        status.ledger.pending == 0
    };
    let settled = scene.agent.until("acks of everything", LIMIT, safe).await.unwrap();
    assert_eq!((settled.ledger.evicted, settled.ledger.rejected), (0, 0), "{settled:?}");
    assert!(settled.ledger.acked >= ledger.acked, "{settled:?}");
    scene.status = settled;
    scene.whole_at(&scene.hubs[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_says_what_is_gone_from_a_stopped_hub_and_leaves_the_mending_to_its_start() {
    let mut scene = Scene::of(1, 4_000).await;
    let said = scene.hubs[0].tried(&["verify"]).await.unwrap();
    assert!(said.code == Some(75) && said.err.contains("systemctl stop"), "{said:?}");
    assert!(said.err.contains("scrub") && said.err.contains("verify --peer"), "{said:?}");
    assert!(!said.err.contains("socket"), "no socket answers this: {said:?}");

    stopped(&mut scene.hubs[0]).await;
    let said = scene.hubs[0].tried(&["verify"]).await.unwrap();
    assert!(said.code == Some(0) && said.out.contains("all is well"), "{said:?}");
    let deleted = delete(&scene.hubs[0], 2_500);
    sqlite3(&scene.hubs[0], "PRAGMA wal_checkpoint(TRUNCATE)");
    let before = std::fs::read(journal(&scene.hubs[0])).unwrap();
    // Twice: the first has not made it well.
    for _ in 0..2 {
        let said = scene.hubs[0].tried(&["verify"]).await.unwrap();
        assert!(said.code == Some(65) && !said.out.contains("all is well"), "{said:?}");
        assert!(said.out.contains("noted as stored, and not there"), "{said:?}");
    }
    assert!(std::fs::read(journal(&scene.hubs[0])).unwrap() == before, "the store is only read");
    let log = journal(&scene.hubs[0]).with_extension("db-wal");
    assert_eq!(std::fs::metadata(log).map_or(0, |log| log.len()), 0, "nothing was written to its log either");

    scene.hubs[0].restart().await.unwrap();
    let reports = mended(&scene.hubs[0]).await;
    assert_eq!((sum(&reports, "lost"), sum(&reports, "fetched")), (deleted, deleted), "{reports:?}");
    scene.whole_at(&scene.hubs[0]).await;
    stopped(&mut scene.hubs[0]).await;
    scene.hubs[0].verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_killed_again_and_again_while_it_is_mended_ends_equal() {
    let mut scene = Scene::of(3, 0).await;
    scene.publish_blocks(4_000).await;
    scene.whole_at(&scene.hubs[2]).await;
    stopped(&mut scene.hubs[2]).await;
    // Some twenty batches.
    scene.configure("hub-3", "[repair]\nmax_batch_size = \"1MiB\"");
    let deleted = delete(&scene.hubs[2], 2_700);
    let mut in_the_middle = 0;
    for kill in 1..=6 {
        scene.hubs[2].restart().await.unwrap();
        let before = counted(&scene.hubs[2]).await;
        let hub = &scene.hubs[2];
        // A little has come, or it is over already.
        let missing = until("a step of mending", LIMIT, || async {
            let (records, missing) = counted(hub).await;
            let moved = records > before.0 || missing == 0;
            Ok(if moved { Look::Found(missing) } else { Look::NotYet(format!("{records}, {missing}")) })
        });
        let missing = missing.await.unwrap();
        scene.hubs[2].process.kill().await.unwrap();
        in_the_middle += u32::from(missing > 0);
        println!("kill {kill}: {before:?}, then {missing} missing of {deleted}");
    }
    assert!(in_the_middle >= 2, "killed {in_the_middle} times in the middle");
    scene.hubs[2].restart().await.unwrap();
    for hub in &scene.hubs {
        scene.whole_at(hub).await;
    }
    scene.equal_at(&scene.hubs[2]).await;
    assert_eq!(counted(&scene.hubs[2]).await.1, 0);
}

/// How many records a hub has, and how many it lacks.
async fn counted(hub: &millrace_demo::Hub) -> (u64, u64) {
    let look = || async {
        let status = hub.status().await?;
        Ok(Look::Found((status["records"].as_u64().unwrap(), status["missing"].as_u64().unwrap())))
    };
    until("the status", Duration::from_secs(10), look).await.unwrap()
}
