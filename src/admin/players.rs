//! Players and lobbies: who is here, and sending somebody away.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, not_found, page, parameters, revocations};
use crate::directory::RevocationLine;
use crate::http::{Response, problem};
use crate::hub::PlayerFacts;
use crate::ids::PlayerId;
use crate::lobby::Role;
use crate::ticket::UnixSeconds;
use crate::wire::{Code, LobbyStatus, LobbyView};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListParameters {
    limit: Option<usize>,
    after: Option<String>,
}

/// `GET /v1/players`.
pub async fn list(State(desk): State<Arc<Desk>>, query: Result<Query<ListParameters>, QueryRejection>) -> Response {
    let asked = match parameters(query, KNOWN) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let Ok(after) = asked.after.as_deref().map(PlayerId::new).transpose() else {
        return problem(Code::Malformed, Some("after: not a player's id"), None);
    };
    let hub = desk.admission.hub();
    let (now, most) = (hub.clock().unix(), page(asked.limit));
    let found = hub.players(after.as_ref(), most);
    let next = found.last().filter(|_| found.len() == most).map(|last| last.player.as_str().to_owned());
    let players: Vec<Value> = found.iter().map(|facts| told(facts, now)).collect();
    Json(json!({ "players": players, "next": next })).into_response()
}

/// `GET /v1/players/{id}`.
pub async fn show(State(desk): State<Arc<Desk>>, id: Result<Path<String>, PathRejection>) -> Response {
    let hub = desk.admission.hub();
    match player_of(id).and_then(|player| hub.player(&player)) {
        Some(facts) => Json(told(&facts, hub.clock().unix())).into_response(),
        None => not_found("no such player is here"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KickParameters {
    revoke: Option<bool>,
}

/// `DELETE /v1/players/{id}`.
pub async fn kick(
    State(desk): State<Arc<Desk>>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<KickParameters>, QueryRejection>,
) -> Response {
    let revokes = match parameters(query, "known parameters: revoke=true|false") {
        Ok(asked) => asked.revoke.unwrap_or(false),
        Err(refusal) => return *refusal,
    };
    let Some(player) = player_of(id) else { return not_found("no such player is here") };
    let kicked = desk.admission.hub().kick(&player);
    if revokes {
        // Who has come back in between is found by this.
        let line = RevocationLine { player: Some(player.as_str().to_owned()), ..RevocationLine::default() };
        return revocations::carry_out(&desk, &line, usize::from(kicked)).await;
    }
    if kicked { Json(json!({ "kicked": true })).into_response() } else { not_found("no such player is here") }
}

/// `GET /v1/lobbies`: all of them, private ones too.
pub async fn lobbies(State(desk): State<Arc<Desk>>, query: Result<Query<ListParameters>, QueryRejection>) -> Response {
    let asked = match parameters(query, KNOWN) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let Ok(after) = asked.after.map(|after| after.parse()).transpose() else {
        return problem(Code::Malformed, Some("after: not a lobby's id"), None);
    };
    let most = page(asked.limit);
    let found = desk.admission.hub().lobbies(after, most);
    let next = found.last().filter(|_| found.len() == most).map(|last| last.id.to_string());
    let lobbies: Vec<Value> = found.iter().map(lobby).collect();
    Json(json!({ "lobbies": lobbies, "next": next })).into_response()
}

fn player_of(id: Result<Path<String>, PathRejection>) -> Option<PlayerId> {
    let Path(id) = id.ok()?;
    PlayerId::new(&id).ok()
}

fn told(facts: &PlayerFacts, now: UnixSeconds) -> Value {
    json!({
        "id": facts.player.as_str(),
        "name": facts.name,
        "role": match facts.role {
            Role::Player => "player",
            Role::Spectator => "spectator",
        },
        "lobby": facts.lobby.map(|lobby| lobby.to_string()),
        "session": facts.session.map(|session| session.to_string()),
        "transport": facts.transport.map(|transport| transport.as_str()),
        "round_trip_ms": facts.round_trip.map(|round_trip| round_trip.as_secs_f64() * 1_000.0),
        "since": now.0.saturating_sub(facts.here_for.as_secs()),
        "ticket": {
            "jti": facts.ticket.jti.as_ref().map(|jti| jti.as_str()),
            "issued_at": facts.ticket.issued_at.0,
            "session_exp": facts.ticket.session_expires_at.map(|end| end.0),
        },
    })
}

fn lobby(view: &LobbyView) -> Value {
    json!({
        "id": view.id.to_string(),
        "code": view.code.as_str(),
        "game": view.game.as_str(),
        "name": view.name,
        "public": view.public,
        "locked": view.locked,
        "host": view.host.as_ref().map(|host| host.as_str()),
        "members": view.members.len(),
        "capacity": view.capacity,
        "session": match view.status {
            LobbyStatus::Gathering => None,
            LobbyStatus::Playing(session) => Some(session.to_string()),
        },
    })
}

const KNOWN: &str = "known parameters: limit=1..1000, after=ID";
