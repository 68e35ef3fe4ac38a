//! The server: accepts, limits, drains.
//!
//! Promise: nothing that a caller does takes more than [`HttpLimits`] allow; an address that other
//! machines can reach is refused unless `remote` says so; on loopback, requests for another host name
//! are refused, so that no web page can reach the daemon through its visitor's browser.
//! Absent: routes, and what they answer.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, header, uri::Authority};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::limits::HttpLimits;
use super::problem::{Problem, shaped};
use crate::lifecycle::Shutdown;

/// How long accepting rests after the operating system refused a connection (usually: no file
/// descriptors left), so that the loop does not spin while it recovers.
const ACCEPT_REST: std::time::Duration = std::time::Duration::from_millis(100);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can be reached from other machines and the config does not allow that.
    #[error(
        "{0} can be reached from other machines, and this interface has no login; use 127.0.0.1 or [::1], \
         or allow it in the config"
    )]
    NotLoopback(SocketAddr),
    /// The operating system refused the address. The text says why, so the cause is not told as a source as well.
    #[error("cannot listen on {address}: {cause}; is another process using this port?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        cause: io::Error,
    },
}

/// Listens on `address`. `remote` allows addresses that other machines can reach.
///
/// # Errors
/// [`ServeError`]
pub async fn bind(address: SocketAddr, remote: bool) -> Result<TcpListener, ServeError> {
    if !remote && !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|cause| ServeError::Bind { address, cause })
}

/// Serves `routes` on `listener` until the shutdown starts, then lets open requests finish within
/// the drain timeout.
pub async fn serve(listener: TcpListener, routes: Router, limits: HttpLimits, shutdown: Shutdown) {
    let local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let routes = limited(routes, limits, local);
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.triggered() => break,
        };
        while connections.try_join_next().is_some() {}
        match stream {
            Ok((stream, _)) => match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    let connection = converse(stream, routes.clone(), limits, shutdown.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(_) => turn_away(&stream),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain_timeout, drained).await.is_err() {
        tracing::debug!("cutting requests that did not finish in time");
    }
}

/// One connection from its first byte to its last.
async fn converse(stream: TcpStream, routes: Router, limits: HttpLimits, shutdown: Shutdown) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes_max.max(8_192));
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.triggered() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}

/// Tells a caller beyond the limit so, without waiting: what does not fit the empty send buffer is lost.
fn turn_away(stream: &TcpStream) {
    let _ = stream.try_write(Problem::busy().farewell().as_bytes());
}

fn limited(routes: Router, limits: HttpLimits, local: bool) -> Router {
    let slots = Arc::new(Semaphore::new(limits.requests_max));
    let bounded = move |request: Request, next: Next| {
        let slots = Arc::clone(&slots);
        async move { bounded(request, next, limits, local, &slots).await }
    };
    let unknown = |request: Request| async move {
        Problem::not_found(format!("there is no {}", request.uri().path()), "docs/api.md lists the paths")
    };
    routes
        .fallback(unknown)
        .layer(middleware::map_response(shaped))
        .layer(DefaultBodyLimit::max(limits.body_bytes_max))
        .layer(middleware::from_fn(bounded))
}

async fn bounded(
    request: Request<Body>,
    next: Next,
    limits: HttpLimits,
    local: bool,
    slots: &Semaphore,
) -> Result<Response, Infallible> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if local && host.is_some_and(|host| !is_this_machine(host)) {
        let message = "this interface answers only to localhost";
        let hint = "use http://127.0.0.1 or http://localhost, without a proxy";
        return Ok(Problem::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", message, hint).into_response());
    }
    let Ok(_slot) = slots.try_acquire() else {
        return Ok(Problem::busy().into_response());
    };
    let response = tokio::time::timeout(limits.request_timeout, next.run(request)).await;
    Ok(response.unwrap_or_else(|_| {
        let message = format!("no answer within {:?}", limits.request_timeout);
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", message, "ask for less at once").into_response()
    }))
}

fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.1.2.3", "[::1]:80", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost.evil.example"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[tokio::test]
    async fn addresses_that_others_reach_need_permission() {
        let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(bind(everywhere, false).await, Err(ServeError::NotLoopback(_))));
        let here = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let taken = here.local_addr().unwrap();
        let refused = bind(taken, false).await.unwrap_err();
        assert!(matches!(refused, ServeError::Bind { .. }));
        assert!(std::error::Error::source(&refused).is_none(), "who prints the sources says nothing twice");
    }
}
