//! Sessions with an end: asked in time, renewed on the link that is there, ended at the end; under a clock of the test's own,
//! and over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::process::fresh_signer;
use common::*;
use muster::admission::Admission;
use muster::client::{Connector, Event, TicketSource, TransportChoice, Trust};
use muster::clock::Clock;
use muster::codec;
use muster::config::{OriginPolicy, TicketSettings};
use muster::directory::Embedded;
use muster::hub::Hub;
use muster::limits::Limits;
use muster::metrics::Metrics;
use muster::outbox::Transport;
use muster::request::{Credentials, OpenRequest, RawTicket, Wish};
use muster::ticket::{Signer, TicketPolicy, Verifier};
use muster::transport::memory::MemoryLink;
use muster::wire::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A node whose clock is the test's.
struct Node {
    signer: Signer,
    admission: Admission,
    metrics: Arc<Metrics>,
}

impl Node {
    fn start() -> Self {
        let signer = fresh_signer();
        let limits = Limits { heartbeat: Duration::from_secs(3_600), ..Limits::default() };
        let metrics = Arc::new(Metrics::new());
        let reservation = Duration::from_secs(5);
        let registry = common::games::registry();
        let hub = Hub::new(limits, reservation, registry, Arc::clone(&metrics), Clock::start(), [7; 32]);
        let verifier = Verifier::new(signer.ring().unwrap(), TicketPolicy::default());
        let directory = Arc::new(Embedded::new(1_000));
        let admission = Admission::new(hub.clone(), verifier, directory, &TicketSettings::default(), OriginPolicy::Dev);
        tokio::spawn(hub.run(CancellationToken::new()));
        tokio::spawn(admission.clone().run_renewals(CancellationToken::new()));
        Self { signer, admission, metrics }
    }

    /// A ticket of ada's whose session lasts so many seconds from the wall clock's now.
    fn ticket(&self, session: Option<u64>) -> String {
        let claims = session.map(|seconds| ("session_exp".to_owned(), json!(now() + seconds)));
        mint(&self.signer, "ada", claims.into_iter().collect())
    }

    async fn open(&self, credentials: Credentials) -> Result<(MemoryLink, Welcome), Code> {
        let request = OpenRequest {
            transport: Transport::Memory,
            peer: "192.0.2.1:1".parse().unwrap(),
            origin: None,
            credentials: Some(credentials),
            wish: Wish::None,
        };
        let mut link = MemoryLink::open(&self.admission, &request).await.map_err(|refused| refused.code)?;
        let first = link.poll_message().map(|bytes| codec::decode(&bytes).unwrap());
        let Some(ServerMessage::Welcome(welcome)) = first else { panic!("no Welcome first") };
        Ok((link, welcome))
    }

    async fn arrive(&self, ticket: &str) -> (MemoryLink, Welcome) {
        self.open(Credentials::Ticket(RawTicket(ticket.to_owned()))).await.unwrap()
    }

    async fn resume(&self, welcome: Welcome, received: u64) -> Result<(MemoryLink, Welcome), Code> {
        self.open(Credentials::Resume(ResumePoint { token: welcome.resume, received })).await
    }
}

fn heard(link: &mut MemoryLink) -> Vec<ServerMessage> {
    std::iter::from_fn(|| link.poll_message()).map(|bytes| codec::decode(&bytes).unwrap()).collect()
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn renew(link: &mut MemoryLink, ticket: String) -> Renewed {
    link.say(&codec::encode(&ClientMessage::Renew { ticket }));
    pass(1).await;
    match heard(link).as_slice() {
        [ServerMessage::Renewed(renewed)] => renewed.clone(),
        other => panic!("{other:?}"),
    }
}

/// How long the one message that came says there is.
fn asked(link: &mut MemoryLink) -> Option<u32> {
    match heard(link).as_slice() {
        [] => None,
        [ServerMessage::TicketWanted { within_ms }] => Some(*within_ms),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_player_is_asked_a_minute_before_the_end_and_stays_as_long_as_it_answers() {
    let node = Node::start();
    let (mut link, _) = node.arrive(&node.ticket(Some(600))).await;
    for _ in 0..3 {
        pass(535).await;
        assert_eq!(asked(&mut link), None);
        pass(10).await;
        assert!(asked(&mut link).is_some_and(|within| (55_000..=60_000).contains(&within)));
        let renewed = renew(&mut link, node.ticket(Some(600))).await;
        assert!(renewed.refusal.is_none() && renewed.ends_in_ms.is_some_and(|left| left > 590_000), "{renewed:?}");
    }
    assert_eq!(node.metrics.renewals.get(), 3);
    // A ticket without an end ends the asking.
    assert_eq!(renew(&mut link, node.ticket(None)).await, Renewed { refusal: None, ends_in_ms: None });
    pass(100_000).await;
    assert_eq!((asked(&mut link), link.closed()), (None, None));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_it_and_nothing_resumes_it_but_a_new_ticket_has_the_place_back() {
    let node = Node::start();
    let (mut link, welcome) = node.arrive(&node.ticket(Some(600))).await;
    pass(595).await;
    assert!(asked(&mut link).is_some());
    assert_eq!(link.closed(), None);
    pass(10).await;
    assert_eq!(link.closed(), Some(Code::BadTicket));
    let [ServerMessage::Goodbye(goodbye)] = &heard(&mut link)[..] else { panic!("no Goodbye") };
    assert_eq!((goodbye.code, goodbye.reason.as_str()), (4_401, "ticket-expired"));
    assert_eq!(node.metrics.closes.of(Code::BadTicket).get(), 1);
    assert_eq!(node.resume(welcome, 1).await.err(), Some(Code::BadTicket));
    assert_eq!(node.metrics.players.get(), 1, "the place waits");
    let (link, _) = node.arrive(&node.ticket(Some(600))).await;
    assert_eq!((link.closed(), node.metrics.players.get()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_lost_while_a_ticket_is_wanted_is_asked_again_after_its_resume() {
    let node = Node::start();
    let (mut link, welcome) = node.arrive(&node.ticket(Some(600))).await;
    pass(550).await;
    assert!(asked(&mut link).is_some());
    drop(link);
    pass(10).await;
    let (mut link, _) = node.resume(welcome, 1).await.unwrap();
    assert!(asked(&mut link).is_some_and(|within| within <= 50_000), "with what is left");
    let renewed = renew(&mut link, node.ticket(Some(600))).await;
    assert_eq!(renewed.refusal, None);
    drop(link);
    // Where the end comes while no link is there, the token is void all the same.
    let (link, welcome) = node.arrive(&node.ticket(Some(8))).await;
    drop(link);
    pass(10).await;
    assert_eq!(node.resume(welcome, 0).await.err(), Some(Code::BadTicket));
}

#[tokio::test(start_paused = true)]
async fn sessions_shorter_than_the_window_are_not_asked_for_without_end() {
    let node = Node::start();
    let (mut link, _) = node.arrive(&node.ticket(Some(20))).await;
    assert_eq!(asked(&mut link), None);
    for _ in 0..5 {
        pass(11).await;
        assert!(asked(&mut link).is_some_and(|within| within <= 10_000));
        assert_eq!(renew(&mut link, node.ticket(Some(20))).await.refusal, None);
        assert_eq!(asked(&mut link), None, "not at once again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_ticket_that_comes_while_the_node_drains_is_not_burned() {
    // Shown just before and not judged yet; and shown when the Goodbye is said already.
    for late in [false, true] {
        let node = Node::start();
        let (mut link, _) = node.arrive(&node.ticket(Some(600))).await;
        let burned = node.metrics.tickets_consumed.get();
        let renew = codec::encode(&ClientMessage::Renew { ticket: node.ticket(Some(600)) });
        if late {
            node.admission.hub().drain(Code::Draining);
            link.say(&renew);
        } else {
            link.say(&renew);
            node.admission.hub().drain(Code::Draining);
        }
        pass(1).await;
        assert_eq!(link.closed(), Some(Code::Draining), "late: {late}");
        let [ServerMessage::Goodbye(goodbye)] = &heard(&mut link)[..] else { panic!("more than a Goodbye") };
        assert_eq!((goodbye.code, goodbye.reason.as_str()), (4_001, "draining"));
        assert_eq!((node.metrics.tickets_consumed.get(), node.metrics.renewals.get()), (burned, 0), "late: {late}");
    }
}

/// The slug and the code of the refusal that answers a fresh ticket.
async fn is_not_renewed(peer: &mut Peer, ticket: String) -> (u16, String) {
    peer.say(&ClientMessage::Renew { ticket }).await;
    let refusal = peer
        .until("an answer", |message| match message {
            ServerMessage::Renewed(renewed) => Some(renewed.refusal.clone()),
            _ => None,
        })
        .await
        .expect("refused");
    (refusal.code, refusal.reason)
}

async fn is_asked(peer: &mut Peer) -> u32 {
    peer.until("a TicketWanted", |message| match message {
        ServerMessage::TicketWanted { within_ms } => Some(*within_ms),
        _ => None,
    })
    .await
}

fn session(seconds: u64) -> (&'static str, Value) {
    ("session_exp", json!(now() + seconds))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_outlives_the_end_of_its_first_ticket_over_either_transport() {
    let world = World::start().await;
    for transport in BOTH {
        let ticket = world.ticket_with("ada", &[session(3)]);
        let opening = Opening { ticket: Some(&ticket), join: "quick:tiny", ..Opening::default() };
        let mut ada = world.arrive(transport, opening).await;
        ada.seat().await;
        assert!(is_asked(&mut ada).await <= 2_000);
        ada.say(&ClientMessage::Renew { ticket: world.ticket_with("ada", &[session(600)]) }).await;
        let renewed = ada
            .until("an answer", |message| match message {
                ServerMessage::Renewed(renewed) => Some(renewed.clone()),
                _ => None,
            })
            .await;
        assert!(renewed.refusal.is_none() && renewed.ends_in_ms > Some(500_000), "{renewed:?}");
        ada.input_is_applied(1).await;
        ada.say(&ClientMessage::Bye).await;
        ada.is_told(Code::Left, "left").await;
        world.is_empty().await;
    }
    assert_eq!((world.metrics().renewals.get(), world.figures(Code::BadTicket).closes), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_fresh_ticket_is_told_so_over_either_transport() {
    let world = World::start().await;
    for transport in BOTH {
        let ticket = world.ticket_with("ada", &[session(2)]);
        let mut ada =
            world.arrive(transport, Opening { ticket: Some(&ticket), join: "quick:tiny", ..Opening::default() }).await;
        let seat = ada.seat().await;
        let before = world.figures(Code::BadTicket);
        is_asked(&mut ada).await;
        ada.is_told(Code::BadTicket, "ticket-expired").await;
        assert_eq!(world.figures(Code::BadTicket), Figures { closes: before.closes + 1, ..before });
        // A new ticket finds the seat as it was.
        let mut back = world.player(transport, "ada", "quick:tiny").await;
        assert_eq!(back.seat().await, seat);
        back.say(&ClientMessage::Bye).await;
        back.is_told(Code::Left, "left").await;
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_ticket_that_is_not_good_changes_nothing() {
    let world = World::start().await;
    for transport in BOTH {
        let first = world.ticket_with("ada", &[session(600)]);
        let opening = Opening { ticket: Some(&first), join: "quick:tiny", ..Opening::default() };
        let mut ada = world.arrive(transport, opening).await;
        ada.seat().await;
        let stolen = world.ticket("bob");
        let at = now();
        let table = [
            ("another player's", stolen.clone(), Code::Forbidden, "forbidden"),
            ("used", first.clone(), Code::TicketUsed, "ticket-used"),
            ("junk", "junk".to_owned(), Code::BadTicket, "bad-ticket"),
            ("over the bound", "x".repeat(2_049), Code::BadTicket, "bad-ticket"),
            (
                "expired",
                world.ticket_with("ada", &[("iat", json!(at - 90)), ("exp", json!(at - 30))]),
                Code::BadTicket,
                "ticket-expired",
            ),
            (
                "in another role",
                world.ticket_with("ada", &[("role", json!("spectator"))]),
                Code::Forbidden,
                "forbidden",
            ),
            ("for another game", world.ticket_with("ada", &[("game", json!("duel"))]), Code::Forbidden, "forbidden"),
        ];
        for (what, ticket, code, reason) in table {
            let before = world.figures(code);
            assert_eq!(is_not_renewed(&mut ada, ticket).await, (code.number(), reason.to_owned()), "{what}");
            assert_eq!(world.figures(code), Figures { refusals: before.refusals + 1, ..before }, "{what}");
        }
        ada.input_is_applied(1).await;
        // What was stolen is still its owner's to use.
        let mut bob = world.arrive(transport, Opening { ticket: Some(&stolen), ..Opening::default() }).await;
        for peer in [&mut ada, &mut bob] {
            peer.say(&ClientMessage::Bye).await;
            peer.is_told(Code::Left, "left").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_renews_by_itself_over_either_transport() {
    let world = Arc::new(World::start().await);
    for transport in [
        TransportChoice::Only(muster::client::Transport::WebSocket),
        TransportChoice::Only(muster::client::Transport::WebTransport),
    ] {
        let minting = Arc::clone(&world);
        let source = TicketSource::from_fn(move || {
            let ticket = minting.ticket_with("ada", &[session(3)]);
            async move { Ok(ticket) }
        });
        let url = format!("muster://{}", world.address());
        let connector = Connector::new(url).ticket(source).transport(transport).trust(Trust::Hashes(vec![world.hash]));
        let mut client = connector.connect().await.unwrap();
        let mut renewed = 0;
        soon("two renewals", async {
            while renewed < 2 {
                match client.next().await.expect("open") {
                    Event::Renewed { ends_in } => {
                        assert!(ends_in.is_some_and(|left| left <= Duration::from_secs(3)));
                        renewed += 1;
                    }
                    Event::Arrived(_) | Event::TicketWanted { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        })
        .await;
        assert_eq!(client.stats().resumes, 0);
        client.close().await;
    }
}
