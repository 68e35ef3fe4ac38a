//! Dialling: from a target to a connection.
//!
//! Promise: which hub answered at which address is written down. While others wait to be tried, a hub that does not answer
//! holds up nobody for longer than two silences of its road; nor does, at any time, an address that hubs do not tell any more.

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use millrace_link::limits::CONNECT_TIMEOUT;
use millrace_link::{ConnectError, Connection};
use millrace_model::HubId;

use super::{End, SPREAD, Target, Uplink, is_unwelcome};

/// Addresses of one name that are tried: one that has more is answered by the first few, or by nobody.
const ADDRESSES_MAX: usize = 4;

/// A connection, and how it came about.
pub(super) struct Way {
    /// Who was looked for.
    pub(super) target: Target,
    /// Who answered.
    pub(super) hub: Option<HubId>,
    pub(super) connection: Connection,
}

impl Uplink {
    /// A connection to the hub whose turn it is: the one that stands ready, or a new one.
    pub(super) async fn dial(&self) -> Result<Way, End> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(way) = ready.filter(|way| way.connection.close_reason().is_none()) {
            return Ok(way);
        }
        let (target, others) = {
            let (mut hubs, now) = (self.hubs(), self.clock.moment());
            let next = hubs.next(now);
            let replaced = next.as_ref().is_some_and(|target| hubs.is_replaced(target));
            (next, replaced || hubs.elsewhere(now))
        };
        let target =
            target.ok_or_else(|| End::of("no hub is known: name one in [hub] addresses, or enrol again"))?;
        let reached = if others { self.reach_soon(&target).await } else { self.reach(&target).await };
        reached.map_err(|end| {
            let (mut hubs, now) = (self.hubs(), self.clock.moment());
            hubs.failed(&target, now);
            End { elsewhere: hubs.elsewhere(now).then_some(SPREAD), ..end }
        })
    }

    /// Connects to `target`, within the time that is bearable while there are others.
    pub(super) async fn reach_soon(&self, target: &Target) -> Result<Way, End> {
        let patience = self.patience();
        match tokio::time::timeout(patience, self.reach(target)).await {
            Ok(reached) => reached,
            Err(_late) => {
                let name = self.hubs().name(target);
                Err(End::of(format!("{name} does not answer within {patience:?}")))
            }
        }
    }

    /// Two silences: a handshake, and its repetition.
    pub(super) fn patience(&self) -> Duration {
        (self.road.silence * 2).min(CONNECT_TIMEOUT)
    }

    /// Connects to `target`, address by address.
    pub(super) async fn reach(&self, target: &Target) -> Result<Way, End> {
        let addresses = self.hubs().addresses(target);
        let mut failure = End::of(format!("{} has no address", self.hubs().name(target)));
        for address in addresses {
            match self.reach_at(&address).await {
                Ok(connection) => {
                    let (hub, now) = (connection.peer().hub(), self.clock.moment());
                    if let Some(hub) = hub {
                        let mut hubs = self.hubs();
                        if hubs.answered(&address, target, hub, now) {
                            self.news.notify_one();
                        }
                        hubs.routes().measured(hub, connection.rtt(), now);
                    }
                    return Ok(Way {
                        target: hub.map_or_else(|| target.clone(), Target::Hub),
                        hub,
                        connection,
                    });
                }
                Err(end) => failure = end,
            }
        }
        Err(failure)
    }

    async fn reach_at(&self, address: &str) -> Result<Connection, End> {
        let found = tokio::net::lookup_host(address)
            .await
            .map_err(|error| End::of(format!("{address} cannot be looked up: {error}")))?;
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut failure = End::of(format!("{address} has no address"));
        for address in found.take(ADDRESSES_MAX).collect::<Vec<SocketAddr>>() {
            match self.dialer.connect(address, &identity).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    let unwelcome = match &error {
                        ConnectError::Refused { reason, .. } => is_unwelcome(reason.code),
                        _ => false,
                    };
                    failure = End { unwelcome, ..End::of(error.to_string()) };
                }
            }
        }
        Err(failure)
    }
}
