//! Tickets of the tester's own making.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use muster::ticket::{Algorithm, Claims, KeyHint, Signer, TicketId, UnixSeconds, generate_key};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::{clock, http};

/// Where the players' tickets come from.
pub struct Mint {
    source: Source,
    run: u64,
    next: AtomicU64,
}

/// What another process of players needs for its tickets.
#[derive(Deserialize, Serialize)]
pub enum MintOrders {
    /// The private key's text.
    Key(String),
    /// Tickets of a development server.
    Tickets(Vec<String>),
}

enum Source {
    /// The tester signs, with the key of this text.
    Signer(Box<Signer>, String),
    /// A development server signed these.
    Fetched(Vec<String>),
}

impl Mint {
    /// Signs with a private key of whoever runs the server.
    ///
    /// # Errors
    /// [`Fault::Options`] when the text is no such key.
    pub fn from_text(text: &str) -> Result<Self, Fault> {
        let signer = Signer::from_text(text, &KeyHint::default());
        let signer = signer.map_err(|error| Fault::Options(format!("--key: {error}")))?;
        Self::new(Source::Signer(Box::new(signer), text.to_owned()))
    }

    /// Makes a key, and writes what a server needs to check it to a new file in the system's folder for such.
    ///
    /// # Errors
    /// [`Fault::Local`] when there is no randomness or the file cannot be written.
    pub fn fresh(algorithm: Algorithm) -> Result<(Self, KeyFile), Fault> {
        let key = generate_key(algorithm).map_err(|error| Fault::local("making a key", error))?;
        let mint = Self::from_text(&key.private)?;
        let path = std::env::temp_dir().join(format!("muster-loadtest-{}-{:016x}.jwk", std::process::id(), mint.run));
        let text = key.public.as_deref().unwrap_or(&key.private);
        write_private(&path, text).map_err(|error| Fault::local(path.display().to_string(), error))?;
        Ok((mint, KeyFile(path)))
    }

    /// Asks a development server for so many tickets, ahead of time.
    ///
    /// # Errors
    /// [`Fault::Options`] when it hands out none.
    pub fn from_dev_server(address: SocketAddr, count: usize) -> Result<Self, Fault> {
        let none = || {
            Fault::Options(format!(
                "the server at {address} hands out no tickets (only `serve --dev` does); give the private key with --key"
            ))
        };
        let mut mint = Self::new(Source::Fetched(Vec::new()))?;
        let mut tickets = Vec::with_capacity(count);
        for number in 0..count as u64 {
            let answer = http::get(address, &format!("/dev/ticket?sub={}", mint.player(number))).ok_or_else(none)?;
            let answer: serde_json::Value = serde_json::from_str(&answer).map_err(|_| none())?;
            tickets.push(answer.get("ticket").and_then(|ticket| ticket.as_str()).ok_or_else(none)?.to_owned());
        }
        mint.source = Source::Fetched(tickets);
        Ok(mint)
    }

    /// Makes a token for the admin API of a server of the tester's own, and writes it to a file as [`Self::fresh`] does.
    ///
    /// # Errors
    /// [`Fault::Local`] as there.
    pub fn admin_token(&self) -> Result<(String, KeyFile), Fault> {
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).map_err(|error| Fault::local("randomness", error))?;
        let token = URL_SAFE_NO_PAD.encode(random);
        let path = std::env::temp_dir().join(format!("muster-loadtest-{}-{:016x}.token", std::process::id(), self.run));
        write_private(&path, &token).map_err(|error| Fault::local(path.display().to_string(), error))?;
        Ok((token, KeyFile(path)))
    }

    fn new(source: Source) -> Result<Self, Fault> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|error| Fault::local("randomness", error))?;
        Ok(Self { source, run: u64::from_le_bytes(random), next: AtomicU64::new(0) })
    }

    /// What another process needs to have tickets as well: the key, or every so manieth ticket from `part` on.
    pub fn share(&self, part: usize, of: usize) -> MintOrders {
        match &self.source {
            Source::Signer(_, text) => MintOrders::Key(text.clone()),
            Source::Fetched(tickets) => {
                MintOrders::Tickets(tickets.iter().skip(part).step_by(of.max(1)).cloned().collect())
            }
        }
    }

    /// The other end of [`Mint::share`].
    ///
    /// # Errors
    /// [`Fault::Options`] when the text is no key.
    pub fn from_orders(orders: MintOrders) -> Result<Self, Fault> {
        match orders {
            MintOrders::Key(text) => Self::from_text(&text),
            MintOrders::Tickets(tickets) => Self::new(Source::Fetched(tickets)),
        }
    }

    /// A player's number in this run, as its `sub`.
    pub fn player(&self, number: u64) -> String {
        format!("load-{:08x}-{number}", self.run as u32)
    }

    /// A ticket for a player, never given before. Empty once a development server's are used up.
    pub fn ticket(&self, player: u64) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let signer = match &self.source {
            Source::Signer(signer, _) => signer,
            Source::Fetched(tickets) => return tickets.get(number as usize).cloned().unwrap_or_default(),
        };
        let now = UnixSeconds(clock::unix_seconds());
        let claims = Claims {
            issuer: "muster".into(),
            audience: "muster".into(),
            player: self.player(player),
            ticket_id: TicketId::from_random((u128::from(self.run) << 64) | u128::from(number)),
            issued_at: now,
            expires_at: UnixSeconds(now.0 + LIFETIME_SECONDS),
            more: serde_json::Map::new(),
        };
        // A key that has been read signs; an empty ticket would be refused and counted.
        signer.mint(&claims).map(|ticket| ticket.reveal().to_owned()).unwrap_or_default()
    }

    /// A ticket whose signature is not that of its words.
    pub fn forged(&self, player: u64) -> String {
        let mut ticket = self.ticket(player);
        if let Some(at) = ticket.rfind('.').map(|dot| dot + 5).filter(|at| ticket.is_char_boundary(*at + 1)) {
            let other = if ticket.get(at..=at) == Some("A") { "B" } else { "A" };
            ticket.replace_range(at..=at, other);
        }
        ticket
    }
}

/// The `jti` of a ticket.
pub fn ticket_id(ticket: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(ticket.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Some(claims.get("jti")?.as_str()?.to_owned())
}

/// A file with a key, removed when dropped.
#[derive(Debug)]
pub struct KeyFile(pub PathBuf);

impl Drop for KeyFile {
    fn drop(&mut self) {
        // A file that is gone already is as good as removed.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn write_private(path: &PathBuf, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// What a server allows by default.
const LIFETIME_SECONDS: u64 = 120;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tickets_name_is_read_from_it() {
        let (mint, _key) = Mint::fresh(Algorithm::EdDsa).unwrap();
        let (one, other) = (mint.ticket(1), mint.ticket(1));
        assert!(ticket_id(&one).unwrap().len() >= 16);
        assert_ne!(ticket_id(&one), ticket_id(&other));
        assert_eq!(ticket_id("a.b.c"), None);
    }
}
