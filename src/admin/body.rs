//! The body of a request: JSON, of a bounded size, as it is.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::http::{Response, problem, status_problem};
use crate::wire::Code;

/// Reads a body into what the route takes.
///
/// # Errors
/// The refusal to answer with: 415 for another kind or a coded body, 413 past the bound, 400 for what does not fit.
pub async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Box<Response>> {
    if !is_plain_json(request.headers()) {
        let detail = Some("the body must be application/json, and not coded");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Box::new(status_problem(status, "unsupported-media-type", detail)));
    }
    let bytes = match Limited::new(request.into_body(), MAX_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Box::new(problem(Code::MessageTooBig, Some("the body is longer than 64 KiB"), None)));
        }
        Err(_) => return Err(Box::new(problem(Code::Malformed, Some("the body broke off"), None))),
    };
    // Only somebody with the token reads this, and it is about what they wrote themselves.
    serde_json::from_slice(&bytes).map_err(|error| {
        let detail: String = error.to_string().chars().take(MAX_DETAIL).collect();
        Box::new(problem(Code::Malformed, Some(&detail), None))
    })
}

fn is_plain_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") && !headers.contains_key(header::CONTENT_ENCODING)
}

const MAX_BYTES: usize = 64 * 1_024;
const MAX_DETAIL: usize = 200;
