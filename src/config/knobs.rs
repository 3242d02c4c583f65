//! One table of every knob: unit and meaning. `config show`, `docs/configuration.md` and the environment are read off it.

/// One thing that can be set.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// `section.key`, or `key` alone at the top.
    pub key: &'static str,
    /// What a value is measured in, or what it looks like.
    pub unit: &'static str,
    /// What it does, and what happens at it. Plain sentences.
    pub meaning: &'static str,
}

impl Knob {
    /// The section, empty at the top.
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// The key inside its section.
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// Whether its section is a list of tables, as `[[issuers]]`: then it is set in the file alone.
    pub fn is_listed(&self) -> bool {
        LISTED.contains(&self.section())
    }

    /// Whether its value is never repeated.
    pub fn is_secret(&self) -> bool {
        self.key == "admin.token"
    }

    /// How the section is written at its head in TOML, empty at the top.
    pub fn header(&self) -> String {
        match self.section() {
            "" => String::new(),
            section if self.is_listed() => format!("[[{section}]]"),
            section => format!("[{section}]"),
        }
    }

    /// The environment variable that sets it: `limits.links` is `MUSTER_LIMITS__LINKS`. One of a list has none.
    pub fn variable(&self) -> Option<String> {
        (!self.is_listed()).then(|| format!("MUSTER_{}", self.key.replace('.', "__").to_ascii_uppercase()))
    }
}

/// Every knob, in the order in which it is shown. A test holds it against the tree of settings.
#[rustfmt::skip]
pub const KNOBS: &[Knob] = &[
    knob("listen", "IP:port", "Where muster listens, TCP and UDP on the same port. 0.0.0.0:7777 or [::]:7777 serves other machines."),

    knob("limits.links", "links", "Links at the same time. Over it: HTTP 503, overloaded (1013)."),
    knob("limits.pending_links", "links", "Links that have not shown a ticket yet, in all; never more than a quarter of the files that may be open. Over it: HTTP 503, overloaded (1013)."),
    knob("limits.pending_per_address", "links", "Links that have not shown a ticket yet, per address (IPv6: per /64). Over it: HTTP 429, too-fast (4429). --dev: as many as pending_links."),
    knob("limits.connects_per_second", "links/s", "New links per second and address; a burst of twice this passes. Over it: HTTP 429, too-fast (4429). --dev: 10000."),
    knob("limits.lobbies", "lobbies", "Lobbies at the same time. Over it: overloaded (1013)."),
    knob("limits.lobby_capacity", "members", "Members of one lobby, whatever it was created with."),
    knob("limits.message_bytes", "bytes", "One message of a client. Over it: message-too-big (4413), or frame-too-big (1009)."),
    knob("limits.fragments", "fragments", "Fragments of one WebSocket message. Over it: frame-too-big (1009)."),
    knob("limits.ticket_bytes", "bytes", "A ticket, checked before it is decoded. Over it: bad-ticket (4401)."),
    knob("limits.settings_bytes", "bytes", "A game's settings in a lobby. Over it: the request is refused."),
    knob("limits.messages_per_second", "messages/s", "Control messages per link; a burst of four times this passes. Over it: the message is dropped and answered; over it for flood_grace: too-fast (4429)."),
    knob("limits.flood_grace", "seconds", "How long a link may be over its rate before it is closed."),
    knob("limits.inputs_per_tick", "inputs", "Inputs taken from a player per tick of the session; a burst of twice this passes. Over it: the input is dropped."),
    knob("limits.queue_bytes", "bytes", "Reliable messages that wait for one link. Over it: the link is closed, slow-reader (4008); the seat stays."),
    knob("limits.resume_bytes", "bytes", "Reliable messages kept for a lost link. Over it: the resume is a fresh start, and says so."),
    knob("limits.handshake", "seconds", "Time for a TLS or QUIC handshake, for the first byte of a request, and for its headers, for each of these. Over it: the connection is closed."),
    knob("limits.first_message", "seconds", "Time for the first message of a link whose request carried no ticket. Over it: ticket-timeout (4408)."),
    knob("limits.heartbeat", "seconds", "A link that says nothing for this long is closed, heartbeat-lost (4009); the seat stays."),
    knob("limits.grace", "seconds", "How long a place in a lobby or session waits for a lost link. After it the place is free."),
    knob("limits.renewal_window", "seconds", "How long before the end that its ticket sets (`session_exp`) a player is asked for a fresh ticket; half of the time left, where that is less. At the end without one: bad-ticket (4401); the seat waits for grace."),

    knob("tickets.keys", "files, directories", "Keys that tickets are checked with: PEM, JWK or JWK set files, or directories of *.pem, *.jwk, *.json and *.jwks. At least one is required, unless there are issuers, or --dev, which makes its own."),
    knob("tickets.issuer", "text", "The `iss` that a ticket must have. Another: bad-ticket (4401)."),
    knob("tickets.audience", "text", "The `aud` that a ticket must have. Another: bad-ticket (4401)."),
    knob("tickets.leeway", "seconds", "How far the issuer's clock may be off when `exp`, `nbf` and `iat` are checked. At most 60."),
    knob("tickets.max_lifetime", "seconds", "The longest time from a ticket's `iat` to its `exp`. Over it: bad-ticket (4401)."),
    knob("tickets.single_use", "true or false", "Whether a ticket opens one place only. A second use: ticket-used (4409)."),
    knob("tickets.cookie", "cookie name", "The cookie that carries a ticket. Without it cookies are not looked at. Needs origins.allowed, since any page's request carries cookies."),
    knob("tickets.carriers", "list", "Where a ticket may travel: header (Authorization: Bearer), subprotocol, query (?ticket=), first-message; and as other backends' pages do, which issuers.carriers switches on: query-token (?token=), bearer-subprotocol. What is not listed is not looked at."),

    knob("issuers.name", "a-z, 0-9, -", "Required. What logs and metrics call the issuer; at most 8 issuers, none called muster, which is the one of [tickets]."),
    knob("issuers.profile", "muster, simplejwt, fastapi or oidc", "Required. Whose tokens these are, which sets what is not set below. muster: as [tickets]. simplejwt: access tokens of djangorestframework-simplejwt (token_type access; refresh tokens are refused), player user_id. fastapi: what PyJWT and python-jose sign: sub and exp, iss and aud only if asked for. oidc: an OpenID Connect provider's access tokens (typ at+jwt or JWT; ID tokens are refused where they can be told apart), issuer and audience required."),
    knob("issuers.keys", "files, directories", "The issuer's keys, as tickets.keys. They or jwks_url are required."),
    knob("issuers.jwks_url", "https URL", "Where the issuer publishes its key set. http only for loopback. No other address is ever asked, whatever a token says."),
    knob("issuers.algorithms", "list of EdDSA, ES256, ES384, RS256, PS256, HS256", "The only algorithms whose keys are accepted; a key file with another is refused. One alone also says what an RSA key is for (PS256). Not set: what the keys are for."),
    knob("issuers.issuer", "text", "The `iss` that a token must have. Not set: muster for profile muster, required for oidc, else not asked. Another: bad-ticket (4401)."),
    knob("issuers.audience", "text", "The `aud` that a token must have. Not set: muster for profile muster, required for oidc, else a token must have none. Another: bad-ticket (4401)."),
    knob("issuers.typ", "text", "The `typ` that a token's header must have. Not set: muster-ticket+jwt (muster) or at+jwt (oidc), JWT or none."),
    knob("issuers.player", "claim", "The claim that is the player: a text, or a whole number. A name, or from / on a JSON pointer (RFC 6901) into nested claims: /account/id. Not set: user_id (simplejwt) or sub."),
    knob("issuers.player_prefix", "text", "Put before the player, so that two issuers never mean one player by one id. At most 16 visible ASCII characters; the player with it at most 64 bytes."),
    knob("issuers.player_name", "claim", "The claim that is the player's name. Not set: name (muster), preferred_username (oidc), else none. Without it the player's id is shown."),
    knob("issuers.role", "claim", "The claim that is the role: player, spectator or host. Not set: role (muster), else none: everybody is a player."),
    knob("issuers.game", "claim", "The claim that binds to one game. Not set: game (muster), else none: every game is open."),
    knob("issuers.lobby", "claim", "The claim that binds to one lobby, by id or code. Not set: lobby (muster), else none: every lobby is open."),
    knob("issuers.actions", "claim", "The claim that lists what the player may do. Not set: actions (muster), else none: all that the role allows."),
    knob("issuers.single_use", "true or false", "Whether a token opens one place only, which needs a `jti` in it. Not set: true for muster, else false."),
    knob("issuers.max_lifetime", "seconds, up to 86400", "The longest time from `iat` (where there is none: from now) to `exp`. Not set: 120 for muster, else 3600. Over it: bad-ticket (4401)."),
    knob("issuers.carriers", "list", "Where tokens may travel beyond tickets.carriers: query-token (?token=), bearer-subprotocol (Sec-WebSocket-Protocol: bearer, TOKEN, answered with bearer). Not set: both for simplejwt and fastapi, bearer-subprotocol for oidc, none for muster. Tokens in addresses reach the logs of proxies: leave query-token out where your page can."),

    knob("forward.url", "https URL", "Forward authentication: the backend that says who a player without a ticket is. muster sends it GET with the cookies and headers named below, X-Forwarded-For and Origin. 200 with JSON {\"sub\": ...} lets the player in (name, role, game, lobby, session, actions, session_exp as in a ticket); 401: bad-ticket (4401); 403: forbidden (4403); anything else, redirects too: overloaded (1013). http only for loopback."),
    knob("forward.cookies", "cookie names", "Cookies that are passed on; no other ever is. Only from pages in origins.allowed, and from native clients, which send no Origin. At most 16."),
    knob("forward.headers", "header names", "Headers that are passed on, held to the same pages as the cookies. At most 16. A bearer token counts as a ticket while tickets.carriers has header."),
    knob("forward.timeout", "seconds, up to 30", "How long the backend may take for an answer. Over it: overloaded (1013)."),
    knob("forward.in_flight", "questions", "Questions to the backend at the same time. Over it: overloaded (1013)."),
    knob("forward.cache", "seconds, up to 300", "How long an answer is used again for the same cookies, headers, address and page: at most as long as its Cache-Control: max-age says, not at all without. A player who logs out in that time may still open links."),

    knob("outbound.authorities", "PEM file", "Certificate authorities that are believed beside the system's when muster asks forward.url and the issuers' jwks_url."),
    knob("outbound.jwks_interval", "seconds, from 1", "How often an issuer's keys are fetched. After a failure muster tries again after 1 s, 2 s, 4 s and so on, up to this; meanwhile the last good keys serve. A key that the issuer takes back is believed until the next fetch that succeeds; SIGHUP begins one at once."),
    knob("outbound.jwks_pause", "seconds, from 0.05", "The least time between two fetches that tickets with unknown keys make. Such a ticket waits up to 2 s for the next fetch; when none begins by then: bad-ticket (4401) at once."),

    knob("tls.certificate", "PEM file", "The certificate chain, the server's own first. Read again when it changes and on SIGHUP. Without it, --dev makes one of 13 days and renews it."),
    knob("tls.key", "PEM file", "The private key of the certificate."),
    knob("tls.websocket", "auto, on or off", "Encryption of TCP (WebSocket and HTTP). auto: ws and wss on the same port, told apart by the first byte; on: wss only; off: ws only, where a proxy in front ends TLS. WebTransport is always encrypted."),

    knob("origins.allowed", "list", "Web pages that may open links and read /v1, as exact scheme://host[:port]. Another page's request: HTTP 403. Empty: no web page may; with --dev, any may open links and loopback pages may read. Native clients send no Origin and are not held to this."),

    knob("metrics.listen", "IP:port", "A listener of its own for /metrics, which then is not served on the main port."),

    knob("admin.listen", "IP:port", "A listener of its own for the admin API (docs/admin.md). Without it there is none. Loopback only, unless admin.allow_remote."),
    knob("admin.allow_remote", "true or false", "Whether admin.listen may be an address that other machines reach. The API is not encrypted: put a proxy that ends TLS, or a private network, between."),
    knob("admin.token", "text", "The token that every request to the admin API must bear: 32 bytes or more, made at random. A short or guessable one: the server does not start. Meant for the environment; it is never shown."),
    knob("admin.token_file", "file", "A file that holds the token, in place of admin.token. White space around it is left out."),
    knob("admin.signing_key", "PEM or JWK file", "A private key for the tickets that POST /v1/tickets mints. Its public half is accepted by itself. Without it the route answers 409; --dev without tickets.keys signs with its own."),

    knob("revocations.store", "file", "Where revocations of the admin API outlive the process: JSON lines, written and synced before the answer. Without it they are forgotten at a restart."),
    knob("revocations.file", "file", "The operator's own revocations, JSON lines, read at the start and on SIGHUP. With a broken line the whole file is refused: at the start the server does not start, later the one before stays in force."),

    knob("log.format", "text or json", "text for people, json for machines: one object a line."),
    knob("log.level", "error, warn, info, debug or trace", "The least severity of muster's own lines that is written; of libraries, warnings and errors only. No level writes tickets or tokens."),

    knob("sessions.reservation", "seconds", "How long a reserved seat waits for its player to arrive for the first time. After it the seat is free."),
    knob("sessions.tick_rate", "Hz, 1 to 128", "Ticks per second of every session, in place of what the game asks for."),

    knob("transport.webtransport", "true or false", "Whether WebTransport is served. It needs a certificate."),
    knob("transport.socket_buffer", "bytes", "Receive and send buffers asked of the kernel for the UDP socket. What it grants is capped by net.core.rmem_max and wmem_max; less than asked is warned about at the start."),
];

/// The sections that are lists of tables.
const LISTED: &[&str] = &["issuers"];

const fn knob(key: &'static str, unit: &'static str, meaning: &'static str) -> Knob {
    Knob { key, unit, meaning }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{IssuerSettings, Settings};

    #[test]
    fn the_table_has_every_knob_of_the_tree_and_no_other() {
        let mut full = Settings::default();
        full.tickets.cookie = Some("ticket".into());
        full.tls.certificate = Some("cert.pem".into());
        full.tls.key = Some("key.pem".into());
        full.metrics.listen = Some("127.0.0.1:9100".parse().unwrap());
        full.sessions.tick_rate = Some(30);
        full.forward.url = Some("https://game.example/whoami".into());
        full.outbound.authorities = Some("ca.pem".into());
        let issuer = IssuerSettings::full();
        full.issuers = vec![issuer];
        full.admin.listen = Some("127.0.0.1:7780".parse().unwrap());
        full.admin.token = Some(crate::config::Secret::new("t"));
        full.admin.token_file = Some("token".into());
        full.admin.signing_key = Some("key.pem".into());
        full.revocations.store = Some("store".into());
        full.revocations.file = Some("file".into());
        let mut keys = BTreeSet::new();
        for (section, value) in toml::Table::try_from(&full).unwrap() {
            match value {
                toml::Value::Table(table) => keys.extend(table.keys().map(|key| format!("{section}.{key}"))),
                toml::Value::Array(tables) if LISTED.contains(&section.as_str()) => {
                    let tables = tables.iter().filter_map(toml::Value::as_table);
                    keys.extend(tables.flat_map(toml::Table::keys).map(|key| format!("{section}.{key}")));
                }
                _ => drop(keys.insert(section)),
            }
        }
        let table: BTreeSet<String> = KNOBS.iter().map(|knob| knob.key.to_owned()).collect();
        assert_eq!(table, keys);
        assert_eq!(table.len(), KNOBS.len(), "no knob is listed twice");
        assert!(KNOBS.iter().all(|knob| knob.meaning.ends_with('.') && !knob.unit.is_empty()));
    }
}
