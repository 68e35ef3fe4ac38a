//! One hub in this process, on loopback, in a directory of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_host::{Clock, Exit, Shutdown};
use millrace_hub::client::{Client, Target};
use millrace_hub::hub::founding::found;
use millrace_hub::places::About;
use millrace_hub::{Config, Hub, Places, config};
use millrace_link::{CertificateRequest, ClientOptions, Dialer, EnrollError, Identity, JoinToken, Wishes};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::agent::Agent;

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub struct World {
    pub dir: tempfile::TempDir,
    pub clock: Clock,
    pub quic: SocketAddr,
    pub http: SocketAddr,
    pub admin: Client,
    pub shutdown: Shutdown,
    pub hub: JoinHandle<Exit>,
    pub dialer: Dialer,
}

pub fn about() -> About {
    About { name: "hub-1".into(), region: "north".into(), addresses: vec!["127.0.0.1:0".into()] }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Clock::system(), |_| {}).await
    }

    pub async fn with(clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("hub");
        found(&data, &about(), None, clock.wall()).unwrap();
        Self::on(dir, clock, change).await
    }

    async fn on(dir: tempfile::TempDir, clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config::defaults(&dir.path().join("hub")).unwrap();
        (config.quic, config.http) = (LOOPBACK, LOOPBACK);
        change(&mut config);
        let admin = Client::new(Target::Socket(config.places.socket()));
        let shutdown = Shutdown::manual();
        let hub = Hub::start(config, clock.clone(), shutdown.clone()).await.unwrap();
        let (quic, http) = (hub.quic(), hub.http());
        let hub = tokio::spawn(hub.run(None));
        let wall = clock.clone();
        let dialer = Dialer::new(ClientOptions::new(Arc::new(move || wall.wall())));
        Self { dir, clock, quic, http, admin, shutdown, hub, dialer }
    }

    /// Stops the hub in good order.
    pub async fn stop(self) -> tempfile::TempDir {
        self.shutdown.trigger();
        assert_eq!(self.hub.await.unwrap(), Exit::Ok);
        self.dir
    }

    pub async fn restarted(self) -> Self {
        self.restarted_with(|_| {}).await
    }

    pub async fn restarted_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let clock = self.clock.clone();
        Self::on(self.stop().await, clock, change).await
    }

    pub fn places(&self) -> Places {
        Places::new(&self.dir.path().join("hub"))
    }

    pub async fn token(&self, asked: Value) -> JoinToken {
        let mut whole = json!({ "expires": "1h", "uses": 1 });
        whole.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        let made = self.admin.post("/v1/tokens", &whole).await.unwrap();
        made["token"].as_str().unwrap().parse().unwrap()
    }

    pub async fn enrol_with(&self, token: &JoinToken, name: Option<&str>) -> Result<Identity, EnrollError> {
        let request = CertificateRequest::fresh().unwrap();
        let wishes = Wishes { name, ..Wishes::default() };
        Ok(self.dialer.enroll(self.quic, token, &request, &wishes).await?.identity)
    }

    pub async fn enrol(&self, name: &str) -> Identity {
        let token = self.token(json!({ "name": name })).await;
        self.enrol_with(&token, None).await.unwrap()
    }

    /// A device's open session.
    pub async fn session(&self, identity: &Identity, incarnation: u64) -> Agent {
        let mut agent = Agent::connect(self, identity, incarnation).await;
        agent.hello(&[]).await;
        agent.welcome().await;
        agent
    }

    pub fn caller(&self) -> Client {
        Client::new(Target::Tcp(self.http.to_string()))
    }

    pub async fn get(&self, path: &str) -> Value {
        self.caller().get(path).await.unwrap()
    }

    pub async fn records(&self, query: &str) -> Vec<Value> {
        self.get(&format!("/v1/records?{query}")).await["records"].as_array().unwrap().clone()
    }
}

/// Waits for something that is on its way, and fails when it does not come.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it did not come in time")
}
