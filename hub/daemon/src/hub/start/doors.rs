//! What others come in by: the port for agents and hubs, the HTTP API, the admin socket; and how this hub is reached.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use axum::middleware::map_response;
use millrace_host::http::{HttpLimits, ServeError, bind, host_routes, serve, shaped};
use millrace_host::{Clock, Exit, Failure, Shutdown};
use millrace_link::{Admission, Identity, Listener, ServerOptions};
use millrace_model::HubId;
use millrace_wire::HubEndpoint;
use tokio::net::{TcpListener, UnixListener};

use crate::config::Config;
use crate::http::{ADMIN_CONNECTIONS_MAX, Api, Limited};
use crate::places::About;
use crate::registry::Registry;

/// Devices' connections beyond the quota that are kept for as long as it takes the engine to say goodbye in words. Further ones are
/// closed as soon as their handshake has shown that they are devices.
pub(super) const OVER_QUOTA_MAX: usize = 256;
/// Connections beside those of devices, so that in a storm of agents that come back another hub always finds a place: handshakes
/// under way, as many that were just turned away and linger for a moment, and eight connections each of 64 hubs.
const BESIDE_DEVICES_MAX: usize = 2 * millrace_link::limits::HANDSHAKES_MAX + 8 * 64;
/// Connections to the HTTP API. One more gets `503 busy`.
const WEB_CONNECTIONS_MAX: usize = 256;

/// Everything that others come in by.
pub(super) struct Doors {
    pub(super) listener: Arc<Listener>,
    pub(super) web: TcpListener,
    pub(super) socket: UnixListener,
    pub(super) quic: SocketAddr,
    pub(super) http: SocketAddr,
}

impl Doors {
    pub(super) async fn open(
        config: &Config,
        identity: Identity,
        registry: &Arc<Registry>,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        let listener = Arc::new(listen(config, identity, registry, clock)?);
        let quic = listener.local_addr().map_err(|error| Failure::io("no UDP port", &error))?;
        let (web, socket) = listen_for_callers(config).await?;
        let http = web.local_addr().map_err(|error| Failure::io("no TCP port", &error))?;
        Ok(Self { listener, web, socket, quic, http })
    }
}

fn listen(
    config: &Config,
    identity: Identity,
    registry: &Arc<Registry>,
    clock: &Clock,
) -> Result<Listener, Failure> {
    let admission = Arc::clone(registry) as Arc<dyn Admission>;
    let wall = clock.clone();
    let mut options = ServerOptions::new(identity, admission, Arc::new(move || wall.wall()));
    options.grace = config.certificate_grace;
    options.connections_max = config.quota.sessions.saturating_add(OVER_QUOTA_MAX + BESIDE_DEVICES_MAX);
    Listener::bind(config.quic, options).map_err(|error| {
        Failure::new(Exit::Unavailable, error.to_string()).hint("is another hub running? See `quic.listen`")
    })
}

async fn listen_for_callers(config: &Config) -> Result<(TcpListener, UnixListener), Failure> {
    let web = bind(config.http, config.http_remote).await;
    let web = web.map_err(|error| {
        let exit = match error {
            ServeError::NotLoopback(_) => Exit::Config,
            ServeError::Bind { .. } => Exit::Unavailable,
        };
        Failure::new(exit, error.to_string()).hint("see `http.listen` and `http.remote`")
    })?;
    // The registry's lock says that no other hub runs here: what stands there was left by one that was killed.
    config.places.withdraw();
    let path = config.places.socket();
    let bound = UnixListener::bind(&path).and_then(|socket| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(socket)
    });
    let socket = bound.map_err(|error| {
        let failure = Failure::io(&format!("cannot listen on {}", path.display()), &error);
        failure.hint("a socket's path has at most 107 bytes: choose a shorter data directory")
    })?;
    Ok((web, socket))
}

/// Who this hub is, and where it is reached: the config's word counts before that of `init`.
pub(super) fn endpoint(config: &Config, hub: HubId, about: &About, quic: SocketAddr) -> HubEndpoint {
    let told = if config.advertise.is_empty() { &about.addresses } else { &config.advertise };
    let with_port = |address: &String| match address.rsplit_once(':') {
        Some((host, "0")) => format!("{host}:{}", quic.port()),
        _ => address.clone(),
    };
    HubEndpoint {
        hub,
        name: config.name.clone().unwrap_or_else(|| about.name.clone()),
        region: config.region.clone().unwrap_or_else(|| about.region.clone()),
        addresses: told.iter().map(with_port).collect(),
        load_permille: 0,
        draining: false,
        replica: true,
    }
}

/// The addresses that name another port than the one that the hub listens on.
pub(super) fn misdirected(addresses: &[String], quic: SocketAddr) -> impl Iterator<Item = &str> {
    let elsewhere = move |address: &&String| {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        port.is_some_and(|port| port != quic.port())
    };
    addresses.iter().filter(elsewhere).map(String::as_str)
}

pub(super) fn serve_web(
    listener: TcpListener,
    api: &Api,
    writable: bool,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + use<> {
    let writing = if writable { api.writing_routes() } else { api.read_only_routes() };
    let limits = HttpLimits { connections_max: WEB_CONNECTIONS_MAX, ..HttpLimits::DEFAULTS };
    let host = host_routes(api.pulse(), api.metrics());
    serve(listener, api.routes().merge(writing).merge(host), limits, shutdown.clone())
}

pub(super) fn serve_socket(
    listener: UnixListener,
    api: &Api,
    shutdown: &Shutdown,
) -> impl Future<Output = Result<(), Failure>> + use<> {
    let host = host_routes(api.pulse(), api.metrics());
    let routes = api.routes().merge(api.writing_routes()).merge(api.admin_routes()).merge(host);
    let routes = routes.layer(map_response(shaped));
    let shutdown = shutdown.clone();
    let served = axum::serve(Limited::new(listener, ADMIN_CONNECTIONS_MAX), routes)
        .with_graceful_shutdown(async move { shutdown.triggered().await });
    async move { served.await.map_err(|error| Failure::io("the admin socket is closed", &error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_another_port_is_told_and_port_0_is_the_port_that_is_listened_on() {
        let about = |addresses: &[&str]| About {
            name: "hub-1".into(),
            region: "north".into(),
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        };
        let config = crate::config::defaults(std::path::Path::new("hub")).unwrap();
        let quic: SocketAddr = "0.0.0.0:7443".parse().unwrap();
        let told = |config: &Config, addresses: &[&str]| -> Vec<String> {
            let endpoint = endpoint(config, HubId::default(), &about(addresses), quic);
            misdirected(&endpoint.addresses, quic).map(str::to_owned).collect()
        };
        assert_eq!(told(&config, &["hub.example:0", "hub.example:7443", "[::1]:7443"]), [""; 0]);
        assert_eq!(told(&config, &["hub.example:8443", "hub.example:7443"]), ["hub.example:8443"]);
        let advertised = Config { advertise: vec!["hub.example:7443".into()], ..config };
        assert_eq!(told(&advertised, &["hub.example:8443"]), [""; 0], "the config's word counts");
    }
}
