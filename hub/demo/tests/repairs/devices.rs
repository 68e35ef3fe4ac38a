//! What damage takes on a device's disk comes back from its hub, and a receipt covers it again.

use millrace_demo::{Agent, AgentStatus};

use super::scene::{
    DEVICE, LIMIT, Scene, acks_written, delete_at, flip_at, place_of_body_at, segments_at, sqlite3_at,
};

/// Waits until so many records are back, and nothing is to come.
async fn regained(scene: &mut Scene, records: u64) -> AgentStatus {
    let back = |status: &AgentStatus| {
        assert!(status.adds_up(), "{status:?}");
        status.regaining.records == records && status.regaining.left_records == 0
    };
    let found = scene.agent.until("what damage took", LIMIT, back).await;
    found.unwrap_or_else(|error| panic!("{error}\n{}", scene.agent.process.log_tail()))
}

/// Equal roots, as the device, its hub and a signed receipt have it.
async fn ends_equal(scene: &mut Scene) {
    scene.publish(300).await;
    scene.whole_at(&scene.hubs[0]).await;
    let receipt = scene.plant.directory().join("receipt.json");
    let receipt = receipt.to_str().unwrap();
    let said = scene.agent.tried(&["verify", "--against-hub", "-o", receipt]).await.unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = scene.agent.tried(&["verify-receipt", receipt]).await.unwrap();
    assert!(said.code == Some(0) && said.out.contains("the receipt holds"), "{said:?}");
    let said = scene.hubs[0].tried(&["repair", "--device", DEVICE]).await.unwrap();
    assert!(said.code == Some(0) && said.out.contains("equal"), "{said:?}");
    assert!(scene.agent.process.terminate().await.unwrap().success());
    scene.agent.verify().await.unwrap();
}

async fn stopped(agent: &mut Agent) {
    acks_written(agent).await;
    assert!(agent.process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_at_a_device_come_back_from_its_hub() {
    let mut scene = Scene::of(1, 6_000).await;
    let before = scene.status.ledger;
    stopped(&mut scene.agent).await;
    let deleted = delete_at(&scene.agent.data().join("journal.db"), 4_500);
    scene.agent.restart().await.unwrap();
    let status = regained(&mut scene, deleted).await;
    assert_eq!((status.ledger.evicted, status.ledger.pending), (0, 0), "{status:?}");
    assert!(status.ledger.acked >= before.acked, "{status:?}");
    ends_equal(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rots_on_a_devices_disk_is_found_by_its_scrub_and_comes_back() {
    let mut scene = Scene::of(1, 6_000).await;
    stopped(&mut scene.agent).await;
    let file = scene.agent.data().join("journal.db");
    let all = segments_at(&file);
    let [(first, _), (flipped, bits), (swapped, others), ..] = all[..] else { panic!("{all:?}") };
    flip_at(&file, place_of_body_at(&file, flipped));
    sqlite3_at(
        &file,
        &format!("UPDATE body SET bytes = (SELECT bytes FROM body WHERE id = {first}) WHERE id = {swapped}"),
    );
    // Without a note of the last pass one begins with the start.
    std::fs::remove_file(scene.agent.data().join("scrub.json")).unwrap();
    scene.agent.restart().await.unwrap();
    regained(&mut scene, bits + others).await;
    let aside = sqlite3_at(&file, "SELECT count(*), sum(count) FROM quarantine");
    assert_eq!(aside, format!("2|{}", bits + others), "moved aside, not deleted");
    ends_equal(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_killed_while_what_it_lost_comes_back_goes_on_where_it_was() {
    let mut scene = Scene::of(1, 1_200).await;
    scene.publish_blocks(600).await;
    stopped(&mut scene.agent).await;
    let deleted = delete_at(&scene.agent.data().join("journal.db"), 550);
    // A slow road: some segments of a mebibyte each take a while.
    scene.configure(DEVICE, "[uplink]\nrate = \"512KiB/s\"");
    scene.agent.restart().await.unwrap();
    let some = |status: &AgentStatus| status.regaining.records > 0;
    let came = scene.agent.until("the first of it", LIMIT, some).await.unwrap().regaining;
    assert!(came.left_records > 0, "{came:?}");
    scene.agent.process.kill().await.unwrap();
    scene.configure(DEVICE, "");
    scene.agent.restart().await.unwrap();
    scene.agent.online(LIMIT).await.unwrap();
    let rest = scene.agent.until("the rest", LIMIT, |status| {
        status.regaining.records > 0 && status.regaining.left_records == 0
    });
    let rest = rest.await.unwrap().regaining.records;
    // What was on its way to the disk may have come twice.
    assert!(came.records + rest <= deleted && rest >= came.left_records / 2, "{came:?}, {rest} of {deleted}");
    ends_equal(&mut scene).await;
}
