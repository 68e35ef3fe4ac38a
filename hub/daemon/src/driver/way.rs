//! A way: what the driver has for one replication stream, and what the stream's task has of the driver.
//!
//! ```text
//!  driver ──Way::send──▶ frames (16,384, 48 MiB) ──WayEnd::next──▶ writer ══stream══▶ other hub
//!         ──Way::end───▶ reason ─────────────────WayEnd::ended──▶ the stream's end
//! ```
//!
//! Promise: the driver never waits. The engine sends no more than its window while nothing is answered; when a way is full all
//! the same, that rule was broken, and the stream is ended: what it carried is computed from ranges when it stands again.
//! Absent: the stream itself (`peers`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_hub_engine::replication::road::{WINDOW_BYTES, WINDOW_RUNS};
use millrace_wire::PeerFrame;
use tokio::sync::{mpsc, watch};

/// Frames that wait for one stream: the engine's window of runs, as many seals, and twice that of what is said about them.
pub const FRAMES_MAX: usize = 4 * WINDOW_RUNS;
/// Bytes of records in them: the engine's window, and one load that went over it.
pub const BYTES_MAX: u64 = WINDOW_BYTES + (16 << 20);

/// The driver's end.
#[derive(Debug)]
pub struct Way {
    frames: mpsc::Sender<PeerFrame>,
    waiting: Arc<AtomicUsize>,
    end: watch::Sender<Option<String>>,
}

/// The stream's end.
#[derive(Debug)]
pub struct WayEnd {
    frames: mpsc::Receiver<PeerFrame>,
    waiting: Arc<AtomicUsize>,
    end: watch::Receiver<Option<String>>,
}

impl Way {
    /// A way and its other end.
    #[must_use]
    pub fn new() -> (Self, WayEnd) {
        let (send, frames) = mpsc::channel(FRAMES_MAX);
        let (end, ended) = watch::channel(None);
        let waiting = Arc::<AtomicUsize>::default();
        let way = Self { frames: send, waiting: Arc::clone(&waiting), end };
        (way, WayEnd { frames, waiting, end: ended })
    }

    /// Hands a frame over. `false` when the way was full, and is ended by that; or when the stream is gone.
    pub fn send(&self, frame: PeerFrame) -> bool {
        let bytes = weight(&frame);
        let before = self.waiting.fetch_add(bytes, Ordering::AcqRel);
        let full = u64::try_from(before).unwrap_or(u64::MAX) > BYTES_MAX;
        if full || self.frames.try_send(frame).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::AcqRel);
            self.end("the other hub does not read what it is sent");
            return false;
        }
        true
    }

    /// Ends the stream; what waits is dropped. The first reason is the one that counts.
    pub fn end(&self, reason: &str) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert_with(|| reason.to_owned());
            first
        });
    }
}

impl WayEnd {
    /// The next frame to be sent; `None` when the driver has ended.
    pub async fn next(&mut self) -> Option<PeerFrame> {
        let frame = self.frames.recv().await?;
        self.waiting.fetch_sub(weight(&frame), Ordering::AcqRel);
        Some(frame)
    }

    /// Why the driver wants the stream to end; waits until it does.
    pub fn ended(&self) -> impl Future<Output = String> + use<> {
        let mut end = self.end.clone();
        async move {
            match end.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone().unwrap_or_default(),
                Err(_) => "the hub stops".to_owned(),
            }
        }
    }
}

/// Bytes of records in a frame. All else is bounded by its count and by the limits of frames.
fn weight(frame: &PeerFrame) -> usize {
    match frame {
        PeerFrame::Run(run) => run.run.body.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millrace_model::{DeviceId, Encoding, Incarnation, JournalId, Lane};
    use millrace_wire::peer::PeerRun;
    use millrace_wire::{Lodging, RunFrame};

    use super::*;

    fn run(bytes: usize) -> PeerFrame {
        let device = DeviceId::from_bytes([7; 16]);
        let journal = JournalId { device, incarnation: Incarnation::new(5), lane: Lane::Normal };
        let body = Bytes::from(vec![0; bytes]);
        let journal = Lodging::from(journal);
        let run = RunFrame { journal, first: 1, count: 1, encoding: Encoding::Plain, body, segment: None };
        PeerFrame::Run(PeerRun { device, run })
    }

    #[tokio::test]
    async fn a_way_that_nobody_empties_ends_and_one_that_is_emptied_does_not() {
        let mib = run(1 << 20);
        let (way, mut end) = Way::new();
        for _ in 0..4 * (BYTES_MAX >> 20) {
            assert!(way.send(mib.clone()));
            assert_eq!(end.next().await.as_ref(), Some(&mib));
        }
        let fitting = (0..2 * (BYTES_MAX >> 20)).take_while(|_| way.send(mib.clone())).count();
        assert_eq!(u64::try_from(fitting).unwrap(), (BYTES_MAX >> 20) + 1);
        assert!(end.ended().await.contains("does not read"));
        way.end("another reason");
        assert!(end.ended().await.contains("does not read"), "the first reason counts");
    }

    #[tokio::test]
    async fn frames_without_records_are_bounded_by_their_number() {
        let (way, end) = Way::new();
        let fitting = (0..2 * FRAMES_MAX).take_while(|_| way.send(run(0))).count();
        assert_eq!(fitting, FRAMES_MAX);
        drop(way);
        assert!(end.ended().await.contains("does not read"));
        let (way, end) = Way::new();
        drop(way);
        assert_eq!(end.ended().await, "the hub stops");
    }
}
