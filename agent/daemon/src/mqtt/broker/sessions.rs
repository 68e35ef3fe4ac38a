//! Sessions: what a client id owns beyond one connection, and who holds it now.
//!
//! Promise: a client id has one connection; a newer one takes over, and the older one ends before the newer one
//! reads. At most `max` sessions; a full house forgets the one that rests longest, never a connected one.
//! Absent: durability. A restart of the agent forgets sessions; DESIGN.md says what that means for QoS 2.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, mpsc, watch};
use tokio::time::Instant;

use super::outbound::Outbound;
use super::routes::{Forward, Route};
use crate::mqtt::inbound::Inbound;
use crate::mqtt::receipt::Verdict;

/// How long the older connection may take to let go.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client id owns.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) inbound: Inbound,
    pub(super) verdicts: mpsc::Sender<Verdict>,
    pub(super) heard: mpsc::Receiver<Verdict>,
    pub(super) routes: Vec<Route>,
    pub(super) outbox: mpsc::Sender<Forward>,
    pub(super) outbound: Outbound,
}

/// One client id's place in the house.
#[derive(Debug)]
struct Place {
    number: u64,
    /// Counts takeovers; the connection whose number it no longer is must go.
    owner: watch::Sender<u64>,
    session: Arc<tokio::sync::Mutex<Option<Session>>>,
    /// Since when nobody is connected, and how long that may last.
    resting: Mutex<Option<(Instant, Duration)>>,
}

/// All client ids.
#[derive(Debug)]
pub(super) struct Sessions {
    places: Mutex<Book>,
    max: usize,
}

#[derive(Debug, Default)]
struct Book {
    places: BTreeMap<String, Arc<Place>>,
    next_number: u64,
}

/// A connection's hold on its session.
#[derive(Debug)]
pub(super) struct Hold {
    client_id: String,
    place: Arc<Place>,
    turn: u64,
    /// Changes when a newer connection takes over.
    pub(super) owner: watch::Receiver<u64>,
    guard: OwnedMutexGuard<Option<Session>>,
    /// The session existed before this connection.
    pub(super) resumed: bool,
}

/// A lock whose holder cannot leave things half done: nothing between lock and unlock panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    pub(super) fn new(max: usize) -> Self {
        Self { places: Mutex::default(), max }
    }

    /// Takes the session of a client id, ending an older connection. None: the house is full of connected
    /// clients, or the older connection does not let go. `make` makes a new session when there is none to resume;
    /// `forget` is told the number of each session that is dropped.
    pub(super) async fn take(
        &self,
        client_id: &str,
        clean: bool,
        make: impl FnOnce(u64) -> Session,
        forget: impl Fn(u64),
    ) -> Option<Hold> {
        let (place, turn, owner) = self.claim(client_id, &forget)?;
        let waiting = Arc::clone(&place.session).lock_owned();
        let mut guard = tokio::time::timeout(TAKEOVER_TIMEOUT, waiting).await.ok()?;
        let rested_too_long =
            lock(&place.resting).take().is_some_and(|(since, allowed)| since.elapsed() > allowed);
        let resumed = guard.is_some() && !clean && !rested_too_long;
        if !resumed {
            forget(place.number);
            *guard = Some(make(place.number));
        }
        Some(Hold { client_id: client_id.to_owned(), place, turn, owner, guard, resumed })
    }

    /// A client id for a client that came without one.
    pub(super) fn fresh_id(&self) -> String {
        let mut book = lock(&self.places);
        let number = book.next_number;
        book.next_number += 1;
        format!("millrace-guest-{number}")
    }

    /// Finds or makes the place of a client id and becomes its owner.
    fn claim(
        &self,
        client_id: &str,
        forget: &impl Fn(u64),
    ) -> Option<(Arc<Place>, u64, watch::Receiver<u64>)> {
        let mut book = lock(&self.places);
        let known = book.places.get(client_id).map(Arc::clone);
        let place = match known {
            Some(place) => place,
            None => {
                if book.places.len() >= self.max {
                    let (oldest, number) = book.longest_resting()?;
                    book.places.remove(&oldest);
                    forget(number);
                }
                let number = book.next_number;
                book.next_number += 1;
                let (owner, _) = watch::channel(0);
                let session = Arc::default();
                let place = Arc::new(Place { number, owner, session, resting: Mutex::default() });
                book.places.insert(client_id.to_owned(), Arc::clone(&place));
                place
            }
        };
        let mut turn = 0;
        place.owner.send_modify(|owner| {
            *owner += 1;
            turn = *owner;
        });
        let mut owner = place.owner.subscribe();
        owner.mark_unchanged();
        Some((place, turn, owner))
    }

    /// Gives the session back: to rest for `allowed`, or (zero) to be forgotten. True: forgotten.
    pub(super) fn give_back(&self, mut hold: Hold, allowed: Duration) -> bool {
        let mut book = lock(&self.places);
        let still_owner = *hold.place.owner.borrow() == hold.turn;
        if let Some(session) = hold.guard.as_mut() {
            session.inbound.end();
        }
        if !allowed.is_zero() {
            *lock(&hold.place.resting) = Some((Instant::now(), allowed));
            return false;
        }
        // A newer connection that waits for the place finds it empty and makes a new session.
        *hold.guard = None;
        if still_owner {
            book.places.remove(&hold.client_id);
        }
        true
    }
}

impl Book {
    fn longest_resting(&self) -> Option<(String, u64)> {
        let resting = self.places.iter().filter_map(|(client_id, place)| {
            let (since, _) = (*lock(&place.resting))?;
            Some((since, client_id, place.number))
        });
        resting.min().map(|(_, client_id, number)| (client_id.clone(), number))
    }
}

impl Hold {
    /// The session. None only if a hold was made without one, which `take` does not.
    pub(super) fn session(&mut self) -> Option<&mut Session> {
        self.guard.as_mut()
    }
}
