//! What the API looks like, for machines: OpenAPI 3.1.

use axum::http::header;
use axum::response::IntoResponse as _;

use crate::http::Response;

/// `GET /openapi.json`.
pub async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

/// Written by hand; a test holds it against the routes and against what they answer.
pub const DOCUMENT: &str = include_str!("openapi.json");
