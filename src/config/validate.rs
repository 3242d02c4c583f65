//! From [`Settings`] to a [`Config`]: whether each value, and all of them together, can be served with.

use std::ops::{Deref, RangeInclusive};
use std::time::Duration;

use super::error::ConfigError;
use super::forward::check_forward;
use super::issuers::check_issuers;
use super::load::{Sources, load};
use super::origin::OriginPolicy;
use super::settings::{Settings, TicketSettings, TlsWebSocket};

/// Settings that have been checked. Reads like [`Settings`]; cannot be changed any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    settings: Settings,
    dev: bool,
}

impl Config {
    /// Reads every source and checks the whole.
    ///
    /// # Errors
    /// The first thing that is wrong, in one line that says what to do.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::new(load(sources)?, sources.dev)
    }

    /// Checks settings as a whole. `dev` says that muster may make its own key and certificate.
    ///
    /// # Errors
    /// The first knob that cannot be served with.
    pub fn new(settings: Settings, dev: bool) -> Result<Self, ConfigError> {
        check_limits(&settings)?;
        check_tickets(&settings, dev)?;
        check_issuers(&settings.issuers)?;
        check_forward(&settings)?;
        check_tls(&settings, dev)?;
        check_rest(&settings)?;
        Ok(Self { settings, dev })
    }

    /// Whether this is a development server: own key, own certificate, tickets handed out on loopback.
    pub fn dev(&self) -> bool {
        self.dev
    }

    /// What is done with the `Origin` of a request.
    pub fn origin_policy(&self) -> OriginPolicy {
        let allowed = &self.settings.origins.allowed;
        if self.dev && allowed.is_empty() {
            OriginPolicy::Dev
        } else {
            OriginPolicy::Listed(allowed.iter().cloned().collect())
        }
    }

    /// `tickets`, and among its carriers those that the issuers' tokens travel by.
    pub fn ticket_settings(&self) -> TicketSettings {
        let mut tickets = self.settings.tickets.clone();
        for carrier in self.settings.issuers.iter().flat_map(|issuer| issuer.carriers()) {
            if !tickets.carriers.contains(carrier) {
                tickets.carriers.push(*carrier);
            }
        }
        tickets
    }

    /// Whether there is, or will be, a certificate.
    pub fn has_certificate(&self) -> bool {
        self.dev || self.settings.tls.certificate.is_some()
    }
}

impl Deref for Config {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

fn check_limits(settings: &Settings) -> Result<(), ConfigError> {
    let limits = &settings.limits;
    within("limits.links", limits.links, 1..=10_000_000)?;
    within("limits.pending_links", limits.pending_links, 1..=10_000_000)?;
    within("limits.pending_per_address", limits.pending_per_address, 1..=10_000_000)?;
    within("limits.connects_per_second", limits.connects_per_second, 1..=1_000_000)?;
    within("limits.lobbies", limits.lobbies, 1..=10_000_000)?;
    within("limits.lobby_capacity", limits.lobby_capacity, 1..=u16::MAX)?;
    within("limits.message_bytes", limits.message_bytes, 256..=1 << 20)?;
    within("limits.fragments", limits.fragments, 1..=1_024)?;
    // A ticket travels in a request's headers, of which 16 KiB are read.
    within("limits.ticket_bytes", limits.ticket_bytes, 128..=8_192)?;
    within("limits.settings_bytes", limits.settings_bytes, 0..=limits.message_bytes)?;
    within("limits.messages_per_second", limits.messages_per_second, 1..=100_000)?;
    within("limits.inputs_per_tick", limits.inputs_per_tick, 1..=1_000)?;
    within("limits.queue_bytes", limits.queue_bytes, limits.message_bytes..=64 << 20)?;
    within("limits.resume_bytes", limits.resume_bytes, 0..=64 << 20)?;
    within_seconds("limits.flood_grace", limits.flood_grace, 0.0..=3_600.0)?;
    within_seconds("limits.handshake", limits.handshake, 0.1..=300.0)?;
    within_seconds("limits.first_message", limits.first_message, 0.1..=300.0)?;
    within_seconds("limits.heartbeat", limits.heartbeat, 0.5..=3_600.0)?;
    within_seconds("limits.grace", limits.grace, 0.0..=86_400.0)
}

fn check_tickets(settings: &Settings, dev: bool) -> Result<(), ConfigError> {
    let tickets = &settings.tickets;
    if tickets.keys.is_empty() && settings.issuers.is_empty() && settings.forward.url.is_none() && !dev {
        let problem = "no key to check tickets with: name one (`muster key generate` makes one), or start with --dev";
        return refuse("tickets.keys", problem);
    }
    if tickets.issuer.is_empty() {
        return refuse("tickets.issuer", "is empty: set it to the `iss` of your tickets");
    }
    if tickets.audience.is_empty() {
        return refuse("tickets.audience", "is empty: set it to the `aud` of your tickets");
    }
    within_seconds("tickets.leeway", tickets.leeway, 0.0..=60.0)?;
    within_seconds("tickets.max_lifetime", tickets.max_lifetime, 1.0..=86_400.0)?;
    if let Some(cookie) = &tickets.cookie {
        // A token of RFC 6265 4.1.1.
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if cookie.is_empty() || !cookie.bytes().all(token) {
            return refuse("tickets.cookie", "is not a cookie's name: use letters, digits, - and _");
        }
        if settings.origins.allowed.is_empty() {
            let problem = "a cookie goes along with any page's request: list your pages in origins.allowed as well";
            return refuse("tickets.cookie", problem);
        }
    } else if tickets.carriers.is_empty() {
        return refuse(
            "tickets.carriers",
            "no ticket could ever arrive: list at least one carrier, or set tickets.cookie",
        );
    }
    Ok(())
}

fn check_tls(settings: &Settings, dev: bool) -> Result<(), ConfigError> {
    let tls = &settings.tls;
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => return refuse("tls.key", "is missing: tls.certificate needs its private key"),
        (None, Some(_)) => return refuse("tls.certificate", "is missing: tls.key needs its certificate"),
        _ => {}
    }
    if tls.certificate.is_none() && !dev {
        if settings.transport.webtransport {
            let problem = "WebTransport needs a certificate: set tls.certificate and tls.key, or turn this off, or start with --dev";
            return refuse("transport.webtransport", problem);
        }
        if tls.websocket == TlsWebSocket::On {
            return refuse(
                "tls.websocket",
                "is on without a certificate: set tls.certificate and tls.key, or turn it off",
            );
        }
    }
    Ok(())
}

fn check_rest(settings: &Settings) -> Result<(), ConfigError> {
    if settings.metrics.listen == Some(settings.listen) && settings.listen.port() != 0 {
        return refuse("metrics.listen", "is the main port: choose another, or leave it out to serve /metrics there");
    }
    within_seconds("sessions.reservation", settings.sessions.reservation, 0.5..=3_600.0)?;
    if let Some(rate) = settings.sessions.tick_rate {
        within("sessions.tick_rate", rate, 1..=128)?;
    }
    within("transport.socket_buffer", settings.transport.socket_buffer, 64 << 10..=256 << 20)
}

fn refuse(key: &'static str, problem: &str) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid { key, problem: problem.to_owned() })
}

fn within<N: PartialOrd + std::fmt::Display>(
    key: &'static str,
    value: N,
    range: RangeInclusive<N>,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    let problem = format!("is {value}: choose a value from {} to {}", range.start(), range.end());
    Err(ConfigError::Invalid { key, problem })
}

fn within_seconds(key: &'static str, value: Duration, range: RangeInclusive<f64>) -> Result<(), ConfigError> {
    within(key, value.as_secs_f64(), range)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::config::Origin;

    /// Settings that serve: a key and a certificate.
    fn serving() -> Settings {
        let mut settings = Settings::default();
        settings.tickets.keys = vec!["keys.jwk".into()];
        settings.tls.certificate = Some("cert.pem".into());
        settings.tls.key = Some("key.pem".into());
        settings
    }

    fn fault(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = serving();
        change(&mut settings);
        Config::new(settings, false).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_development_server_needs_nothing_set_and_a_real_one_is_told_what_it_lacks() {
        assert!(Config::new(Settings::dev_preset(), true).unwrap().dev());
        assert!(Config::new(serving(), false).unwrap().has_certificate());
        assert!(fault(|s| s.tickets.keys.clear()).starts_with("tickets.keys: no key to check tickets with"));
        assert!(fault(|s| (s.tls.certificate, s.tls.key) = (None, None)).starts_with("transport.webtransport: "));
        assert!(fault(|s| s.tls.key = None).starts_with("tls.key: is missing"));
        assert!(fault(|s| s.tls.certificate = None).starts_with("tls.certificate: is missing"));
        let plain = fault(|s| {
            (s.tls.certificate, s.tls.key) = (None, None);
            s.transport.webtransport = false;
            s.tls.websocket = TlsWebSocket::On;
        });
        assert!(plain.starts_with("tls.websocket: "), "{plain}");
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_the_knob_they_stand_in() {
        type Change = fn(&mut Settings);
        let cases: [(&str, Change); 12] = [
            ("limits.links", |s| s.limits.links = 0),
            ("limits.ticket_bytes", |s| s.limits.ticket_bytes = 1 << 20),
            ("limits.settings_bytes", |s| s.limits.settings_bytes = s.limits.message_bytes + 1),
            ("limits.queue_bytes", |s| s.limits.queue_bytes = 1),
            ("limits.handshake", |s| s.limits.handshake = Duration::ZERO),
            ("limits.heartbeat", |s| s.limits.heartbeat = Duration::ZERO),
            ("tickets.leeway", |s| s.tickets.leeway = Duration::from_secs(61)),
            ("tickets.audience", |s| s.tickets.audience.clear()),
            ("tickets.carriers", |s| s.tickets.carriers.clear()),
            ("metrics.listen", |s| s.metrics.listen = Some(s.listen)),
            ("sessions.tick_rate", |s| s.sessions.tick_rate = Some(129)),
            ("transport.socket_buffer", |s| s.transport.socket_buffer = 1),
        ];
        for (key, change) in cases {
            let error = fault(change);
            assert!(error.starts_with(key) && !error.contains('\n'), "{key}: {error}");
        }
    }

    #[test]
    fn a_cookie_is_trusted_only_with_listed_pages() {
        assert!(fault(|s| s.tickets.cookie = Some("ticket".into())).contains("origins.allowed"));
        assert!(fault(|s| s.tickets.cookie = Some("a=b".into())).starts_with("tickets.cookie"));
        let mut settings = serving();
        settings.tickets.cookie = Some("ticket".into());
        settings.tickets.carriers.clear();
        settings.origins.allowed = vec![Origin::parse("https://game.example").unwrap()];
        assert!(Config::new(settings, false).is_ok());
    }

    #[test]
    fn no_listed_origin_means_no_page_except_in_development() {
        assert!(!Config::new(serving(), false).unwrap().origin_policy().may_link("https://game.example"));
        assert!(Config::new(serving(), true).unwrap().origin_policy().may_link("https://game.example"));
    }
}
