//! The session with the broker, over as many connections as it takes.
//!
//! Promise: one task reads, writes and acknowledges, so nothing can wait for itself; while the channel or the window
//! is full the socket is not read, yet pings go out and the broker sees a living client.
//! Absent: connecting and waiting between connections (see the parent module).

use std::sync::Arc;
use std::time::Duration;

use millrace_model::Lane;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::link::Link;
use super::options::{BrokerOptions, Subscription};
use super::{ClientError, CodecError};
use crate::mqtt::arrival::Arrival;
use crate::mqtt::budget::Budget;
use crate::mqtt::codec::{Farewell, Outgoing};
use crate::mqtt::filter::is_topic_name;
use crate::mqtt::inbound::{Admission, Inbound, Peer, Reply, Window};
use crate::mqtt::packet::{Packet, Publication, Qos, RetainedWish, Version, Wish};
use crate::mqtt::receipt::{Receipt, Verdict};
use crate::mqtt::status::{StatusHandle, count};
use crate::mqtt::stop::stopped;

/// Verdicts taken at once. The engine answers in groups; a group of this size costs one write to the socket.
const VERDICTS_AT_ONCE: usize = 1_024;

/// Pings without any sign of life after which the broker counts as gone.
const SILENT_TICKS_MAX: u32 = 3;

/// The packet id of our only SUBSCRIBE of a connection.
const SUBSCRIBE_ID: u16 = 1;

/// How serving a connection ended.
pub(super) enum End {
    Stopped,
    Lost(ClientError),
}

/// What outlives a connection.
pub(super) struct Session {
    subscriptions: Vec<Subscription>,
    peer: Peer,
    keep_alive: Duration,
    drain_timeout: Duration,
    status: StatusHandle,
    arrivals: mpsc::Sender<Arrival>,
    inbound: Inbound,
    verdicts: mpsc::Sender<Verdict>,
    heard: mpsc::Receiver<Verdict>,
    /// This process has subscribed, so a session that the broker still holds has today's filters.
    subscribed: bool,
    /// Something was acknowledged since the last question.
    useful: bool,
    stalled: Option<Arrival>,
    warned_unmatched: bool,
}

impl Session {
    pub(super) fn new(
        options: &BrokerOptions,
        status: StatusHandle,
        arrivals: mpsc::Sender<Arrival>,
    ) -> Self {
        let peer = if options.version == Version::V5 { Peer::Broker } else { Peer::Plain };
        let publications_max = usize::from(options.window_publications);
        let window = Window { publications_max, bytes_max: options.window_bytes };
        let (verdicts, heard) = mpsc::channel(publications_max);
        Self {
            subscriptions: options.subscriptions.clone(),
            peer,
            keep_alive: Duration::from_secs(u64::from(options.keep_alive_s)),
            drain_timeout: options.drain_timeout,
            status,
            arrivals,
            inbound: Inbound::new(peer, window, Arc::new(Budget::new(usize::MAX))),
            verdicts,
            heard,
            subscribed: false,
            useful: false,
            stalled: None,
            warned_unmatched: false,
        }
    }

    /// Whether something was acknowledged since the last call.
    pub(super) fn take_usefulness(&mut self) -> bool {
        std::mem::take(&mut self.useful)
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(&mut self, mut link: Link, stop: watch::Receiver<bool>) -> End {
        self.inbound.begin(link.session_present, self.peer);
        let end = match self.exchange(&mut link, stop).await {
            Ok(()) => {
                let _closing = self.farewell(&mut link).await;
                End::Stopped
            }
            Err(error) => End::Lost(error),
        };
        // What the broker delivers again need not wait here; QoS 0 comes only once.
        self.stalled.take_if(|arrival| arrival.qos > 0);
        self.inbound.end();
        end
    }

    /// Returns when it is time to stop.
    async fn exchange(
        &mut self,
        link: &mut Link,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ClientError> {
        if link.session_present && self.subscribed {
            self.status.connected();
            tracing::info!("the session with the broker continues");
        } else {
            link.outlet.push(&Outgoing::Subscribe { packet_id: SUBSCRIBE_ID, wishes: self.wishes() })?;
        }
        let mut batch = Vec::with_capacity(VERDICTS_AT_ONCE);
        let mut ticks = tokio::time::interval_at(Instant::now() + self.keep_alive / 2, self.keep_alive / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_ticks = 0_u32;
        let arrivals = self.arrivals.clone();
        loop {
            let starved = self.take_packets(link)?;
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(()),
                () = arrivals.closed() => return Ok(()),
                _ = self.heard.recv_many(&mut batch, VERDICTS_AT_ONCE) => self.acknowledge(&mut batch, link)?,
                permit = arrivals.reserve(), if self.stalled.is_some() => {
                    if let (Ok(permit), Some(arrival)) = (permit, self.stalled.take()) {
                        permit.send(arrival);
                    }
                }
                sent = link.outlet.drain(), if link.outlet.is_pending() => sent?,
                read = link.inlet.fill(), if starved && !link.outlet.is_clogged() => {
                    silent_ticks = 0;
                    if read? == 0 {
                        return Err(ClientError::Closed);
                    }
                }
                _ = ticks.tick() => {
                    link.outlet.push(&Outgoing::PingReq)?;
                    silent_ticks = if starved { silent_ticks + 1 } else { 0 };
                    if silent_ticks > SILENT_TICKS_MAX {
                        return Err(ClientError::Silent("that was connected".to_owned()));
                    }
                }
            }
        }
    }

    fn wishes(&self) -> Vec<Wish> {
        let wish = |subscription: &Subscription| Wish {
            filter: subscription.filter.as_str().to_owned(),
            qos: Qos::from_number(subscription.qos).unwrap_or(Qos::ExactlyOnce),
            no_local: false,
            keep_retain_flag: false,
            // A retained message is a record once, not at each reconnection.
            retained: RetainedWish::IfNew,
        };
        self.subscriptions.iter().map(wish).collect()
    }

    /// Handles what has been read, as long as there is room. True: more must be read from the socket.
    fn take_packets(&mut self, link: &mut Link) -> Result<bool, ClientError> {
        while self.stalled.is_none() && self.inbound.has_room() && !link.outlet.is_clogged() {
            match link.inlet.next_packet()? {
                None => return Ok(true),
                Some(Packet::Publish(publication)) => self.arrive(publication, link)?,
                Some(Packet::PubRel(packet_id)) => {
                    let Reply::PubComp(id, known) = self.inbound.release(packet_id) else { continue };
                    link.outlet.push(&Outgoing::PubComp(id, known))?;
                    self.useful = true;
                }
                Some(Packet::SubAck { granted }) => self.note_subscriptions(&granted),
                Some(Packet::PingResp | Packet::UnsubAck) => {}
                Some(Packet::Disconnect { .. }) => return Err(ClientError::Closed),
                Some(_) => return Err(CodecError::Unexpected("a packet that only clients send").into()),
            }
        }
        Ok(false)
    }

    fn note_subscriptions(&mut self, granted: &[bool]) {
        // After a refusal the next connection asks again.
        self.subscribed = granted.iter().all(|granted| *granted);
        self.status.connected();
        for (subscription, _) in self.subscriptions.iter().zip(granted).filter(|(_, granted)| !**granted) {
            let filter = &subscription.filter;
            tracing::error!(%filter, "the broker refused a subscription; its readings do not arrive");
            self.status
                .troubled(format!("the broker refused the subscription `{filter}`: check its access rules"));
        }
    }

    fn arrive(&mut self, publication: Publication, link: &mut Link) -> Result<(), ClientError> {
        if !is_topic_name(&publication.topic) {
            return Err(CodecError::Malformed("a topic that MQTT forbids".to_owned()).into());
        }
        let claim = match self.inbound.admit(&publication) {
            Admission::Fresh(claim) => claim,
            Admission::Duplicate => return self.reply(link),
            Admission::TooMany => return Err(ClientError::Unreleased),
        };
        let (subscription, lane) = self.place(&publication.topic);
        count(&self.status.counters().received, 1);
        count(&self.status.counters().bytes, publication.payload.len() as u64);
        let arrival = Arrival {
            topic: publication.topic,
            payload: publication.payload,
            qos: publication.qos.number(),
            retained: publication.retain,
            subscription,
            lane,
            receipt: Receipt::new(claim, self.verdicts.clone()),
        };
        if let Err(mpsc::error::TrySendError::Full(arrival)) = self.arrivals.try_send(arrival) {
            self.stalled = Some(arrival);
        }
        Ok(())
    }

    /// Which subscription a topic came by. A session may still hold filters of an older configuration; what they bring is
    /// kept, in the normal lane, because dropping it would be a silent loss.
    fn place(&mut self, topic: &str) -> (usize, Lane) {
        let mut numbered = self.subscriptions.iter().enumerate();
        if let Some((index, subscription)) = numbered.find(|(_, s)| s.filter.covers(topic)) {
            return (index, subscription.lane);
        }
        count(&self.status.counters().unmatched, 1);
        if !std::mem::replace(&mut self.warned_unmatched, true) {
            tracing::warn!(
                topic,
                "no subscription covers this topic: the broker's session holds an older filter; a new client id starts afresh"
            );
        }
        (0, Lane::Normal)
    }

    fn acknowledge(&mut self, batch: &mut Vec<Verdict>, link: &mut Link) -> Result<(), ClientError> {
        for verdict in batch.drain(..) {
            self.inbound.verdict(verdict);
        }
        self.reply(link)
    }

    fn reply(&mut self, link: &mut Link) -> Result<(), ClientError> {
        let mut acked = 0;
        while let Some(reply) = self.inbound.poll_reply() {
            link.outlet.push(&match reply {
                Reply::PubAck(id, code) => Outgoing::PubAck(id, code),
                Reply::PubRec(id, code) => Outgoing::PubRec(id, code),
                Reply::PubComp(id, known) => Outgoing::PubComp(id, known),
                Reply::Close => return Err(ClientError::NotStored),
            })?;
            acked += 1;
        }
        self.useful |= acked > 0;
        count(&self.status.counters().acked, acked);
        Ok(())
    }

    /// Waits a moment for what is on its way to the disk, so that the broker need not deliver it again.
    async fn farewell(&mut self, link: &mut Link) -> Result<(), ClientError> {
        self.stalled = None;
        let deadline = Instant::now() + self.drain_timeout;
        let mut batch = Vec::with_capacity(VERDICTS_AT_ONCE);
        while self.inbound.outstanding() > 0 {
            let heard = self.heard.recv_many(&mut batch, VERDICTS_AT_ONCE);
            if tokio::time::timeout_at(deadline, heard).await.is_err() {
                break;
            }
            self.acknowledge(&mut batch, link)?;
        }
        link.outlet.push(&Outgoing::Disconnect(Farewell::Normal))?;
        // The broker closes when it has read everything. Not waiting for that could let our next process take the session
        // over before the last acknowledgements are read, and get their messages again. A broker that does not
        // read must not hold up the end.
        let goodbye = async {
            link.outlet.close().await?;
            link.inlet.drain().await
        };
        let _late = tokio::time::timeout(self.drain_timeout, goodbye).await;
        Ok(())
    }
}
