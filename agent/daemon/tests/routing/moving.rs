//! Sessions that move, and some that do not.

use std::time::Duration;

use millrace_link::CloseCode;
use millrace_wire::{GoodbyeCode, HubEndpoint};
use tokio::time::Instant;

use crate::agent::{Agent, at_the_first_of_two, naming};
use crate::hub::{Cluster, introduce};

/// Far below the 15 s after which QUIC itself gives a connection up, far above what it takes (1.2 s).
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_falls_silent_is_left_for_one_that_answers() {
    let (one, mut two, agent) = at_the_first_of_two().await;
    let began = Instant::now();
    one.road.cut();
    agent.publish().await;
    two.until(|seen| seen.welcomes == 1 && seen.records >= 1).await;
    let took = began.elapsed();
    assert!(took < SOON, "{took:?}");
    let routes = agent.shows("/routes").await;
    assert_eq!(routes["present"], two.endpoint.hub.to_string(), "{routes}");
    let status = agent.shows("/status").await;
    assert_eq!(status["link"]["hub_id"], two.endpoint.hub.to_string(), "{status}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_agent_notices_the_silence_too() {
    let (one, mut two, agent) = at_the_first_of_two().await;
    let began = Instant::now();
    one.road.cut();
    two.until(|seen| seen.welcomes == 1).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_no_hub_answers_the_session_is_kept_until_one_does() {
    let (mut one, mut two, agent) = at_the_first_of_two().await;
    two.until(|seen| seen.measured >= 1).await;
    one.road.cut();
    two.road.cut();
    agent.publish().await;
    // The second hub is dialled in vain before the road comes back: that is what shows that the silence was noticed.
    let lost = two.road.traffic().lost_packets;
    while two.road.traffic().lost_packets == lost {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    one.road.heal();
    let seen = one.until(|seen| seen.records >= 2).await;
    assert_eq!((seen.welcomes, seen.open), (1, 1), "it is the same session: {seen:?}");
    assert_eq!(two.seen.borrow().welcomes, 0);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_drains_is_left_by_itself() {
    let (mut one, mut two, agent) = at_the_first_of_two().await;
    one.tell(&[HubEndpoint { draining: true, ..one.endpoint.clone() }, two.endpoint.clone()]);
    two.until(|seen| seen.welcomes == 1).await;
    let seen = one.until(|seen| seen.open == 0).await;
    assert_eq!(seen.ends, [CloseCode::Moved]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_sends_to_the_next_hub_at_once_whatever_pause_it_asks_for() {
    for code in [GoodbyeCode::Moved, GoodbyeCode::Shutdown, GoodbyeCode::Unavailable] {
        let (one, mut two, agent) = at_the_first_of_two().await;
        let began = Instant::now();
        one.dismiss(code);
        two.until(|seen| seen.welcomes == 1).await;
        assert!(began.elapsed() < SOON, "{code:?}: {:?}", began.elapsed());
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_hangs_up_is_replaced_by_the_next_that_answers() {
    let cluster = Cluster::new();
    let (mut one, two, mut three) = (cluster.hub(1).await, cluster.hub(2).await, cluster.hub(3).await);
    introduce(&[&one, &two, &three]);
    let agent = Agent::start(&cluster, naming(&[&one])).await;
    one.until(|seen| seen.records == 1).await;
    two.road.cut();
    let began = Instant::now();
    one.listener.close(CloseCode::Shutdown, "the hub stops").await;
    three.until(|seen| seen.welcomes == 1).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    agent.stop().await;
}
