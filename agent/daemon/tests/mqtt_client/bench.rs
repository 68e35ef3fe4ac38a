//! A subscriber under test, and what the rooms share.
//!
//! Absent: assertions about MQTT.

use millrace_agent::mqtt::{
    Arrival, BrokerClient, BrokerOptions, Filter, StatusHandle, Subscription, Version,
};
use millrace_model::{Durable, Lane};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::mqtt_support::{publish, soon};

pub(crate) const PROOF: Durable = Durable::attest(1);
pub(crate) const BOTH: [Version; 2] = [Version::V4, Version::V5];

pub(crate) struct Bench {
    pub(crate) status: StatusHandle,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Bench {
    /// As SIGKILL would end it: no goodbye, no last acknowledgement.
    pub(crate) async fn kill(self) {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
    }

    pub(crate) async fn end(self) {
        self.stop.send(true).unwrap();
        soon(self.running).await.unwrap();
    }
}

pub(crate) fn subscription(filter: &str, qos: u8, lane: Lane) -> Subscription {
    Subscription { filter: Filter::new(filter).unwrap(), qos, lane }
}

pub(crate) fn options(port: u16, version: Version) -> BrokerOptions {
    let all = vec![subscription("plant/#", 2, Lane::Normal)];
    BrokerOptions { version, ..BrokerOptions::new("127.0.0.1", port, "agent", all) }
}

pub(crate) fn start(options: BrokerOptions) -> Bench {
    start_with(options, 1_024)
}

pub(crate) fn start_with(options: BrokerOptions, capacity: usize) -> Bench {
    let (sender, arrivals) = mpsc::channel(capacity);
    let (stop, stopping) = watch::channel(false);
    let client = BrokerClient::new(options).unwrap();
    let status = client.status();
    Bench { status, arrivals, stop, running: tokio::spawn(client.run(sender, stopping)) }
}

pub(crate) async fn connected(options: BrokerOptions) -> Bench {
    let bench = start(options);
    soon(bench.status.until_connected(true)).await;
    bench
}

pub(crate) async fn say(port: u16, qos: &str, topic: &str, payload: &str) {
    assert!(publish(port, &["-q", qos, "-t", topic, "-m", payload]).await.success());
}
