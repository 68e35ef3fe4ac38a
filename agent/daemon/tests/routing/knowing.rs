//! What is known of hubs: learnt, kept, shown.

use std::process::Command;

use millrace_agent::config::HubSettings;
use serde_json::Value;

use crate::agent::{Agent, at_the_first_of_two, naming};
use crate::hub::{Cluster, introduce};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hub_told_of_another_is_known_after_a_restart() {
    let (one, mut two, agent) = at_the_first_of_two().await;
    let dir = agent.stop().await;
    let output = Command::new(env!("CARGO_BIN_EXE_millrace-agent"))
        .args(["routes", "--json", "--data"])
        .arg(dir.path())
        .output()
        .unwrap();
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&page["running"], page["hubs"].as_array().unwrap().len()),
        (&Value::Bool(false), 2),
        "{page}"
    );
    one.road.cut();
    let agent = Agent::on(dir, naming(&[&one])).await;
    two.until(|seen| seen.welcomes == 1).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_list_of_addresses_leads_to_a_hub() {
    let cluster = Cluster::new();
    let (mut one, two) = (cluster.hub(1).await, cluster.hub(2).await);
    introduce(&[&one, &two]);
    let agent = Agent::start(&cluster, naming(&[&two])).await;
    let dir = agent.stop().await;
    let old = serde_json::to_vec(&["127.0.0.1:9".to_owned(), one.road.addr().to_string()]).unwrap();
    std::fs::write(dir.path().join("hubs.json"), old).unwrap();
    two.road.cut();
    let agent = Agent::on(dir, HubSettings::default()).await;
    one.until(|seen| seen.welcomes == 1).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_hubs_are_measured_and_the_page_says_what_each_costs() {
    let cluster = Cluster::new();
    let (mut one, mut two) = (cluster.hub(1).await, cluster.hub(2).await);
    introduce(&[&one, &two]);
    let settings = HubSettings { region: Some("region-1".to_owned()), ..naming(&[&one]) };
    let agent = Agent::start(&cluster, settings).await;
    one.until(|seen| seen.records == 1).await;
    let seen = two.until(|seen| seen.measured == 1).await;
    assert_eq!(seen.welcomes, 0, "a probe is no session");
    let page = agent.shows("/routes").await;
    let row = |name: &str| {
        let rows = page["hubs"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {page}"))
    };
    assert_eq!((&row("hub-1")["present"], &row("hub-2")["present"]), (&true.into(), &false.into()));
    assert!(row("hub-2")["rtt_us"].is_u64(), "{page}");
    assert_eq!(row("hub-1")["toll"]["region_us"], 0);
    assert_eq!(row("hub-2")["toll"]["region_us"], 30_000);
    assert_eq!(page["weights"]["other_region_us"], 30_000);
    let output = Command::new(env!("CARGO_BIN_EXE_millrace-agent"))
        .args(["routes", "--data"])
        .arg(agent.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("preferred region  region-1") && text.contains("present"), "{text}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_operators_addresses_are_all_nobody_else_is_dialled() {
    let cluster = Cluster::new();
    let (mut one, mut two, three) = (cluster.hub(1).await, cluster.hub(2).await, cluster.hub(3).await);
    introduce(&[&one, &two, &three]);
    let settings = HubSettings { follow: false, ..naming(&[&one, &two]) };
    let agent = Agent::start(&cluster, settings).await;
    one.until(|seen| seen.records == 1).await;
    two.until(|seen| seen.measured == 1).await;
    one.road.cut();
    two.until(|seen| seen.welcomes == 1).await;
    assert_eq!(three.road.traffic().up_bytes, 0);
    let page = agent.shows("/routes").await;
    assert_eq!(page["follow"], false);
    let names: Vec<&str> =
        page["hubs"].as_array().unwrap().iter().filter_map(|row| row["name"].as_str()).collect();
    assert!(names.contains(&"hub-1") && names.contains(&"hub-2") && !names.contains(&"hub-3"), "{names:?}");
    agent.stop().await;
}
