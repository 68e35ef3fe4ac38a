//! The story: what happens to the plant while nobody presses a key.
//!
//! ```text
//! press-line   ── burst ──────────────────────────────────────────────────
//! robot-cell   ─────────────── agent SIGKILL ═ restart ───────────────────
//! energy       ─────────────────────────────────────────── burst ─────────
//! busiest hub  ──── SIGKILL ═══════════ restart ──────────────────────────
//! region west  ──────────────────────────────── cut off ═════ healed ─────
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::stage::Stage;

/// The region that is cut off.
const CUT_OFF: usize = 2;

/// What is done, and when (in hundredths of the story).
const SCRIPT: [(u32, Deed); 8] = [
    (6, Deed::Burst(0)),
    (14, Deed::KillBusiestHub),
    (30, Deed::Kill(1)),
    (38, Deed::Revive(1)),
    (42, Deed::ReviveHubs),
    (54, Deed::CutRegion),
    (76, Deed::HealRegion),
    (84, Deed::Burst(3)),
];

#[derive(Clone, Copy)]
enum Deed {
    Burst(usize),
    Kill(usize),
    Revive(usize),
    KillBusiestHub,
    ReviveHubs,
    CutRegion,
    HealRegion,
}

/// Plays it, for as long as the machines are to speak.
pub(crate) async fn tell(stage: &Arc<Stage>, length: Duration) {
    let began = Instant::now();
    for (at, deed) in SCRIPT {
        sleep_until(began + length * at / 100).await;
        play(stage, deed).await;
    }
    sleep_until(began + length).await;
}

async fn play(stage: &Arc<Stage>, deed: Deed) {
    let actor = match deed {
        Deed::Burst(device) | Deed::Kill(device) | Deed::Revive(device) => stage.devices.get(device).cloned(),
        _ => None,
    };
    match (deed, actor) {
        (Deed::Burst(_), Some(actor)) => stage.spawn(async move { actor.burst().await }).await,
        (Deed::Kill(_), Some(actor)) => stage.spawn(async move { actor.kill().await }).await,
        (Deed::Revive(_), Some(actor)) => stage.spawn(async move { actor.revive().await }).await,
        (Deed::KillBusiestHub, _) => {
            if let Some(busiest) = stage.busiest().await
                && let Err(error) = stage.kill_hub(busiest).await
            {
                stage.say(&error.to_string());
            }
        }
        (Deed::ReviveHubs, _) => {
            for site in stage.sites.iter().map(Arc::clone) {
                stage.spawn(async move { site.revive().await }).await;
            }
        }
        (Deed::CutRegion, _) => stage.set_region_cut(CUT_OFF, true),
        (Deed::HealRegion, _) => stage.set_region_cut(CUT_OFF, false),
        _ => {}
    }
}
