//! The tree of settings as it is written down: plain structs, every field with a default.
//!
//! Owns: shape, kinds and defaults. The meaning of each knob, as operators read it, is in `knobs`; whether values fit
//! together is decided in `validate`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::forward::{ForwardSettings, Outbound};
use super::issuers::IssuerSettings;
use super::origin::Origin;
use crate::limits::Limits;

/// Everything that can be set. Not yet checked as a whole: see [`super::Config`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address of the one port, TCP and UDP. Default 127.0.0.1:7777.
    pub listen: SocketAddr,
    /// The hard bounds.
    #[serde(serialize_with = "limits_text::serialize")]
    pub limits: Limits,
    /// Which tickets are accepted, and where they may travel.
    pub tickets: TicketSettings,
    /// The backend that knows players by their cookies or headers.
    pub forward: ForwardSettings,
    /// How the server makes requests of its own.
    pub outbound: Outbound,
    /// Whose tokens are accepted beside those of `tickets`. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<IssuerSettings>,
    /// The certificate and who uses it.
    pub tls: Tls,
    /// Which web pages may come.
    pub origins: Origins,
    /// Where metrics are served.
    pub metrics: Metrics,
    /// How logs look.
    pub log: Log,
    /// How game sessions run.
    pub sessions: Sessions,
    /// The transports' own knobs.
    pub transport: Transport,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7777)),
            limits: Limits::default(),
            tickets: TicketSettings::default(),
            forward: ForwardSettings::default(),
            outbound: Outbound::default(),
            issuers: Vec::new(),
            tls: Tls::default(),
            origins: Origins::default(),
            metrics: Metrics::default(),
            log: Log::default(),
            sessions: Sessions::default(),
            transport: Transport::default(),
        }
    }
}

impl Settings {
    /// What `--dev` starts from: a whole load test may come from one address.
    pub fn dev_preset() -> Self {
        let mut settings = Self::default();
        settings.limits.pending_per_address = settings.limits.pending_links;
        settings.limits.connects_per_second = 10_000;
        settings
    }
}

/// Which tickets are accepted, and where they may travel.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TicketSettings {
    /// Files and directories with the keys that tickets are checked with. Required unless `--dev`, or others issue.
    pub keys: Vec<PathBuf>,
    /// The `iss` that tickets must have. Default `muster`.
    pub issuer: String,
    /// The `aud` that tickets must have. Default `muster`.
    pub audience: String,
    /// How far the clocks may differ. Default 5 s, at most 60 s.
    #[serde(with = "seconds")]
    pub leeway: Duration,
    /// The longest time from `iat` to `exp`. Default 120 s.
    #[serde(with = "seconds")]
    pub max_lifetime: Duration,
    /// Whether a ticket opens one place only. Default true.
    pub single_use: bool,
    /// The cookie that carries a ticket. Default none: cookies are not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// Where a ticket may travel, besides the cookie. Default all but those of other backends' pages.
    pub carriers: Vec<Carrier>,
}

impl Default for TicketSettings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            issuer: "muster".to_owned(),
            audience: "muster".to_owned(),
            leeway: Duration::from_secs(5),
            max_lifetime: Duration::from_secs(120),
            single_use: true,
            cookie: None,
            carriers: vec![Carrier::Header, Carrier::Subprotocol, Carrier::Query, Carrier::FirstMessage],
        }
    }
}

/// A place where a ticket may travel. The cookie is switched on by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// `Authorization: Bearer`.
    Header,
    /// `Sec-WebSocket-Protocol: muster.1, ticket.<jwt>`.
    Subprotocol,
    /// `?ticket=` in the address.
    Query,
    /// The first message of the link.
    FirstMessage,
    /// `?token=` in the address, as the pages of other backends have it.
    QueryToken,
    /// `Sec-WebSocket-Protocol: bearer, <token>`, likewise; `bearer` is echoed.
    BearerSubprotocol,
}

/// The certificate and who uses it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain, the server's own first. Default none; `--dev` makes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key. Default none; `--dev` makes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Whether TCP is encrypted. Default auto.
    pub websocket: TlsWebSocket,
}

/// Whether TCP connections (WebSocket and HTTP) are encrypted. WebTransport always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsWebSocket {
    /// Both on one port, told apart by the first byte; plain only when there is no certificate.
    #[default]
    Auto,
    /// TLS only.
    On,
    /// Plain only: a proxy in front ends TLS.
    Off,
}

/// Which web pages may come.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Origins {
    /// Exact origins. Default none: no page at all; with `--dev`, any.
    pub allowed: Vec<Origin>,
}

/// Where metrics are served.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// A listener of its own for `/metrics`. Default none: on the main port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
}

/// How logs look.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text for people or JSON for machines. Default text.
    pub format: LogFormat,
    /// The least severity that is written. Default info.
    pub level: LogLevel,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The least severity that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Faults of the server.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And the life of the node, refusals included.
    #[default]
    Info,
    /// And each link's steps.
    Debug,
    /// Everything.
    Trace,
}

/// How game sessions run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// How long a reserved seat waits for its player to arrive for the first time. Default 10 s.
    #[serde(with = "seconds")]
    pub reservation: Duration,
    /// Ticks per second for every game, whatever the game asks for. Default none: the game decides (20 if it does not).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick_rate: Option<u32>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { reservation: Duration::from_secs(10), tick_rate: None }
    }
}

/// The transports' own knobs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transport {
    /// Whether WebTransport is served. Default true.
    pub webtransport: bool,
    /// Bytes asked of the kernel for the UDP socket's receive and send buffers. Default 4 MiB.
    pub socket_buffer: usize,
}

impl Default for Transport {
    fn default() -> Self {
        Self { webtransport: true, socket_buffer: 4 * 1024 * 1024 }
    }
}

/// Durations are written as seconds, whole where they are.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::Serializer;

    pub use crate::limits::seconds::deserialize;

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        if value.subsec_nanos() == 0 {
            to.serialize_u64(value.as_secs())
        } else {
            to.serialize_f64(value.as_secs_f64())
        }
    }
}

/// Writes the limits. Each field is named, so that a new one cannot be forgotten here.
mod limits_text {
    use std::time::Duration;

    use serde::ser::{Serialize, SerializeMap, Serializer};

    use crate::limits::Limits;

    struct Seconds(Duration);

    impl Serialize for Seconds {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            super::seconds::serialize(&self.0, to)
        }
    }

    pub fn serialize<S: Serializer>(limits: &Limits, to: S) -> Result<S::Ok, S::Error> {
        let Limits {
            links,
            pending_links,
            pending_per_address,
            connects_per_second,
            lobbies,
            lobby_capacity,
            message_bytes,
            fragments,
            ticket_bytes,
            settings_bytes,
            messages_per_second,
            flood_grace,
            inputs_per_tick,
            queue_bytes,
            resume_bytes,
            handshake,
            first_message,
            heartbeat,
            grace,
        } = limits;
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("links", links)?;
        map.serialize_entry("pending_links", pending_links)?;
        map.serialize_entry("pending_per_address", pending_per_address)?;
        map.serialize_entry("connects_per_second", connects_per_second)?;
        map.serialize_entry("lobbies", lobbies)?;
        map.serialize_entry("lobby_capacity", lobby_capacity)?;
        map.serialize_entry("message_bytes", message_bytes)?;
        map.serialize_entry("fragments", fragments)?;
        map.serialize_entry("ticket_bytes", ticket_bytes)?;
        map.serialize_entry("settings_bytes", settings_bytes)?;
        map.serialize_entry("messages_per_second", messages_per_second)?;
        map.serialize_entry("flood_grace", &Seconds(*flood_grace))?;
        map.serialize_entry("inputs_per_tick", inputs_per_tick)?;
        map.serialize_entry("queue_bytes", queue_bytes)?;
        map.serialize_entry("resume_bytes", resume_bytes)?;
        map.serialize_entry("handshake", &Seconds(*handshake))?;
        map.serialize_entry("first_message", &Seconds(*first_message))?;
        map.serialize_entry("heartbeat", &Seconds(*heartbeat))?;
        map.serialize_entry("grace", &Seconds(*grace))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        let settings = Settings::default();
        assert_eq!(settings.listen, "127.0.0.1:7777".parse().unwrap());
        assert_eq!(settings.tickets.leeway, Duration::from_secs(5));
        assert_eq!(settings.tickets.max_lifetime, Duration::from_secs(120));
        assert!(settings.tickets.single_use && settings.tickets.keys.is_empty() && settings.tickets.cookie.is_none());
        assert_eq!(settings.tickets.carriers.len(), 4);
        assert_eq!(settings.tls, Tls { certificate: None, key: None, websocket: TlsWebSocket::Auto });
        assert!(settings.origins.allowed.is_empty() && settings.metrics.listen.is_none());
        assert_eq!(settings.log, Log { format: LogFormat::Text, level: LogLevel::Info });
        assert_eq!(settings.sessions, Sessions { reservation: Duration::from_secs(10), tick_rate: None });
        assert_eq!(settings.transport, Transport { webtransport: true, socket_buffer: 4_194_304 });
        assert_eq!(settings.limits, Limits::default());
    }

    #[test]
    fn settings_written_as_toml_are_read_back_the_same() {
        let settings = Settings::dev_preset();
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings);
    }
}
