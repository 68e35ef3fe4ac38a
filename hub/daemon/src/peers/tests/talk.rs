//! Gossip between three hubs over real connections.

use millrace_host::metrics::Metrics;
use millrace_hub_engine::membership::{Fullness, Liveness, Peer, Preset, Profile};
use millrace_model::Incarnation;

use super::super::gossip::{self, Gossip, GossipMeters, GossipParts, Roster};
use super::super::*;
use super::world::{Hub, World, hub_id, soon, until};

struct Talker {
    hub: Hub,
    gossip: Gossip,
    tell: watch::Sender<Profile>,
    metrics: Metrics,
}

fn profile(number: u8) -> Profile {
    Profile {
        hub: hub_id(number),
        name: format!("hub-{number}"),
        region: "north".to_owned(),
        addresses: Vec::new(),
        software: String::new(),
        load_permille: 0,
        draining: false,
        fullness: Fullness::Full,
    }
}

fn talker(world: &World, mut hub: Hub) -> Talker {
    let (tell, told) = watch::channel(profile(hub.number()));
    let metrics = Metrics::new("millrace_hub", world.clock.clone());
    let life = world.clock.wall().0.cast_unsigned();
    let gossip = gossip::start(GossipParts {
        clock: world.clock.clone(),
        peers: hub.peers.clone(),
        me: Peer { node: hub.node, life, incarnation: Incarnation::new(hub.node.0) },
        preset: Preset::Lan,
        seed: hub.node.0,
        profile: told,
        meters: GossipMeters::new(&metrics).unwrap(),
        shutdown: hub.shutdown.clone(),
    });
    // The world's hubs keep what they hear for the test; here it belongs to gossip.
    let (_, nobody) = mpsc::channel(1);
    let mut heard = std::mem::replace(&mut hub.heard, nobody);
    let inbox = gossip.inbox.clone();
    tokio::spawn(async move {
        while let Some(datagram) = heard.recv().await {
            let _ = inbox.send(datagram).await;
        }
    });
    Talker { hub, gossip, tell, metrics }
}

impl Talker {
    async fn sees(&mut self, holds: impl Fn(&Roster) -> bool) {
        let roster = soon(self.gossip.roster.wait_for(|roster| holds(roster))).await;
        roster.unwrap();
    }
}

fn all_alive(roster: &Roster) -> bool {
    roster.members.len() == 2
        && roster
            .members
            .values()
            .all(|member| member.liveness == Liveness::Alive && member.profile.is_some())
}

#[tokio::test]
async fn three_hubs_hear_of_each_other_of_news_and_of_a_goodbye() {
    let world = World::new();
    let hubs = [1, 2, 3].map(|number| world.hub(number));
    for hub in &hubs {
        let others: Vec<&Hub> = hubs.iter().filter(|other| other.node != hub.node).collect();
        hub.expects(&others);
    }
    let [mut one, mut two, three] = hubs.map(|hub| talker(&world, hub));
    let mut three = three;
    for talker in [&mut one, &mut two, &mut three] {
        talker.sees(all_alive).await;
    }
    three.tell.send_modify(|profile| profile.draining = true);
    for talker in [&mut one, &mut two] {
        talker.sees(|roster| roster.profile(NodeId(3)).is_some_and(|profile| profile.draining)).await;
        talker.sees(|roster| roster.members[&NodeId(3)].round_trip.is_some()).await;
    }
    // An orderly end is a goodbye, which nobody has to find out.
    let began = world.clock.moment();
    let Talker { hub, gossip, .. } = three;
    hub.shutdown.trigger();
    for talker in [&mut one, &mut two] {
        talker.sees(|roster| roster.liveness(NodeId(3)) == Some(Liveness::Down)).await;
    }
    soon(gossip.task).await.unwrap();
    assert!(world.clock.moment().since(began) < Duration::from_secs(2), "no suspicion was needed");
    assert_eq!(one.gossip.roster.borrow().liveness(NodeId(2)), Some(Liveness::Alive));
    let figures = one.metrics.render();
    assert!(figures.contains("millrace_hub_gossip_alive 1"), "{figures}");
    assert!(figures.contains("millrace_hub_gossip_suspicions_total 0"), "{figures}");
    assert!(!figures.contains("millrace_hub_gossip_sent_bytes_total 0"), "{figures}");
}

#[tokio::test]
async fn a_hub_that_nobody_reaches_any_more_seems_down_and_is_met_again() {
    let world = World::new();
    let (one, two) = super::world::pair(&world).await;
    let (mut one, mut two) = (talker(&world, one), talker(&world, two));
    let alive = |roster: &Roster| roster.members.values().any(|member| member.liveness == Liveness::Alive);
    one.sees(alive).await;
    two.sees(alive).await;
    // Both doors are shut, as by a cut road; the committed table still names the other.
    let gone = |address: PeerAddress| PeerAddress { addresses: vec!["127.0.0.1:1".to_owned()], ..address };
    let addresses = [one.hub.address(), two.hub.address()];
    for (hub, (node, address)) in [(&one.hub, addresses[1].clone()), (&two.hub, addresses[0].clone())] {
        hub.peers.expect([(node, gone(address))].into());
        until(|| hub.link(node).connected).await;
        hub.peers.0.guests.close(CloseCode::Shutdown, "the road is cut");
    }
    one.sees(|roster| roster.liveness(NodeId(2)) == Some(Liveness::Down)).await;
    two.sees(|roster| roster.liveness(NodeId(1)) == Some(Liveness::Down)).await;
    one.hub.expects(&[&two.hub]);
    two.hub.expects(&[&one.hub]);
    one.sees(alive).await;
    two.sees(alive).await;
}
