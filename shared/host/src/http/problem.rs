//! `Problem`: the one shape in which a request is refused.
//!
//! Promise: every response of 400 and above is JSON, `{"error": {"code", "message", "hint"}}`: `code` is
//! a stable word for programs, `message` and `hint` are for people.
//! Absent: no internals in messages; what a caller cannot act on goes to the log.

use axum::body::{Body, to_bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The longest text of a library's own refusal that is passed on, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// A refusal. Made by handlers, returned as the `Err` of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: String,
}

impl Problem {
    /// A refusal with a stable `code`, what is wrong, and what to do about it.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { status, code, message: message.into(), hint: hint.into() }
    }

    /// 400: a parameter is missing or wrong.
    pub fn bad_request(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message, hint)
    }

    /// 404: nothing of that name.
    pub fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message, hint)
    }

    /// 503: not now.
    pub fn unavailable(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message, hint)
    }

    /// 503: a limit of this server is reached.
    pub(crate) fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "the server has as many callers as it takes",
            "try again in a second",
        )
    }

    /// 500: a fault in the daemon. The cause goes to the log, not to the caller.
    #[must_use]
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed inside the daemon");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the daemon could not answer",
            "its log says why",
        )
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The JSON text that is sent.
    #[must_use]
    pub fn body(&self) -> String {
        serde_json::json!({
            "error": { "code": self.code, "message": self.message, "hint": self.hint }
        })
        .to_string()
    }

    /// The whole answer of HTTP/1.1 for a connection that is not served and closed after it.
    #[must_use]
    pub fn farewell(&self) -> String {
        let body = self.body();
        format!(
            "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\
             retry-after: 1\r\n\r\n{body}",
            self.status,
            body.len()
        )
    }
}

/// What is wrong and what to do about it, on one line.
impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}; {}", self.message, self.hint)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, [(header::CONTENT_TYPE, "application/json")], self.body()).into_response()
    }
}

/// Gives refusals that libraries made (a query string that does not parse, a body too large) the shape
/// of a [`Problem`]; leaves everything else alone. A layer over all routes (`axum::middleware::map_response`).
pub async fn shaped(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_json(&response) {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let text = to_bytes(response.into_body(), MESSAGE_BYTES_MAX).await.unwrap_or_default();
    let mut message = String::from_utf8_lossy(&text).trim().to_owned();
    let (code, hint) = match status {
        StatusCode::NOT_FOUND => ("not_found", "docs/api.md lists the paths"),
        StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "see the `allow` header"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "send less at once"),
        _ if status.is_client_error() => ("bad_request", "correct the request as the message says"),
        _ => ("internal", "the daemon's log says why"),
    };
    if message.is_empty() {
        status.canonical_reason().unwrap_or("refused").to_lowercase().clone_into(&mut message);
    }
    let mut response = Problem::new(status, code, message, hint).into_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

fn is_json(response: &Response<Body>) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body_of(response: Response) -> serde_json::Value {
        serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_problem_is_code_message_and_hint() {
        let response = Problem::bad_request("`limit` is not a number", "write limit=100").into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            body_of(response).await,
            serde_json::json!({"error": {
                "code": "bad_request", "message": "`limit` is not a number", "hint": "write limit=100"
            }})
        );
    }

    #[tokio::test]
    async fn foreign_refusals_are_reshaped_and_good_answers_are_not() {
        let foreign = (StatusCode::PAYLOAD_TOO_LARGE, "length limit exceeded").into_response();
        let body = body_of(shaped(foreign).await).await;
        assert_eq!(
            (&body["error"]["code"], &body["error"]["message"]),
            (&"too_large".into(), &"length limit exceeded".into())
        );

        let fine = shaped("plain".into_response()).await;
        assert_eq!(to_bytes(fine.into_body(), 100).await.unwrap(), "plain");

        let own = Problem::not_found("no such device", "list them with /v1/devices");
        let body = body_of(shaped(own.into_response()).await).await;
        assert_eq!(body["error"]["message"], "no such device");
    }

    #[tokio::test]
    async fn an_empty_refusal_still_says_something() {
        let response = (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")]).into_response();
        let response = shaped(response).await;
        assert_eq!(response.headers()[header::ALLOW], "GET");
        assert_eq!(body_of(response).await["error"]["message"], "method not allowed");
    }

    #[test]
    fn an_internal_cause_is_not_told_to_the_caller() {
        let problem = Problem::internal(&"disk /dev/sda1 is gone");
        assert_eq!(problem.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!problem.body().contains("sda1"));
    }
}
