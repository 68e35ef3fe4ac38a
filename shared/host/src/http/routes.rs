//! The routes that every daemon has: `/healthz`, `/readyz`, `/metrics`.
//!
//! Promise: `/healthz` answers 200 while the process does its work and 503 with the reason when it must
//! be restarted; `/readyz` answers 200 while it can also take new work.
//! Absent: no opinion on health; the daemon gives that as [`Health`].

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::problem::Problem;
use crate::metrics::{CONTENT_TYPE, Metrics};

/// What a daemon says about itself. Asked at each request, so answers must be quick and must not wait.
pub trait Health: Send + Sync + 'static {
    /// Whether the process does its work; the error is one sentence that says what does not move.
    ///
    /// # Errors
    /// The reason, when a restart is needed.
    fn healthy(&self) -> Result<(), String>;

    /// Whether it can take new work; the error is one sentence that says what is missing.
    ///
    /// # Errors
    /// The reason, when callers should wait or go elsewhere.
    fn ready(&self) -> Result<(), String>;
}

/// The routes, to be merged into the daemon's own.
pub fn host_routes(health: Arc<dyn Health>, metrics: Metrics) -> Router {
    let ready = Arc::clone(&health);
    Router::new()
        .route(
            "/healthz",
            get(move || async move { answer(health.healthy(), "not_healthy", "see the daemon's log") }),
        )
        .route(
            "/readyz",
            get(move || async move { answer(ready.ready(), "not_ready", "try again in a few seconds") }),
        )
        .route(
            "/metrics",
            get(move || async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.render()) }),
        )
}

fn answer(state: Result<(), String>, code: &'static str, hint: &'static str) -> Response {
    match state {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => {
            Problem::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, code, reason, hint).into_response()
        }
    }
}
