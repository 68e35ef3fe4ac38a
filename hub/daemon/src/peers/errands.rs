//! Errands: links to hubs that are in no table yet, found by their addresses alone, for calls.
//!
//! Promise: at most [`ERRANDS_MAX`], each dropped when it was not used for [`ERRAND_IDLE`].
//! Absent: records and gossip, which need a number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_link::Connection;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use super::bounds::{ERRAND_IDLE, ERRANDS_MAX, Places};
use super::keeping::{self, Link, NOT_YET, State, Target};
use super::{CallError, Inner};

/// The links, by where they lead.
#[derive(Default)]
pub(crate) struct Errands(Mutex<BTreeMap<Vec<String>, Errand>>);

struct Errand {
    link: Link,
    used: Instant,
}

impl Errands {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<String>, Errand>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all of them.
    pub(crate) fn clear(&self, text: &str) {
        let all = std::mem::take(&mut *self.lock());
        all.values().for_each(|errand| errand.link.end(text));
    }
}

/// A connection to the hub at one of these addresses. Waits for the first attempt to come to an end, and no longer than that moment.
pub(crate) async fn reach(
    inner: &Arc<Inner>,
    addresses: &[String],
    until: Instant,
) -> Result<(Connection, Arc<Places>), CallError> {
    let (mut states, places) = {
        let mut errands = inner.errands.lock();
        if !errands.contains_key(addresses) && errands.len() >= ERRANDS_MAX {
            let oldest = errands.iter().min_by_key(|(_, errand)| errand.used).map(|(at, _)| at.clone());
            oldest.map(|at| errands.remove(&at));
        }
        let errand = errands.entry(addresses.to_vec()).or_insert_with(|| {
            let target = Target { node: None, hub: None, addresses: addresses.to_vec() };
            Errand { link: keeping::keep(inner, target), used: Instant::now() }
        });
        errand.used = Instant::now();
        errand.link.nudge();
        (errand.link.states(), errand.link.places())
    };
    let settled = |state: &State| !matches!(state, State::Down { problem, .. } if problem == NOT_YET);
    let state = timeout_at(until, states.wait_for(settled)).await;
    let named = || addresses.join(", ");
    match state {
        Ok(Ok(state)) => match &*state {
            State::Up { connection, .. } => Ok((connection.clone(), places)),
            State::Down { problem, .. } => {
                Err(CallError::Unreachable(format!("no connection to {}: {problem}", named())))
            }
        },
        Ok(Err(_)) => Err(CallError::Unreachable("the hub stops".to_owned())),
        Err(_) => Err(CallError::Unreachable(format!("no answer from {} in time", named()))),
    }
}

/// Drops links that nobody uses any more, until the shutdown.
pub(crate) fn sweep(inner: &Arc<Inner>) {
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let mut rounds = tokio::time::interval(ERRAND_IDLE / 4);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = inner.parts.shutdown.triggered() => return,
            }
            inner.errands.lock().retain(|_, errand| errand.used.elapsed() < ERRAND_IDLE);
        }
    });
}
