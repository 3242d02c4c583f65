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

    /// The environment variable that sets it: `limits.links` is `MUSTER_LIMITS__LINKS`.
    pub fn variable(&self) -> String {
        format!("MUSTER_{}", self.key.replace('.', "__").to_ascii_uppercase())
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
    knob("limits.handshake", "seconds", "Time for request headers, and for TLS and QUIC handshakes. Over it: the connection is closed."),
    knob("limits.first_message", "seconds", "Time for the first message of a link whose request carried no ticket. Over it: ticket-timeout (4408)."),
    knob("limits.heartbeat", "seconds", "A link that says nothing for this long is closed, heartbeat-lost (4009); the seat stays."),
    knob("limits.grace", "seconds", "How long a place in a lobby or session waits for a lost link. After it the place is free."),

    knob("tickets.keys", "files", "Keys that tickets are checked with: PEM, JWK or JWK set files. At least one is required, unless --dev, which makes its own."),
    knob("tickets.issuer", "text", "The `iss` that a ticket must have. Another: bad-ticket (4401)."),
    knob("tickets.audience", "text", "The `aud` that a ticket must have. Another: bad-ticket (4401)."),
    knob("tickets.leeway", "seconds", "How far the issuer's clock may be off when `exp`, `nbf` and `iat` are checked. At most 60."),
    knob("tickets.max_lifetime", "seconds", "The longest time from a ticket's `iat` to its `exp`. Over it: bad-ticket (4401)."),
    knob("tickets.single_use", "true or false", "Whether a ticket opens one place only. A second use: ticket-used (4409)."),
    knob("tickets.cookie", "cookie name", "The cookie that carries a ticket. Without it cookies are not looked at. Needs origins.allowed, since any page's request carries cookies."),
    knob("tickets.carriers", "list", "Where a ticket may travel: header (Authorization: Bearer), subprotocol, query (?ticket=), first-message. What is not listed is not looked at."),

    knob("tls.certificate", "PEM file", "The certificate chain, the server's own first. Read again when it changes and on SIGHUP. Without it, --dev makes one of 13 days and renews it."),
    knob("tls.key", "PEM file", "The private key of the certificate."),
    knob("tls.websocket", "auto, on or off", "Encryption of TCP (WebSocket and HTTP). auto: ws and wss on the same port, told apart by the first byte; on: wss only; off: ws only, where a proxy in front ends TLS. WebTransport is always encrypted."),

    knob("origins.allowed", "list", "Web pages that may open links and read /v1, as exact scheme://host[:port]. Another page's request: HTTP 403. Empty: no web page may; with --dev, any may open links and loopback pages may read. Native clients send no Origin and are not held to this."),

    knob("metrics.listen", "IP:port", "A listener of its own for /metrics, which then is not served on the main port."),

    knob("log.format", "text or json", "text for people, json for machines: one object a line."),
    knob("log.level", "error, warn, info, debug or trace", "The least severity of muster's own lines that is written; of libraries, warnings and errors only. No level writes tickets or tokens."),

    knob("sessions.reservation", "seconds", "How long a reserved seat waits for its player to arrive for the first time. After it the seat is free."),
    knob("sessions.tick_rate", "Hz, 1 to 128", "Ticks per second of every session, in place of what the game asks for."),

    knob("transport.webtransport", "true or false", "Whether WebTransport is served. It needs a certificate."),
    knob("transport.socket_buffer", "bytes", "Receive and send buffers asked of the kernel for the UDP socket. What it grants is capped by net.core.rmem_max and wmem_max; less than asked is warned about at the start."),
];

const fn knob(key: &'static str, unit: &'static str, meaning: &'static str) -> Knob {
    Knob { key, unit, meaning }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Settings;

    #[test]
    fn the_table_has_every_knob_of_the_tree_and_no_other() {
        let mut full = Settings::default();
        full.tickets.cookie = Some("ticket".into());
        full.tls.certificate = Some("cert.pem".into());
        full.tls.key = Some("key.pem".into());
        full.metrics.listen = Some("127.0.0.1:9100".parse().unwrap());
        full.sessions.tick_rate = Some(30);
        let mut keys = BTreeSet::new();
        for (section, value) in toml::Table::try_from(&full).unwrap() {
            match value {
                toml::Value::Table(table) => keys.extend(table.keys().map(|key| format!("{section}.{key}"))),
                _ => drop(keys.insert(section)),
            }
        }
        let table: BTreeSet<String> = KNOBS.iter().map(|knob| knob.key.to_owned()).collect();
        assert_eq!(table, keys);
        assert_eq!(table.len(), KNOBS.len(), "no knob is listed twice");
        assert!(KNOBS.iter().all(|knob| knob.meaning.ends_with('.') && !knob.unit.is_empty()));
    }
}
