//! Who may ask: whoever bears the token.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use parking_lot::Mutex;

use super::{AdminToken, Desk};
use crate::http::{Response, problem, status_problem};
use crate::limits::TokenBucket;
use crate::wire::Code;

/// The token, and how often it was not the one.
pub struct Guard {
    token: AdminToken,
    wrong: Mutex<TokenBucket>,
}

impl Guard {
    pub fn new(token: AdminToken) -> Self {
        Self { token, wrong: Mutex::new(TokenBucket::full(WRONG_PER_SECOND, Duration::ZERO)) }
    }
}

/// Lets a request with the token through, always: an attacker who guesses does not shut the operator out. The others
/// are refused, and past a rate they are told to slow down.
pub async fn check(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    if bearer(request.headers()).is_some_and(|token| desk.guard.token.is(token)) {
        return next.run(request).await;
    }
    let hub = desk.admission.hub();
    hub.metrics().admin_refused.inc();
    if desk.guard.wrong.lock().take(WRONG_PER_SECOND, WRONG_PER_SECOND, hub.clock().now()) {
        tracing::warn!("a request to the admin API came with a wrong token or none");
        status_problem(StatusCode::UNAUTHORIZED, "bad-token", Some("Authorization: Bearer TOKEN"))
    } else {
        problem(Code::TooFast, None, None)
    }
}

/// The token of the one `Authorization` there is.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (only, None) = (all.next()?, all.next()) else { return None };
    let (scheme, token) = only.as_bytes().split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token)
}

const SCHEME: &[u8] = b"Bearer ";

/// Wrong tokens that are answered 401 per second; more are answered 429.
const WRONG_PER_SECOND: u32 = 10;
