//! One connection of a client: publications in, acknowledgements out, forwards to a subscriber.
//!
//! Promise: one task does it all, so nothing is locked and nothing waits for itself; while the channel, the window or the
//! output is full the socket is not read; whatever a client sends ends at worst its own connection.
//! Absent: admission and order of acknowledgements (`inbound`), who gets which message (`routes`).

use std::sync::Arc;
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::House;
use super::handshake::Guest;
use super::routes::{Forward, Route, Sent, Table};
use super::sessions::Session;
use crate::mqtt::arrival::Arrival;
use crate::mqtt::codec::{CodecError, Farewell, Granted, Outgoing};
use crate::mqtt::filter::{Filter, is_topic_name};
use crate::mqtt::inbound::{Admission, Reply};
use crate::mqtt::packet::{Connect, Packet, Publication, Qos, RetainedWish, Wish};
use crate::mqtt::receipt::{Receipt, Verdict};
use crate::mqtt::status::count;
use crate::mqtt::stop::stopped;
use crate::mqtt::wire::{Inlet, Outlet};

/// Verdicts taken at once. The engine answers in groups; a group of this size costs one write to the socket.
const VERDICTS_AT_ONCE: usize = 1_024;

/// Messages to a subscriber taken at once.
const FORWARDS_AT_ONCE: usize = 64;

/// How long a client that does not read what it is sent may go unheard when it named no keep-alive.
const PATIENCE_WITHOUT_KEEP_ALIVE: Duration = Duration::from_secs(90);

/// How often the keep-alive is checked.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Leave {
    #[error("the client said goodbye")]
    Goodbye,
    #[error("the client left its last will")]
    GoodbyeWithWill,
    #[error("the agent stops")]
    Stopping,
    #[error("a newer connection uses the same client id")]
    TakenOver,
    #[error("the client closed the connection")]
    Closed,
    #[error("no sign of life within 1.5 times the keep-alive")]
    Silent,
    #[error("a publication was not stored")]
    NotStored,
    #[error("the client does what MQTT forbids: {0}")]
    Protocol(&'static str),
    #[error("{0}")]
    Codec(#[from] CodecError),
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
}

impl Leave {
    const fn farewell(&self) -> Option<Farewell> {
        match self {
            Self::Goodbye | Self::GoodbyeWithWill | Self::Closed | Self::Io(_) | Self::NotStored => None,
            Self::Stopping => Some(Farewell::ShuttingDown),
            Self::TakenOver => Some(Farewell::TakenOver),
            Self::Silent => Some(Farewell::KeepAlive),
            Self::Codec(CodecError::TooLarge { .. }) => Some(Farewell::TooLarge),
            Self::Codec(CodecError::Malformed(_)) => Some(Farewell::Malformed),
            Self::Codec(_) | Self::Protocol(_) => Some(Farewell::Protocol),
        }
    }

    const fn is_orderly(&self) -> bool {
        matches!(
            self,
            Self::Goodbye | Self::GoodbyeWithWill | Self::Stopping | Self::TakenOver | Self::Closed
        )
    }
}

struct Connection<'a> {
    house: &'a House,
    session: &'a mut Session,
    inlet: Inlet<OwnedReadHalf>,
    outlet: Outlet<OwnedWriteHalf>,
    table: Arc<Table>,
    stalled: Option<Arrival>,
    forward_bytes_max: usize,
}

/// Serves a client until it leaves, then settles what it leaves behind.
pub(super) async fn serve(guest: Guest, house: &Arc<House>, stop: watch::Receiver<bool>, from: &str) {
    let Guest { mut connect, mut hold, inlet, outlet } = guest;
    let mut owner = hold.owner.clone();
    let resumed = hold.resumed;
    let Some(session) = hold.session() else { return };
    let mut connection = Connection {
        house,
        session,
        inlet,
        outlet,
        table: house.routes.table(),
        stalled: None,
        forward_bytes_max: connect.packet_bytes_max.map_or(usize::MAX, |max| max as usize),
    };
    tracing::debug!(client = connect.client_id, from, resumed, "a client is connected");
    let leave = match connection.exchange(&connect, &mut owner, stop).await {
        Ok(leave) | Err(leave) => leave,
    };
    if leave.is_orderly() {
        tracing::debug!(client = connect.client_id, %leave, "a client has left");
    } else {
        tracing::info!(client = connect.client_id, from, %leave, "a client was disconnected");
        count(&house.status.counters().reconnects, 1);
    }
    connection.close(&leave).await;
    let stalled = connection.stalled.take().filter(|arrival| arrival.qos == 0);
    let number = hold.session().map(|session| session.number);
    if house.sessions.give_back(hold, Duration::from_secs(u64::from(connect.session_expiry)))
        && let Some(number) = number
    {
        house.routes.remove(number);
    }
    let will = connect.will.take().filter(|_| !matches!(leave, Leave::Goodbye | Leave::Stopping));
    for arrival in stalled.into_iter().chain(will.map(|will| testament(house, &will))) {
        // Closed means that the agent ends; a last will is not worth waiting for then.
        let _agent_ends = house.arrivals.send(arrival).await;
    }
}

/// The last will as a reading, told to the local subscribers as well.
fn testament(house: &House, will: &Publication) -> Arrival {
    let Publication { topic, payload, qos, retain, .. } = will;
    house
        .routes
        .forward(&house.routes.table(), &Sent { topic, payload, qos: *qos, retain: *retain, by: None });
    count(&house.status.counters().received, 1);
    count(&house.status.counters().bytes, payload.len() as u64);
    Arrival {
        topic: topic.clone(),
        payload: payload.clone(),
        qos: qos.number(),
        retained: *retain,
        subscription: 0,
        lane: house.options.lane(topic),
        receipt: Receipt::detached(),
    }
}

impl Connection<'_> {
    async fn exchange(
        &mut self,
        connect: &Connect,
        owner: &mut watch::Receiver<u64>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Leave, Leave> {
        let unacked_max = connect.receive_max.min(self.house.options.unacked_max);
        for repeated in self.session.outbound.begin(unacked_max) {
            self.outlet.push(&Outgoing::Publish(repeated))?;
        }
        let arrivals = self.house.arrivals.clone();
        let mut verdicts: Vec<Verdict> = Vec::new();
        let mut forwards: Vec<Forward> = Vec::new();
        let patience = match connect.keep_alive {
            0 => PATIENCE_WITHOUT_KEEP_ALIVE,
            seconds => Duration::from_secs(u64::from(seconds)) * 3 / 2,
        };
        let mut heard_at = Instant::now();
        let mut checks = tokio::time::interval(CHECK_EVERY);
        loop {
            let starved = match self.take_packets()? {
                Taken::All => true,
                Taken::Some => false,
                Taken::Leave(leave) => return Ok(leave),
            };
            let clogged = self.outlet.is_clogged();
            let session = &mut *self.session;
            tokio::select! {
                biased;
                _ = owner.changed() => return Ok(Leave::TakenOver),
                () = stopped(&mut stop) => return Ok(Leave::Stopping),
                () = arrivals.closed() => return Ok(Leave::Stopping),
                _ = session.heard.recv_many(&mut verdicts, VERDICTS_AT_ONCE) => self.acknowledge(&mut verdicts)?,
                permit = arrivals.reserve(), if self.stalled.is_some() => {
                    if let (Ok(permit), Some(arrival)) = (permit, self.stalled.take()) {
                        permit.send(arrival);
                    }
                }
                sent = self.outlet.drain(), if self.outlet.is_pending() => sent?,
                _ = session.outbound.wait(&mut forwards, FORWARDS_AT_ONCE), if !clogged && session.outbound.has_room() => {
                    self.forward(&mut forwards)?;
                }
                read = self.inlet.fill(), if starved && !clogged => {
                    heard_at = Instant::now();
                    if read? == 0 {
                        return Ok(Leave::Closed);
                    }
                }
                now = checks.tick() => {
                    if !starved && !clogged {
                        // We did not listen, so silence proves nothing.
                        heard_at = now;
                    } else if (connect.keep_alive > 0 || clogged) && now.duration_since(heard_at) > patience {
                        return Err(Leave::Silent);
                    }
                }
            }
        }
    }

    /// Handles what has been read, as long as there is room.
    fn take_packets(&mut self) -> Result<Taken, Leave> {
        self.house.routes.refresh(&mut self.table);
        while self.stalled.is_none() && self.session.inbound.has_room() && !self.outlet.is_clogged() {
            match self.inlet.next_packet()? {
                None => return Ok(Taken::All),
                Some(Packet::Publish(publication)) => self.arrive(publication)?,
                Some(Packet::PubRel(packet_id)) => {
                    let Reply::PubComp(id, known) = self.session.inbound.release(packet_id) else { continue };
                    self.outlet.push(&Outgoing::PubComp(id, known))?;
                }
                Some(Packet::PubAck(packet_id)) => self.session.outbound.acked(packet_id),
                Some(Packet::Subscribe { packet_id, wishes }) => self.subscribe(packet_id, wishes)?,
                Some(Packet::Unsubscribe { packet_id, filters }) => {
                    self.session.routes.retain(|route| !filters.iter().any(|f| f == route.filter.as_str()));
                    self.publish_routes();
                    self.outlet.push(&Outgoing::UnsubAck { packet_id, filters: filters.len() })?;
                }
                Some(Packet::PingReq) => self.outlet.push(&Outgoing::PingResp)?,
                Some(Packet::Disconnect { will: false }) => return Ok(Taken::Leave(Leave::Goodbye)),
                Some(Packet::Disconnect { will: true }) => return Ok(Taken::Leave(Leave::GoodbyeWithWill)),
                Some(Packet::Connect(_)) => return Err(Leave::Protocol("a second CONNECT")),
                Some(_) => return Err(Leave::Protocol("a packet that only brokers send")),
            }
        }
        Ok(Taken::Some)
    }

    fn arrive(&mut self, publication: Publication) -> Result<(), Leave> {
        if !is_topic_name(&publication.topic) {
            return Err(Leave::Protocol("a topic with a wildcard, U+0000 or no characters"));
        }
        let claim = match self.session.inbound.admit(&publication) {
            Admission::Fresh(claim) => claim,
            Admission::Duplicate => return self.reply(),
            Admission::TooMany => return Err(Leave::Protocol("too many unreleased QoS 2 packet ids")),
        };
        let Publication { topic, payload, qos, retain, .. } = publication;
        let by = Some(self.session.number);
        self.house.routes.forward(&self.table, &Sent { topic: &topic, payload: &payload, qos, retain, by });
        count(&self.house.status.counters().received, 1);
        count(&self.house.status.counters().bytes, payload.len() as u64);
        let lane = self.house.options.lane(&topic);
        let receipt = Receipt::new(claim, self.session.verdicts.clone());
        let arrival =
            Arrival { topic, payload, qos: qos.number(), retained: retain, subscription: 0, lane, receipt };
        if let Err(mpsc::error::TrySendError::Full(arrival)) = self.house.arrivals.try_send(arrival) {
            self.stalled = Some(arrival);
        }
        Ok(())
    }

    fn subscribe(&mut self, packet_id: u16, wishes: Vec<Wish>) -> Result<(), Leave> {
        let mut results = Vec::with_capacity(wishes.len());
        let mut retained = Vec::new();
        for wish in wishes {
            let Ok(filter) = Filter::new(&wish.filter) else {
                results.push(Granted::Invalid);
                continue;
            };
            let routes = &mut self.session.routes;
            let known = routes.iter().position(|route| route.filter == filter);
            if known.is_none() && routes.len() >= self.house.options.subscriptions_max {
                results.push(Granted::QuotaExceeded);
                continue;
            }
            let qos = wish.qos.min(Qos::AtLeastOnce);
            let route =
                Route { filter, qos, no_local: wish.no_local, keep_retain_flag: wish.keep_retain_flag };
            let wanted = match wish.retained {
                RetainedWish::Always => true,
                RetainedWish::IfNew => known.is_none(),
                RetainedWish::Never => false,
            };
            if wanted {
                retained.push(route.clone());
            }
            routes.retain(|old| old.filter != route.filter);
            routes.push(route);
            results.push(Granted::Qos(qos));
        }
        self.publish_routes();
        self.outlet.push(&Outgoing::SubAck { packet_id, results })?;
        for route in &retained {
            self.house.routes.send_retained(route, &self.session.outbox);
        }
        Ok(())
    }

    fn publish_routes(&mut self) {
        self.house.routes.set(self.session.number, self.session.routes.clone(), &self.session.outbox);
        self.house.routes.refresh(&mut self.table);
    }

    fn forward(&mut self, forwards: &mut Vec<Forward>) -> Result<(), Leave> {
        for forward in forwards.drain(..) {
            // 16 bytes cover every header that we write around a topic and a payload.
            if forward.topic.len() + forward.payload.len() + 16 > self.forward_bytes_max {
                count(&self.house.status.counters().forwards_dropped, 1);
                continue;
            }
            let publication = self.session.outbound.send(forward);
            self.outlet.push(&Outgoing::Publish(publication))?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), Leave> {
        for verdict in verdicts.drain(..) {
            self.session.inbound.verdict(verdict);
        }
        self.reply()
    }

    fn reply(&mut self) -> Result<(), Leave> {
        let mut acked = 0;
        while let Some(reply) = self.session.inbound.poll_reply() {
            self.outlet.push(&match reply {
                Reply::PubAck(id, code) => Outgoing::PubAck(id, code),
                Reply::PubRec(id, code) => Outgoing::PubRec(id, code),
                Reply::PubComp(id, known) => Outgoing::PubComp(id, known),
                Reply::Close => return Err(Leave::NotStored),
            })?;
            acked += 1;
        }
        count(&self.house.status.counters().acked, acked);
        Ok(())
    }

    /// Sends what may still be sent. When the agent stops, first waits for what is on its way to the disk.
    async fn close(&mut self, leave: &Leave) {
        let deadline = Instant::now() + self.house.options.drain_timeout;
        if matches!(leave, Leave::Stopping) {
            self.stalled = None;
            let mut verdicts = Vec::new();
            while self.session.inbound.outstanding() > 0 {
                let heard = self.session.heard.recv_many(&mut verdicts, VERDICTS_AT_ONCE);
                if tokio::time::timeout_at(deadline, heard).await.is_err()
                    || self.acknowledge(&mut verdicts).is_err()
                {
                    break;
                }
            }
        }
        if matches!(leave, Leave::Closed | Leave::Io(_)) {
            return;
        }
        if let Some(farewell) = leave.farewell()
            && self.outlet.push(&Outgoing::Disconnect(farewell)).is_err()
        {
            return;
        }
        let _late = tokio::time::timeout_at(deadline, self.outlet.close()).await;
    }
}

/// How far the packets that were read have been handled.
enum Taken {
    /// All of them: more must be read.
    All,
    /// Some: there is no room for more.
    Some,
    /// The client leaves.
    Leave(Leave),
}
