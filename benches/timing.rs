//! Whether the time of a refusal tells how much of a secret was guessed, in the manner of dudect (Reparaz, Balasch,
//! Verbauwhede, 2017): one kind of guess has all of the secret but its last byte, the other nothing of it, in random
//! order, and Welch's t says whether the two take different times. Past 4.5 they do, most likely.
//!
//! `cargo bench --bench timing`. A run is a sample: on a busy machine repeat what looks bad before believing it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use muster::admin::AdminToken;
use muster::admission::Admission;
use muster::clock::Clock;
use muster::codec;
use muster::config::{Config, Settings};
use muster::directory::Embedded;
use muster::game::Registry;
use muster::hub::Hub;
use muster::metrics::Metrics;
use muster::outbox::Transport;
use muster::request::{Credentials, OpenRequest, RawTicket, Wish};
use muster::ticket::{Algorithm, Claims, KeyHint, Signer, TicketId, TicketPolicy, UnixSeconds, Verifier, generate_key};
use muster::transport::memory::MemoryLink;
use muster::wire::{ResumePoint, ResumeToken, ServerMessage};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const MEASUREMENTS: usize = 1_000_000;
/// Made before they are measured, so that making them is not.
const AT_A_TIME: usize = 10_000;
const LIMIT: f64 = 4.5;

/// What somebody presents who knows all of `secret` but its last byte, or nothing but its length.
fn guess(secret: &[u8], knows: bool, random: &mut StdRng) -> Vec<u8> {
    let mut guess: Vec<u8> = (0..secret.len()).map(|_| random.random()).collect();
    let (last, known) = secret.split_last().unwrap();
    if knows {
        guess[..known.len()].copy_from_slice(known);
    }
    let end = guess.last_mut().unwrap();
    *end = if *end == *last { !*last } else { *end };
    guess
}

/// Times refusals of both kinds and prints t, the largest of those over all, and over the fastest 99, 90 and 50 of 100:
/// what the machine does meanwhile is in the slow ones.
fn measure<G>(
    what: &str,
    count: usize,
    mut make: impl FnMut(bool, &mut StdRng) -> G,
    refuse: impl Fn(&G) -> bool,
) -> f64 {
    let mut random = StdRng::seed_from_u64(7);
    let mut times = [Vec::with_capacity(count), Vec::with_capacity(count)];
    for _ in 0..count.div_ceil(AT_A_TIME) {
        let kinds: Vec<bool> = (0..AT_A_TIME.min(count)).map(|_| random.random()).collect();
        let guesses: Vec<G> = kinds.iter().map(|knows| make(*knows, &mut random)).collect();
        for (knows, guess) in kinds.iter().zip(&guesses) {
            let began = Instant::now();
            let refused = black_box(refuse(black_box(guess)));
            let took = began.elapsed().as_nanos() as f64;
            assert!(refused, "{what}");
            times[usize::from(*knows)].push(took);
        }
    }
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    let cut = |of_100: usize| all[(all.len() * of_100 / 100).min(all.len() - 1)];
    let t = [100, 99, 90, 50]
        .map(|of_100| welch(&times, cut(of_100)))
        .into_iter()
        .fold(0.0, |most, t| if t.abs() > f64::abs(most) { t } else { most });
    let verdict = if t.abs() < LIMIT { "no difference seen" } else { "DIFFERENT" };
    println!("{what}: t = {t:.2} over {} refusals of {} ns (median): {verdict}", all.len(), cut(50));
    t
}

/// Welch's t of the two, over what took at most so long.
fn welch(times: &[Vec<f64>; 2], at_most: f64) -> f64 {
    let [a, b] = times.each_ref().map(|times| {
        let times = || times.iter().filter(|time| **time <= at_most);
        let count = times().count().max(2) as f64;
        let mean = times().sum::<f64>() / count;
        let variance = times().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    let spread = (a.1 + b.1).sqrt();
    if spread == 0.0 { 0.0 } else { (b.0 - a.0) / spread }
}

/// What must not be done, to see that it would be seen.
fn naive(count: usize) {
    let secret: [u8; 64] = StdRng::seed_from_u64(1).random();
    let t = measure(
        "control: bytes compared one by one up to the first that differs",
        count,
        |knows, random| guess(&secret, knows, random),
        |guess| !guess.iter().zip(&secret).all(|(a, b)| black_box(a) == b),
    );
    assert!(count < MEASUREMENTS || t.abs() > LIMIT, "the measurement is blind");
}

fn admin_token(count: usize) {
    // As bytes of hexadecimal digits: what a header can carry.
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let secret: [u8; 32] = StdRng::seed_from_u64(2).random();
    let token = AdminToken::new(&hex(&secret)).unwrap();
    measure(
        "the admin token",
        count,
        |knows, random| hex(&guess(&secret, knows, random)).into_bytes(),
        |guess| !token.is(guess),
    );
}

fn signer() -> Signer {
    let hint = KeyHint { kid: None, algorithm: Some(Algorithm::Hs256) };
    Signer::from_text(&generate_key(Algorithm::Hs256).unwrap().private, &hint).unwrap()
}

fn ticket(signer: &Signer, number: usize, now: UnixSeconds) -> String {
    let claims = Claims {
        issuer: "muster".into(),
        audience: "muster".into(),
        player: format!("player-{number}"),
        ticket_id: TicketId::from_random(number as u128),
        issued_at: now,
        expires_at: UnixSeconds(now.0 + 100),
        more: serde_json::Map::new(),
    };
    signer.mint(&claims).unwrap().reveal().to_owned()
}

fn signature(count: usize) {
    let (signer, now) = (signer(), UnixSeconds(1_800_000_000));
    let verifier = Verifier::new(signer.ring().unwrap(), TicketPolicy::default());
    let good = ticket(&signer, 0, now);
    let (front, secret) = good.rsplit_once('.').unwrap();
    let secret = URL_SAFE_NO_PAD.decode(secret).unwrap();
    measure(
        "the signature of a forged HS256 ticket",
        count,
        |knows, random| format!("{front}.{}", URL_SAFE_NO_PAD.encode(guess(&secret, knows, random))),
        |forged| verifier.verify(forged, now).is_err(),
    );
}

fn resume_token(count: usize) {
    const PLAYERS: usize = 1_000;
    let config = Config::new(Settings::dev_preset(), true).unwrap();
    let (clock, signer) = (Clock::start(), signer());
    let metrics = Arc::new(Metrics::new());
    let (limits, reservation) = (config.limits.clone(), config.sessions.reservation);
    let hub = Hub::new(limits, reservation, Registry::built_in(), metrics, clock, [7; 32]);
    let verifier = Verifier::new(signer.ring().unwrap(), TicketPolicy::default());
    let directory = Arc::new(Embedded::new(PLAYERS));
    let admission = Admission::new(hub, verifier, directory, &config.tickets, config.origin_policy());
    let request = |credentials| OpenRequest {
        transport: Transport::Memory,
        peer: SocketAddr::from(([127, 0, 0, 1], 1)),
        origin: None,
        credentials: Some(credentials),
        wish: Wish::None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut links: Vec<MemoryLink> = (0..PLAYERS)
        .map(|number| {
            let request = request(Credentials::Ticket(RawTicket(ticket(&signer, number, clock.unix()))));
            runtime.block_on(MemoryLink::open(&admission, &request)).ok().unwrap()
        })
        .collect();
    let secrets: Vec<[u8; 32]> = links
        .iter_mut()
        .map(|link| match codec::decode(&link.poll_message().unwrap()).unwrap() {
            ServerMessage::Welcome(welcome) => welcome.resume.0,
            other => panic!("{other:?}"),
        })
        .collect();
    measure(
        "a resume token among 1,000",
        count,
        |knows, random| {
            let secret = &secrets[random.random_range(0..PLAYERS)];
            let token = guess(secret, knows, random).try_into().unwrap();
            request(Credentials::Resume(ResumePoint { token: ResumeToken(token), received: 0 }))
        },
        |request| {
            // It is decided at once: nothing is waited for.
            let admitted = pin!(admission.admit(request)).poll(&mut Context::from_waker(Waker::noop()));
            matches!(admitted, std::task::Poll::Ready(Err(_)))
        },
    );
}

fn main() {
    muster::ticket::install_crypto();
    // Whoever only wants to know that it runs does not wait for the figures.
    let count = if std::env::args().any(|flag| flag == "--bench") { MEASUREMENTS } else { 1_000 };
    for measure in [naive, admin_token, signature, resume_token] {
        measure(count);
    }
}
