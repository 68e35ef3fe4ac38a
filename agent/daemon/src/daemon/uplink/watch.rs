//! The watch over a running session: when to leave the hub, and for whom.
//!
//! Promise: the present connection is kept until one to another hub stands: what silences all hubs (the road near us) breaks no
//! session that may still recover. A hub that speaks again is not left.
//! Absent: which hub is better, and when that is reason enough (the engine's `routing`).

use std::sync::PoisonError;
use std::time::Duration;

use millrace_agent_engine::routing::vigil::Vigil;
use millrace_link::{CloseCode, Connection};
use millrace_model::{HubId, Moment};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::dialling::Way;
use super::{SPREAD, Target, Uplink};

/// How often to ask whether another hub would be better. A hub that drains is left within some seconds; for all else once in
/// a minute would do.
const THINK: Duration = Duration::from_secs(1);

/// How often a silent hub is listened to while another is dialled.
const LISTEN: Duration = Duration::from_millis(20);

/// A session that has lasted so long is worth as much as three good answers: a hub that takes nothing is given up earlier.
const PROVEN: Duration = Duration::from_secs(180);

/// The text with which a connection that brought no session is closed.
pub(super) const MEASURED: &str = "only measured the road";

impl Uplink {
    /// Watches over `connection` until its hub is to be left; why. The connection to the next hub stands ready then.
    pub(super) async fn watch(&self, connection: &Connection) -> String {
        let began = self.clock.moment();
        let mut vigil = Vigil::new(self.road.silence, began);
        let mut ticks = interval(vigil.pace());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut think_at, mut escape_at) = (began, began);
        loop {
            ticks.tick().await;
            let now = self.clock.moment();
            let (heard, asked) = (connection.datagrams_received(), connection.questions_sent());
            if vigil.look(heard, asked, connection.rtt(), now) && escape_at <= now {
                if let Some(reason) = self.escape(connection, heard).await {
                    return reason;
                }
                escape_at = self.clock.moment() + self.road.silence * 2;
            } else if vigil.is_calm() && think_at <= now {
                think_at = now + THINK;
                if let Some(better) = self.think(connection, began, now)
                    && let Some(reason) = self.change(connection, better).await
                {
                    return reason;
                }
            }
        }
    }

    /// The hub is silent: whoever else answers takes over, unless it speaks again.
    async fn escape(&self, connection: &Connection, heard: u64) -> Option<String> {
        let present = connection.peer().hub();
        let (others, pause) = {
            let mut hubs = self.hubs();
            (hubs.others(present, self.clock.moment()), hubs.jitter(SPREAD))
        };
        if others.is_empty() {
            return None;
        }
        let name = connection.peer().name.clone();
        tracing::info!(hub = name, "the hub is silent: trying another one");
        let found = async {
            sleep(pause).await;
            for target in others {
                match self.reach_soon(&target).await {
                    // A name of several hubs may lead back to where we are.
                    Ok(way) if way.hub == present => way.connection.close(CloseCode::Measured, MEASURED),
                    Ok(way) => return Some(way),
                    Err(end) => {
                        tracing::debug!(reason = end.reason, "nobody takes over there");
                        self.hubs().failed(&target, self.clock.moment());
                    }
                }
            }
            None
        };
        let spoke = async {
            while connection.datagrams_received() == heard {
                sleep(LISTEN).await;
            }
        };
        let way = tokio::select! {
            found = found => found?,
            () = spoke => {
                tracing::info!(hub = name, "the hub speaks again");
                return None;
            }
        };
        if let Some(present) = present {
            self.hubs().failed(&Target::Hub(present), self.clock.moment());
        }
        let reason = format!("the hub fell silent, and {} answers", way.connection.peer().name);
        self.stand_ready(way);
        Some(reason)
    }

    fn think(&self, connection: &Connection, began: Moment, now: Moment) -> Option<HubId> {
        let present = connection.peer().hub()?;
        let welcomed =
            self.present().as_ref().is_some_and(|present| present.welcomed && present.goodbye.is_none());
        let mut hubs = self.hubs();
        hubs.routes().timed(present, connection.rtt());
        if now.since(began) > PROVEN {
            hubs.routes().served(present);
        }
        if welcomed { hubs.routes().reconsider(present, now) } else { None }
    }

    /// Goes over to `better`, if dialling it shows that it is.
    async fn change(&self, connection: &Connection, better: HubId) -> Option<String> {
        let present = connection.peer().hub()?;
        let target = Target::Hub(better);
        let way = match self.reach_soon(&target).await {
            Ok(way) => way,
            Err(end) => {
                tracing::debug!(reason = end.reason, "the better hub cannot be reached");
                self.hubs().routes().failed(better, self.clock.moment());
                return None;
            }
        };
        let found = way.hub.unwrap_or(present);
        if found == present || !self.hubs().routes().confirms(present, found, way.connection.rtt()) {
            way.connection.close(CloseCode::Measured, MEASURED);
            return None;
        }
        let reason = format!("{} is the better hub now", way.connection.peer().name);
        self.stand_ready(way);
        Some(reason)
    }

    fn stand_ready(&self, way: Way) {
        let before = self.ready.lock().unwrap_or_else(PoisonError::into_inner).replace(way);
        if let Some(before) = before {
            before.connection.close(CloseCode::Measured, MEASURED);
        }
    }
}
