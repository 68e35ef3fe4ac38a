//! The HTTP server over real sockets: limits, refusals, draining.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use millrace_host::http::{Health, HttpLimits, bind, host_routes, serve};
use millrace_host::metrics::Metrics;
use millrace_host::{Clock, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(routes: Router, limits: HttpLimits) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::manual();
        let task = tokio::spawn(serve(listener, routes, limits, shutdown.clone()));
        Self { address, shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.trigger();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.unwrap().unwrap();
    }

    /// Sends `head` and `body` as they are and reads until the server closes.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses a request it has not read to the end may reset the connection.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
    }
}

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status in {answer:?}"))
}

fn code(answer: &str) -> String {
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {body}"));
    body["error"]["code"].as_str().unwrap().to_owned()
}

#[derive(Default)]
struct Patient {
    sick: AtomicBool,
}

impl Health for Patient {
    fn healthy(&self) -> Result<(), String> {
        if self.sick.load(Ordering::Relaxed) { Err("commit has not moved for 40 s".into()) } else { Ok(()) }
    }
    fn ready(&self) -> Result<(), String> {
        Err("no broker yet".into())
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_are_told() {
    let patient = Arc::new(Patient::default());
    let metrics = Metrics::new("millrace_agent", Clock::system());
    metrics.counter("ingested", "Records").unwrap().inc();
    let server = Server::start(host_routes(patient.clone(), metrics), HttpLimits::DEFAULTS).await;

    assert_eq!(status(&server.get("/healthz").await), 200);
    let unready = server.get("/readyz").await;
    assert_eq!((status(&unready), code(&unready).as_str()), (503, "not_ready"));
    assert!(unready.contains("no broker yet"));
    patient.sick.store(true, Ordering::Relaxed);
    let sick = server.get("/healthz").await;
    assert_eq!((status(&sick), code(&sick).as_str()), (503, "not_healthy"));
    let page = server.get("/metrics").await;
    assert!(
        page.contains("application/openmetrics-text") && page.contains("millrace_agent_ingested_total 1")
    );
    server.stop().await;
}

#[tokio::test]
async fn refusals_have_one_shape() {
    let routes = Router::new().route("/echo", post(|body: String| async move { body }));
    let limits = HttpLimits { body_bytes_max: 64, ..HttpLimits::DEFAULTS };
    let server = Server::start(routes, limits).await;

    let unknown = server.get("/nothing").await;
    assert_eq!((status(&unknown), code(&unknown).as_str()), (404, "not_found"));
    let method = server.get("/echo").await;
    assert_eq!((status(&method), code(&method).as_str()), (405, "method_not_allowed"));
    let large = format!(
        "POST /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 65\r\n\r\n{}",
        "x".repeat(65)
    );
    let large = server.raw(&large).await;
    assert_eq!((status(&large), code(&large).as_str()), (413, "too_large"));
    let rebound = server.raw("GET /echo HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n").await;
    assert_eq!((status(&rebound), code(&rebound).as_str()), (421, "wrong_host"));
    server.stop().await;
}

#[tokio::test]
async fn a_head_too_long_or_too_slow_is_cut() {
    let limits = HttpLimits {
        header_timeout: Duration::from_millis(50),
        header_bytes_max: 8_192,
        ..HttpLimits::DEFAULTS
    };
    let server = Server::start(Router::new(), limits).await;
    let long = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let answer = server.raw(&long).await;
    assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
    // Ends because the server closes, not because the test does.
    let answer = server.raw("GET / HTTP/1.1\r\nhost: local").await;
    assert!(answer.is_empty() || status(&answer) == 408, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn callers_beyond_the_limits_are_told_to_come_back() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (entered_out, mut entered) = tokio::sync::mpsc::channel(4);
    let wait = {
        let gate = gate.clone();
        move || async move {
            entered_out.send(()).await.unwrap();
            gate.acquire().await.unwrap().forget();
            "done"
        }
    };
    let limits = HttpLimits { connections_max: 2, requests_max: 1, ..HttpLimits::DEFAULTS };
    let server = Arc::new(Server::start(Router::new().route("/wait", get(wait)), limits).await);
    let first = tokio::spawn({
        let server = server.clone();
        async move { server.get("/wait").await }
    });
    entered.recv().await.unwrap();

    let second_request = server.get("/wait").await;
    assert_eq!((status(&second_request), code(&second_request).as_str()), (503, "busy"));

    let held = TcpStream::connect(server.address).await.unwrap();
    // The kernel completes connections before the server sees them: ask until the slot is taken.
    let third_connection = loop {
        let answer = server.get("/nothing").await;
        if status(&answer) == 503 && answer.contains("retry-after") {
            break answer;
        }
    };
    assert_eq!(code(&third_connection), "busy");
    drop(held);
    gate.add_permits(1);
    assert!(first.await.unwrap().ends_with("done"));
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let routes = Router::new().route("/never", get(|| async { std::future::pending::<&str>().await }));
    let limits = HttpLimits { request_timeout: Duration::from_millis(20), ..HttpLimits::DEFAULTS };
    let server = Server::start(routes, limits).await;
    let answer = server.get("/never").await;
    assert_eq!((status(&answer), code(&answer).as_str()), (504, "too_slow"));
    server.stop().await;
}

#[tokio::test]
async fn open_requests_finish_after_the_shutdown_has_started() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (entered_out, mut entered) = tokio::sync::mpsc::channel(4);
    let wait = {
        let gate = gate.clone();
        move || async move {
            entered_out.send(()).await.unwrap();
            gate.acquire().await.unwrap().forget();
            "done"
        }
    };
    let server = Server::start(Router::new().route("/wait", get(wait)), HttpLimits::DEFAULTS).await;
    let address = server.address;
    let asked = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    entered.recv().await.unwrap();
    server.shutdown.trigger();
    gate.add_permits(1);
    assert!(asked.await.unwrap().ends_with("done"));
    server.stop().await;
}
