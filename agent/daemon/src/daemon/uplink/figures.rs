//! What the uplink shows of itself: the road, the certificate, and the last thing that went wrong.

use std::sync::PoisonError;

use millrace_host::times::rfc3339;
use millrace_link::{Connection, Standing};
use millrace_model::{HubId, Wall};
use serde::Serialize;

use super::{End, Uplink};

/// What the link itself knows.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct LinkFigures {
    /// The hub at the other end, by its certificate.
    pub hub_id: Option<HubId>,
    /// Smoothed round trip, milliseconds; 0 without a connection.
    pub rtt_ms: f64,
    /// UDP bytes sent since the process began.
    pub bytes_sent: u64,
    /// UDP bytes received since the process began.
    pub bytes_received: u64,
    /// How the last session, or attempt at one, ended; kept when the next one stands.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<String>,
}

/// This device's certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CertificateFigures {
    /// `fresh`; `due`: renewed in the next session; `grace`: expired, may still be renewed; `lost`: enrol again.
    pub state: &'static str,
    /// Its end.
    pub not_after: String,
    /// Its end, seconds since 1970.
    pub not_after_s: i64,
    /// Seconds until then; negative when it is over.
    pub left_s: i64,
}

/// The end that was met last.
pub(super) struct Ended {
    reason: String,
    at: Wall,
}

impl Uplink {
    /// What the link itself knows now.
    #[must_use]
    pub fn figures(&self) -> LinkFigures {
        let (sent, received) = *self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let mut figures = LinkFigures {
            bytes_sent: sent,
            bytes_received: received,
            last_error: met.as_ref().map(|met| met.reason.clone()),
            last_error_at: met.as_ref().map(|met| rfc3339(met.at)),
            ..LinkFigures::default()
        };
        drop(met);
        if let Some(connection) = self.figures.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            figures.hub_id = connection.peer().hub();
            figures.rtt_ms = connection.rtt().as_secs_f64() * 1_000.0;
            figures.bytes_sent += connection.bytes_sent();
            figures.bytes_received += connection.bytes_received();
        }
        figures
    }

    /// This device's certificate, as of now.
    #[must_use]
    pub fn certificate(&self) -> CertificateFigures {
        let end = self.identity.lock().unwrap_or_else(PoisonError::into_inner).own().not_after;
        CertificateFigures {
            state: match self.standing() {
                Standing::Fresh { .. } => "fresh",
                Standing::Due => "due",
                Standing::Grace { .. } => "grace",
                Standing::Lost => "lost",
            },
            not_after: rfc3339(end),
            not_after_s: end.unix_seconds(),
            left_s: end.unix_seconds().saturating_sub(self.clock.wall().unix_seconds()),
        }
    }

    pub(super) fn remember(&self, end: &End) {
        let met = Ended { reason: end.reason.clone(), at: self.clock.wall() };
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) = Some(met);
    }

    pub(super) fn keep_figures(&self, connection: Option<Connection>) {
        let mut current = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *current, connection) {
            let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
            *before = (before.0 + old.bytes_sent(), before.1 + old.bytes_received());
        }
    }
}
