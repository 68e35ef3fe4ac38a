//! A replication stream, seen from the hub that owes (it dialled and opened) and from the hub that receives.
//!
//! ```text
//!  driver ──Way──▶ writer ══▶ stream ══▶ reader ──GuestSaid──▶ driver of the other hub
//!         ◀─PeerSaid── reader ◀══ stream ◀══ writer ◀──Way──
//! ```
//!
//! Promise: the driver hears of a stream before it hears anything said on it, and of its end after that; of one node it knows one
//! stream in each direction at most. A reader holds one frame, and waits while the driver has enough. What is no frame ends the stream.
//! Absent: what frames mean.

use millrace_hub_engine::Event;
use millrace_link::{CloseCode, Connection, Inlet, Outlet, ReceiveError};
use millrace_model::{HubId, NodeId};
use millrace_wire::PeerFrame;
use millrace_wire::limits::FRAME_MAX;
use tokio::time::sleep;

use super::Inner;
use super::bounds::{FLUSHED_PRIORITY, RECORDS_PRIORITY, STEADY};
use crate::driver::DriverHandle;
use crate::driver::input::Input;
use crate::driver::way::{Way, WayEnd};
use crate::reception::next_link;

/// Keeps a stream to `node` open on this connection, until the connection or the driver ends.
pub(crate) async fn owe(inner: &Inner, node: NodeId, connection: &Connection) {
    let Some(driver) = driver(inner, connection).await else { return };
    let mut backoff = inner.backoff();
    loop {
        let began = inner.parts.clock.moment();
        let Ok((outlet, inlet)) = connection.open_bi(RECORDS_PRIORITY).await else { return };
        let (way, end) = Way::new();
        if !driver.tell(Input::PeerUp { node, way }).await {
            return;
        }
        let said = |frame| Input::Event(Event::PeerSaid { node, frame });
        let why = carry(&driver, outlet, inlet, end, said).await;
        tracing::info!(%node, why, "replication to another hub is interrupted");
        if !driver.tell(Input::Event(Event::PeerDown { node })).await {
            return;
        }
        if inner.parts.clock.moment().since(began) >= STEADY {
            backoff.reset();
        }
        tokio::select! {
            () = sleep(backoff.wait()) => {}
            _ = connection.closed() => return,
        }
    }
}

/// The way to the driver, once somebody attends.
async fn driver(inner: &Inner, connection: &Connection) -> Option<DriverHandle> {
    let mut attendants = inner.attendants.subscribe();
    tokio::select! {
        attached = attendants.wait_for(Option::is_some) => {
            attached.ok()?.as_ref().map(|attendants| attendants.driver.clone())
        }
        _ = connection.closed() => None,
    }
}

/// Receives on a stream that another hub opened, to its end.
pub(crate) async fn host(inner: &Inner, hub: &HubId, mut outlet: Outlet, mut inlet: Inlet) {
    let known = inner.node_of(hub).zip(inner.attendants());
    let Some((node, attendants)) = known else {
        // The other hub tries again, with a growing pause.
        outlet.cut(CloseCode::NotAdmitted);
        inlet.stop(CloseCode::NotAdmitted);
        return;
    };
    outlet.set_priority(FLUSHED_PRIORITY);
    let driver = &attendants.driver;
    let (seat, mut claim) = inner.guests.claim(node);
    let _seat = tokio::select! {
        seat = seat.taken.lock() => seat,
        () = claim.lost() => return,
    };
    let (guest, (way, end)) = (next_link(), Way::new());
    if !driver.tell(Input::GuestUp { guest, node, way }).await {
        return;
    }
    let said = |frame| Input::Event(Event::GuestSaid { guest, frame });
    let why = tokio::select! {
        why = carry(driver, outlet, inlet, end, said) => why,
        () = claim.lost() => "the same hub opened a newer stream".to_owned(),
    };
    tracing::info!(%node, guest, why, "replication from another hub is interrupted");
    driver.tell(Input::Event(Event::GuestDown { guest })).await;
}

/// Carries frames both ways until one of the sides has enough; why.
async fn carry(
    driver: &DriverHandle,
    mut outlet: Outlet,
    mut inlet: Inlet,
    end: WayEnd,
    said: impl Fn(PeerFrame) -> Input,
) -> String {
    let ended = end.ended();
    let (why, code) = tokio::select! {
        why = write(&mut outlet, end) => (why, CloseCode::Shutdown),
        (why, code) = read(&mut inlet, driver, said) => (why, code),
        why = ended => (why, CloseCode::ProtocolError),
    };
    outlet.cut(code);
    inlet.stop(code);
    why
}

async fn write(outlet: &mut Outlet, mut frames: WayEnd) -> String {
    while let Some(frame) = frames.next().await {
        let bytes = match frame.encode() {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(frame = frame.name(), %error, "a frame of ours is over its limit");
                return error.to_string();
            }
        };
        if let Err(error) = outlet.send(bytes).await {
            return error.to_string();
        }
    }
    // The driver gave the way up: `ended` knows why. If the driver is gone, so is this hub.
    std::future::pending().await
}

async fn read(
    inlet: &mut Inlet,
    driver: &DriverHandle,
    said: impl Fn(PeerFrame) -> Input,
) -> (String, CloseCode) {
    loop {
        let frame = match inlet.next(FRAME_MAX).await {
            Ok(Some(bytes)) => PeerFrame::decode(&bytes).map_err(|error| error.to_string()),
            Ok(None) => return ("the other hub ended the stream".to_owned(), CloseCode::Shutdown),
            Err(error @ (ReceiveError::Closed(_) | ReceiveError::Cut(_))) => {
                return (error.to_string(), CloseCode::Shutdown);
            }
            Err(error) => Err(error.to_string()),
        };
        match frame {
            Ok(frame) => {
                if !driver.tell(said(frame)).await {
                    return ("the hub stops".to_owned(), CloseCode::Shutdown);
                }
            }
            Err(why) => {
                tracing::error!(why, "another hub broke the protocol of replication");
                return (why, CloseCode::ProtocolError);
            }
        }
    }
}
