//! Debian's mosquitto, without any limit of its own that would drop or slow what is measured.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

/// Debian keeps it where only the administrator's path leads.
const PLACES: [&str; 2] = ["mosquitto", "/usr/sbin/mosquitto"];
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running broker; it ends when this is dropped.
pub(crate) struct Mosquitto {
    process: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Mosquitto {
    pub(crate) async fn start(directory: &Path) -> anyhow::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = directory.join("mosquitto.conf");
        // The default lets 20 messages wait for their PUBACK, which would measure round trips, and drops what does not
        // fit into a queue of 1,000.
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\n\
             max_queued_messages 0\nmax_inflight_messages 0\n",
            address.port()
        );
        std::fs::write(&config, text)?;
        let spawn = |program: &&str| {
            let mut command = Command::new(program);
            command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().ok()
        };
        let process = PLACES.iter().find_map(spawn).context("mosquitto is not installed: make packages")?;
        let broker = Self { process, address };
        let began = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            anyhow::ensure!(began.elapsed() < START_LIMIT, "mosquitto does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(broker)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
