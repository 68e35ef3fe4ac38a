//! What `repair` and `repairs` say, and with whom they compare.

use millrace_demo::patience::{Look, until};
use serde_json::Value;

use super::scene::{DEVICE, LIMIT, Scene, delete, mended, restarted_agent, stopped, sum};

#[tokio::test(flavor = "multi_thread")]
async fn repair_compares_with_whom_it_is_told_and_says_who_is_unknown() {
    let scene = Scene::of(3, 500).await;
    let hub = &scene.hubs[0];
    let said = hub.tried(&["repair", "--hub", "hub-2"]).await.unwrap();
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 1), "{said:?}");
    assert!(said.out.contains("equal"), "{said:?}");
    let said = hub.tried(&["repair", "--hub", "hub-3", "--dry-run", "--json"]).await.unwrap();
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &answer["equal"], &answer["over"]), (Some(0), &true.into(), &true.into()));
    let report = &answer["reports"][0];
    assert_eq!((&report["dry_run"], &report["trigger"]), (&true.into(), &"demand".into()), "{report}");
    assert_eq!((&answer["partners"], &answer["unreached"]), (&1.into(), &serde_json::json!([])), "{answer}");

    let unknown = [
        (["--hub", "hub-9"], "no other hub is called hub-9"),
        (["--hub", "hub-1"], "no other hub is called hub-1"),
        (["--device", "press-9"], "no device is called press-9"),
    ];
    for (words, message) in unknown {
        let said = hub.tried(&[&["repair"], &words[..]].concat()).await.unwrap();
        assert!(said.code != Some(0) && said.err.contains(message) && said.out.is_empty(), "{said:?}");
    }
    let said = hub.tried(&["repair", "--hub", "hub-2", "--device", DEVICE]).await.unwrap();
    assert_eq!(said.code, Some(64), "{said:?}");
    let said = hub.tried(&["repair", "--help"]).await.unwrap();
    assert!(said.code == Some(0) && said.out.contains("--dry-run") && said.out.contains("75"), "{said:?}");
    // The device is connected to one of the three.
    let mut away = 0;
    for hub in &scene.hubs {
        let said = hub.tried(&["repair", "--device", DEVICE, "--wait", "1s"]).await.unwrap();
        let elsewhere = said.err.contains("press-line is not connected") && said.err.contains("devices");
        assert_eq!(said.code == Some(69), elsewhere, "{said:?}");
        away += usize::from(elsewhere);
    }
    assert_eq!(away, 2);
    // What somebody asked for is told, also when everything was equal.
    let said = hub.tried(&["repairs"]).await.unwrap();
    assert!(said.code == Some(0) && said.out.contains("equal"), "{said:?}");
    assert!(said.out.contains(" hub-2") && said.out.contains(" hub-3"), "by their names: {said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_never_silent_is_compared_with() {
    let mut scene = Scene::of(1, 2_000).await;
    let said = scene.tried_while_it_publishes(&["repair", "--device", DEVICE, "--wait", "60s"]).await;
    assert!(said.code == Some(0) && said.out.contains("equal"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn comparing_with_nobody_is_no_success() {
    let mut scene = Scene::of(1, 100).await;
    assert!(scene.agent.process.terminate().await.unwrap().success());
    let hub = &scene.hubs[0];
    let said = until("the end of the device's session", LIMIT, || async {
        let said = hub.tried(&["repair", "--all", "--wait", "1s", "--json"]).await?;
        Ok(if said.code == Some(69) { Look::Found(said) } else { Look::NotYet(format!("{said:?}")) })
    });
    let said = said.await.unwrap();
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&answer["partners"], &answer["equal"]), (&0.into(), &false.into()), "{answer}");
    assert!(said.err.contains("nothing was compared"), "{said:?}");
    let said = hub.tried(&["repair", "--device", DEVICE]).await.unwrap();
    assert!(said.code == Some(69) && said.err.contains("not connected"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_differs_and_changes_nothing() {
    let mut scene = Scene::of(1, 4_000).await;
    // A metered road does not bring what is old, so that the difference stays.
    restarted_agent(&mut scene, "[uplink]\nmetered = true").await;
    stopped(&mut scene.hubs[0]).await;
    let deleted = delete(&scene.hubs[0], 2_500);
    scene.hubs[0].restart().await.unwrap();
    scene.agent.online(LIMIT).await.unwrap();
    let hub = &scene.hubs[0];
    let records = hub.status().await.unwrap()["records"].clone();
    let said = until("a comparison with the device", LIMIT, || async {
        let said = hub.tried(&["repair", "--device", DEVICE, "--dry-run", "--wait", "25s"]).await?;
        let differs = said.out.contains("records are lacking here");
        Ok(if differs { Look::Found(said) } else { Look::NotYet(format!("{said:?}")) })
    });
    let said = said.await.unwrap();
    assert_eq!(said.code, Some(75), "{said:?}");
    assert!(said.out.contains("device press-line: 1 journal differs: "), "{said:?}");
    assert!(said.out.contains("nothing was done"), "{said:?}");
    // What lacks something says so, and of what.
    let asked = scene.asked(hub).await.unwrap();
    assert!(!asked.missing.is_empty());
    let status = hub.command(&["status"]).await.unwrap();
    assert!(status.contains("records that were lost here are being fetched again"), "{status}");
    assert_eq!(hub.status().await.unwrap()["records"], records);

    // On a road that brings it again it is mended, and then nothing differs.
    restarted_agent(&mut scene, "").await;
    let reports = mended(&scene.hubs[0]).await;
    assert_eq!((sum(&reports, "lost"), sum(&reports, "fetched")), (deleted, deleted), "{reports:?}");
    scene.whole_at(&scene.hubs[0]).await;
    let said = scene.hubs[0].tried(&["repair", "--device", DEVICE, "--wait", "25s"]).await.unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
}
