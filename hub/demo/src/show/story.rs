//! The story: what happens to the plant while nobody presses a key.
//!
//! ```text
//! press-line   ── burst ──── link cut ═══════════ healed ───────────────
//! robot-cell   ──────────────────── SIGKILL ═══ restart ────────────────
//! energy       ─────────────────────────────────────────── burst ───────
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::device::Device;
use super::stage::Stage;

/// What is done, when (in hundredths of the story), and to which device.
const SCRIPT: [(u32, usize, Deed); 6] = [
    (8, 0, Deed::Burst),
    (20, 0, Deed::Cut),
    (34, 1, Deed::Kill),
    (48, 1, Deed::Revive),
    (58, 0, Deed::Heal),
    (74, 2, Deed::Burst),
];

#[derive(Clone, Copy)]
enum Deed {
    Burst,
    Cut,
    Heal,
    Kill,
    Revive,
}

/// Plays it, for as long as the machines are to speak.
pub(crate) async fn tell(stage: &Stage, length: Duration) {
    let began = Instant::now();
    for (at, device, deed) in SCRIPT {
        sleep_until(began + length * at / 100).await;
        if let Some(device) = stage.devices.get(device) {
            play(stage, device, deed).await;
        }
    }
    sleep_until(began + length).await;
}

async fn play(stage: &Stage, device: &Arc<Device>, deed: Deed) {
    let actor = Arc::clone(device);
    match deed {
        Deed::Cut => device.set_cut(true),
        Deed::Heal => device.set_cut(false),
        Deed::Burst => stage.spawn(async move { actor.burst().await }).await,
        Deed::Kill => stage.spawn(async move { actor.kill().await }).await,
        Deed::Revive => stage.spawn(async move { actor.revive().await }).await,
    }
}
