//! The HTTP API over TCP and over the admin socket.

use millrace_host::Exit;
use millrace_model::Wall;
use serde_json::{Value, json};

use crate::world::{World, soon};

const NOON: Wall = Wall(1_800_000_000_000_000);

/// Two devices, ten records each: `a/temp` of the first at seconds 0 to 9, `b/rate` of the second at 100 to 109.
async fn two_devices() -> World {
    let world = World::new().await;
    let payloads = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    for (name, topic, after) in [("press-7", "a/temp", 0), ("robot-2", "b/rate", 100)] {
        let identity = world.enrol(name).await;
        let mut agent = world.session(&identity, 1).await;
        agent.run(1, topic, &payloads, Wall(NOON.0 + after * 1_000_000)).await;
        agent.acked(10).await;
    }
    world
}

fn payloads(records: &[Value]) -> Vec<i64> {
    records.iter().map(|record| record["payload"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn records_are_filtered_by_device_topic_and_time() {
    let world = two_devices().await;
    assert_eq!(world.records("").await.len(), 20);
    assert_eq!(world.records("device=press-7").await.len(), 10);
    let id = world.get("/v1/devices").await["devices"][1]["id"].as_str().unwrap().to_owned();
    let both = world.records(&format!("device=press-7&device={id}")).await;
    assert_eq!(both.len(), 20);
    assert!(world.records("topic=b/%2B").await.iter().all(|record| record["name"] == "robot-2"));
    assert_eq!(world.records("topic=a/%23&topic=b/rate").await.len(), 20);
    assert_eq!(world.records("topic=c/%23").await.len(), 0);
    assert_eq!(world.records("lane=bulk").await.len(), 0);
    let from = NOON.0 + 2_000_000;
    let some = world.records(&format!("device=press-7&from={from}&to={}", from + 3_000_000)).await;
    assert_eq!(payloads(&some), [2, 3, 4]);
    assert_eq!(some[0]["time"], "2027-01-15T08:00:02.000000Z");
    let newest = world.records("order=newest&limit=2").await;
    assert_eq!(payloads(&newest), [9, 8]);
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps_or_doubles() {
    let world = two_devices().await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("/v1/records?limit=7{cursor}")).await;
        seen.extend(payloads(page["records"].as_array().unwrap()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", millrace_hub::client::encoded(next)),
            None => break,
        }
    }
    let whole: Vec<i64> = (0..10).chain(0..10).collect();
    assert_eq!(seen, whole);
}

#[tokio::test]
async fn what_cannot_be_answered_says_why_and_what_to_do() {
    let world = World::new().await;
    for path in [
        "/v1/records?device=nobody",
        "/v1/records?limit=100000",
        "/v1/records?since=-15m",
        "/v1/records?from=soon",
        "/v1/tail?from=-15m",
        "/v1/nothing",
    ] {
        let failure = world.caller().get(path).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{path}: {failure}");
        assert!(!failure.hint.is_empty(), "{path}: {failure}");
    }
}

#[tokio::test]
async fn only_the_admin_socket_changes_things() {
    let world = World::new().await;
    let asked = json!({"expires": "1h", "uses": 1});
    assert!(world.caller().post("/v1/tokens", &asked).await.is_err());
    assert!(world.caller().post("/v1/devices/x/revoke", &json!({"reason": "r"})).await.is_err());
    assert!(world.admin.post("/v1/tokens", &asked).await.is_ok());
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(world.places().socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    for (path, body) in [
        ("/v1/tokens", json!({"expires": "1h", "uses": 1, "colour": "red"})),
        ("/v1/tokens", json!({"expires": "1h", "uses": 1, "name": "a\nb"})),
        ("/v1/devices/nobody/revoke", json!({"reason": "r"})),
        ("/v1/devices/nobody/revoke", json!({"reason": " "})),
    ] {
        let failure = world.admin.post(path, &body).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{path}: {failure}");
    }
    world.enrol("press-7").await;
    let stolen = json!({"reason": "stolen"});
    world.admin.post("/v1/devices/press-7/revoke", &stolen).await.unwrap();
    let again = world.admin.post("/v1/devices/press-7/revoke", &stolen).await.unwrap_err();
    assert_eq!(again.message, "`press-7` is revoked already (stolen)");
}

#[tokio::test]
async fn health_readiness_and_figures_are_shown() {
    let world = two_devices().await;
    let text = soon(raw(world.http, "/metrics")).await;
    for line in [
        "millrace_hub_records_stored_total{lane=\"normal\"} 20",
        "millrace_hub_received_bytes_total",
        "millrace_hub_commit_seconds_bucket",
        "millrace_hub_enrolments_total{outcome=\"granted\"} 2",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(soon(raw(world.http, "/healthz")).await.contains("200 OK"));
    assert!(soon(raw(world.http, "/readyz")).await.contains("200 OK"));
}

#[tokio::test]
async fn new_records_are_followed_as_they_arrive() {
    let world = World::new().await;
    let identity = world.enrol("press-7").await;
    let mut agent = world.session(&identity, 1).await;
    agent.run(1, "a/temp", &["0"], NOON).await;
    agent.acked(1).await;
    let mut events = world.caller().events("/v1/tail?topic=a/%23&device=press-7").await.unwrap();
    agent.run(2, "b/rate", &["no"], NOON).await;
    agent.run(3, "a/temp", &["1", "2"], NOON).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let (name, data) = soon(events.next()).await.unwrap().unwrap();
        assert_eq!(name, "");
        seen.push(serde_json::from_str::<Value>(&data).unwrap());
    }
    assert_eq!(payloads(&seen), [1, 2]);
    assert_eq!((&seen[0]["seq"], &seen[0]["name"]), (&json!(3), &json!("press-7")));
    world.stop().await;
    assert_eq!(soon(events.next()).await.unwrap(), None, "the hub's end is the stream's");
}

/// Status line, headers and body.
pub async fn raw(to: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_admin_socket_says_what_is_wrong_with_a_request() {
    let world = World::new().await;
    let unread = world.admin.post("/v1/txn", &json!({"then": [{"del": {"key": "a"}}]})).await.unwrap_err();
    assert!(unread.message.contains("`del`") && unread.exit == Exit::Usage, "{unread}");
    let large = world.admin.put("/v1/kv/a", vec![0; 3 << 20].into()).await.unwrap_err();
    assert!(large.message.contains("1048576 bytes") && large.exit == Exit::Usage, "{large}");
    let short = world.admin.post("/v1/leases", &json!({"ttl": "100ms"})).await.unwrap_err();
    assert!(short.to_string().contains("1s to 366d"), "{short}");
}
