//! A session's outgoing streams: frames leave their outbox in order.

use millrace_agent_engine::{Channel, Event};
use millrace_link::Outlet;
use millrace_wire::Frame;
use tokio::sync::mpsc;

/// Writes a channel's frames, and tells the driver as the transport takes them.
pub(super) async fn write(
    mut outlet: Outlet,
    channel: Channel,
    mut outbox: mpsc::Receiver<(Frame, u64)>,
    events: mpsc::Sender<Event>,
) {
    while let Some((frame, bytes)) = outbox.recv().await {
        if send(&mut outlet, &frame).await.is_err() {
            return;
        }
        if bytes > 0 && events.send(Event::Sent { channel, bytes }).await.is_err() {
            return;
        }
    }
    let _closed = outlet.finish().await;
}

pub(super) async fn write_control(
    mut outlet: Outlet,
    mut outbox: mpsc::Receiver<(Frame, u64)>,
    mut renewals: mpsc::Receiver<Frame>,
) {
    loop {
        let frame = tokio::select! {
            biased;
            Some((frame, _)) = outbox.recv() => frame,
            Some(frame) = renewals.recv() => frame,
            else => break,
        };
        if send(&mut outlet, &frame).await.is_err() {
            return;
        }
    }
    let _closed = outlet.delivered().await;
}

async fn send(outlet: &mut Outlet, frame: &Frame) -> Result<(), ()> {
    let bytes = millrace_wire::encode(frame).map_err(
        |error| tracing::error!(frame = frame.name(), %error, "a frame of our own is over its limit"),
    )?;
    outlet.send(bytes).await.map_err(|error| tracing::debug!(%error, "a stream to the hub ended"))
}
