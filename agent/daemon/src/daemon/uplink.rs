//! The uplink: dials hubs, moves frames between the engine and QUIC, and leaves a hub that is silent or unwilling.
//!
//! ```text
//!  driver ──Session::send──▶ outbox per channel ──▶ writer task ──▶ stream
//!  driver ◀──Event::Received── reader task ◀── control stream
//!  engine ◀──Disconnected, Elsewhere── session ◀── watch (silence, better hubs)
//! ```
//!
//! | room | what stands there |
//! |---|---|
//! | [`hubs`] | who there is, by which address, and who is next |
//! | [`dialling`] | how a hub is reached |
//! | [`watch`] | when the present hub is left |
//! | [`probing`] | measuring the others, and keeping what is known |
//! | [`figures`], [`page`] | what is shown |
//! | [`renewal`], [`streams`] | certificates; a session's outgoing streams |
//! | [`attesting`] | asking the hub whether it has the same records |
//!
//! Promise: one session at a time; its end is told exactly once, by `Disconnected`. A hub is left for another only when a
//! connection to that other one stands. Certificates renew themselves here.
//! Absent: what frames mean, when to dial again.

mod attesting;
mod dialling;
mod figures;
mod hubs;
mod page;
mod probing;
mod renewal;
mod streams;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_agent_engine::{Channel, Event};
use millrace_host::Clock;
use millrace_link::{ClientOptions, CloseCode, Connection, Dialer, Identity, Inlet, Road, Standing};
use millrace_model::HubId;
use millrace_wire::limits::FRAME_MAX;
use millrace_wire::{Frame, HubEndpoint};
use tokio::sync::{Notify, mpsc, watch as watching};

pub use self::attesting::{Met, Unmet};
pub use self::figures::{CertificateFigures, LinkFigures};
pub use self::page::{HubRow, RoutesPage, SeedRow, offline};

use self::attesting::Aside;
use self::dialling::Way;
use self::figures::Ended;
use self::hubs::{Hubs, Target};
use self::streams::{write, write_control};
use crate::config::HubSettings;
use crate::places::Places;

/// Frames that may wait per channel. The engine bounds their bytes; this bounds the count of small ones.
/// When full the session is given up: the road has not moved for thousands of frames.
const OUTBOX_FRAMES: usize = 4_096;

/// How long a goodbye may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// Agents that lost the same hub dial the next one within this time: long enough to spread thousands of handshakes, short
/// enough that nobody notices.
const SPREAD: Duration = Duration::from_millis(250);

/// Dials hubs, as this agent.
pub struct Uplink {
    dialer: Dialer,
    road: Road,
    /// Whether each byte costs money: then nothing is measured that is not used.
    metered: bool,
    identity: Mutex<Identity>,
    places: Places,
    clock: Clock,
    hubs: Mutex<Hubs>,
    present: Mutex<Option<Present>>,
    /// A connection to the hub that the next session is to have.
    ready: Mutex<Option<Way>>,
    /// There is news of hubs that should be on disk.
    news: Notify,
    figures: Mutex<Option<Connection>>,
    before: Mutex<(u64, u64)>,
    met: Mutex<Option<Ended>>,
    /// The present hub's, for what the uplink itself asks.
    aside: Mutex<Option<Aside>>,
}

/// The hub of the running session.
#[derive(Clone, Debug)]
struct Present {
    target: Target,
    hub: Option<HubId>,
    /// Whether it took us in.
    welcomed: bool,
    /// Whether it keeps all that it should of this device's readings.
    complete: bool,
    /// Why it said goodbye, if it did.
    goodbye: Option<String>,
}

/// How a session, or the attempt at one, ended.
struct End {
    reason: String,
    unwelcome: bool,
    /// Another hub may be dialled within this time, without a pause.
    elsewhere: Option<Duration>,
    whose: Whose,
}

/// Whose doing it was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The hub's, or the road's.
    Theirs,
    /// The engine's: the hub was silent or at fault, or a new greeting is due.
    Engines,
    /// Ours: a better hub, a new certificate, the end of the process.
    Ours,
}

impl End {
    fn of(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), unwelcome: false, elsewhere: None, whose: Whose::Theirs }
    }

    fn by(self, whose: Whose) -> Self {
        Self { whose, ..self }
    }
}

/// Whether hubs will not have this device any more, until an operator acts.
///
/// [`CloseCode::NotAdmitted`] is not such a case: a hub that was cut off, or that fills an empty disk, has not heard yet of
/// a device that another hub enrolled. It, and others, are tried again after the usual back-off.
const fn is_unwelcome(code: CloseCode) -> bool {
    matches!(code, CloseCode::Revoked | CloseCode::Expired)
}

/// A session from the driver's side.
pub struct Session {
    outboxes: [mpsc::Sender<(Frame, u64)>; 3],
    end: watching::Sender<Option<String>>,
}

impl Uplink {
    /// An uplink to the hubs that `settings` name and that were heard of last. `seed` spreads agents.
    #[must_use]
    pub fn new(
        identity: Identity,
        places: Places,
        clock: Clock,
        settings: &HubSettings,
        metered: bool,
        seed: u64,
    ) -> Self {
        let wall = clock.clone();
        let options =
            ClientOptions { road: settings.road, ..ClientOptions::new(Arc::new(move || wall.wall())) };
        Self {
            dialer: Dialer::new(options),
            road: settings.road,
            metered,
            identity: Mutex::new(identity),
            hubs: Mutex::new(Hubs::new(settings, places.memory(), seed)),
            places,
            clock,
            present: Mutex::default(),
            ready: Mutex::default(),
            news: Notify::new(),
            figures: Mutex::default(),
            before: Mutex::default(),
            met: Mutex::default(),
            aside: Mutex::default(),
        }
    }

    /// Begins to connect. The outcome comes as `Connected` or `Disconnected`.
    pub fn connect(self: &Arc<Self>, events: mpsc::Sender<Event>) -> Session {
        let (control, control_out) = mpsc::channel(OUTBOX_FRAMES);
        let (live, live_out) = mpsc::channel(OUTBOX_FRAMES);
        let (backlog, backlog_out) = mpsc::channel(OUTBOX_FRAMES);
        let (end, ended) = watching::channel(None);
        let uplink = Arc::clone(self);
        tokio::spawn(async move {
            let outboxes = [control_out, live_out, backlog_out];
            let end = uplink.session(&events, outboxes, ended).await;
            uplink.remember(&end);
            let End { reason, unwelcome, elsewhere, .. } = end;
            // The driver lives as long as the process; when it is gone nobody needs to be told.
            let _stopped = events.send(Event::Disconnected { reason, unwelcome }).await;
            if let Some(within) = elsewhere {
                let _stopped = events.send(Event::Elsewhere { within }).await;
            }
        });
        Session { outboxes: [control, live, backlog], end }
    }

    /// Takes over what a hub told of all hubs. An empty list is not believed.
    pub fn learn_hubs(&self, hubs: Vec<HubEndpoint>) {
        if self.hubs().learn(hubs) {
            self.news.notify_one();
        }
    }

    /// Closes the socket after farewells have left, and keeps what is known of hubs.
    pub async fn close(&self) {
        self.dialer.close(CloseCode::Shutdown, "the agent stops").await;
        self.keep().await;
    }

    fn hubs(&self) -> MutexGuard<'_, Hubs> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self) -> MutexGuard<'_, Option<Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn session(
        &self,
        events: &mpsc::Sender<Event>,
        outboxes: [mpsc::Receiver<(Frame, u64)>; 3],
        mut ended: watching::Receiver<Option<String>>,
    ) -> End {
        let connected = tokio::select! {
            connected = self.dial() => connected,
            reason = asked_to_end(&mut ended) => Err(End::of(reason).by(Whose::Engines)),
        };
        let Way { target, hub, connection } = match connected {
            Ok(way) => way,
            Err(end) => {
                tracing::info!(reason = end.reason, "no session with a hub");
                return end;
            }
        };
        let present = Present { target, hub, welcomed: false, complete: false, goodbye: None };
        *self.present() = Some(present.clone());
        self.keep_figures(Some(connection.clone()));
        let mut end = self.converse(&connection, events, outboxes, ended).await;
        self.keep_figures(None);
        let present = self.present().take().unwrap_or(present);
        if let Some(said) = present.goodbye.as_ref().filter(|_| end.whose != Whose::Ours && !end.unwelcome) {
            end.reason = format!("the hub said goodbye: {said}");
        }
        tracing::info!(hub = %connection.peer().name, reason = end.reason, "the session with the hub ended");
        // The engine ends a session because of what the hub does or does not, or to greet anew: at the same hub, then.
        let anew = end.whose == Whose::Engines && present.welcomed && present.goodbye.is_none();
        if end.whose != Whose::Ours {
            let now = self.clock.moment();
            let mut hubs = self.hubs();
            match (&present.target, anew) {
                (Target::Hub(hub), true) => hubs.routes().failed(*hub, now),
                (Target::Seed(_), true) => {}
                (target, false) => hubs.failed(target, now),
            }
            end.elsewhere = (!anew && hubs.elsewhere(now)).then_some(SPREAD);
        }
        end
    }

    async fn converse(
        &self,
        connection: &Connection,
        events: &mpsc::Sender<Event>,
        [control_out, live_out, backlog_out]: [mpsc::Receiver<(Frame, u64)>; 3],
        mut ended: watching::Receiver<Option<String>>,
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
        // What the uplink itself says: requests for a certificate, and questions whether the hub has the same records.
        let (renewals, renewals_out) = mpsc::channel(1);
        self.keep_aside(Some((connection, &renewals)));
        let mut farewell = tokio::spawn(write_control(control, control_out, renewals_out));
        let live = tokio::spawn(write(live, Channel::Live, live_out, events.clone()));
        let backlog = tokio::spawn(write(backlog, Channel::Backlog, backlog_out, events.clone()));
        if events.send(Event::Connected).await.is_err() {
            return End::of("the agent stops").by(Whose::Ours);
        }
        let end = tokio::select! {
            end = self.read(answers, events, &renewals) => end,
            reason = connection.closed() => End::of(reason.to_string()),
            reason = self.watch(connection) => {
                End { elsewhere: Some(Duration::ZERO), ..End::of(reason).by(Whose::Ours) }
            }
            reason = asked_to_end(&mut ended) => {
                // The driver has let go of its outboxes: the writers end when they are empty.
                drop(renewals);
                self.keep_aside(None);
                let _late = tokio::time::timeout(FAREWELL, &mut farewell).await;
                End::of(reason).by(Whose::Engines)
            }
        };
        self.keep_aside(None);
        // What the hub said counts more than what we made of it, and has to be asked before our own close hides it.
        let theirs = connection.close_reason().filter(|close| close.by_peer);
        let code = if end.elsewhere.is_some() { CloseCode::Moved } else { CloseCode::Shutdown };
        connection.close(code, &end.reason);
        for task in [farewell, live, backlog] {
            task.abort();
        }
        match theirs {
            Some(close) if end.elsewhere.is_none() => {
                End { reason: close.to_string(), unwelcome: is_unwelcome(close.code), ..end }
            }
            _ => end,
        }
    }

    /// Reads what the hub says until the stream ends; asks for a renewal when the first frame shows that we are in.
    async fn read(
        &self,
        mut answers: Inlet,
        events: &mpsc::Sender<Event>,
        renewals: &mpsc::Sender<Frame>,
    ) -> End {
        // With an expired certificate the hub serves nothing but its renewal: ask at once, then begin anew.
        let expired = matches!(self.standing(), Standing::Grace { .. });
        let mut asked = expired;
        let mut renewal = if expired { self.ask_for_renewal(renewals).await } else { None };
        loop {
            let frame = match answers.next(FRAME_MAX).await {
                Ok(Some(bytes)) => millrace_wire::decode(&bytes),
                Ok(None) => return End::of("the hub ended the session"),
                Err(error) => return End::of(error.to_string()),
            };
            match frame {
                Ok(Frame::RenewalGrant(grant)) => match renewal.take() {
                    Some(request) => {
                        self.renewed(&request, &grant);
                        if expired {
                            return End::of("the certificate was renewed").by(Whose::Ours);
                        }
                    }
                    None => tracing::warn!("the hub renewed a certificate that nobody asked for"),
                },
                Ok(Frame::Attested(answer)) => self.attested(*answer),
                Ok(frame) => {
                    self.overhear(&frame);
                    if events.send(Event::Received(frame)).await.is_err() {
                        return End::of("the agent stops").by(Whose::Ours);
                    }
                }
                Err(error) => return End::of(format!("the hub sent what is no frame: {error}")),
            }
            if !asked && self.standing().wants_renewal() {
                asked = true;
                renewal = self.ask_for_renewal(renewals).await;
            }
        }
    }

    /// What a frame says of the hub itself.
    fn overhear(&self, frame: &Frame) {
        let mut present = self.present();
        let Some(present) = present.as_mut() else { return };
        match frame {
            Frame::Welcome(welcome) => {
                (present.welcomed, present.complete) = (true, welcome.complete);
                // Whoever looks for a complete hub goes on with the round when this one is left.
                if welcome.complete {
                    self.hubs().welcomed();
                }
            }
            Frame::Acks(_) => {
                if let Some(hub) = present.hub {
                    self.hubs().routes().served(hub);
                }
            }
            Frame::Goodbye(goodbye) => present.goodbye = Some(goodbye.reason.clone()),
            _ => {}
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

async fn asked_to_end(ended: &mut watching::Receiver<Option<String>>) -> String {
    let asked = ended.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
    asked.unwrap_or_else(|| "the agent stops".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_that_has_not_heard_of_the_device_yet_does_not_end_the_attempts_and_a_revocation_does() {
        assert!(!is_unwelcome(CloseCode::NotAdmitted));
        assert!(is_unwelcome(CloseCode::Revoked) && is_unwelcome(CloseCode::Expired));
    }
}
