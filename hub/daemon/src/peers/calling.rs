//! Making a call: a place, a stream, the request, the reply.
//!
//! Promise: [`CallError::Unreachable`] is said only while nothing was handed to the road.
//! Absent: over which connection.

use bytes::Bytes;
use millrace_link::{Connection, Inlet, Outlet};
use millrace_wire::CallKind;
use millrace_wire::calling::{Reply, Request};
use millrace_wire::limits::CALL_FRAME_MAX;
use tokio::time::{Instant, timeout_at};

use super::CallError;
use super::bounds::{Places, priority};

/// Asks over this connection, until that moment.
pub(crate) async fn ask(
    connection: &Connection,
    places: &Places,
    kind: CallKind,
    body: Bytes,
    until: Instant,
) -> Result<Bytes, CallError> {
    let unreachable = |why: &str| CallError::Unreachable(why.to_owned());
    let place = timeout_at(until, places.of(kind).acquire()).await;
    let Ok(Ok(_place)) = place else {
        return Err(unreachable("as many calls to that hub are under way as may"));
    };
    let opened = timeout_at(until, connection.open_bi(priority(kind))).await;
    let (mut outlet, mut inlet) = opened
        .map_err(|_| unreachable("no stream to that hub was free in time"))?
        .map_err(|reason| CallError::Unreachable(reason.to_string()))?;
    let patience = until.saturating_duration_since(Instant::now());
    let request = Request { kind, patience, body }.encode();
    let request = request.map_err(|error| CallError::Unreachable(error.to_string()))?;
    let exchanged = timeout_at(until, exchange(&mut outlet, &mut inlet, request)).await;
    exchanged.map_err(|_| CallError::Failed(format!("no answer within {patience:?}")))?
}

async fn exchange(outlet: &mut Outlet, inlet: &mut Inlet, request: Bytes) -> Result<Bytes, CallError> {
    // A hub that refuses early stops reading, and its reply says why; so what went wrong with sending is told only when no reply
    // comes.
    let sent = async {
        outlet.send(request).await?;
        outlet.finish().await
    };
    let (sent, reply) = tokio::join!(sent, inlet.next(CALL_FRAME_MAX));
    let bytes = match (reply, sent) {
        (Ok(Some(bytes)), _) => bytes,
        (Err(error), _) => return Err(CallError::Failed(error.to_string())),
        (Ok(None), Err(error)) => return Err(CallError::Failed(error.to_string())),
        (Ok(None), Ok(())) => return Err(CallError::Failed("the other hub gave no answer".to_owned())),
    };
    match Reply::decode(&bytes) {
        Ok(Reply::Answered(body)) => Ok(body),
        Ok(Reply::Refused(text)) => Err(CallError::Refused(text)),
        Err(error) => Err(CallError::Failed(error.to_string())),
    }
}
