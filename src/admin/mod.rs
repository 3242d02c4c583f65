//! The admin API: what an operator or a backend may do to a running node, over HTTP on a listener of its own.
//!
//! Owns: the routes, who may ask (whoever bears the token), what a request may look like, the OpenAPI document. Must not
//! know: where keys are, how a link is closed. It has no CORS and nothing a browser does by itself reaches it: every
//! request needs the token in its `Authorization`.
//!
//! Invariants: without the token nothing is told, not even which routes there are; a body is JSON of at most 64 KiB, not
//! coded; an answer that says "revoked" is given after the revocation is in force.

mod body;
mod document;
mod guard;
mod keys;
mod players;
mod revocations;
mod tickets;
mod token;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, delete, get, post};
use serde_json::{Map, Value};

pub use token::{AdminToken, WeakToken};

use self::guard::Guard;
use crate::admission::Admission;
use crate::http::{Response, finished, problem, status_problem};
use crate::ticket::{Algorithm, KeyId, Ticket, UnixSeconds};
use crate::wire::Code;

/// The keys, as the admin API uses them.
pub trait Keyring: Send + Sync + 'static {
    /// Signs a ticket for `player` with further claims, good for `lifetime` from `now`.
    ///
    /// # Errors
    /// [`MintRefusal`].
    fn mint(
        &self,
        player: &str,
        more: Map<String, Value>,
        lifetime: Duration,
        now: UnixSeconds,
    ) -> Result<Minted, MintRefusal>;

    /// Reads every source of keys again and puts them in force; answers which are.
    ///
    /// # Errors
    /// Which source cannot be used, and why, in one line. Then the keys before are still in force.
    fn reload(&self) -> Result<Vec<(KeyId, Algorithm)>, String>;

    /// The longest time from `iat` to `exp` that a ticket may have.
    fn longest_lifetime(&self) -> Duration;

    /// How long from its `iat` on a ticket could be accepted at the most, by clocks that differ as far as they may.
    fn longest_use(&self) -> Duration;
}

/// A ticket that was signed.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The ticket.
    pub ticket: Ticket,
    /// Its `jti`.
    pub jti: String,
    /// Its `exp`.
    pub expires_at: UnixSeconds,
}

/// Why no ticket was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintRefusal {
    /// This server has no private key.
    #[error("this server has no signing key: set admin.signing_key")]
    NoKey,
    /// The key or the system's randomness failed.
    #[error("the key could not sign")]
    Failed,
}

/// What the routes work on.
struct Desk {
    admission: Admission,
    keys: Arc<dyn Keyring>,
    guard: Guard,
}

/// The routes of the admin API, for a listener of its own.
pub fn admin_router(token: AdminToken, admission: Admission, keys: Arc<dyn Keyring>) -> Router {
    let desk = Arc::new(Desk { admission, keys, guard: Guard::new(token) });
    let routes = routes().into_iter().fold(Router::new(), |router, (path, _, route)| router.route(path, route));
    let guarded = axum::middleware::from_fn_with_state(Arc::clone(&desk), guard::check);
    finished(routes.with_state(desk)).layer(guarded)
}

type Route = (&'static str, &'static [&'static str], MethodRouter<Arc<Desk>>);

/// Every route with its methods. The document is held against this.
fn routes() -> Vec<Route> {
    vec![
        ("/v1/tickets", &["post"], post(tickets::mint)),
        ("/v1/tickets/{jti}", &["delete"], delete(tickets::revoke)),
        ("/v1/revocations", &["get", "post"], get(revocations::list).post(revocations::revoke)),
        ("/v1/players", &["get"], get(players::list)),
        ("/v1/players/{id}", &["get", "delete"], get(players::show).delete(players::kick)),
        ("/v1/lobbies", &["get"], get(players::lobbies)),
        ("/v1/keys/reload", &["post"], post(keys::reload)),
        ("/openapi.json", &["get"], get(document::show)),
    ]
}

/// The parameters of a request, or the refusal that names the ones there are.
fn parameters<T>(query: Result<Query<T>, QueryRejection>, known: &str) -> Result<T, Box<Response>> {
    query.map(|Query(parameters)| parameters).map_err(|_| Box::new(problem(Code::Malformed, Some(known), None)))
}

fn not_found(what: &str) -> Response {
    problem(Code::NotFound, Some(what), None)
}

fn internal() -> Response {
    status_problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", None)
}

/// How many entries a page has.
fn page(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE).clamp(1, PAGE_MOST)
}

/// Entries of a page unless asked otherwise, and at the most.
const PAGE: usize = 100;
const PAGE_MOST: usize = 1_000;

#[cfg(test)]
mod tests;
