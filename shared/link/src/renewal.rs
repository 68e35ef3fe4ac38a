//! When a certificate is renewed, and what an expired one is still good for.
//!
//! Promise: pure; the same certificate and time give the same answer.
//! Absent: the renewal itself, which travels as frames inside a session.

use std::time::Duration;

use millrace_model::Wall;

use crate::PeerIdentity;

/// How long after its end a certificate may still open a session for its own renewal, when its key is the one
/// on record. A machine that spent a season in a drawer comes back by itself.
pub const GRACE: Duration = Duration::from_secs(180 * 86_400);

/// Where a certificate stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing to do until then.
    Fresh {
        /// When two thirds of its life are over.
        renew_at: Wall,
    },
    /// Two thirds of its life are over: renew in the next session.
    Due,
    /// Expired, and its key may still open a session, in which it is renewed first.
    Grace {
        /// When the grace ends.
        until: Wall,
    },
    /// Beyond its grace: the machine must be enrolled again with a new token.
    Lost,
}

impl Standing {
    /// Where the certificate of `own` stands at `now`, with this much grace after its end.
    ///
    /// A clock that shows a time before the certificate's life is wrong, and the answer is `Fresh`.
    #[must_use]
    pub fn of(own: &PeerIdentity, now: Wall, grace: Duration) -> Self {
        let renew_at = renew_at(own);
        if now < renew_at {
            return Self::Fresh { renew_at };
        }
        if !own.expired(now) {
            return Self::Due;
        }
        let until = own.not_after.plus(grace);
        if now <= until { Self::Grace { until } } else { Self::Lost }
    }

    /// Whether a renewal should be asked for now.
    #[must_use]
    pub fn wants_renewal(self) -> bool {
        matches!(self, Self::Due | Self::Grace { .. })
    }
}

/// The moment at two thirds of a certificate's life.
#[must_use]
pub fn renew_at(own: &PeerIdentity) -> Wall {
    let life = own.not_after.0.saturating_sub(own.not_before.0).max(0);
    Wall(own.not_before.0.saturating_add(life / 3 * 2))
}

#[cfg(test)]
mod tests {
    use millrace_model::DeviceId;

    use super::*;
    use crate::{KeyHash, Role, Serial};

    const SECOND: i64 = 1_000_000;

    fn certificate() -> PeerIdentity {
        PeerIdentity {
            role: Role::Device(DeviceId::from_bytes([1; 16])),
            name: "press-7".into(),
            serial: Serial(1),
            not_before: Wall(300 * SECOND),
            not_after: Wall(600 * SECOND),
            public_key_hash: KeyHash::from_bytes([0; 32]),
        }
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_and_forgiven_within_its_grace() {
        let own = certificate();
        let at = |seconds| Standing::of(&own, Wall(seconds * SECOND), Duration::from_secs(100));
        let fresh = Standing::Fresh { renew_at: Wall(500 * SECOND) };
        assert_eq!((at(0), at(300), at(499)), (fresh, fresh, fresh));
        assert_eq!((at(500), at(600)), (Standing::Due, Standing::Due));
        let grace = Standing::Grace { until: Wall(700 * SECOND) };
        assert_eq!((at(601), at(700)), (grace, grace));
        assert_eq!(at(701), Standing::Lost);
        assert!(at(500).wants_renewal() && at(650).wants_renewal());
        assert!(!at(499).wants_renewal() && !at(701).wants_renewal());
    }
}
