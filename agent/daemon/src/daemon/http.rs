//! Local HTTP: `/status`, `/routes`, `/attest` and `/restore` beside the routes of every daemon.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use millrace_agent_engine::{Event, Status};
use millrace_host::http::{Health, Problem, host_routes};
use millrace_host::metrics::Metrics;
use millrace_host::schedules::Schedules;
use millrace_host::systemd::{Verdict, Watchdog};
use millrace_host::terminal;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::attesting::Attesting;
use super::backlog::{Backlog, Gauging};
use super::uplink::{CertificateFigures, LinkFigures, Uplink};
use crate::mqtt::{MqttStatus, StatusHandle};

/// What the routes speak of.
#[derive(Clone)]
pub struct Subject {
    /// The device's id, in text.
    pub device: String,
    /// Its name.
    pub name: String,
    /// Name and version of the program.
    pub software: String,
    /// Asks the driver.
    pub asks: mpsc::Sender<oneshot::Sender<Status>>,
    /// Tells the driver.
    pub events: mpsc::Sender<Event>,
    /// MQTT's counters.
    pub mqtt: StatusHandle,
    /// The link's figures, and the certificate.
    pub uplink: Arc<Uplink>,
    /// Measures what waits for a hub.
    pub gauging: Gauging,
    /// Asks the hub whether it has the same.
    pub attesting: Arc<Attesting>,
    /// Bandwidth windows.
    pub schedules: Schedules,
}

#[derive(Serialize)]
struct Page {
    device: String,
    name: String,
    software: String,
    #[serde(flatten)]
    engine: Status,
    mqtt: MqttStatus,
    link: LinkFigures,
    backlog: Backlog,
    certificate: CertificateFigures,
    windows: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    cron: String,
    open: bool,
    next_us: Option<i64>,
}

/// The routes.
pub fn routes(subject: Subject, health: Arc<Fitness>, metrics: Metrics) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/routes", get(hubs))
        .route("/attest", post(attest))
        .route("/restore", post(restore))
        .with_state(subject)
        .merge(host_routes(health, metrics))
}

/// One exchange with the present hub. It changes nothing, here or there, but it uses the road and both keys: so no page that merely
/// links here begins one.
async fn attest(State(subject): State<Subject>) -> Response {
    match subject.attesting.attest().await {
        Ok(found) => Json(found).into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn hubs(State(subject): State<Subject>) -> Response {
    Json(subject.uplink.routes()).into_response()
}

/// Has the hubs asked again for history; answered by the status.
async fn restore(State(subject): State<Subject>) -> Response {
    if subject.events.send(Event::Restore).await.is_err() {
        return Problem::unavailable("the agent is stopping", "ask again after its restart").into_response();
    }
    status(State(subject)).await
}

async fn status(State(subject): State<Subject>) -> Response {
    let (answer, answered) = oneshot::channel();
    if subject.asks.send(answer).await.is_err() {
        return Problem::unavailable("the agent is stopping", "ask again after its restart").into_response();
    }
    let Ok(engine) = answered.await else {
        return Problem::unavailable("the agent is stopping", "ask again after its restart").into_response();
    };
    let lines = subject.schedules.list().into_iter().map(|listed| Line {
        name: listed.name,
        cron: listed.expression,
        open: listed.open.unwrap_or(false),
        next_us: listed.next.map(|wall| wall.0),
    });
    let backlog = subject.gauging.now(engine.ledger.pending).await;
    let page = Page {
        device: subject.device,
        name: subject.name,
        software: subject.software,
        engine,
        mqtt: subject.mqtt.snapshot(),
        link: subject.uplink.figures(),
        backlog,
        certificate: subject.uplink.certificate(),
        windows: lines.collect(),
    };
    Json(page).into_response()
}

/// What the agent says of its own health.
pub struct Fitness {
    /// Whether work moves.
    pub watchdog: Watchdog,
    /// The engine's status as of the last second.
    pub latest: Arc<Mutex<Status>>,
    /// MQTT's counters.
    pub mqtt: StatusHandle,
}

impl Health for Fitness {
    fn healthy(&self) -> Result<(), String> {
        match self.watchdog.verdict() {
            Verdict::Feed => Ok(()),
            Verdict::Hold { stage, stuck_for, .. } => {
                Err(format!("{stage} has not moved for {}", terminal::duration(stuck_for)))
            }
        }
    }

    fn ready(&self) -> Result<(), String> {
        self.healthy()?;
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.blocked {
            return Err("the disk budget is used up: publications of a lane are held back".to_owned());
        }
        if !latest.balanced {
            return Err("the ledger does not add up: report this as a bug".to_owned());
        }
        let mqtt = self.mqtt.snapshot();
        if !mqtt.connected {
            let why = mqtt.last_error.map_or_else(String::new, |error| format!(": {error}"));
            return Err(format!("no connection to the MQTT broker{why}"));
        }
        Ok(())
    }
}
