//! Stop: waiting for the end of the program.
//!
//! Absent: signals; the host turns them into the watched value.

use tokio::sync::watch;

/// Waits until `stop` is true, or nobody is left who could make it true. Safe to cancel.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _stopped = stop.wait_for(|stop| *stop).await;
}
