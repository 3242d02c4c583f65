//! Tickets: minting one for a backend that would rather ask than sign, and revoking one.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Desk, MintRefusal, body, internal, parameters, revocations};
use crate::directory::RevocationLine;
use crate::http::{Response, problem, status_problem};
use crate::wire::Code;

/// The body of `POST /v1/tickets`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    sub: String,
    name: Option<Value>,
    role: Option<Value>,
    game: Option<Value>,
    lobby: Option<Value>,
    session: Option<Value>,
    rating: Option<Value>,
    party: Option<Value>,
    actions: Option<Value>,
    session_exp: Option<Value>,
    /// Seconds.
    lifetime: Option<u64>,
    /// Claims that are not muster's.
    claims: Option<Map<String, Value>>,
}

/// `POST /v1/tickets`.
pub async fn mint(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let wish: Wish = match body::json(request).await {
        Ok(wish) => wish,
        Err(refusal) => return *refusal,
    };
    let longest = desk.keys.longest_lifetime();
    let lifetime = wish.lifetime.map_or(longest.min(USUAL), Duration::from_secs);
    if lifetime.is_zero() || lifetime > longest {
        let detail = format!("lifetime: 1 to {} seconds", longest.as_secs());
        return problem(Code::Malformed, Some(&detail), None);
    }
    let now = desk.admission.hub().clock().unix();
    let more = match wish.more() {
        Ok(more) => more,
        Err(claim) => {
            let detail = format!("claims: `{claim}` is not a claim of your own");
            return problem(Code::Malformed, Some(&detail), None);
        }
    };
    let minted = match desk.keys.mint(&wish.sub, more, lifetime, now) {
        Ok(minted) => minted,
        Err(fault @ MintRefusal::NoKey) => {
            return status_problem(StatusCode::CONFLICT, "no-signing-key", Some(&fault.to_string()));
        }
        Err(MintRefusal::Failed) => return internal(),
    };
    // What this node would refuse is not handed out.
    if let Err(fault) = desk.admission.verifier().verify(minted.ticket.reveal(), now) {
        return problem(Code::Malformed, Some(&fault.to_string()), None);
    }
    let answer = json!({
        "ticket": minted.ticket.reveal(),
        "jti": minted.jti,
        "sub": wish.sub,
        "expires_at": minted.expires_at.0,
    });
    (StatusCode::CREATED, Json(answer)).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeParameters {
    until: Option<u64>,
}

/// `DELETE /v1/tickets/{jti}`.
pub async fn revoke(
    State(desk): State<Arc<Desk>>,
    jti: Result<Path<String>, PathRejection>,
    query: Result<Query<RevokeParameters>, QueryRejection>,
) -> Response {
    let until = match parameters(query, "known parameters: until=UNIX_SECONDS") {
        Ok(parameters) => parameters.until,
        Err(refusal) => return *refusal,
    };
    let jti = jti.ok().map(|Path(jti)| jti);
    revocations::carry_out(&desk, &RevocationLine { jti, until, ..RevocationLine::default() }, 0).await
}

impl Wish {
    /// The claims beside those that every ticket has; the name of one that may not be given, if there is one.
    fn more(&self) -> Result<Map<String, Value>, String> {
        let mut more = self.claims.clone().unwrap_or_default();
        if let Some(taken) = more.keys().find(|name| TAKEN.contains(&name.as_str())) {
            return Err(taken.clone());
        }
        let Self { name, role, game, lobby, session, rating, party, actions, session_exp, .. } = self;
        let known = [
            ("name", name),
            ("role", role),
            ("game", game),
            ("lobby", lobby),
            ("session", session),
            ("rating", rating),
            ("party", party),
            ("actions", actions),
            ("session_exp", session_exp),
        ];
        more.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))));
        Ok(more)
    }
}

/// Claims that the body has members for, or that the server sets.
const TAKEN: [&str; 17] = [
    "iss",
    "aud",
    "sub",
    "jti",
    "iat",
    "exp",
    "nbf",
    "nodes",
    "name",
    "role",
    "game",
    "lobby",
    "session",
    "rating",
    "party",
    "actions",
    "session_exp",
];

/// How long a ticket is good when nothing is asked.
const USUAL: Duration = Duration::from_secs(60);
