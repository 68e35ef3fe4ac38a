//! What the other hubs say and do in a transcript.

use millrace_hub_engine::placement::{Placement, Site, target};
use millrace_hub_engine::{Event, HubStanding, Placed};
use millrace_model::{HubId, Incarnation, JournalId, NodeId, RangeSet};
use millrace_sim::transcript::{number, range, value};
use millrace_wire::peer::{Declined, Held, Holds, Lacks, Offer, PeerRun, Told};
use millrace_wire::{HubEndpoint, PeerFrame};

use crate::script::{device, lodging, run};

fn nodes(words: &[&str], key: &str) -> Vec<NodeId> {
    let text = value(words, key).unwrap_or_default();
    text.split(',').filter(|part| !part.is_empty()).map(|part| NodeId(part.parse().unwrap())).collect()
}

fn hub(node: NodeId) -> HubId {
    HubId::from_bytes([u8::try_from(node.0).unwrap(); 16])
}

fn life(words: &[&str]) -> Incarnation {
    Incarnation::new(number(words, "life").unwrap_or(10))
}

fn placed(words: &[&str]) -> Placed {
    let (all, empty, me) = (nodes(words, "hubs"), nodes(words, "empty"), nodes(words, "me")[0]);
    let region = |node: &NodeId| if node.0 < 3 { "north" } else { "south" }.to_owned();
    let sites = |of: &[NodeId]| -> Vec<Site> {
        of.iter().map(|node| Site { node: *node, region: region(node) }).collect()
    };
    let mut placement = Placement::default();
    let joining = nodes(words, "target");
    placement.begin(&target(&sites(&all), 3));
    if !joining.is_empty() {
        placement.begin(&target(&sites(&joining), 3));
    }
    if words.contains(&"raised") {
        placement.raise();
    }
    let standing = |node: &NodeId| {
        let store = if *node == me { life(words) } else { Incarnation::new(10) };
        let full = !empty.contains(node);
        (*node, HubStanding { hub: hub(*node), region: region(node), store, full })
    };
    let hubs = all.iter().chain(&joining).map(standing).collect();
    Placed { me, store: life(words), epoch: 1, placement, hubs }
}

fn held(words: &[&str]) -> Held {
    let journal: JournalId = lodging(words, words[1]).of(device(words[0]));
    let ranges: RangeSet = words[2].split(',').map(range).collect();
    Held { journal, ranges }
}

/// `holds`, `flushed`, `clash`, `gone`, `lost` `DEVICE LANE RANGES`; `lacks DEVICE LANE RANGES [bring]`; `told [life=N] [version=N]`; `offer NODE [epoch=N] [life=N]`;
/// `run DEVICE LANE RANGE`; `declined DEVICE LANE RANGE`.
fn frame(words: &[&str]) -> PeerFrame {
    let rest = &words[1..];
    match words[0] {
        "holds" => PeerFrame::Holds(Holds { held: vec![held(rest)] }),
        "flushed" => PeerFrame::Flushed(Holds { held: vec![held(rest)] }),
        "clash" => PeerFrame::Clash(held(rest)),
        "gone" => PeerFrame::Gone(held(rest)),
        "lost" => PeerFrame::Lost(held(rest)),
        "lacks" => {
            let Held { journal, ranges } = held(rest);
            PeerFrame::Lacks(Lacks { journal, ranges, bring: rest.contains(&"bring") })
        }
        "told" => PeerFrame::Told(Told { store: life(rest), version: number(rest, "version").unwrap_or(1) }),
        "offer" => {
            let node = NodeId(rest[0].parse().unwrap());
            let epoch = number(rest, "epoch").unwrap_or(1);
            PeerFrame::Offer(Offer { epoch, node, store: life(rest) })
        }
        "run" => PeerFrame::Run(PeerRun { device: device(rest[0]), run: run(rest) }),
        "declined" => {
            let (Held { journal, .. }, range) = (held(rest), range(rest[2]));
            let (first, last, reason) = (range.first(), range.last(), "its disk is full".to_owned());
            PeerFrame::Declined(Declined { journal, first, last, reason })
        }
        other => panic!("`{other}` is no frame between hubs"),
    }
}

pub(crate) fn event(name: &str, words: &[&str]) -> Option<Event> {
    let first = || words[0].parse::<u64>().unwrap();
    Some(match name {
        "placed" => Event::Placed(Box::new(placed(words))),
        "up" => Event::PeerUp { node: NodeId(first()) },
        "down" => Event::PeerDown { node: NodeId(first()) },
        "said" => Event::PeerSaid { node: NodeId(first()), frame: frame(&words[1..]) },
        "guest" => Event::GuestUp { guest: first(), node: NodeId(words[1].parse().unwrap()) },
        "left" => Event::GuestDown { guest: first() },
        "says" => Event::GuestSaid { guest: first(), frame: frame(&words[1..]) },
        "drain" => Event::Drain { on: true },
        "stay" => Event::Drain { on: false },
        "hubs" => {
            let endpoint = |node| HubEndpoint {
                hub: hub(NodeId(node)),
                name: format!("hub-{node}"),
                region: String::new(),
                addresses: Vec::new(),
                load_permille: u16::try_from(number(words, "load").unwrap_or(0)).unwrap(),
                draining: false,
                replica: false,
            };
            Event::Hubs { hubs: (1..=first()).map(endpoint).collect() }
        }
        _ => return None,
    })
}
