//! Refusals over HTTP: problem bodies (RFC 9457) from the code table.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::Response;
use crate::wire::{Act, Code};

/// The body. `type` is the slug, a reference relative to the documentation of the codes.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// A refusal. `detail` is for a developer's eyes and must hold nothing of the request. `retry_after` says when to come
/// back; codes that ask for a retry get one second where none is given.
pub fn problem(code: Code, detail: Option<&str>, retry_after: Option<Duration>) -> Response {
    let again = matches!(code.act(), Act::Retry | Act::Resume) || code == Code::TooFast;
    let retry_after = retry_after.or(again.then_some(Duration::from_secs(1)));
    let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = written(
        status,
        &Problem {
            r#type: code.slug(),
            title: title(code.slug()),
            status: status.as_u16(),
            code: Some(code.number()),
            detail,
            retry_after_ms: retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        },
    );
    let headers = response.headers_mut();
    if let Some(after) = retry_after {
        // Whole seconds, rounded up, so that nobody comes back too early.
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1_000) as u64));
    }
    match status {
        StatusCode::UNAUTHORIZED => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        // RFC 9110 15.5.22: a 426 names what to upgrade to.
        StatusCode::UPGRADE_REQUIRED => drop(headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"))),
        _ => {}
    }
    response
}

/// A refusal that the code table has no row for: it is never told to a player. `slug` and `detail` as in [`problem`].
pub fn status_problem(status: StatusCode, slug: &str, detail: Option<&str>) -> Response {
    let (number, title) = (status.as_u16(), title(slug));
    let mut response =
        written(status, &Problem { r#type: slug, title, status: number, code: None, detail, retry_after_ms: None });
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A refusal as bytes, for a connection that is closed before its request is read.
pub fn refusal_bytes(code: Code) -> Vec<u8> {
    let (slug, status, number) = (code.slug(), code.http_status(), code.number());
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = Problem {
        r#type: slug,
        title: title(slug),
        status: status.as_u16(),
        code: Some(number),
        detail: None,
        retry_after_ms: Some(1_000),
    };
    let body = serde_json::to_string(&body).unwrap_or_default();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\nretry-after: 1\r\n\
         connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A method that the route does not have: the code table is silent about it, HTTP is not.
pub(super) fn method_not_allowed() -> Response {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let title = "Method not allowed".to_owned();
    let body = Problem { r#type: "about:blank", title, status: 405, code: None, detail: None, retry_after_ms: None };
    written(status, &body)
}

fn written(status: StatusCode, problem: &Problem<'_>) -> Response {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// `lobby-full` is "Lobby full".
fn title(slug: &str) -> String {
    let mut letters = slug.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).map(|letter| if letter == '-' { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn every_code_becomes_a_problem_with_its_slug_status_and_number() {
        for code in Code::ALL {
            let response = problem(code, None, None);
            assert_eq!(response.status().as_u16(), code.http_status());
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(response.headers().contains_key(header::WWW_AUTHENTICATE), code.http_status() == 401);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["type"], code.slug());
            assert_eq!(body["code"], code.number());
            assert_eq!(body["status"], code.http_status());
        }
    }

    #[tokio::test]
    async fn a_retry_is_told_in_whole_seconds_rounded_up() {
        let response = problem(Code::TooFast, Some("slow down"), Some(Duration::from_millis(1_200)));
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["retry_after_ms"], 1_200);
        assert_eq!(body["detail"], "slow down");
        assert_eq!(problem(Code::Draining, None, None).headers()[header::RETRY_AFTER], "1");
        assert!(!problem(Code::BadTicket, None, None).headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn a_title_reads_like_words() {
        assert_eq!(title("lobby-full"), "Lobby full");
        assert_eq!(title(""), "");
    }
}
