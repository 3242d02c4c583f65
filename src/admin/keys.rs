//! Keys: reading them again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::json;

use super::Desk;
use crate::http::{Response, status_problem};

/// `POST /v1/keys/reload`: as SIGHUP does, and answers which keys are in force.
pub async fn reload(State(desk): State<Arc<Desk>>) -> Response {
    match desk.keys.reload() {
        Ok(keys) => {
            let keys: Vec<_> =
                keys.iter().map(|(kid, alg)| json!({ "kid": kid.as_str(), "alg": alg.name() })).collect();
            Json(json!({ "keys": keys })).into_response()
        }
        // Nothing of what is in the files; which file, and what is wrong with it.
        Err(why) => status_problem(StatusCode::CONFLICT, "bad-keys", Some(&why)),
    }
}
