//! Debian's etcd: three nodes on loopback with directories of their own, as the package would run them.
//!
//! Promise: flushing is left as it is, which is on. The nodes end when this is dropped.
//! Absent: the service of the package; it is not touched.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::grpc::GrpcClient;

/// Until three nodes have found each other and elected one.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Clients on one connection: HTTP/2 carries many requests at once, and each further connection costs etcd goroutines and reads.
const CLIENTS_EACH: usize = 32;

/// Three running nodes.
pub(crate) struct Etcd {
    nodes: Vec<Child>,
    leader: SocketAddr,
    version: String,
}

impl Etcd {
    /// Starts three nodes in `directory` and waits until one of them leads.
    pub(crate) async fn start(directory: &Path) -> anyhow::Result<Self> {
        // Held until all are chosen, so that they differ.
        let held: Vec<TcpListener> =
            (0..6).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
        let ports: Vec<SocketAddr> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        drop(held);
        let (clients, peers) = ports.split_at(3);
        let cluster: Vec<String> =
            peers.iter().enumerate().map(|(number, peer)| format!("n{number}=http://{peer}")).collect();
        let mut etcd =
            Self { nodes: Vec::new(), leader: (Ipv4Addr::LOCALHOST, 0).into(), version: String::new() };
        for (number, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("n{number}"), "--log-level", "fatal", "--logger", "zap"]);
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"]);
            command.arg("--data-dir").arg(directory.join(format!("n{number}")));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            etcd.nodes.push(
                command.spawn().context("etcd is not installed: apt-get install etcd-server etcd-client")?,
            );
        }
        let began = Instant::now();
        while etcd.find_leader(clients).await.is_err() {
            ensure!(began.elapsed() < START_LIMIT, "etcd elects nobody");
            sleep(Duration::from_millis(100)).await;
        }
        Ok(etcd)
    }

    /// What it calls itself.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Clients of the leader.
    pub(crate) async fn clients(&self, count: usize) -> anyhow::Result<Vec<GrpcClient>> {
        let mut clients = Vec::with_capacity(count);
        while clients.len() < count {
            let connection = GrpcClient::connect(self.leader).await?;
            clients.extend(std::iter::repeat_n(connection, CLIENTS_EACH.min(count - clients.len())));
        }
        Ok(clients)
    }

    async fn find_leader(&mut self, clients: &[SocketAddr]) -> anyhow::Result<()> {
        for address in clients {
            let mut command = tokio::process::Command::new("etcdctl");
            command.env("ETCDCTL_API", "3").args(["--endpoints", &format!("http://{address}")]);
            command.args(["endpoint", "status", "--write-out", "json"]).stdin(Stdio::null());
            let said =
                command.output().await.context("etcdctl is not installed: apt-get install etcd-client")?;
            let pages: Value = serde_json::from_slice(&said.stdout)?;
            let page = pages.pointer("/0/Status").context("no status")?;
            let leads = page.get("leader").and_then(Value::as_u64).filter(|leader| *leader != 0);
            if leads.context("no leader")?
                == page.pointer("/header/member_id").and_then(Value::as_u64).unwrap_or(0)
            {
                self.leader = *address;
                page.get("version").and_then(Value::as_str).unwrap_or("").clone_into(&mut self.version);
                return Ok(());
            }
        }
        bail!("nobody leads")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // One that has ended by itself is as good.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}
