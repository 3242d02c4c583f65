//! What is counted, for everybody who counts and for the operator who reads.
//!
//! Owns: every metric, its name and its help text. Must not know: who counts. A metric with a label is resolved when
//! the node starts: counting is one atomic addition, with no look-up and no lock (the histogram takes a short one).
//! Labels come from closed sets, so that no peer can make the number of series grow.

mod label;

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use label::{Asking, ByIssuer, InputDrop, Label, Labelled, Refresh, Resume, RevocationFault, TicketRefusal};
use label::{IssuerSeries, NamedSeries};

use crate::outbox::Transport;
use crate::wire::Code;

/// Every metric of one node. Shared behind an `Arc`; everything takes `&self`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,

    /// Links that are open.
    pub links: Labelled<Transport, Gauge>,
    /// Links that have not shown a ticket yet.
    pub pending_links: Gauge,
    /// Handshakes of a transport that came to their end: the upgrade was answered, or the QUIC connection stands.
    pub handshakes: Labelled<Transport, Counter>,
    /// Requests and links that were refused, by the code that was told or would have been.
    pub refusals: Labelled<Code, Counter>,
    /// Links that were open and ended, by code.
    pub closes: Labelled<Code, Counter>,
    /// Tickets that were burned for a place.
    pub tickets_consumed: Counter,
    /// Players who are known to the node, linked or waited for.
    pub players: Gauge,
    /// Lobbies that exist.
    pub lobbies: Gauge,
    /// Game sessions that were made.
    pub sessions_allocated: Counter,
    /// Game sessions that run.
    pub sessions: Gauge,
    /// Ticks that were run, of all sessions.
    pub ticks: Counter,
    /// How late a tick began against its absolute schedule, in seconds.
    pub tick_lateness: Histogram,
    /// Ticks that were given up because the schedule could not be caught up with.
    pub ticks_skipped: Counter,
    /// Snapshots that were handed to the kernel.
    pub snapshots_sent: Labelled<Transport, Counter>,
    /// Snapshots that a newer one replaced before a slow link took them.
    pub snapshots_replaced: Labelled<Transport, Counter>,
    /// Inputs that reached their tick.
    pub inputs_accepted: Counter,
    /// Inputs that did not, by reason.
    pub inputs_dropped: Labelled<InputDrop, Counter>,
    /// Messages that came in.
    pub messages_in: Labelled<Transport, Counter>,
    /// Bytes of messages that came in.
    pub bytes_in: Labelled<Transport, Counter>,
    /// Messages that went out, snapshots included.
    pub messages_out: Labelled<Transport, Counter>,
    /// Bytes of messages that went out, snapshots included.
    pub bytes_out: Labelled<Transport, Counter>,
    /// Links that were closed since their queue of reliable messages was full.
    pub queue_overflows: Counter,
    /// Attempts to come back to a place, by outcome.
    pub resumes: Labelled<Resume, Counter>,
    /// Fresh tickets that were taken on an open link.
    pub renewals: Counter,
    /// Games that panicked; each ended its own session.
    pub game_panics: Counter,
    /// Revocations in force, those of the operator's list included.
    pub revocations: Gauge,
    /// Players who were here and were sent away, since their ticket was revoked.
    pub players_revoked: Counter,
    /// What went wrong with revocations, by where.
    pub revocation_faults: Labelled<RevocationFault, Counter>,
    /// Times that keys could not be read again from their files.
    pub key_faults: Counter,
    /// Requests to the admin API with a wrong token or none.
    pub admin_refused: Counter,
    /// When the certificate in force expires, in Unix time; 0 without one.
    pub certificate_expiry: Gauge,
    /// Questions to the backend of forward authentication, by outcome.
    pub forward_requests: Labelled<Asking, Counter>,
    /// 1 while that backend is left alone since it failed, else 0.
    pub forward_left_alone: Gauge,
    jwks_refreshes: IssuerSeries<Counter>,
    jwks_loaded: NamedSeries<Gauge>,
    admitted: NamedSeries<Counter>,
    tickets_refused: IssuerSeries<Counter>,
}

/// The metrics of one issuer whose keys are fetched.
#[derive(Debug)]
pub struct IssuerMetrics {
    /// Fetches of its keys, by outcome.
    pub refreshes: Labelled<Refresh, Counter>,
    /// When its keys were last fetched, in Unix time; 0 if never.
    pub loaded: Gauge,
}

/// What came of tickets, by who signed them.
#[derive(Debug)]
pub struct IssuerTickets {
    /// Players who were let in.
    pub admitted: ByIssuer<Counter>,
    /// Tickets that the issuer has signed and that were refused for what they say.
    pub refused: ByIssuer<Labelled<TicketRefusal, Counter>>,
}

impl Metrics {
    /// Every metric at zero.
    pub fn new() -> Self {
        let mut at = Registry::with_prefix("muster");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        at.register("build", "The version of muster that runs", version);
        let links = Labelled::register(&mut at, "links", "Links that are open");
        let pending_links = plain(&mut at, "pending_links", "Links that have not shown a ticket yet");
        let handshakes = Labelled::register(&mut at, "handshakes", "Transport handshakes that were completed");
        let refusals = Labelled::register(&mut at, "refusals", "Requests and links that were refused, by code");
        let closes = Labelled::register(&mut at, "close", "Links that were open and ended, by code");
        let tickets_consumed = plain(&mut at, "tickets_consumed", "Tickets that were burned for a place");
        let players = plain(&mut at, "players", "Players known to the node, linked or waited for");
        let lobbies = plain(&mut at, "lobbies", "Lobbies that exist");
        let sessions_allocated = plain(&mut at, "sessions_allocated", "Game sessions that were made");
        let sessions = plain(&mut at, "sessions", "Game sessions that run");
        let ticks = plain(&mut at, "ticks", "Ticks that were run, of all sessions");
        let tick_lateness = Histogram::new(LATENESS_SECONDS);
        let help = "How late a tick began against its absolute schedule";
        at.register_with_unit("tick_lateness", help, Unit::Seconds, tick_lateness.clone());
        let help = "Ticks given up because the schedule could not be caught up with";
        let ticks_skipped = plain(&mut at, "ticks_skipped", help);
        let snapshots_sent = Labelled::register(&mut at, "snapshots_sent", "Snapshots handed to the kernel");
        let help = "Snapshots that a newer one replaced before a slow link took them";
        let snapshots_replaced = Labelled::register(&mut at, "snapshots_replaced", help);
        let inputs_accepted = plain(&mut at, "inputs_accepted", "Inputs that reached their tick");
        let inputs_dropped = Labelled::register(&mut at, "inputs_dropped", "Inputs that were dropped, by reason");
        let messages_in = Labelled::register(&mut at, "messages_in", "Messages that came in");
        let bytes_in = Labelled::register_in_bytes(&mut at, "messages_in", "Bytes of messages that came in");
        let messages_out = Labelled::register(&mut at, "messages_out", "Messages that went out, snapshots included");
        let bytes_out = Labelled::register_in_bytes(&mut at, "messages_out", "Bytes of messages that went out");
        let help = "Links closed because their queue of reliable messages was full";
        let queue_overflows = plain(&mut at, "queue_overflows", help);
        let resumes = Labelled::register(&mut at, "resumes", "Attempts to come back to a place, by outcome");
        let renewals = plain(&mut at, "renewals", "Fresh tickets taken on an open link");
        let game_panics = plain(&mut at, "game_panics", "Games that panicked; each ended its own session only");
        let revocations = plain(&mut at, "revocations", "Revocations in force, the operator's list included");
        let help = "Players who were sent away since their ticket was revoked";
        let players_revoked = plain(&mut at, "players_revoked", help);
        let help = "Revocations that could not be read from the list or written to the store";
        let revocation_faults = Labelled::register(&mut at, "revocation_faults", help);
        let help = "Times that keys could not be read again from their files, and stayed as they were";
        let key_faults = plain(&mut at, "key_faults", help);
        let help = "Requests to the admin API with a wrong token or none";
        let admin_refused = plain(&mut at, "admin_refused", help);
        let certificate_expiry = Gauge::default();
        let help = "When the certificate in force expires, in Unix time; 0 without one";
        at.register_with_unit("certificate_expiry", help, Unit::Seconds, certificate_expiry.clone());
        let help = "Questions to the backend of forward authentication, by outcome";
        let forward_requests = Labelled::register(&mut at, "forward_requests", help);
        let help = "1 while the backend of forward authentication is left alone since it failed";
        let forward_left_alone = plain(&mut at, "forward_left_alone", help);
        let jwks_refreshes = plain(&mut at, "jwks_refreshes", "Fetches of an issuer's keys, by outcome");
        let jwks_loaded = Family::default();
        let help = "When an issuer's keys were last fetched, in Unix time; 0 if never";
        at.register_with_unit("jwks_loaded", help, Unit::Seconds, jwks_loaded.clone());
        let admitted = plain(&mut at, "admitted", "Players who were let in, by who vouched for them");
        let help = "Tickets that an issuer signed and that were refused for what they say, by issuer and reason";
        let tickets_refused = plain(&mut at, "tickets_refused", help);
        Self {
            registry: at,
            links,
            pending_links,
            handshakes,
            refusals,
            closes,
            tickets_consumed,
            players,
            lobbies,
            sessions_allocated,
            sessions,
            ticks,
            tick_lateness,
            ticks_skipped,
            snapshots_sent,
            snapshots_replaced,
            inputs_accepted,
            inputs_dropped,
            messages_in,
            bytes_in,
            messages_out,
            bytes_out,
            queue_overflows,
            resumes,
            renewals,
            game_panics,
            revocations,
            players_revoked,
            revocation_faults,
            key_faults,
            admin_refused,
            certificate_expiry,
            forward_requests,
            forward_left_alone,
            jwks_refreshes,
            jwks_loaded,
            admitted,
            tickets_refused,
        }
    }

    /// The metrics of an issuer by its name. The names come from the configuration alone.
    pub fn of_issuer(&self, issuer: &str) -> IssuerMetrics {
        let loaded = self.jwks_loaded.get_or_create(&[("issuer", issuer.to_owned())]).clone();
        IssuerMetrics { refreshes: Labelled::of_issuer(&self.jwks_refreshes, issuer), loaded }
    }

    /// The metrics of tickets by issuer, each at zero. The names come from the configuration alone.
    pub fn issuer_tickets(&self, issuers: &[Arc<str>]) -> IssuerTickets {
        IssuerTickets {
            admitted: ByIssuer::resolved(&self.admitted, issuers),
            refused: ByIssuer::labelled(&self.tickets_refused, issuers),
        }
    }

    /// All metrics as OpenMetrics text.
    pub fn expose(&self) -> String {
        let mut text = String::new();
        // Writing to a string fails only out of memory, and that does not return.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The media type of [`Metrics::expose`].
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn plain<M>(at: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Clone + Default,
{
    let metric = M::default();
    at.register(name, help, metric.clone());
    metric
}

/// From a tenth of a millisecond to half a second: a tick of 128 Hz is 7.8 ms long, one of 1 Hz a second.
const LATENESS_SECONDS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5];

#[cfg(test)]
mod tests {
    use super::*;

    fn value(metrics: &Metrics, series: &str) -> Option<String> {
        let text = metrics.expose();
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))
    }

    #[test]
    fn what_is_counted_is_exposed_under_its_name_and_label() {
        let metrics = Metrics::new();
        metrics.closes.of(Code::SlowReader).inc();
        metrics.refusals.of(Code::BadTicket).inc_by(3);
        metrics.links.of(Transport::WebTransport).set(7);
        metrics.bytes_out.of(Transport::WebSocket).inc_by(512);
        metrics.inputs_dropped.of(InputDrop::Duplicate).inc();
        metrics.tick_lateness.observe(0.003);
        for (series, expected) in [
            ("muster_close_total{code=\"slow-reader\"}", "1"),
            ("muster_refusals_total{code=\"bad-ticket\"}", "3"),
            ("muster_links{transport=\"webtransport\"}", "7"),
            ("muster_links{transport=\"websocket\"}", "0"),
            ("muster_messages_out_bytes_total{transport=\"websocket\"}", "512"),
            ("muster_inputs_dropped_total{reason=\"duplicate\"}", "1"),
            ("muster_tick_lateness_seconds_count", "1"),
            ("muster_tick_lateness_seconds_bucket{le=\"0.002\"}", "0"),
            ("muster_tick_lateness_seconds_bucket{le=\"0.004\"}", "1"),
            ("muster_game_panics_total", "0"),
        ] {
            assert_eq!(value(&metrics, series).as_deref(), Some(expected), "{series}\n{}", metrics.expose());
        }
        assert!(metrics.expose().ends_with("# EOF\n"));
    }

    #[test]
    fn every_code_has_its_series_from_the_start() {
        let metrics = Metrics::new();
        for code in Code::ALL {
            let series = format!("muster_close_total{{code=\"{}\"}}", code.slug());
            assert_eq!(value(&metrics, &series).as_deref(), Some("0"), "{series}");
        }
    }

    #[test]
    fn issuers_have_their_series_from_the_start_and_strangers_have_none() {
        let metrics = Metrics::new();
        let tickets = metrics.issuer_tickets(&["muster".into(), "site".into()]);
        tickets.admitted.of("site").inc();
        tickets.admitted.of("a stranger").inc();
        tickets.refused.of("muster").of(TicketRefusal::Expired).inc_by(2);
        tickets.refused.of("a stranger").of(TicketRefusal::Claims).inc();
        for (series, expected) in [
            ("muster_admitted_total{issuer=\"site\"}", Some("1")),
            ("muster_admitted_total{issuer=\"muster\"}", Some("0")),
            ("muster_tickets_refused_total{issuer=\"muster\",reason=\"expired\"}", Some("2")),
            ("muster_tickets_refused_total{issuer=\"site\",reason=\"claims\"}", Some("0")),
            ("muster_admitted_total{issuer=\"a stranger\"}", None),
        ] {
            assert_eq!(value(&metrics, series).as_deref(), expected, "{series}");
        }
    }

    #[test]
    fn the_in_memory_transport_counts_but_is_not_exposed() {
        let metrics = Metrics::new();
        metrics.links.of(Transport::Memory).inc();
        assert_eq!(metrics.links.of(Transport::Memory).get(), 1);
        assert!(!metrics.expose().contains("memory"));
    }
}
