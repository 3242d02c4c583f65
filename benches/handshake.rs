//! What it takes to get in: admission alone, and whole handshakes over loopback, with each ticket algorithm.
//!
//! Server and client share this process; what is compared is one way in with another, and one run with the next.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use muster::admission::Admission;
use muster::client::{Connector, Engine, Event, Join, Transport, TransportChoice};
use muster::clock::Clock;
use muster::config::{Config, LogLevel, Settings};
use muster::directory::Embedded;
use muster::game::Registry;
use muster::hub::Hub;
use muster::ids::GameName;
use muster::metrics::Metrics;
use muster::request::{Credentials, OpenRequest, RawTicket, Wish};
use muster::server::Server;
use muster::ticket::{Algorithm, Claims, KeyHint, Signer, TicketId, TicketPolicy, UnixSeconds, Verifier, generate_key};
use tokio::runtime::Runtime;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A ticket for a player that has never come before.
fn ticket(signer: &Signer, clock: &Clock) -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = UnixSeconds(clock.unix().0);
    let claims = Claims {
        issuer: "muster".into(),
        audience: "muster".into(),
        player: format!("player-{number}"),
        ticket_id: TicketId::from_random(u128::from(number)),
        issued_at: now,
        expires_at: now.plus(Duration::from_secs(100)),
        more: serde_json::Map::new(),
    };
    signer.mint(&claims).unwrap().reveal().to_owned()
}

fn signer(algorithm: Algorithm) -> (Signer, String) {
    let key = generate_key(algorithm).unwrap();
    let hint = KeyHint { kid: None, algorithm: Some(algorithm) };
    let signer = Signer::from_text(&key.private, &hint).unwrap();
    (signer, key.public.unwrap_or(key.private))
}

fn admission(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let config = Config::new(Settings::dev_preset(), true).unwrap();
    let mut group = criterion.benchmark_group("admission alone");
    for algorithm in [Algorithm::Hs256, Algorithm::EdDsa] {
        let (signer, _) = signer(algorithm);
        let clock = Clock::start();
        let hub = Hub::new(
            config.limits.clone(),
            config.sessions.reservation,
            Registry::built_in(),
            Arc::new(Metrics::new()),
            clock,
            [7; 32],
        );
        let verifier = Verifier::new(signer.ring().unwrap(), TicketPolicy::default());
        let directory = Arc::new(Embedded::new(1_000_000));
        let admission = Admission::new(hub, verifier, directory, &config.tickets, config.origin_policy());
        let request = || OpenRequest {
            transport: muster::outbox::Transport::Memory,
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            origin: None,
            credentials: Some(Credentials::Ticket(RawTicket(ticket(&signer, &clock)))),
            wish: Wish::None,
        };
        group.bench_function(algorithm.name(), |bencher| {
            bencher.to_async(&runtime).iter_batched(
                request,
                async |request| {
                    admission.admit(&request).await.unwrap();
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn handshakes(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    for algorithm in [Algorithm::Hs256, Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
        let (signer, key) = signer(algorithm);
        let (signer, clock) = (Arc::new(signer), Clock::start());
        let file = std::env::temp_dir().join(format!("muster-bench-{}-{}", std::process::id(), algorithm.name()));
        std::fs::write(&file, key).unwrap();
        let mut settings = Settings::dev_preset();
        settings.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        settings.log.level = LogLevel::Error;
        settings.tickets.keys = vec![file.clone()];
        let config = Config::new(settings, true).unwrap();
        let server = runtime.block_on(Server::start(config, Registry::built_in())).unwrap();
        std::fs::remove_file(&file).unwrap();
        for transport in [Transport::WebSocket, Transport::WebTransport] {
            let connector = Connector::new(format!("muster://{}", server.address()))
                .transport(TransportChoice::Only(transport))
                .join(Join::Quick(GameName::new("arena").unwrap()));
            let mut group = criterion.benchmark_group(format!("handshake/{}/{}", transport.as_str(), algorithm.name()));
            let fresh = || connector.clone().ticket(ticket(&signer, &clock));
            group.bench_function("to Welcome", |bencher| {
                bencher.to_async(&runtime).iter_batched(
                    fresh,
                    async |connector| leave(connector.connect_engine().await.unwrap()),
                    BatchSize::PerIteration,
                );
            });
            group.bench_function("to the seat", |bencher| {
                bencher.to_async(&runtime).iter_batched(
                    fresh,
                    async |connector| {
                        let mut engine = connector.connect_engine().await.unwrap();
                        while !matches!(engine.next().await, Some(Event::Seated(_))) {}
                        leave(engine);
                    },
                    BatchSize::PerIteration,
                );
            });
            group.finish();
        }
        runtime.block_on(server.stop());
    }
}

/// Leaves for good, beside the next handshake: the end of a link is not what is measured.
fn leave(mut engine: Engine) {
    engine.leave();
    tokio::spawn(async move { while engine.next().await.is_some() {} });
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .without_plots()
}

criterion_group! { name = handshake; config = short(); targets = admission, handshakes }
criterion_main!(handshake);
