//! What a device wrote in an older life of its is lost at a hub that is alone.

use millrace_demo::plant::copy;

use super::scene::{LIMIT, Scene, acks_written, delete, mended, stopped, sum};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hub_lost_of_a_devices_older_life_comes_back_from_the_device() {
    let mut scene = Scene::of(1, 6_000).await;
    let known = scene.status.clone();
    // That they are safe is on the disk: what is not known to be safe is compared by a new life, and goes when the hub has it.
    acks_written(&scene.agent).await;
    // The disk is put back to how it was: the device begins a new life, and keeps what it has of the old one.
    assert!(scene.agent.process.terminate().await.unwrap().success());
    let backup = scene.plant.directory().join("backup");
    copy(scene.agent.data(), &backup).unwrap();
    scene.agent.restart().await.unwrap();
    scene.publish(200).await;
    assert!(scene.agent.process.terminate().await.unwrap().success());
    std::fs::remove_dir_all(scene.agent.data()).unwrap();
    std::fs::rename(&backup, scene.agent.data()).unwrap();
    scene.agent.restart().await.unwrap();
    scene.publish(300).await;
    assert_ne!(scene.status.incarnation, known.incarnation, "a new life began");
    let before = scene.hubs[0].kept_of(&known.device).await.unwrap();
    assert_eq!(before.data().count(), 6_500);

    stopped(&mut scene.hubs[0]).await;
    let deleted = delete(&scene.hubs[0], 4_000);
    scene.hubs[0].restart().await.unwrap();
    let reports = mended(&scene.hubs[0]).await;
    assert_eq!((sum(&reports, "lost"), sum(&reports, "fetched")), (deleted, deleted), "{reports:?}");
    let after = scene.hubs[0].kept_of(&known.device).await.unwrap();
    let names = |one: &millrace_demo::StoredRecord| {
        (one.incarnation.clone(), one.lane.clone(), one.seq, one.fingerprint)
    };
    assert!(before.data().map(names).eq(after.data().map(names)), "the same records, under the same names");
    let status = scene.agent.settled(LIMIT).await.unwrap();
    assert!(status.balanced && status.ledger.pending == 0, "{status:?}");
    scene.agent.verify().await.unwrap();
    stopped(&mut scene.hubs[0]).await;
    scene.hubs[0].verify().await.unwrap();
}
