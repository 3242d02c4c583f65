//! Revocations: making one, and seeing which are in force.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Desk, body, page, parameters};
use crate::admission::{RevocationSource, RevokeOutcome};
use crate::directory::{Kept, Revocation, RevocationLine, Revoked};
use crate::http::{Response, problem, status_problem};
use crate::ticket::UnixSeconds;
use crate::wire::Code;

/// `POST /v1/revocations`.
pub async fn revoke(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    match body::json(request).await {
        Ok(line) => carry_out(&desk, &line, 0).await,
        Err(refusal) => *refusal,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListParameters {
    limit: Option<usize>,
    offset: Option<usize>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    line: RevocationLine,
    source: &'static str,
}

/// `GET /v1/revocations`.
pub async fn list(State(desk): State<Arc<Desk>>, query: Result<Query<ListParameters>, QueryRejection>) -> Response {
    let asked = match parameters(query, "known parameters: limit=1..1000, offset=0..") {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let Ok(all) = desk.admission.revocations().await else { return problem(Code::Overloaded, None, None) };
    let total = all.len();
    let some = all.into_iter().skip(asked.offset.unwrap_or(0)).take(page(asked.limit));
    let entry = |(revocation, source): (Revocation, RevocationSource)| Entry {
        line: RevocationLine::from(&revocation),
        source: match source {
            RevocationSource::Asked => "api",
            RevocationSource::Listed => "file",
        },
    };
    let entries: Vec<Entry> = some.map(entry).collect();
    Json(json!({ "revocations": entries, "total": total })).into_response()
}

/// Makes a revocation of what was asked for and says what became of it; players who went for it just before count.
pub async fn carry_out(desk: &Desk, line: &RevocationLine, gone: usize) -> Response {
    let now = desk.admission.hub().clock().unix();
    let revocation = match complete(line, now, desk.keys.longest_use()) {
        Ok(revocation) => revocation,
        Err(why) => return problem(Code::Malformed, Some(&why), None),
    };
    match desk.admission.revoke(&revocation).await {
        Err(fault) => status_problem(StatusCode::SERVICE_UNAVAILABLE, "not-revoked", Some(&fault.to_string())),
        Ok(RevokeOutcome { sent_away, kept: Kept::NotYet(why) }) => {
            let sent_away = sent_away + gone;
            let detail = format!(
                "it is in force and {sent_away} players were sent away, but a restart would forget it: the store \
                 cannot be written ({why}); it is tried again by itself"
            );
            status_problem(StatusCode::INSUFFICIENT_STORAGE, "not-kept", Some(&detail))
        }
        Ok(RevokeOutcome { sent_away, kept }) => Json(json!({
            "revocation": RevocationLine::from(&revocation),
            "sent_away": sent_away + gone,
            "kept": if kept == Kept::OnDisk { "disk" } else { "memory" },
        }))
        .into_response(),
    }
}

/// Fills in what was not said: everything issued up to now, kept for as long as such a ticket could be accepted.
fn complete(line: &RevocationLine, now: UnixSeconds, longest_use: Duration) -> Result<Revocation, String> {
    // The second that has begun is in: a ticket of this very moment is revoked too.
    let revocation = line.read(now.plus(Duration::from_secs(1))).map_err(|fault| fault.to_string())?;
    let latest = now.plus(MAX_KEPT);
    let until = match (line.until.map(UnixSeconds), &revocation.of) {
        (Some(until), _) if until <= now || until > latest => {
            return Err(format!("`until` must be after {} and at most {}, 400 days from now", now.0, latest.0));
        }
        (Some(until), _) => until,
        (None, Revoked::Ticket(_)) => now.plus(longest_use),
        (None, Revoked::Player { issued_before, .. } | Revoked::Everything { issued_before }) => {
            now.max(*issued_before).plus(longest_use).min(latest)
        }
    };
    Ok(Revocation { until, ..revocation })
}

/// The longest that a revocation is kept: longer than any token that is meant to expire.
const MAX_KEPT: Duration = Duration::from_secs(400 * 86_400);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000_000);
    const USE: Duration = Duration::from_secs(130);

    fn completed(text: &str) -> Result<Revocation, String> {
        complete(&serde_json::from_str(text).unwrap(), NOW, USE)
    }

    #[test]
    fn what_is_not_said_covers_every_ticket_of_this_moment_for_as_long_as_one_is_good() {
        assert_eq!(completed(r#"{"jti":"a"}"#).unwrap().to_string(), r#"{"jti":"a","until":1000130}"#);
        let player = completed(r#"{"player":"ada"}"#).unwrap().to_string();
        assert_eq!(player, r#"{"player":"ada","issued_before":1000001,"until":1000131}"#);
        let past = completed(r#"{"all":true,"issued_before":7}"#).unwrap().to_string();
        assert_eq!(past, r#"{"all":true,"issued_before":7,"until":1000130}"#);
    }

    #[test]
    fn nothing_is_kept_longer_than_400_days() {
        let latest = NOW.plus(MAX_KEPT).0;
        assert!(completed(&format!(r#"{{"jti":"a","until":{latest}}}"#)).is_ok());
        assert!(completed(&format!(r#"{{"jti":"a","until":{}}}"#, latest + 1)).is_err());
        assert!(completed(r#"{"jti":"a","until":1000000}"#).is_err(), "over already");
        let far = completed(&format!(r#"{{"player":"a","issued_before":{}}}"#, u64::MAX)).unwrap();
        assert_eq!(far.until.0, latest);
    }
}
