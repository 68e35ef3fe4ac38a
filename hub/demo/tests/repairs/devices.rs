//! What damage takes on a device's disk comes back from its hub, and a receipt covers it again.

use millrace_demo::{Agent, AgentStatus};

use super::scene::{DEVICE, LIMIT, Scene, acks_written, delete_at};

/// Waits until so many records are back, and nothing is to come.
async fn regained(scene: &mut Scene, records: u64) -> AgentStatus {
    let back = |status: &AgentStatus| {
        assert!(status.adds_up(), "{status:?}");
        status.regaining.records == records && status.regaining.left_records == 0
    };
    scene.agent.until("what damage took", LIMIT, back).await.unwrap()
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
