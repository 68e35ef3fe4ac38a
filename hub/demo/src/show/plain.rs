//! The story without a terminal: a line per event, and a line per device every few seconds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::picture::{Camera, View, bytes, span};
use super::stage::Stage;
use super::story;

/// Between two looks at the plant.
const REPORT_EVERY: Duration = Duration::from_secs(4);

/// Plays the story and prints how it goes.
pub(crate) async fn play(stage: &Arc<Stage>, seconds: u64) {
    let reports = async {
        let mut camera = Camera::new();
        let mut ticks = interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        camera.shoot(stage).await;
        loop {
            ticks.tick().await;
            for view in camera.shoot(stage).await {
                println!("         {}", line(&view));
            }
        }
    };
    tokio::select! {
        () = story::tell(stage, Duration::from_secs(seconds)) => {}
        () = reports => {}
    }
}

fn line(view: &View) -> String {
    let session = if view.cut { format!("{} (link cut)", view.session) } else { view.session.clone() };
    format!(
        "{:<11} {:<18} {:<10} {:>5}/s  {:>6} pending  lag {:>8}  link {:>9}",
        view.name,
        session,
        view.hub,
        view.rate,
        view.status.ledger.pending,
        span(view.lag),
        bytes(view.road_bytes),
    )
}
