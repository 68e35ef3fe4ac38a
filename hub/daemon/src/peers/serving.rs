//! Serving a connection that another hub dialled: its calls, its replication stream, its gossip.
//!
//! Promise: each stream has its own task, so none waits for another; what a call may take is known before its request is read; a hub that
//! is in no table gets no further than joining and the consensus, whose messages say themselves whom they are from and for; one whose
//! certificate has expired no further than its renewal.
//! Absent: what is answered ([`super::Answer`]).

use std::sync::Arc;

use millrace_link::{CloseCode, Connection, Inlet, Outlet};
use millrace_model::HubId;
use millrace_wire::CallKind;
use millrace_wire::calling::{Reply, Request, RequestHeader, is_call};
use millrace_wire::limits::{CALL_FRAME_MAX, HEADER_BYTES};
use millrace_wire::peer;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::bounds::{ANSWER_PATIENCE_MAX, Places, REQUEST_PATIENCE, priority};
use super::{Caller, Inner, Peers, keeping, replication};

/// One connection that came in.
struct Visit {
    inner: Arc<Inner>,
    connection: Connection,
    hub: HubId,
    places: Places,
}

impl Peers {
    /// Serves a connection of another hub that came in through the listener, to its end.
    pub async fn serve(&self, connection: Connection) {
        let Some(hub) = connection.peer().hub() else {
            return connection.close(CloseCode::NotAdmitted, "only hubs are served here");
        };
        connection.widen();
        let inner = Arc::clone(&self.0);
        let ordinal = inner.guests.came(hub, connection.clone());
        inner.nudge(&hub);
        tracing::debug!(%hub, at = %connection.remote_addr(), "another hub has connected");
        let visit = Arc::new(Visit { inner, connection, hub, places: Places::per_link() });
        let reason = visit.serve().await;
        tracing::debug!(%hub, %reason, "a connection of another hub is over");
        visit.inner.guests.left(&hub, ordinal);
    }
}

impl Visit {
    async fn serve(self: &Arc<Self>) -> millrace_link::CloseReason {
        let hub = self.hub;
        let gossip = keeping::listen(&self.inner, &self.connection, move |inner| inner.node_of(&hub));
        let mut streams = JoinSet::new();
        let accepting = async {
            loop {
                // QUIC bounds the streams that are open, and so the tasks.
                tokio::select! {
                    stream = self.connection.accept_bi() => match stream {
                        Ok((outlet, inlet)) => { streams.spawn(Arc::clone(self).stream(outlet, inlet)); }
                        Err(reason) => break reason,
                    },
                    Some(_) = streams.join_next(), if !streams.is_empty() => {}
                }
            }
        };
        let (reason, ()) = tokio::join!(accepting, gossip);
        // They see the end by themselves, and the driver is to hear of it.
        while streams.join_next().await.is_some() {}
        reason
    }

    async fn stream(self: Arc<Self>, outlet: Outlet, mut inlet: Inlet) {
        let Ok(Ok(Some(header))) = timeout(REQUEST_PATIENCE, inlet.peek::<HEADER_BYTES>()).await else {
            return inlet.stop(CloseCode::Idle);
        };
        let [.., kind] = header;
        if is_call(header) {
            self.call(header, outlet, inlet).await;
        } else if kind == peer::FIRST_KIND && !self.connection.must_renew() {
            replication::host(&self.inner, &self.hub, outlet, inlet).await;
        } else {
            let text = format!("a stream between hubs cannot begin with a frame of kind {kind}");
            self.connection.close(CloseCode::ProtocolError, &text);
        }
    }

    async fn call(&self, header: [u8; HEADER_BYTES], mut outlet: Outlet, mut inlet: Inlet) {
        let until = Instant::now() + REQUEST_PATIENCE;
        let RequestHeader { kind, .. } = match RequestHeader::parse(header) {
            Ok(header) => header,
            Err(error) => {
                inlet.stop(CloseCode::ProtocolError);
                return reply(&mut outlet, &Reply::Refused(error.to_string())).await;
            }
        };
        outlet.set_priority(priority(kind));
        let places = async {
            let here = self.places.of(kind).acquire().await;
            (here, self.inner.places.of(kind).acquire().await)
        };
        // The places are held until the reply has left.
        let Ok((Ok(_here), Ok(_all))) = timeout_at(until, places).await else {
            inlet.stop(CloseCode::Quota);
            let busy = format!("this hub works on as many {kind} calls as it may: try again");
            return reply(&mut outlet, &Reply::Refused(busy)).await;
        };
        let request = match timeout_at(until, inlet.next(CALL_FRAME_MAX)).await {
            Ok(Ok(Some(bytes))) => Request::decode(&bytes),
            _ => return inlet.stop(CloseCode::Idle),
        };
        let answer = match request {
            Ok(request) => tokio::select! {
                answer = self.answer(request) => answer,
                // Whoever asked has gone: its place is for the next.
                () = outlet.unwanted() => return self.inner.figures.served(kind, "abandoned"),
            },
            Err(error) => Reply::Refused(error.to_string()),
        };
        let outcome = if matches!(answer, Reply::Answered(_)) { "answered" } else { "refused" };
        self.inner.figures.served(kind, outcome);
        reply(&mut outlet, &answer).await;
    }

    async fn answer(&self, request: Request) -> Reply {
        let Request { kind, patience, body } = request;
        let Some(attendants) = self.inner.attendants() else {
            return Reply::Refused("this hub is starting: try again".to_owned());
        };
        let peer = self.connection.peer();
        let node = (attendants.node_of)(&self.hub);
        if self.connection.must_renew() && kind != CallKind::Renew {
            return Reply::Refused("your certificate has expired: renew it first".to_owned());
        }
        if node.is_none() && !matches!(kind, CallKind::Join | CallKind::Control) {
            return Reply::Refused("your hub is not in the table of this cluster: join it first".to_owned());
        }
        let caller = Caller { hub: self.hub, node, key: peer.public_key_hash, name: peer.name.clone() };
        let patience = patience.min(ANSWER_PATIENCE_MAX);
        match timeout(patience, attendants.calls.answer(caller, kind, body)).await {
            Ok(Ok(body)) => Reply::Answered(body),
            Ok(Err(text)) => Reply::Refused(text),
            Err(_) => Reply::Refused(format!("there is no answer within {patience:?}")),
        }
    }
}

/// Sends the reply. Whoever asked may have gone.
async fn reply(outlet: &mut Outlet, reply: &Reply) {
    let bytes = reply.encode().or_else(|error| Reply::Refused(error.to_string()).encode());
    let Ok(bytes) = bytes else { return outlet.cut(CloseCode::Internal) };
    let sent = async {
        outlet.send(bytes).await?;
        outlet.finish().await
    };
    match timeout(ANSWER_PATIENCE_MAX, sent).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a hub did not wait for its answer"),
        Err(_) => outlet.cut(CloseCode::Idle),
    }
}
