//! Tickets by the million: junk costs next to nothing, and of any number of racers one gets in.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use muster::admission::Admission;
use muster::clock::Clock;
use muster::config::{Config, Settings};
use muster::directory::Embedded;
use muster::game::Registry;
use muster::hub::Hub;
use muster::metrics::Metrics;
use muster::outbox::Transport;
use muster::request::{Credentials, OpenRequest, RawTicket, Wish};
use muster::ticket::{Algorithm, KeyHint, Signer, TicketPolicy, Verifier, generate_key};
use muster::wire::{ClientMessage, Code};
use serde_json::Map;

use crate::common::{BOTH, Opening, Peer, World, mint, now, soon};

/// Admission with a hub behind it and no transport before it.
struct Door {
    admission: Admission,
    hub: Hub,
    signer: Signer,
}

impl Door {
    fn new(algorithm: Algorithm) -> Self {
        muster::ticket::install_crypto();
        let key = generate_key(algorithm).unwrap();
        let signer = Signer::from_text(&key.private, &KeyHint { kid: None, algorithm: Some(algorithm) }).unwrap();
        let config = Config::new(Settings::dev_preset(), true).unwrap();
        let (limits, reservation) = (config.limits.clone(), config.sessions.reservation);
        let metrics = Arc::new(Metrics::new());
        let hub = Hub::new(limits, reservation, Registry::built_in(), metrics, Clock::start(), [7; 32]);
        let verifier = Verifier::new(signer.ring().unwrap(), TicketPolicy::default());
        let directory = Arc::new(Embedded::new(1_000_000));
        let admission = Admission::new(hub.clone(), verifier, directory, &config.tickets, config.origin_policy());
        Self { admission, hub, signer }
    }

    fn ticket(&self, player: &str) -> String {
        mint(&self.signer, player, Map::new())
    }
}

fn request(ticket: impl Into<String>) -> OpenRequest {
    OpenRequest {
        transport: Transport::Memory,
        peer: "192.0.2.1:1".parse().unwrap(),
        origin: None,
        credentials: Some(Credentials::Ticket(RawTicket(ticket.into()))),
        wish: Wish::None,
    }
}

#[test]
fn a_million_junk_tickets_allocate_nothing_and_leave_the_memory_as_it_was() {
    // In a process of its own: resident memory is a process's, and other tests run beside this one.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tickets::a_million_junk_tickets_alone", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
}

#[test]
#[ignore = "a_million_junk_tickets_allocate_nothing_and_leave_the_memory_as_it_was runs it, in a process of its own"]
fn a_million_junk_tickets_alone() {
    const TRIES: usize = 1_000_000;
    let door = Door::new(Algorithm::EdDsa);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let good = door.ticket("ada");
    let junk: Vec<OpenRequest> = [
        String::new(),
        "junk".into(),
        "a.b.c".into(),
        "x".repeat(2_049),
        "x".repeat(1_000_000),
        format!("{}.{}.{}", "e".repeat(600), "y".repeat(600), "j".repeat(86)),
        format!("{}..", good.split('.').next().unwrap()),
    ]
    .map(request)
    .into();
    let refuse = |request: &OpenRequest| {
        let refused = runtime.block_on(door.admission.admit(request)).err().expect("refused");
        assert_eq!((refused.code, refused.reason), (Code::BadTicket, "bad-ticket"));
    };
    junk.iter().cycle().take(10_000).for_each(refuse);
    let (before, began) = (resident(), seconds_on_a_core());
    junk.iter().cycle().take(TRIES).for_each(refuse);
    let (took, grown) = (seconds_on_a_core() - began, resident().saturating_sub(before));
    let forged: Vec<OpenRequest> = (0..256).map(|n| request(forged(&door.ticket(&format!("p{n}"))))).collect();
    let began = seconds_on_a_core();
    forged.iter().cycle().take(20_000).for_each(refuse);
    let metrics = door.hub.metrics();
    let per_second = TRIES as f64 / took;
    println!(
        "junk: {per_second:.0} refusals per second and core; forged: {:.0}; resident memory grew by {} KiB",
        20_000.0 / (seconds_on_a_core() - began),
        grown / 1_024
    );
    assert!(grown < 5 << 20, "{grown} bytes more");
    assert!(per_second >= 50_000.0, "{per_second} refusals per second and core");
    assert_eq!(metrics.refusals.of(Code::BadTicket).get(), 10_000 + TRIES as u64 + 20_000);
    let held = [&metrics.players, &metrics.lobbies, &metrics.sessions, &metrics.pending_links].map(|gauge| gauge.get());
    assert_eq!((held, metrics.sessions_allocated.get(), metrics.tickets_consumed.get()), ([0; 4], 0, 0));
    // The very ticket whose header was used for junk is still good.
    let place = runtime.block_on(door.admission.admit(&request(good)));
    assert!(place.is_ok() && metrics.tickets_consumed.get() == 1);
}

fn forged(ticket: &str) -> String {
    let (front, signature) = ticket.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    format!("{front}.{flipped}{}", &signature[1..])
}

/// What this thread has had of a core so far: however busy the machine is, its work costs the same.
fn seconds_on_a_core() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // Behind the name, which may hold anything: utime and stime, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1_024
}

#[test]
fn of_all_who_race_through_admission_with_one_ticket_exactly_one_is_let_in() {
    let door = Door::new(Algorithm::Hs256);
    // Many short rounds, and of a thousand racers each a few; where there is time, as many. A batch's tickets must not expire
    // before its last round.
    let of_a_thousand = if crate::long() { 10_000 } else { 20 };
    let short = std::iter::repeat_n((1_000, 4, 1), 10);
    for (rounds, threads, each) in short.chain(std::iter::repeat_n((20, 8, 125), of_a_thousand / 20)) {
        let requests: Vec<OpenRequest> = (0..rounds).map(|_| request(door.ticket("racer"))).collect();
        let let_in: Vec<AtomicUsize> = requests.iter().map(|_| AtomicUsize::new(0)).collect();
        let used = AtomicUsize::new(0);
        let start = std::sync::Barrier::new(threads);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    for (request, let_in) in requests.iter().zip(&let_in) {
                        start.wait();
                        for _ in 0..each {
                            match runtime.block_on(door.admission.admit(request)) {
                                Ok(place) => {
                                    let_in.fetch_add(1, Ordering::Relaxed);
                                    drop(place);
                                }
                                Err(refused) => {
                                    assert_eq!(refused.code, Code::TicketUsed);
                                    used.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                        }
                    }
                });
            }
        });
        assert!(let_in.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{let_in:?}");
        assert_eq!(used.into_inner(), rounds * (threads * each - 1));
    }
    println!("10,000 rounds of 4 racers and {of_a_thousand} of 1,000: one let in each time");
    assert_eq!(door.hub.metrics().tickets_consumed.get(), 10_000 + of_a_thousand as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_links_that_race_with_one_ticket_exactly_one_is_opened() {
    crate::floods::raise_open_files();
    // A thousand at a time take theirs on a busy machine; nobody here is slow on purpose.
    let patient = |limits: &mut muster::limits::Limits| limits.handshake = Duration::from_secs(60);
    let world = Arc::new(World::with_limits(patient).await);
    for (round, (racers, transports)) in
        [(1_000, &BOTH[..1]), (100, &BOTH[..]), (100, &BOTH[..])].into_iter().enumerate()
    {
        let before = world.figures(Code::TicketUsed);
        let ticket = world.ticket("racer");
        let racers: Vec<_> = (0..racers)
            .map(|racer| {
                let (world, ticket) = (Arc::clone(&world), ticket.clone());
                let transport = transports[racer % transports.len()];
                tokio::spawn(async move {
                    let opening = Opening { ticket: Some(&ticket), join: "quick:tiny", ..Opening::default() };
                    match world.open(transport, opening).await {
                        Ok(mut peer) => match soon("an answer", peer.next()).await {
                            crate::common::Heard::Message(muster::wire::ServerMessage::Goodbye(goodbye)) => {
                                assert_eq!(goodbye.code, Code::TicketUsed.number());
                                None
                            }
                            _ => Some(peer),
                        },
                        Err(answer) => {
                            answer.is_problem(Code::TicketUsed, "ticket-used");
                            None
                        }
                    }
                })
            })
            .collect();
        let count = racers.len() as u64;
        let mut winners: Vec<Peer> = Vec::new();
        for racer in racers {
            winners.extend(racer.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let after = world.figures(Code::TicketUsed);
        assert_eq!((after.tickets - before.tickets, after.refusals - before.refusals), (1, count - 1), "round {round}");
        let mut winner = winners.remove(0);
        winner.say(&ClientMessage::Bye).await;
        winner.is_told(Code::Left, "left").await;
    }
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_a_ticket_comes_once_and_the_newest_login_stays() {
    let world = World::start().await;
    for thief_first in [true, false] {
        for (thief_over, owner_over) in [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0])] {
            let stolen = world.ticket("ada");
            let with = |ticket| Opening { ticket: Some(ticket), ..Opening::default() };
            let (first, second) = if thief_first { (thief_over, owner_over) } else { (owner_over, thief_over) };
            let mut inside = world.arrive(first, with(&stolen)).await;
            // The same ticket opens nothing again, and does not disturb who is in.
            world.is_refused(second, with(&stolen), Code::TicketUsed, "ticket-used").await;
            inside.ping().await;
            // A fresh login of the same player is the newest: the link before it is told.
            let fresh = world.ticket("ada");
            let mut newest = world.arrive(second, with(&fresh)).await;
            inside.is_told(Code::Replaced, "replaced").await;
            newest.ping().await;
            newest.say(&ClientMessage::Bye).await;
            newest.is_told(Code::Left, "left").await;
        }
    }
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_second_of_a_ticket_is_the_same_over_a_link() {
    // By the wall clock, so with two seconds of room on either side of the edge that the verifier's tests hold exactly.
    let world = World::start().await;
    let expiring = |ago: u64| {
        let claims = [("iat", now() - ago - 30), ("exp", now() - ago)];
        world.ticket_with("ada", &claims.map(|(name, at)| (name, at.into())))
    };
    let leeway = Duration::from_secs(5).as_secs();
    for transport in BOTH {
        let late = expiring(leeway - 2);
        drop(world.arrive(transport, Opening { ticket: Some(&late), ..Opening::default() }).await);
        let over = expiring(leeway + 2);
        let opening = Opening { ticket: Some(&over), ..Opening::default() };
        world.is_refused(transport, opening, Code::BadTicket, "ticket-expired").await;
    }
}
