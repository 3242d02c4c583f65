//! `muster ticket verify --config`: a ticket as a server with a configuration would judge it, and what each issuer says.
//!
//! Owns: what is printed. Must not know: what makes a ticket good; that is the `ticket` room.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use crate::config::Config;
use crate::ticket::{Refusal, TicketFault, UnixSeconds, Verifier};
use crate::wire::Code;

/// Prints whose the ticket is, its player and its claims; or how the wire would refuse it, and a line for each issuer with
/// its reason.
///
/// # Errors
/// A closed output.
pub(super) fn judge(
    config: &Config,
    verifier: &Verifier,
    token: Result<&str, TicketFault>,
    now: UnixSeconds,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let refusal = match token.map_err(Refusal::from).and_then(|token| verifier.judge(token, now)) {
        Ok((verified, claims)) => {
            let shown = json!({ "issuer": &*verified.issuer, "player": verified.player.as_str(), "claims": claims });
            writeln!(out, "{shown:#}")?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(refusal) => refusal,
    };
    writeln!(out, "{} {}", Code::BadTicket.number(), Code::BadTicket.slug())?;
    for issuer in verifier.issuers() {
        let name = &issuer.name;
        let says = match &refusal.issuer {
            Some(whose) if whose == name => Some(refusal.fault),
            _ => token.and_then(|token| Verifier::of([issuer.clone()]).verify(token, now)).err(),
        };
        let Some(fault) = says else {
            // Two issuers have the key.
            writeln!(out, "{name}: would accept it; the first issuer whose key fits decides")?;
            continue;
        };
        let published = config.issuers.iter().any(|one| one.name == **name && one.jwks_url.is_some());
        let unasked = published && fault == TicketFault::UnknownKey;
        let note = if unasked { "; the keys at its jwks_url are not asked for here" } else { "" };
        writeln!(out, "{name}: {}: {fault}{note}", fault.slug())?;
    }
    Ok(ExitCode::FAILURE)
}
