//! Every number of the links between hubs, with its reason and what happens there; and the places of calls.
//!
//! Promise: calls of one kind take no places of another, so that questions of the API never keep the consensus waiting.

use std::time::Duration;

use millrace_wire::CallKind;
use tokio::sync::Semaphore;

/// First pause before a hub is dialled again: a process that restarts is back within a second.
pub const DIAL_FIRST: Duration = Duration::from_millis(100);
/// Longest pause. A hub that comes back dials by itself, which makes the others dial at once; so this matters only where it cannot.
pub const DIAL_CAP: Duration = Duration::from_secs(5);
/// A connection that stood for so long was a good one: the next pause is the first again.
pub const STEADY: Duration = Duration::from_secs(5);
/// How long a name may take to be resolved. Afterwards the next address is tried.
pub const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried in a row.
pub const RESOLVED_MAX: usize = 4;

/// How long a request may take to arrive once its stream was opened. When reached: the stream is cut.
pub const REQUEST_PATIENCE: Duration = Duration::from_secs(10);
/// Longest time that one call is worked on, whatever the hub that asks would wait for. When reached: it is refused.
pub const ANSWER_PATIENCE_MAX: Duration = Duration::from_secs(60);

/// Connections of one hub that are served: one, and those that it lost and that are not noticed yet; also its errands before it is in the
/// table. When there are more, the oldest is closed.
pub const GUESTS_PER_HUB_MAX: usize = 8;
/// Connections to hubs that are in no table. When there are more, the one that was not used for longest is closed.
pub const ERRANDS_MAX: usize = 64;
/// How long such a connection is kept without a call.
pub const ERRAND_IDLE: Duration = Duration::from_secs(20);

/// Order on the road: calls of the consensus first.
pub const CONTROL_PRIORITY: i32 = 20;
/// Then what says that records are flushed: agents wait for it.
pub const FLUSHED_PRIORITY: i32 = 10;
/// Then records.
pub const RECORDS_PRIORITY: i32 = 5;
/// Then all else.
pub const OTHER_PRIORITY: i32 = 0;

/// Calls at once on one connection, by kind. The consensus needs a handful: appends, a vote, a read index, what followers pass
/// on. With the replication stream they stay below `millrace_link::limits::HUB_STREAMS_MAX`. When full: calls wait for a place, as
/// long as their patience allows; then they did not leave.
const PER_LINK: [usize; 4] = [64, 4, 4, 32];
/// Calls at once that this hub works on, by kind, of all others together. Each holds at most one request and one reply of 4 MiB; those of
/// the API are the ones that can be large and slow. When full: they wait, as long as whoever asked does.
const IN_ALL: [usize; 4] = [512, 16, 16, 64];

/// Places for calls, by kind.
#[derive(Debug)]
pub(crate) struct Places {
    control: Semaphore,
    join: Semaphore,
    renew: Semaphore,
    api: Semaphore,
}

impl Places {
    /// Places of one connection.
    pub(crate) fn per_link() -> Self {
        Self::new(PER_LINK)
    }

    /// Places of all connections together.
    pub(crate) fn in_all() -> Self {
        Self::new(IN_ALL)
    }

    fn new([control, join, renew, api]: [usize; 4]) -> Self {
        let places = Semaphore::new;
        Self { control: places(control), join: places(join), renew: places(renew), api: places(api) }
    }

    /// Those of one kind.
    pub(crate) const fn of(&self, kind: CallKind) -> &Semaphore {
        match kind {
            CallKind::Control => &self.control,
            CallKind::Join => &self.join,
            CallKind::Renew => &self.renew,
            CallKind::Api => &self.api,
        }
    }
}

/// The place of a call's stream on the road.
pub(crate) const fn priority(kind: CallKind) -> i32 {
    match kind {
        CallKind::Control => CONTROL_PRIORITY,
        CallKind::Join | CallKind::Renew | CallKind::Api => OTHER_PRIORITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_places_of_a_connection_and_its_replication_fit_into_its_streams() {
        let streams = PER_LINK.iter().sum::<usize>() + 1;
        assert!(streams < usize::try_from(millrace_link::limits::HUB_STREAMS_MAX).unwrap());
        assert!(PER_LINK.iter().zip(IN_ALL).all(|(link, all)| *link <= all));
    }

    #[test]
    fn kinds_do_not_take_each_others_places() {
        let places = Places::per_link();
        let api: Vec<_> = std::iter::from_fn(|| places.of(CallKind::Api).try_acquire().ok()).collect();
        assert_eq!(api.len(), 32);
        assert!(places.of(CallKind::Control).try_acquire().is_ok());
        assert!(priority(CallKind::Control) > priority(CallKind::Api));
    }
}
