//! A session's tasks: one that writes to the agent, and one for each stream that the agent opened.
//!
//! ```text
//!  agent ══control (both ways)══▶ reader ──┐
//!        ══live, backlog═════════▶ reader ──┴──Input──▶ driver ──Outgoing──▶ writer ══control══▶ agent
//! ```
//!
//! Promise: a frame is checked against its limits before the engine sees it; what is none ends the connection with a
//! reason. A reader holds one frame at most, and waits while the driver has enough. An idle connection holds no buffer.
//! Absent: what frames mean, except for certificate renewals, which the registrar answers, and questions whether this hub has the same
//! records, which [`crate::attesting`] does.

use std::sync::Arc;
use std::time::Duration;

use millrace_hub_engine::{Event, LinkId};
use millrace_link::{CloseCode, CloseReason, Connection, Inlet, KeyHash, Outlet, ReceiveError};
use millrace_model::DeviceId;
use millrace_wire::limits::FRAME_MAX;
use millrace_wire::{Frame, GoodbyeCode, RenewalGrant, RenewalRequest, decode, encode};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::attesting::Attesting;
use crate::driver::DriverHandle;
use crate::driver::input::{Input, Line, Outgoing};
use crate::meters::Meters;
use crate::registrar::{Registrar, RenewalError};

/// Frames that wait for the agent: acks and credit for some hundred commits. When full, the agent does not read, and is
/// cut off.
const OUTBOX_MAX: usize = 128;
/// Streams towards the hub that are read at once: live, one for each backlog lane, and spare ones. Further ones wait.
const STREAMS_MAX: usize = 8;
/// Certificates that one connection may ask for.
const RENEWALS_MAX: u32 = 4;
/// Renewals at once, of all connections; each waits for a decision of the cluster. Further ones wait.
pub const RENEWALS_AT_ONCE: usize = 8;
/// How long the last frames may take to arrive before the connection is ended all the same.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long an agent with an expired certificate may take to ask for its renewal, and then to leave.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(20);

/// What every session works with.
#[derive(Clone)]
pub struct Sessions {
    /// The engine's task.
    pub driver: DriverHandle,
    /// Who says over this hub's signature what it has.
    pub attesting: Attesting,
    /// Who renews certificates.
    pub registrar: Arc<Registrar>,
    /// Where figures go.
    pub meters: Meters,
    /// Places for renewals, [`RENEWALS_AT_ONCE`] of them.
    pub renewing: Arc<Semaphore>,
    /// Whether this hub keeps no readings.
    pub witness: bool,
}

#[derive(Clone)]
struct Session {
    link: LinkId,
    device: DeviceId,
    key: KeyHash,
    shared: Sessions,
    outbox: mpsc::Sender<Outgoing>,
}

impl Sessions {
    /// Sees one connection through, from its handshake to its end.
    pub async fn serve(self, link: LinkId, connection: Connection) {
        let peer = connection.peer();
        let Some(device) = peer.device() else {
            return connection.close(CloseCode::NotAdmitted, "only devices open sessions here");
        };
        if self.witness {
            return connection
                .close(CloseCode::Moved, "this hub is a witness and keeps no readings: try another");
        }
        let key = peer.public_key_hash;
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MAX);
        let session = Session { link, device, key, shared: self, outbox };
        if connection.must_renew() {
            return session.renew_only(&connection, outgoing).await;
        }
        let (outbox, way) = (session.outbox.clone(), connection.clone());
        let line = Line { device, key, greeted: false, outbox, connection: way };
        let driver = session.shared.driver.clone();
        if !driver.tell(Input::Opened { link, line }).await {
            return connection.close(CloseCode::Shutdown, "the hub stops");
        }
        let (control, opened) = oneshot::channel();
        let mut readers = JoinSet::new();
        readers.spawn(session.clone().read_control(connection.clone(), control));
        readers.spawn(session.read_streams(connection.clone()));
        let (code, reason) = tokio::select! {
            ended = write(opened, outgoing) => ended,
            reason = connection.closed() => (reason.code, reason.text),
        };
        readers.shutdown().await;
        connection.close(code, &reason);
        if code == CloseCode::Measured {
            tracing::debug!(%device, link, "an agent measured the road");
        } else {
            tracing::info!(%device, link, ?code, reason, "a session ended");
        }
        driver.tell(Input::Event(Event::Closed { link })).await;
    }
}

/// Writes what the driver asks for, until it asks for the end; why the connection is to be closed.
async fn write(
    opened: oneshot::Receiver<Outlet>,
    mut outgoing: mpsc::Receiver<Outgoing>,
) -> (CloseCode, String) {
    let mut opened = Some(opened);
    let mut control: Option<Outlet> = None;
    while let Some(next) = outgoing.recv().await {
        if control.is_none()
            && let Some(opened) = opened.take_if(|_| matches!(next, Outgoing::Frame(_)))
        {
            // The engine says goodbye to whoever does not open its control stream in time.
            let until = tokio::time::sleep(FAREWELL);
            control = tokio::select! {
                control = opened => control.ok(),
                () = until => None,
            };
        }
        match next {
            Outgoing::Close { code, reason } => {
                if let Some(control) = &mut control {
                    // What has not arrived by then is told by the close code.
                    let _ = timeout(FAREWELL, control.delivered()).await;
                }
                return (close_code(code), reason);
            }
            Outgoing::Frame(frame) => {
                let Some(control) = &mut control else { continue };
                match encode(&frame) {
                    Ok(bytes) => {
                        if let Err(error) = control.send(bytes).await {
                            return (CloseCode::Shutdown, error.to_string());
                        }
                    }
                    Err(error) => {
                        tracing::error!(frame = frame.name(), %error, "a frame of ours is over its limit");
                        return (CloseCode::Internal, error.to_string());
                    }
                }
            }
        }
    }
    (CloseCode::Shutdown, String::new())
}

impl Session {
    async fn read_control(self, connection: Connection, control: oneshot::Sender<Outlet>) {
        let Ok((outlet, inlet)) = connection.accept_bi().await else { return };
        // Fails only when the connection is over.
        let _ = control.send(outlet);
        self.read(inlet).await;
    }

    async fn read_streams(self, connection: Connection) {
        let mut readers = JoinSet::new();
        loop {
            tokio::select! {
                inlet = connection.accept_uni(), if readers.len() < STREAMS_MAX => match inlet {
                    Ok(inlet) => {
                        readers.spawn(self.clone().read(inlet));
                    }
                    Err(_) => return,
                },
                Some(_) = readers.join_next(), if !readers.is_empty() => {}
                else => return,
            }
        }
    }

    /// Reads frames until the stream, the connection or the driver ends.
    async fn read(self, mut inlet: Inlet) {
        let mut renewals = 0;
        loop {
            let frame = match inlet.next(FRAME_MAX).await {
                Ok(Some(bytes)) => decode(&bytes).map_err(|error| error.to_string()),
                Ok(None) | Err(ReceiveError::Closed(_) | ReceiveError::Cut(_)) => return,
                Err(error) => Err(error.to_string()),
            };
            let input = match frame {
                Ok(Frame::RenewalRequest(request)) if renewals < RENEWALS_MAX => {
                    renewals += 1;
                    match self.renewed(request).await {
                        Ok(()) => continue,
                        Err(reason) => Input::Violation { link: self.link, reason },
                    }
                }
                Ok(Frame::RenewalRequest(_)) => {
                    let reason = format!("a connection may ask for {RENEWALS_MAX} certificates");
                    Input::Violation { link: self.link, reason }
                }
                Ok(Frame::Attest(attest)) => match self.shared.attesting.answer(self.device, attest).await {
                    Ok(answer) => {
                        // Fails only when the session is over.
                        let _ = self.outbox.send(Outgoing::Frame(Frame::Attested(Box::new(answer)))).await;
                        continue;
                    }
                    Err(reason) => Input::Violation { link: self.link, reason },
                },
                Ok(frame) => Input::Event(Event::Received { link: self.link, frame }),
                Err(reason) => Input::Violation { link: self.link, reason },
            };
            let over = matches!(input, Input::Violation { .. });
            if !self.shared.driver.tell(input).await || over {
                return;
            }
        }
    }

    /// Answers a request for a certificate. The error is the request's fault; ours are logged, and the agent asks again.
    async fn renewed(&self, request: RenewalRequest) -> Result<(), String> {
        let registrar = &self.shared.registrar;
        // Never closed.
        let _place = self.shared.renewing.acquire().await;
        match registrar.renew(self.device, &self.key, &request.request).await {
            Ok(pem) => {
                let chain = format!("{pem}{}", registrar.ca_pem());
                self.shared.meters.renewals.inc();
                let grant = Outgoing::Frame(Frame::RenewalGrant(RenewalGrant { chain }));
                // Fails only when the session is over.
                let _ = self.outbox.send(grant).await;
                Ok(())
            }
            Err(RenewalError::Ca(millrace_link::CaError::Request(why))) => Err(why),
            Err(error) => {
                tracing::error!(%error, device = %self.device, "a certificate could not be renewed");
                Ok(())
            }
        }
    }

    /// Serves an agent whose certificate has expired: nothing but its renewal.
    async fn renew_only(self, connection: &Connection, mut outgoing: mpsc::Receiver<Outgoing>) {
        let exchange = async {
            let (mut outlet, mut inlet) = connection.accept_bi().await?;
            loop {
                let bytes = match inlet.next(FRAME_MAX).await {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => return Ok(()),
                    Err(ReceiveError::Closed(reason)) => return Err(reason),
                    Err(error) => {
                        connection.close(CloseCode::ProtocolError, &error.to_string());
                        return Ok(());
                    }
                };
                // What else it says waits for its next connection, with a valid certificate.
                let Ok(Frame::RenewalRequest(request)) = decode(&bytes) else { continue };
                if let Err(reason) = self.renewed(request).await {
                    connection.close(CloseCode::ProtocolError, &reason);
                    return Ok(());
                }
                let Ok(Outgoing::Frame(grant)) = outgoing.try_recv() else { continue };
                if let Ok(bytes) = encode(&grant)
                    && outlet.send(bytes).await.is_ok()
                {
                    let delivered = timeout(FAREWELL, outlet.delivered()).await;
                    tracing::info!(device = %self.device, ok = delivered.is_ok(), "an expired certificate is renewed");
                }
                return Ok::<(), CloseReason>(());
            }
        };
        if timeout(RENEWAL_PATIENCE, exchange).await.is_err() {
            return connection.close(CloseCode::Expired, "the certificate has expired: ask for its renewal");
        }
        // The agent leaves by itself when it has the new certificate.
        let _ = timeout(FAREWELL, connection.closed()).await;
        connection.close(CloseCode::Shutdown, "come back with the renewed certificate");
    }
}

const fn close_code(code: GoodbyeCode) -> CloseCode {
    match code {
        GoodbyeCode::Shutdown | GoodbyeCode::Unavailable => CloseCode::Shutdown,
        GoodbyeCode::Superseded => CloseCode::Superseded,
        GoodbyeCode::Revoked => CloseCode::Revoked,
        GoodbyeCode::Protocol => CloseCode::ProtocolError,
        GoodbyeCode::Quota => CloseCode::Quota,
        GoodbyeCode::Moved => CloseCode::Moved,
    }
}
