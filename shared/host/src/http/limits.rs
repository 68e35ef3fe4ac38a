//! `HttpLimits`: how much of the daemon its HTTP callers may take.
//!
//! Promise: each field says what the caller sees at the limit.
//! Absent: per-caller quotas; all callers are on this machine or behind one proxy.

use std::time::Duration;

/// Limits of one server. The defaults suit a small device: a browser, a scraper and a few scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Open connections. One more gets `503 busy` and is closed.
    pub connections_max: usize,
    /// Requests in work at once, over all connections. One more gets `503 busy`.
    pub requests_max: usize,
    /// Bytes of one request's head, at least 8,192. A longer one gets `431` and is closed.
    pub header_bytes_max: usize,
    /// Bytes of one request's body. A longer one gets `413 too_large`.
    pub body_bytes_max: usize,
    /// Time in which the head must arrive, also on a connection that is kept open. Then it is closed.
    pub header_timeout: Duration,
    /// Time until the response begins, the reading of the body included. Then `504 too_slow`. A response
    /// that has begun may take as long as its reader likes.
    pub request_timeout: Duration,
    /// Time that connections have to finish after the shutdown has started. Then they are cut.
    pub drain_timeout: Duration,
}

impl HttpLimits {
    /// What applies when the config says nothing.
    pub const DEFAULTS: Self = Self {
        connections_max: 64,
        requests_max: 32,
        header_bytes_max: 16 * 1024,
        body_bytes_max: 256 * 1024,
        header_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(30),
        drain_timeout: Duration::from_secs(3),
    };
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self::DEFAULTS
    }
}
