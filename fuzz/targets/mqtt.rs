//! Any bytes on a socket of the embedded broker, before and after a CONNECT.
//!
//! Promise: one client's bytes end at most that client's connection: the broker takes the next one and
//! acknowledges its publication. The packet codec is private to the agent, so it is reached as a sensor reaches it.
#![no_main]

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use millrace_agent::mqtt::{Arrival, EmbeddedBroker, EmbeddedOptions};
use millrace_journal::{Options, Store};
use millrace_model::Durable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

const CONNECT_V4: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01f";
const CONNECT_V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01f";
/// CONNECT of another client, PUBLISH QoS 1 with packet id 1, and what the broker answers to both.
const HONEST: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01h\x32\x07\x00\x01t\x00\x01ok";
const HONEST_ANSWER: &[u8] = b"\x20\x02\x00\x00\x40\x02\x00\x01";
/// Far longer than any honest answer takes.
const PATIENCE: Duration = Duration::from_secs(4);

struct House {
    runtime: Runtime,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

thread_local!(static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) });

fuzz_target!(|data: &[u8]| {
    HOUSE.with_borrow_mut(|house| {
        let house = house.get_or_insert_with(open);
        house.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, visit(house.address, data)).await.expect("the broker hangs");
        });
    });
});

fn open() -> House {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut store = Store::in_memory(&Options::hub()).expect("a store in memory");
    let (proof, _) = store.commit(1, &[]).expect("an empty commit");
    let (stop, stopping) = watch::channel(false);
    let address = runtime.block_on(async {
        let (sender, arrivals) = mpsc::channel(1_024);
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = EmbeddedOptions { listen, ..EmbeddedOptions::default() };
        let broker = EmbeddedBroker::bind(options, sender).await.expect("a port");
        let address = broker.local_addr();
        tokio::spawn(broker.run(stopping));
        tokio::spawn(answer(arrivals, proof));
        address
    });
    House { runtime, address, _stop: stop }
}

async fn answer(mut arrivals: mpsc::Receiver<Arrival>, proof: Durable) {
    while let Some(arrival) = arrivals.recv().await {
        arrival.receipt.stored(&proof);
    }
}

async fn visit(address: SocketAddr, data: &[u8]) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let greeting: &[u8] = match first % 3 {
        0 => &[],
        1 => CONNECT_V4,
        _ => CONNECT_V5,
    };
    let mut hostile = TcpStream::connect(address).await.expect("the broker listens");
    hostile.set_zero_linger().expect("a socket option");
    // The broker may close in the middle; that is its good right.
    let _closed = hostile.write_all(&[greeting, rest].concat()).await;
    let _closed = hostile.shutdown().await;
    let mut answer = vec![0; 4_096];
    while matches!(hostile.read(&mut answer).await, Ok(1..)) {}
    drop(hostile);

    let mut honest = TcpStream::connect(address).await.expect("the broker still listens");
    honest.set_zero_linger().expect("a socket option");
    honest.write_all(HONEST).await.expect("the broker takes an honest client");
    let mut answer = [0; HONEST_ANSWER.len()];
    honest.read_exact(&mut answer).await.expect("the broker answers an honest client");
    assert_eq!(answer, HONEST_ANSWER);
}
