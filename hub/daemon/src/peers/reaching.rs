//! Reaching a hub: its names, its addresses, one after the other, until one answers as the hub that it should be.
//!
//! Promise: names are resolved each time, since machines move; a connection is handed out only when its certificate names the expected
//! hub, or, when none is expected, any hub of the cluster but this one.
//! Absent: when to try again.

use std::net::SocketAddr;

use millrace_link::{CloseCode, Connection};
use tokio::time::timeout;

use super::Inner;
use super::bounds::{RESOLVE_PATIENCE, RESOLVED_MAX};
use super::keeping::Target;

/// A connection to the target, or why there is none.
pub(crate) async fn reach(inner: &Inner, target: &Target) -> Result<Connection, String> {
    let mut problem = "it has no address".to_owned();
    for address in &target.addresses {
        let places = match timeout(RESOLVE_PATIENCE, tokio::net::lookup_host(address)).await {
            Ok(Ok(places)) => places,
            Ok(Err(error)) => {
                problem = format!("{address} cannot be resolved: {error}");
                continue;
            }
            Err(_) => {
                problem = format!("{address} cannot be resolved within {RESOLVE_PATIENCE:?}");
                continue;
            }
        };
        for place in places.take(RESOLVED_MAX) {
            match dial(inner, target, place).await {
                Ok(connection) => return Ok(connection),
                Err(why) => problem = why,
            }
        }
    }
    Err(problem)
}

async fn dial(inner: &Inner, target: &Target, place: SocketAddr) -> Result<Connection, String> {
    let identity = inner.parts.identity.borrow().clone();
    let connection = inner.dialer.connect(place, &identity).await.map_err(|error| error.to_string())?;
    let wrong = match (connection.peer().hub(), target.hub) {
        (Some(found), _) if found == inner.parts.me => Some("it leads back to this hub".to_owned()),
        (Some(found), Some(hub)) if found != hub => Some(format!("hub {found} answers there")),
        (None, _) => Some("no hub answers there".to_owned()),
        _ => None,
    };
    if let Some(wrong) = wrong {
        connection.close(CloseCode::Shutdown, "another hub was expected under this address");
        return Err(format!("{place} is the address of somebody else: {wrong}"));
    }
    connection.widen();
    Ok(connection)
}
