//! Reception: takes whoever passed the listener's door to where they belong.
//!
//! Promise: sessions and enrolments each have their own task; enrolments are few at a time and refused beyond that; however many
//! agents come, hubs are served.
//! Absent: who passes the door (the registry), what is said behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_link::{Accepted, CloseCode, EnrolmentConnection, EnrolmentRefusal, Listener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::meters::ByOutcome;
use crate::peers::Peers;
use crate::registrar::Granted;
use crate::session::Sessions;

/// Enrolments at once. Each waits for a decision of the cluster; further machines are told to try again.
const ENROLMENTS_MAX: usize = 32;

/// Names of connections are used once in a process.
static NEXT_LINK: AtomicU64 = AtomicU64::new(1);

/// A name for a connection, or for a stream of another hub: the engine has one space of numbers for both.
pub(crate) fn next_link() -> u64 {
    NEXT_LINK.fetch_add(1, Ordering::Relaxed)
}

/// Takes connections until the listener is closed, then waits for those that are open.
/// Hubs are served by `peers`; without those they are turned away like everybody who is no device. Of devices so many are kept at
/// once; one more is closed, so that their number leaves places for hubs.
pub async fn receive(listener: Arc<Listener>, sessions: Sessions, peers: Option<Peers>, devices_max: usize) {
    let devices = Arc::new(Semaphore::new(devices_max.min(Semaphore::MAX_PERMITS)));
    let enrolments = Arc::new(Semaphore::new(ENROLMENTS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        sessions.meters.connections.set(i64::try_from(listener.connections()).unwrap_or(i64::MAX));
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
        };
        match accepted {
            Some(Accepted::Session(connection)) => match peers.clone() {
                Some(peers) if connection.peer().hub().is_some() => {
                    tasks.spawn(async move { peers.serve(connection).await });
                }
                _ => match Arc::clone(&devices).try_acquire_owned() {
                    Ok(place) => {
                        let session = sessions.clone().serve(next_link(), connection);
                        tasks.spawn(async move {
                            session.await;
                            drop(place);
                        });
                    }
                    Err(_) => {
                        connection.close(
                            CloseCode::Shutdown,
                            "this hub has as many agents as it takes: try another",
                        );
                    }
                },
            },
            Some(Accepted::Enrolment(connection)) => {
                tasks.spawn(enrol(connection, sessions.clone(), Arc::clone(&enrolments)));
            }
            None => break,
        }
    }
    while tasks.join_next().await.is_some() {}
}

async fn enrol(connection: EnrolmentConnection, sessions: Sessions, places: Arc<Semaphore>) {
    let source = connection.remote_addr().ip();
    let decided = match places.try_acquire() {
        Err(_) => Err((EnrolmentRefusal::Unavailable, "too many machines enrol at once: try again".into())),
        Ok(_place) => {
            let decided = sessions.registrar.enrol(connection.request(), source).await;
            decided.map_err(|refused| (refused.why, refused.text))
        }
    };
    let (outcome, answered) = match decided {
        Ok(Granted { pem, replaced }) => {
            let granted = connection.grant(&pem, sessions.registrar.ca_pem(), replaced);
            ("granted", granted.await)
        }
        Err((why, text)) => ("refused", connection.refuse(why, &text).await),
    };
    sessions.meters.enrolments.get_or_create(&ByOutcome { outcome }).inc();
    if let Err(error) = answered {
        tracing::warn!(%source, outcome, %error, "a machine did not get the answer to its enrolment");
    }
}
