//! The subscriber: takes readings from a broker beside us, with a persistent session.
//!
//! Promise: reconnects for ever, with growing, jittered waits; what was not acknowledged stays at the broker and
//! comes again; one oversized message cannot stop the others.
//! Absent: publishing to that broker; acknowledging (see `inbound`).

mod link;
mod options;
mod session;

use std::time::Duration;

use millrace_host::Backoff;
use tokio::sync::{mpsc, watch};

use self::link::Link;
pub use self::options::{BrokerOptions, BrokerTls, OptionsError, Subscription};
use self::session::{End, Session};
use super::arrival::Arrival;
use super::codec::CodecError;
use super::status::{StatusHandle, count};
use super::stop::stopped;

/// The first wait before another attempt. A broker that restarts is back within a second or two.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest wait. Readings wait at the broker meanwhile, so half a minute costs nothing but delay.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why the session with the broker ended or never began.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("broker {broker} cannot be reached: {source}")]
    Unreachable { broker: String, source: std::io::Error },
    #[error("broker {0} did not answer in time")]
    Silent(String),
    #[error("TLS towards the broker: {0}")]
    Tls(String),
    #[error("the broker refused the connection: {0}; check user, password and client id")]
    Refused(String),
    #[error("the broker closed the connection")]
    Closed,
    #[error("the connection to the broker broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("the broker sent what is not MQTT or not allowed: {0}")]
    Codec(#[from] CodecError),
    #[error("a publication was not stored; the broker is asked for it again on a new connection")]
    NotStored,
    #[error("the broker keeps more QoS 2 messages unreleased than allowed")]
    Unreleased,
}

/// The subscriber. Build it, keep its [`StatusHandle`], let [`BrokerClient::run`] run.
#[derive(Debug)]
pub struct BrokerClient {
    options: BrokerOptions,
    status: StatusHandle,
}

impl BrokerClient {
    /// A subscriber with these options.
    ///
    /// # Errors
    /// When the options cannot work; the error says which and what to write instead.
    pub fn new(options: BrokerOptions) -> Result<Self, OptionsError> {
        options.validate()?;
        Ok(Self { options, status: StatusHandle::new() })
    }

    /// Its status, to be read from anywhere.
    #[must_use]
    pub fn status(&self) -> StatusHandle {
        self.status.clone()
    }

    /// Runs until `stop` becomes true or nobody takes arrivals any more. On `stop` it reads no more, waits a moment
    /// for the open receipts, acknowledges them and says goodbye; the session stays at the broker.
    pub async fn run(self, arrivals: mpsc::Sender<Arrival>, mut stop: watch::Receiver<bool>) {
        let Self { options, status } = self;
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, options.seed);
        let mut session = Session::new(&options, status.clone(), arrivals);
        let mut frame_bytes_max = options.packet_bytes_max;
        loop {
            let end = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                link = Link::open(&options, frame_bytes_max) => match link {
                    Ok(link) => session.serve(link, stop.clone()).await,
                    Err(error) => End::Lost(error),
                },
            };
            frame_bytes_max = options.packet_bytes_max;
            match end {
                End::Stopped => break,
                End::Lost(error) => {
                    if let ClientError::Codec(CodecError::TooLarge { bytes, .. }) = error {
                        // Once as large as it must be: the engine refuses the message and declares it, the broker
                        // gets its acknowledgement, and the messages behind it flow again.
                        frame_bytes_max = frame_bytes_max.max(bytes);
                    }
                    tracing::warn!(%error, "the session with the broker was interrupted");
                    status.disconnected(Some(error.to_string()));
                    count(&status.counters().reconnects, 1);
                }
            }
            if session.take_usefulness() {
                backoff.reset();
            }
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                () = tokio::time::sleep(backoff.wait()) => {}
            }
        }
        status.disconnected(None);
    }
}
