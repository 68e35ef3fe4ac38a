//! What the MQTT tests share: a real mosquitto as a child process, its publisher, hand-written bytes, and an engine that
//! answers receipts.
//!
//! Absent: assertions.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use millrace_agent::mqtt::Arrival;
use millrace_model::Durable;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// Long enough for a busy machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const ABSENT: &str = "mosquitto is not installed: run `make test`, which installs mosquitto";

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not happen in time")
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The next arrival, answered as stored.
pub(crate) async fn stored(arrivals: &mut mpsc::Receiver<Arrival>) -> (String, Vec<u8>, u8) {
    let arrival = soon(arrivals.recv()).await.unwrap();
    let seen = (arrival.topic.clone(), arrival.payload.to_vec(), arrival.qos);
    arrival.receipt.stored(&Durable::attest(1));
    seen
}

/// Debian's mosquitto, as a child process on a free port.
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    dir: PathBuf,
    child: Child,
}

impl Mosquitto {
    /// Starts one with a configuration of its own; `{dir}` and `{port}` in `extra` are replaced.
    pub(crate) async fn start(dir: &Path, extra: &str) -> Self {
        let port = free_port();
        Self::start_on(dir, port, extra).await
    }

    /// Starts one on a port.
    pub(crate) async fn start_on(dir: &Path, port: u16, extra: &str) -> Self {
        let listener = format!("listener {port} 127.0.0.1\n");
        let base = format!(
            "user root\npersistence true\npersistence_location {}/\nlog_dest stderr\nlog_type all\n",
            dir.display()
        );
        let extra = extra.replace("{dir}", &dir.display().to_string());
        let config = dir.join(format!("mosquitto-{port}.conf"));
        std::fs::write(&config, format!("{base}{listener}{extra}\n")).unwrap();
        let mut child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .or_else(|_| {
                Command::new("/usr/sbin/mosquitto")
                    .arg("-c")
                    .arg(&config)
                    .stderr(Stdio::piped())
                    .stdout(Stdio::null())
                    .kill_on_drop(true)
                    .spawn()
            })
            .expect(ABSENT);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let line = soon(lines.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("mosquitto ended before it ran:\n{said}"));
            said.push_str(&line);
            said.push('\n');
            if line.contains("running") {
                break;
            }
        }
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { port, dir: dir.to_owned(), child }
    }

    /// Ends it in order, so that it writes its sessions down.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        soon(self.child.wait()).await.unwrap();
    }
}

/// Debian's publisher. Returns when it has its acknowledgements.
pub(crate) async fn publish(port: u16, arguments: &[&str]) -> ExitStatus {
    let port = port.to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port]).args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    soon(command.status()).await.expect(ABSENT)
}

/// Debian's subscriber; its lines are read from its standard output.
pub(crate) fn subscribe(port: u16, arguments: &[&str]) -> Child {
    let port = port.to_string();
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &port]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().expect(ABSENT)
}

/// A client or broker that says what the test tells it to, byte for byte.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Connects and says CONNECT; returns with the CONNACK's session-present flag.
    pub(crate) async fn greet(
        address: SocketAddr,
        level: u8,
        client_id: &str,
        clean: bool,
        keep_alive: u8,
    ) -> (Self, bool) {
        let mut raw = Self::connect(address).await;
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, if clean { 2 } else { 0 }, 0, keep_alive];
        if level == 5 {
            // Session expiry of an hour, if the session is to be kept.
            body.extend_from_slice(if clean { &[0][..] } else { &[5, 17, 0, 0, 14, 16] });
        }
        text(&mut body, client_id);
        raw.say(&packet(0x10, &body)).await;
        let answer = raw.hear().await;
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:?}");
        (raw, answer[2] == 1)
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next whole packet.
    pub(crate) async fn hear(&mut self) -> Vec<u8> {
        soon(async {
            let mut packet = vec![0; 2];
            self.0.read_exact(&mut packet).await.expect("the other side has closed");
            let mut length = usize::from(packet[1] & 0x7F);
            if packet[1] & 0x80 != 0 {
                let second = self.0.read_u8().await.unwrap();
                length += usize::from(second) << 7;
            }
            let mut rest = vec![0; length];
            self.0.read_exact(&mut rest).await.unwrap();
            packet.extend_from_slice(&rest);
            packet
        })
        .await
    }

    /// Waits until the other side has closed; what it still says is passed over.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _reset_or_end = soon(self.0.read_to_end(&mut rest)).await;
    }
}

/// A packet with a body of less than 16 KiB.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    if body.len() < 128 {
        packet.push(u8::try_from(body.len()).unwrap());
    } else {
        packet.push(u8::try_from(body.len() & 0x7F).unwrap() | 0x80);
        packet.push(u8::try_from(body.len() >> 7).unwrap());
    }
    packet.extend_from_slice(body);
    packet
}

/// A PUBLISH of MQTT 3.1.1 (level 4) or 5.
pub(crate) fn publication(level: u8, qos: u8, dup: bool, id: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&[0, id]);
    }
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(0x30 | (qos << 1) | (u8::from(dup) << 3), &body)
}

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0];

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}
