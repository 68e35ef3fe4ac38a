//! `GET /v1/dump`, on the admin socket alone: everything that the cluster decided, for a backup.
//!
//! What this hub has applied, so that a hub without a quorum can be backed up too.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use millrace_host::http::Problem;
use millrace_hub_control::Level;

use super::Api;

pub(super) async fn show(State(api): State<Api>) -> Result<Response, Problem> {
    let control = api.0.registry.cluster().control();
    let dump = control.dump(Level::Local).await.map_err(|error| Problem::internal(&error))?;
    let bytes = tokio::task::spawn_blocking(move || dump.encode()).await;
    let bytes = bytes.map_err(|error| Problem::internal(&error))?;
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, bytes).into_response())
}
