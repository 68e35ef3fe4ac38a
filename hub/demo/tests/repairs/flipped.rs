//! Bodies of segments are not what they were: a bit is flipped, two are swapped, one is another valid one, pages are noise.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use millrace_demo::Hub;
use millrace_demo::patience::{Look, until};

use super::files::nursed;
use super::scene::{LIMIT, Scene, flip, journal, mended, place_of_body, segments, sqlite3, stopped, sum};

/// Bytes of a page of the database.
const PAGE_BYTES: u64 = 4_096;

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flips_under_a_running_hub_is_never_served_and_mended_at_the_first_read() {
    let mut scene = Scene::of(3, 5_000).await;
    stopped(&mut scene.hubs[2]).await;
    let all = segments(&scene.hubs[2]);
    let (body, count) = all[all.len() / 2];
    let place = place_of_body(&scene.hubs[2], body);
    scene.hubs[2].restart().await.unwrap();
    scene.equal_at(&scene.hubs[2]).await;
    flip(&scene.hubs[2], place);
    let hub = &scene.hubs[2];
    let first = scene.look(hub).await.unwrap();
    assert!(!first.missing.is_empty(), "the page was read from memory, not from the disk");
    // Others answer for what is being fetched, or it is named as lacking.
    scene.asked(hub).await.unwrap();
    let reports = mended(hub).await;
    assert_eq!((sum(&reports, "lost"), sum(&reports, "fetched")), (count, count), "{reports:?}");
    assert_eq!(scene.asked(hub).await.unwrap().missing, []);
    scene.whole_at(hub).await;
    scene.equal_at(hub).await;
    let alarms = hub.status().await.unwrap()["alarms"].to_string();
    assert!(alarms.contains("\"damaged\""), "{alarms}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_nobody_reads_is_found_and_mended_by_the_scrub() {
    let mut scene = Scene::of(3, 5_000).await;
    stopped(&mut scene.hubs[2]).await;
    let all = segments(&scene.hubs[2]);
    let (body, count) = all[all.len() / 2];
    flip(&scene.hubs[2], place_of_body(&scene.hubs[2], body));
    // Without a note of the last pass one begins with the start.
    let _ = std::fs::remove_file(scene.hubs[2].data().join("scrub.json"));
    scene.configure("hub-3", "[scrub]\nwithin = \"60s\"");
    scene.hubs[2].restart().await.unwrap();
    let hub = &scene.hubs[2];
    let reports = mended(hub).await;
    assert_eq!((sum(&reports, "lost"), sum(&reports, "fetched")), (count, count), "{reports:?}");
    let scrub = until("the end of the pass", LIMIT, || async {
        let scrub = hub.status().await?["scrub"].clone();
        Ok(if scrub["passes"] == 1 { Look::Found(scrub) } else { Look::NotYet(scrub.to_string()) })
    });
    let scrub = scrub.await.unwrap();
    assert_eq!((&scrub["damaged"], &scrub["running"]), (&1.into(), &false.into()), "{scrub}");
    assert_eq!(scene.look(hub).await.unwrap().missing, []);
    scene.whole_at(hub).await;
    scene.equal_at(hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_swapped_or_another_valid_one_are_never_served_and_mended() {
    let mut scene = Scene::of(3, 5_000).await;
    let swap = |a, b| {
        format!(
            "CREATE TEMP TABLE two AS SELECT id, bytes FROM body WHERE id IN ({a}, {b}); \
             UPDATE body SET bytes = (SELECT bytes FROM two WHERE two.id != body.id) WHERE id IN ({a}, {b});"
        )
    };
    let replace =
        |a, b| format!("UPDATE body SET bytes = (SELECT bytes FROM body WHERE id = {b}) WHERE id = {a};");
    for (replaces, hurt) in [(false, 2), (true, 1)] {
        stopped(&mut scene.hubs[2]).await;
        let all = segments(&scene.hubs[2]);
        let (a, b) = (all[all.len() / 2], all[all.len() / 2 - 1]);
        let script = if replaces { replace(a.0, b.0) } else { swap(a.0, b.0) };
        sqlite3(&scene.hubs[2], &script);
        let _ = std::fs::remove_file(scene.hubs[2].data().join("repairs.json"));
        scene.hubs[2].restart().await.unwrap();
        let hub = &scene.hubs[2];
        // Whether this read or the scrub meets it first, and whether it is mended by then: nothing wrong is served.
        scene.look(hub).await.unwrap();
        let reports = mended(hub).await;
        let lost: u64 = [a.1, b.1].iter().take(hurt).sum();
        assert_eq!((sum(&reports, "lost"), sum(&reports, "fetched")), (lost, lost), "{reports:?}");
        scene.whole_at(hub).await;
        scene.equal_at(hub).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_noise_among_the_bodies_end_in_repair_or_a_message_that_helps() {
    let mut scene = Scene::of(3, 5_000).await;
    stopped(&mut scene.hubs[2]).await;
    let all = segments(&scene.hubs[2]);
    let page = place_of_body(&scene.hubs[2], all[all.len() / 2].0) / PAGE_BYTES;
    noise(&scene.hubs[2], page * PAGE_BYTES, 6 * PAGE_BYTES);
    nursed(&mut scene).await;
}

/// Overwrites a part of the database of a stopped hub.
fn noise(hub: &Hub, from: u64, bytes: u64) {
    let mut noise = vec![0; usize::try_from(bytes).unwrap()];
    fastrand::Rng::with_seed(22).fill(&mut noise);
    OpenOptions::new().write(true).open(journal(hub)).unwrap().write_all_at(&noise, from).unwrap();
}
