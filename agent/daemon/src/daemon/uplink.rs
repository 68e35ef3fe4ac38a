//! The uplink: dials a hub, moves frames between the engine and QUIC.
//!
//! ```text
//!  driver ──Session::send──▶ outbox per channel ──▶ writer task ──▶ stream
//!  driver ◀──Event::Received── reader task ◀── control stream
//! ```
//!
//! Promise: one session at a time; its end is told exactly once, by `Disconnected`. Certificates renew themselves here.
//! Absent: what frames mean, when to dial again.

mod figures;
mod hubs;
mod renewal;
mod streams;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_agent_engine::{Channel, Event};
use millrace_host::Clock;
use millrace_link::{ClientOptions, CloseCode, ConnectError, Connection, Dialer, Identity, Inlet, Standing};
use millrace_wire::Frame;
use millrace_wire::limits::FRAME_MAX;
use tokio::sync::{mpsc, watch};

pub use self::figures::{CertificateFigures, LinkFigures};

use self::figures::Met;
use self::hubs::Hubs;
use self::streams::{write, write_control};
use crate::config::HubSettings;
use crate::places::Places;

/// Frames that may wait per channel. The engine bounds their bytes; this bounds the count of small ones.
/// When full the session is given up: the road has not moved for thousands of frames.
const OUTBOX_FRAMES: usize = 4_096;

/// How long a goodbye may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// Dials hubs in turn, as this agent.
pub struct Uplink {
    dialer: Dialer,
    identity: Mutex<Identity>,
    places: Places,
    clock: Clock,
    hubs: Mutex<Hubs>,
    fixed: bool,
    figures: Mutex<Option<Connection>>,
    before: Mutex<(u64, u64)>,
    met: Mutex<Option<Met>>,
}

/// How a session, or the attempt at one, ended.
struct End {
    reason: String,
    unwelcome: bool,
}

impl End {
    fn of(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), unwelcome: false }
    }
}

/// Whether hubs will not have this device any more, until an operator acts.
const fn is_unwelcome(code: CloseCode) -> bool {
    matches!(code, CloseCode::Revoked | CloseCode::NotAdmitted | CloseCode::Expired)
}

/// A session from the driver's side.
pub struct Session {
    outboxes: [mpsc::Sender<(Frame, u64)>; 3],
    end: watch::Sender<Option<String>>,
}

impl Uplink {
    /// An uplink to the hubs that `settings` name, or to those that were heard of last.
    #[must_use]
    pub fn new(identity: Identity, places: Places, clock: Clock, settings: &HubSettings) -> Self {
        let fixed = !settings.addresses.is_empty();
        let addresses = if fixed { settings.addresses.clone() } else { places.known_hubs() };
        let wall = clock.clone();
        let options =
            ClientOptions { road: settings.road, ..ClientOptions::new(Arc::new(move || wall.wall())) };
        Self {
            dialer: Dialer::new(options),
            identity: Mutex::new(identity),
            places,
            clock,
            hubs: Mutex::new(Hubs::new(addresses)),
            fixed,
            figures: Mutex::default(),
            before: Mutex::default(),
            met: Mutex::default(),
        }
    }

    /// Begins to connect. The outcome comes as `Connected` or `Disconnected`.
    pub fn connect(self: &Arc<Self>, events: mpsc::Sender<Event>) -> Session {
        let (control, control_out) = mpsc::channel(OUTBOX_FRAMES);
        let (live, live_out) = mpsc::channel(OUTBOX_FRAMES);
        let (backlog, backlog_out) = mpsc::channel(OUTBOX_FRAMES);
        let (end, ended) = watch::channel(None);
        let uplink = Arc::clone(self);
        tokio::spawn(async move {
            let outboxes = [control_out, live_out, backlog_out];
            let end = uplink.session(&events, outboxes, ended).await;
            uplink.remember(&end);
            let End { reason, unwelcome } = end;
            // The driver lives as long as the process; when it is gone nobody needs to be told.
            let _stopped = events.send(Event::Disconnected { reason, unwelcome }).await;
        });
        Session { outboxes: [control, live, backlog], end }
    }

    /// Takes over a list of hubs that a hub told of. An empty one is not believed, and where the operator named hubs,
    /// those count: he may know a road that the hubs do not.
    pub fn learn_hubs(&self, addresses: Vec<String>) {
        if addresses.is_empty() || self.fixed {
            return;
        }
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        if hubs.addresses() != addresses {
            if let Err(error) = self.places.remember_hubs(&addresses) {
                tracing::warn!(%error, "the list of hubs could not be kept for the next start");
            }
            *hubs = Hubs::new(addresses);
        }
    }

    /// Closes the socket after farewells have left.
    pub async fn close(&self) {
        self.dialer.close(CloseCode::Shutdown, "the agent stops").await;
    }

    async fn session(
        &self,
        events: &mpsc::Sender<Event>,
        outboxes: [mpsc::Receiver<(Frame, u64)>; 3],
        mut ended: watch::Receiver<Option<String>>,
    ) -> End {
        let connected = tokio::select! {
            connected = self.dial() => connected,
            reason = asked_to_end(&mut ended) => Err(End::of(reason)),
        };
        let connection = match connected {
            Ok(connection) => connection,
            Err(end) => {
                tracing::info!(reason = end.reason, "no session with a hub");
                return end;
            }
        };
        self.keep_figures(Some(connection.clone()));
        let end = self.converse(&connection, events, outboxes, ended).await;
        self.keep_figures(None);
        tracing::info!(hub = %connection.peer().name, reason = end.reason, "the session with the hub ended");
        end
    }

    async fn dial(&self) -> Result<Connection, End> {
        let hub = self
            .hubs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
            .ok_or_else(|| End::of("no hub is known: name one in [hub] addresses, or enrol again"))?;
        let found = tokio::net::lookup_host(&hub)
            .await
            .map_err(|error| End::of(format!("{hub} cannot be looked up: {error}")))?;
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut failure = End::of(format!("{hub} has no address"));
        // A name may have many addresses; the next attempt tries the ones that this one left out.
        for address in found.take(4).collect::<Vec<SocketAddr>>() {
            match self.dialer.connect(address, &identity).await {
                Ok(connection) => {
                    self.hubs.lock().unwrap_or_else(PoisonError::into_inner).stay(&hub);
                    return Ok(connection);
                }
                Err(error) => {
                    let refused = if let ConnectError::Refused { reason, .. } = &error {
                        Some(reason.code)
                    } else {
                        None
                    };
                    failure = End { reason: error.to_string(), unwelcome: refused.is_some_and(is_unwelcome) };
                }
            }
        }
        Err(failure)
    }

    async fn converse(
        &self,
        connection: &Connection,
        events: &mpsc::Sender<Event>,
        [control_out, live_out, backlog_out]: [mpsc::Receiver<(Frame, u64)>; 3],
        mut ended: watch::Receiver<Option<String>>,
    ) -> End {
        let streams = async {
            let (control, answers) = connection.open_bi(2).await?;
            Ok::<_, millrace_link::CloseReason>((
                control,
                answers,
                connection.open_uni(1).await?,
                connection.open_uni(0).await?,
            ))
        };
        let (control, answers, live, backlog) = match streams.await {
            Ok(streams) => streams,
            Err(reason) => return End::of(reason.to_string()),
        };
        let (renewals, renewals_out) = mpsc::channel(1);
        let mut farewell = tokio::spawn(write_control(control, control_out, renewals_out));
        let live = tokio::spawn(write(live, Channel::Live, live_out, events.clone()));
        let backlog = tokio::spawn(write(backlog, Channel::Backlog, backlog_out, events.clone()));
        if events.send(Event::Connected).await.is_err() {
            return End::of("the agent stops");
        }
        let reason = tokio::select! {
            reason = self.read(answers, events, &renewals) => reason,
            reason = connection.closed() => reason.to_string(),
            reason = asked_to_end(&mut ended) => {
                // The driver has let go of its outboxes: the writers end when they are empty.
                drop(renewals);
                let _late = tokio::time::timeout(FAREWELL, &mut farewell).await;
                reason
            }
        };
        // What the hub said counts more than what we made of it, and has to be asked before our own close hides it.
        let theirs = connection.close_reason().filter(|close| close.by_peer);
        connection.close(CloseCode::Shutdown, &reason);
        for task in [farewell, live, backlog] {
            task.abort();
        }
        match theirs {
            Some(close) => End { reason: close.to_string(), unwelcome: is_unwelcome(close.code) },
            None => End::of(reason),
        }
    }

    /// Reads what the hub says until the stream ends; asks for a renewal when the first frame shows that we are in.
    async fn read(
        &self,
        mut answers: Inlet,
        events: &mpsc::Sender<Event>,
        renewals: &mpsc::Sender<Frame>,
    ) -> String {
        // With an expired certificate the hub serves nothing but its renewal: ask at once, then begin anew.
        let expired = matches!(self.standing(), Standing::Grace { .. });
        let mut asked = expired;
        let mut renewal = if expired { self.ask_for_renewal(renewals).await } else { None };
        loop {
            let frame = match answers.next(FRAME_MAX).await {
                Ok(Some(bytes)) => millrace_wire::decode(&bytes),
                Ok(None) => return "the hub ended the session".to_owned(),
                Err(error) => return error.to_string(),
            };
            match frame {
                Ok(Frame::RenewalGrant(grant)) => match renewal.take() {
                    Some(request) => {
                        self.renewed(&request, &grant);
                        if expired {
                            return "the certificate was renewed".to_owned();
                        }
                    }
                    None => tracing::warn!("the hub renewed a certificate that nobody asked for"),
                },
                Ok(frame) => {
                    if events.send(Event::Received(frame)).await.is_err() {
                        return "the agent stops".to_owned();
                    }
                }
                Err(error) => return format!("the hub sent what is no frame: {error}"),
            }
            if !asked && self.standing().wants_renewal() {
                asked = true;
                renewal = self.ask_for_renewal(renewals).await;
            }
        }
    }
}

impl Session {
    /// Hands a frame to a channel. `false` when it cannot take more: the session should end.
    #[must_use]
    pub fn send(&self, channel: Channel, frame: Frame) -> bool {
        let cost = if let Frame::Run(run) = &frame { run.cost() } else { 0 };
        let [control, live, backlog] = &self.outboxes;
        let outbox = match channel {
            Channel::Control => control,
            Channel::Live => live,
            Channel::Backlog => backlog,
        };
        match outbox.try_send((frame, cost)) {
            // A closed outbox belongs to a session whose end is already on its way to the driver.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
        }
    }

    /// Ends the session after what was said has left.
    pub fn end(self, reason: String) {
        drop(self.outboxes);
        self.end.send_replace(Some(reason));
    }
}

async fn asked_to_end(ended: &mut watch::Receiver<Option<String>>) -> String {
    let asked = ended.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
    asked.unwrap_or_else(|| "the agent stops".to_owned())
}
