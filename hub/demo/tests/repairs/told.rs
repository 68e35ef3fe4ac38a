//! What one hub has mended is known at the others: also to one that was away, and when that hub is gone.

use millrace_demo::patience::{Look, until};
use millrace_demo::{Hub, PlantError};
use serde_json::Value;

use super::scene::{LIMIT, Scene, delete, mended, stopped};

#[tokio::test(flavor = "multi_thread")]
async fn the_reports_of_a_hub_that_was_killed_are_listed_by_the_others() {
    let mut scene = Scene::of(3, 4_000).await;
    stopped(&mut scene.hubs[2]).await;
    delete(&scene.hubs[2], 2_500);
    stopped(&mut scene.hubs[1]).await;
    scene.hubs[2].restart().await.unwrap();
    let reports = mended(&scene.hubs[2]).await;
    has_copies(&scene.hubs[0], &reports).await;
    // It was away, and gets what it missed.
    scene.hubs[1].restart().await.unwrap();
    has_copies(&scene.hubs[1], &reports).await;
    scene.hubs[2].process.kill().await.unwrap();
    // The copies outlive the processes that keep them.
    stopped(&mut scene.hubs[0]).await;
    scene.hubs[0].restart().await.unwrap();
    for hub in &scene.hubs[..2] {
        // The two may still be on their way to each other.
        until("an answer of all that are left", LIMIT, || async {
            let answer = listed(hub).await?;
            assert_eq!(mended_at_the_third(&answer), reports, "{answer}");
            let heard = answer["unheard"] == serde_json::json!(["hub-3"]);
            Ok(if heard { Look::Found(()) } else { Look::NotYet(answer.to_string()) })
        })
        .await
        .unwrap();
        let said = hub.command(&["repairs", "--hub", "hub-3"]).await.unwrap();
        assert!(said.contains("mended") && said.contains(" hub-3 "), "{said}");
    }

    let hub = &scene.hubs[0];
    let said = hub.tried(&["repair", "--hub", "hub-3"]).await.unwrap();
    assert_eq!((said.code, said.out.as_str()), (Some(69), ""), "{said:?}");
    assert!(said.err.contains("hub-3 is not connected") && said.err.contains("members"), "{said:?}");
    // The second hub may still be greeting.
    let said = until("a comparison with the second hub", LIMIT, || async {
        let said = hub.tried(&["repair", "--json", "--wait", "40s"]).await?;
        let answer: Value = serde_json::from_str(&said.out).unwrap_or_default();
        let equal = answer["over"] == true && answer["equal"] == true;
        Ok(if equal { Look::Found(said) } else { Look::NotYet(format!("{said:?}")) })
    });
    let said = said.await.unwrap();
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &answer["unreached"]), (Some(75), &serde_json::json!(["hub-3"])), "{said:?}");
}

async fn listed(hub: &Hub) -> Result<Value, PlantError> {
    Ok(serde_json::from_str(&hub.command(&["repairs", "--json", "-n", "1000"]).await?).unwrap())
}

fn mended_at_the_third(answer: &Value) -> Vec<Value> {
    let reports = answer["reports"].as_array().unwrap().iter();
    reports.filter(|one| one["hub"] == "hub-3" && one["kind"] == "mended").cloned().collect()
}

/// Waits until `hub` has on its disk what the third one said of these repairs.
async fn has_copies(hub: &Hub, reports: &[Value]) {
    let path = hub.data().join("repairs.json");
    until(&format!("copies at {}", hub.name()), LIMIT, || async {
        let kept = std::fs::read(&path).unwrap_or_default();
        let kept: Value = serde_json::from_slice(&kept).unwrap_or_default();
        let others = kept["others"].as_object().into_iter().flat_map(|others| others.values());
        let third = others.filter(|copies| copies["name"] == "hub-3");
        let numbers: Vec<&Value> = third
            .flat_map(|copies| copies["reports"].as_array().unwrap())
            .map(|one| &one["number"])
            .collect();
        let all = reports.iter().all(|report| numbers.contains(&&report["number"]));
        Ok(if all { Look::Found(()) } else { Look::NotYet(kept.to_string()) })
    })
    .await
    .unwrap();
}
