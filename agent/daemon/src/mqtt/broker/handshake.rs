//! The handshake: CONNECT in, CONNACK out, and the session that belongs to the client id.
//!
//! Promise: bounded in time and bytes before a client is known; a wrong password gets its answer and nothing else.
//! Absent: what follows (see `connection`).

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::House;
use super::outbound::Outbound;
use super::sessions::{Hold, Session};
use crate::mqtt::codec::{self, CodecError, Greeting, Outgoing, Welcome};
use crate::mqtt::filter::is_topic_name;
use crate::mqtt::inbound::{Inbound, Peer, Window};
use crate::mqtt::packet::{Connect, Packet, Version};
use crate::mqtt::wire::{Inlet, Outlet};

/// Bytes of a CONNECT: names, a password and a last will. Small, because nobody has shown a password yet.
const CONNECT_BYTES_MAX: usize = 64 << 10;

/// Bytes of a client id. MQTT guarantees 23; people use names and UUIDs.
const CLIENT_ID_BYTES_MAX: usize = 256;

/// Why a client was not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("no CONNECT in time")]
    Late,
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Codec(#[from] CodecError),
    #[error("refused: {0}")]
    Refused(&'static str),
}

/// A client that has been let in.
pub(super) struct Guest {
    pub(super) connect: Connect,
    pub(super) hold: Hold,
    pub(super) inlet: Inlet<OwnedReadHalf>,
    pub(super) outlet: Outlet<OwnedWriteHalf>,
}

pub(super) async fn greet(tcp: TcpStream, house: &Arc<House>) -> Result<Guest, HandshakeError> {
    tcp.set_nodelay(true)?;
    let (reader, writer) = tcp.into_split();
    let mut inlet = Inlet::new(reader, Version::V4, CONNECT_BYTES_MAX);
    let listening = tokio::time::timeout(house.options.connect_timeout, hear_connect(&mut inlet));
    let mut connect = listening.await.map_err(|_elapsed| HandshakeError::Late)??;
    inlet.version = connect.version;
    inlet.frame_bytes_max = house.options.packet_bytes_max;
    let mut outlet = Outlet::new(writer, connect.version);
    let (welcome, assigned) = judge(&mut connect, house);
    if let Welcome::Accepted = welcome
        && let Some(hold) = take_session(&connect, house).await
    {
        let greeting = greeting(welcome, hold.resumed, assigned.then(|| connect.client_id.clone()), house);
        outlet.push(&Outgoing::ConnAck(greeting))?;
        return Ok(Guest { connect, hold, inlet, outlet });
    }
    let (welcome, why) = match welcome {
        Welcome::BadLogin => (welcome, "wrong user or password"),
        Welcome::BadClientId => {
            (welcome, "the client id is missing, too long, or the last will has no valid topic")
        }
        Welcome::Accepted | Welcome::Busy => (Welcome::Busy, "no session is free"),
    };
    outlet.push(&Outgoing::ConnAck(greeting(welcome, false, None, house)))?;
    // A refused client that does not read its answer must not keep its seat.
    let _late = tokio::time::timeout(house.options.connect_timeout, outlet.close()).await;
    Err(HandshakeError::Refused(why))
}

async fn hear_connect(inlet: &mut Inlet<OwnedReadHalf>) -> Result<Connect, HandshakeError> {
    loop {
        // Known at the first byte: another protocol need not be waited for.
        if inlet.first_byte().is_some_and(|first| first != codec::CONNECT) {
            return Err(CodecError::Unexpected("the first packet must be CONNECT").into());
        }
        if let Some(frame) = inlet.next_frame()? {
            let version = codec::asked_version(&frame)?;
            return match codec::decode(version, frame)? {
                Packet::Connect(connect) => Ok(*connect),
                _ => Err(CodecError::Unexpected("the first packet must be CONNECT").into()),
            };
        }
        if inlet.fill().await? == 0 {
            return Err(HandshakeError::Refused("closed before CONNECT"));
        }
    }
}

/// Whether the client may come in; the bool says that it was given a client id.
fn judge(connect: &mut Connect, house: &House) -> (Welcome, bool) {
    if let Some(right) = &house.options.login {
        let (user, password) = connect.login.as_ref().map_or(("", ""), |(u, p)| (u.as_str(), p.as_str()));
        if !right.admits(user, password) {
            return (Welcome::BadLogin, false);
        }
    }
    if connect.client_id.len() > CLIENT_ID_BYTES_MAX
        || connect.will.as_ref().is_some_and(|will| !is_topic_name(&will.topic))
    {
        return (Welcome::BadClientId, false);
    }
    if !connect.client_id.is_empty() {
        return (Welcome::Accepted, false);
    }
    if connect.version == Version::V4 && !connect.clean {
        return (Welcome::BadClientId, false);
    }
    connect.client_id = house.sessions.fresh_id();
    (Welcome::Accepted, true)
}

async fn take_session(connect: &Connect, house: &Arc<House>) -> Option<Hold> {
    let options = &house.options;
    let peer = if connect.version == Version::V5 { Peer::Publisher } else { Peer::Plain };
    let make = |number| {
        let publications_max = usize::from(options.window_publications);
        let window = Window { publications_max, bytes_max: options.window_bytes };
        let (verdicts, heard) = mpsc::channel(publications_max);
        let (outbox, waiting) = mpsc::channel(options.outbox_messages);
        let inbound = Inbound::new(peer, window, Arc::clone(&house.budget));
        Session {
            number,
            inbound,
            verdicts,
            heard,
            routes: Vec::new(),
            outbox,
            outbound: Outbound::new(waiting),
        }
    };
    let forget = |number| house.routes.remove(number);
    let mut hold = house.sessions.take(&connect.client_id, connect.clean, make, forget).await?;
    let resumed = hold.resumed;
    hold.session()?.inbound.begin(resumed, peer);
    Some(hold)
}

fn greeting(welcome: Welcome, session_present: bool, assigned_id: Option<String>, house: &House) -> Greeting {
    Greeting {
        welcome,
        session_present,
        assigned_id,
        receive_max: house.options.window_publications,
        packet_bytes_max: u32::try_from(house.options.packet_bytes_max).unwrap_or(u32::MAX),
    }
}
