//! Taking part: a new hub joins a cluster, and one that lost its decisions joins again.
//!
//! ```text
//!  join:  token ──enrol──▶ identity/ ──Join──▶ number ──▶ ca/, about.json, cluster.json (last)
//!  again: identity/, cluster.json, and no control/ ──Join──▶ another number ──▶ cluster.json
//! ```
//!
//! Promise: where `cluster.json` stands, all the rest does; a `join` that was interrupted goes on where it stopped when it is
//! run again. Absent: the command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_host::{Clock, Exit, Failure, Shutdown};
use millrace_link::{
    CertificateAuthority, CertificateRequest, ClientOptions, CloseCode, Dialer, EnrollError, Identity,
    JoinToken, Road, Standing, VaultError, Wishes,
};
use millrace_model::Wall;
use millrace_wire::CallKind;
use tokio::sync::watch;

use crate::cluster::joining::{JoinReply, Joined, Question, RefusalCode};
use crate::cluster::seat;
use crate::config::valid_address;
use crate::peers::{Peers, PeersParts};
use crate::places::{About, Places, SeatFile};
use crate::registrar::HUB_LABEL;

/// How long another hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is asked, and the pause in between: a leader may be missing for a moment.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// What a hub that joins is told.
pub struct Order<'a> {
    /// Its data directory.
    pub data: &'a Path,
    /// The token.
    pub token: &'a JoinToken,
    /// Its name, region and addresses.
    pub about: &'a About,
    /// Whether it only votes.
    pub witness: bool,
}

/// Joins a cluster; who this hub is in it.
///
/// # Errors
/// What is wrong, with the fix and the exit code.
pub async fn join(order: Order<'_>, clock: &Clock) -> Result<SeatFile, Failure> {
    let places = Places::new(order.data);
    check(&order, &places)?;
    places
        .make()
        .map_err(|error| Failure::io(&format!("{} cannot be made", order.data.display()), &error))?;
    let identity = match Identity::load(&places.identity()) {
        Ok(identity) => identity,
        Err(millrace_link::IdentityError::Vault(VaultError::Missing { .. })) => {
            let identity = enrol(&order, clock).await?;
            let saved = identity.save(&places.identity());
            saved.map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
            identity
        }
        Err(error) => return Err(Failure::new(Exit::Config, error.to_string())),
    };
    if identity.own().hub().is_none() {
        let failure = Failure::new(Exit::Usage, "the token made a device of this machine, not a hub");
        return Err(failure.hint("make one with `millrace-hub token create --hub`"));
    }
    let shutdown = Shutdown::manual();
    let (_keep, shown) = watch::channel(identity.clone());
    let peers = peers(&identity, shown, clock, Road::HUBS_FAR, &shutdown)?;
    let asking = Asking { peers: &peers, addresses: &order.token.addresses };
    let question = Question {
        name: identity.own().name.clone(),
        region: order.about.region.clone(),
        addresses: order.about.addresses.clone(),
        witness: order.witness,
        control: seat::fresh_incarnation()?,
    };
    let joined = asking.ask(&question).await;
    peers.close(CloseCode::Shutdown, "joined").await;
    shutdown.trigger();
    let joined = joined?;
    keep_ca(&places, &identity, &joined)?;
    let about = About { name: question.name.clone(), ..order.about.clone() };
    places.write_about(&about).map_err(|error| Failure::io("about.json cannot be written", &error))?;
    let seeds = if joined.seeds.is_empty() { order.token.addresses.clone() } else { joined.seeds };
    let seat = SeatFile {
        node: joined.node,
        epoch: joined.epoch,
        control: question.control,
        seeds,
        witness: order.witness,
        founding: false,
        begun: false,
    };
    places.write_seat(&seat).map_err(|error| Failure::io("cluster.json cannot be written", &error))?;
    Ok(seat)
}

/// Joins again when the decisions of this hub are lost, and its identity is not.
///
/// # Errors
/// When nobody answers, or the cluster refuses.
pub(crate) async fn join_again(places: &Places, about: &About, peers: &Peers) -> Result<(), Failure> {
    let old = seat::known(places)?;
    if !old.begun || old.founding || old.seeds.is_empty() || !seat::is_empty(&places.control()) {
        return Ok(());
    }
    tracing::warn!(node = %old.node, "the decisions of this hub are lost: it joins its cluster again under a new number");
    let question = Question {
        name: about.name.clone(),
        region: about.region.clone(),
        addresses: about.addresses.clone(),
        witness: old.witness,
        control: seat::fresh_incarnation()?,
    };
    let joined = Asking { peers, addresses: &old.seeds }.ask(&question).await?;
    let seat = SeatFile {
        node: joined.node,
        epoch: joined.epoch,
        control: question.control,
        seeds: if joined.seeds.is_empty() { old.seeds.clone() } else { joined.seeds },
        begun: false,
        ..old
    };
    tracing::info!(node = %seat.node, "this hub has a new number");
    places.write_seat(&seat).map_err(|error| Failure::io("cluster.json cannot be written", &error))
}

/// The next certificate of a hub that has no CA, from another hub; `None` while the present one is good for long enough.
///
/// # Errors
/// When no other hub issues one.
pub(crate) async fn renew_from_others(
    places: &Places,
    peers: &Peers,
    now: Wall,
) -> Result<Option<Identity>, Failure> {
    let directory = places.identity();
    let loaded = tokio::task::spawn_blocking(move || Identity::load(&directory)).await;
    let identity = loaded
        .map_err(|error| Failure::internal(&error))?
        .map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    if matches!(Standing::of(identity.own(), now, Duration::ZERO), Standing::Fresh { .. }) {
        return Ok(None);
    }
    let request = CertificateRequest::fresh().map_err(|error| Failure::internal(&error))?;
    let mut last = Failure::new(Exit::Unavailable, "no other hub is known");
    for link in peers.links() {
        let body = Bytes::copy_from_slice(request.csr_der());
        let answer = match peers.call(link.node, CallKind::Renew, body, PATIENCE).await {
            Ok(answer) => answer,
            Err(error) => {
                last = Failure::new(Exit::Unavailable, error.to_string());
                continue;
            }
        };
        let renewed = identity.renewed(&request, &String::from_utf8_lossy(&answer));
        let renewed = renewed.map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
        let (directory, kept) = (places.identity(), renewed.clone());
        let saved = tokio::task::spawn_blocking(move || kept.save(&directory)).await;
        saved
            .map_err(|error| Failure::internal(&error))?
            .map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
        tracing::info!(by = %link.node, "the hub's own certificate is renewed");
        return Ok(Some(renewed));
    }
    Err(last)
}

/// Roads to other hubs.
pub(crate) fn peers(
    identity: &Identity,
    shown: watch::Receiver<Identity>,
    clock: &Clock,
    road: Road,
    shutdown: &Shutdown,
) -> Result<Peers, Failure> {
    let me = identity.own().hub();
    let me = me.ok_or_else(|| Failure::new(Exit::Config, "this machine has no hub's certificate"))?;
    Ok(Peers::start(PeersParts {
        clock: clock.clone(),
        identity: shown,
        road,
        me,
        shutdown: shutdown.clone(),
    }))
}

fn check(order: &Order<'_>, places: &Places) -> Result<(), Failure> {
    let root = places.root().display();
    let seat = places.read_seat().map_err(|error| Failure::io("cluster.json cannot be read", &error))?;
    if seat.is_some() || places.registry().exists() {
        let message = format!("there is a hub in {root} already, and nothing is overwritten");
        return Err(Failure::new(Exit::Usage, message).hint("name another directory, or move this one away"));
    }
    if !millrace_link::ca::valid_name(&order.about.region) {
        let failure = Failure::new(Exit::Usage, format!("`{}` cannot be a region", order.about.region));
        return Err(failure.hint("choose 1 to 64 characters without control characters"));
    }
    let wrong = |address: &&String| !valid_address(address) || address.ends_with(":0");
    match order.about.addresses.iter().find(wrong) {
        Some(wrong) => {
            let message = format!("`{wrong}` is not an address at which other hubs reach this one");
            Err(Failure::new(Exit::Usage, message).hint("write HOST:PORT, for example hub-2.example:7443"))
        }
        None => Ok(()),
    }
}

/// Gets this machine a hub's certificate. The same key is shown every time, so that an answer that was lost is asked for again.
async fn enrol(order: &Order<'_>, clock: &Clock) -> Result<Identity, Failure> {
    let request = CertificateRequest::fresh().map_err(|error| Failure::internal(&error))?;
    let wall = clock.clone();
    let dialer = Dialer::new(ClientOptions::new(Arc::new(move || wall.wall())));
    let labels = BTreeMap::from([(HUB_LABEL.to_owned(), String::new())]);
    let wishes = Wishes { name: Some(&order.about.name), labels, replace: None };
    let mut last = Failure::new(Exit::Usage, "the token names no address");
    for _ in 0..TRIES {
        for address in &order.token.addresses {
            for at in resolved(address).await {
                match dialer.enroll(at, order.token, &request, &wishes).await {
                    Ok(enrolled) => return Ok(enrolled.identity),
                    Err(EnrollError::Refused { why, text }) => {
                        use millrace_link::EnrolmentRefusal::Unavailable;
                        last = Failure::new(Exit::Permission, format!("the hub refuses: {text}"));
                        if why != Unavailable {
                            return Err(last);
                        }
                    }
                    Err(error @ EnrollError::WrongCluster { .. }) => {
                        return Err(Failure::new(Exit::Permission, error.to_string()));
                    }
                    Err(error) => last = Failure::new(Exit::Unavailable, error.to_string()),
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(last.hint("is a hub of the cluster running, and reached at the token's addresses from here?"))
}

async fn resolved(address: &str) -> Vec<SocketAddr> {
    match tokio::net::lookup_host(address).await {
        Ok(found) => found.collect(),
        Err(error) => {
            tracing::warn!(address, %error, "an address cannot be resolved");
            Vec::new()
        }
    }
}

struct Asking<'a> {
    peers: &'a Peers,
    addresses: &'a [String],
}

impl Asking<'_> {
    async fn ask(&self, question: &Question) -> Result<Joined, Failure> {
        let body = serde_json::to_vec(question).map_err(|error| Failure::internal(&error))?;
        let body = Bytes::from(body);
        let mut last = Failure::new(Exit::Unavailable, "no hub of the cluster is known");
        for turn in 0..TRIES * self.addresses.len().max(1) {
            let Some(address) = self.addresses.get(turn % self.addresses.len().max(1)) else { break };
            let address = [address.clone()];
            match self.peers.call_at(&address, CallKind::Join, body.clone(), PATIENCE).await {
                Ok(answer) => match read(&answer)? {
                    JoinReply::Joined(joined) => return Ok(joined),
                    JoinReply::Refused { code: RefusalCode::Refused, text } => {
                        return Err(Failure::new(Exit::Permission, format!("the cluster refuses: {text}")));
                    }
                    JoinReply::Refused { text, .. } => last = Failure::new(Exit::Unavailable, text),
                },
                // Asked again with the same question, the number is the same.
                Err(error) => last = Failure::new(Exit::Unavailable, error.to_string()),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(last.hint("run it again when a majority of the cluster's hubs can talk to each other"))
    }
}

fn read(answer: &[u8]) -> Result<JoinReply, Failure> {
    serde_json::from_slice(answer)
        .map_err(|error| Failure::new(Exit::Data, format!("the hub's answer cannot be read: {error}")))
}

fn keep_ca(places: &Places, identity: &Identity, joined: &Joined) -> Result<(), Failure> {
    let Some(key) = &joined.ca_key else { return Ok(()) };
    let ca = CertificateAuthority::from_pem(identity.ca_pem(), key);
    let ca =
        ca.map_err(|error| Failure::new(Exit::Data, format!("the CA that was sent is none: {error}")))?;
    if CertificateAuthority::load(&places.ca()).is_ok_and(|there| there.key_hash() == ca.key_hash()) {
        return Ok(());
    }
    ca.save(&places.ca()).map_err(|error| Failure::new(Exit::Io, error.to_string()))
}
