//! The Rust client against a server that does what each test wants, on real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake::{FakeServer, chat, goodbye, seated, welcome};
use muster::client::{
    Client, Closed, ConnectError, Connector, Event, Join, RequestError, TicketSource, Transport, TransportChoice,
    Trust, connect,
};
use muster::ids::{InputSeq, Tick};
use muster::wire::{
    ClientMessage, Code, Refusal, Reply, Request, ResumeOutcome, ResumePoint, ResumeToken, ServerMessage,
};
use tokio::time::Instant;

const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::WebTransport];

fn connector(server: &FakeServer, transport: Transport) -> Connector {
    Connector::new(server.url()).ticket("a.b.c").transport(TransportChoice::Only(transport))
}

async fn next(client: &mut Client) -> Event {
    let wait = tokio::time::timeout(Duration::from_secs(10), client.next());
    wait.await.expect("an event within 10 s").expect("the client is open")
}

/// Connects while the test plays the server's part of it.
async fn arrive(connector: Connector, server: &mut FakeServer) -> (Client, fake::FakeLink) {
    let (client, link) = tokio::join!(connector.connect(), async {
        let mut link = server.link().await;
        link.welcome().await;
        link
    });
    let mut client = client.unwrap();
    assert!(matches!(next(&mut client).await, Event::Arrived(_)));
    (client, link)
}

/// As [`arrive`], with a seat.
async fn sit(connector: Connector, server: &mut FakeServer) -> (Client, fake::FakeLink) {
    let (mut client, link) = arrive(connector, server).await;
    link.send(&seated()).await;
    assert!(matches!(next(&mut client).await, Event::Seated(_)));
    (client, link)
}

#[tokio::test]
async fn the_ticket_and_the_wish_arrive_and_the_welcome_comes_back_over_either_transport() {
    for transport in BOTH {
        let mut server = FakeServer::start().await;
        let connector = connector(&server, transport).join(Join::quick("arena").unwrap());
        let (client, mut link) = tokio::join!(connector.connect(), async {
            let mut link = server.link().await;
            let (ticket, resume, join) = link.admit().await;
            assert_eq!((ticket.as_str(), resume, join.as_str()), ("a.b.c", None, "quick:arena"));
            link.send(&ServerMessage::Welcome(welcome(ResumeOutcome::Arrived, 0, 0, 1))).await;
            link
        });
        assert_eq!(link.transport, transport.as_str());
        let mut client = client.unwrap();
        let Event::Arrived(arrival) = next(&mut client).await else { panic!("not arrived") };
        assert_eq!((arrival.player.as_str(), arrival.transport), ("ada", transport));
        assert!(matches!(link.receive().await, ClientMessage::Ping { .. }), "the clock is asked for at once");
    }
}

#[tokio::test]
async fn one_call_connects_over_webtransport_when_that_gets_through() {
    let mut server = FakeServer::start().await;
    let url = server.url();
    let (client, link) = tokio::join!(connect(&url, "a.b.c"), async {
        let mut link = server.link().await;
        link.welcome().await;
        link
    });
    client.unwrap();
    assert_eq!(link.transport, "webtransport");
}

#[tokio::test]
async fn behind_a_closed_udp_port_websocket_takes_over_after_the_head_start_with_the_same_ticket() {
    let mut server = FakeServer::without_udp().await;
    let connector = Connector::new(server.url()).ticket("a.b.c").head_start(Duration::from_millis(200));
    let began = Instant::now();
    let (client, ticket) = tokio::join!(connector.connect(), async {
        let mut link = server.link().await;
        assert_eq!(link.transport, "websocket");
        let ticket = link.welcome().await;
        (link, ticket).1
    });
    client.unwrap();
    assert_eq!(ticket, "a.b.c");
    assert!((200..1_500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn websocket_can_be_preferred_and_the_loser_shows_no_ticket() {
    let mut server = FakeServer::start().await;
    let choice = TransportChoice::Any { prefer: Transport::WebSocket };
    let connector = Connector::new(server.url()).ticket("a.b.c").transport(choice);
    let (_client, link) = arrive(connector, &mut server).await;
    assert_eq!(link.transport, "websocket");
    assert!(server.links.try_recv().is_err(), "one link, one ticket");
}

#[tokio::test]
async fn a_refusal_shows_its_code_whichever_way_it_is_told() {
    // Before the upgrade, as a status with a problem body.
    const PROBLEM: &str = r#"{"type":"ticket-used","status":409,"code":4409,"retry_after_ms":2500}"#;
    let server = FakeServer::with(|_| Some((409, PROBLEM)), false, false).await;
    let error = connector(&server, Transport::WebSocket).connect().await.unwrap_err();
    let ConnectError::Refused(refused) = error else { panic!("{error:?}") };
    assert_eq!((refused.code, refused.slug.as_str()), (4_409, "ticket-used"));
    assert_eq!(refused.retry_after, Some(Duration::from_millis(2_500)));
    // A reason that says more than the row of the table counts, a sentence for a developer does not.
    const EXPIRED: &str = r#"{"type":"bad-ticket","status":401,"code":4401,"detail":"ticket-expired"}"#;
    const SENTENCE: &str = r#"{"type":"forbidden","status":403,"code":4403,"detail":"ask over https"}"#;
    let expired = FakeServer::with(|_| Some((401, EXPIRED)), false, false).await;
    let sentence = FakeServer::with(|_| Some((403, SENTENCE)), false, false).await;
    for (server, told) in [(expired, (4_401, "ticket-expired")), (sentence, (4_403, "forbidden"))] {
        let error = connector(&server, Transport::WebSocket).connect().await.unwrap_err();
        let ConnectError::Refused(refused) = error else { panic!("{error:?}") };
        assert_eq!((refused.code, refused.slug.as_str()), told);
    }
    // As the first message, on both.
    for transport in BOTH {
        let mut server = FakeServer::start().await;
        let connector = connector(&server, transport);
        let (client, ()) = tokio::join!(connector.connect(), async {
            let mut link = server.link().await;
            link.admit().await;
            link.send(&goodbye(Code::LobbyFull, Some(1_000))).await;
            while link.try_receive().await.is_some() {}
        });
        let ConnectError::Refused(refused) = client.unwrap_err() else { panic!("not refused") };
        assert!(refused.is(Code::LobbyFull));
        assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_be_unreachable_soon() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let connector = Connector::new(format!("muster://{address}")).ticket("a.b.c");
    for prefer in BOTH {
        let began = Instant::now();
        let connector = connector.clone().transport(TransportChoice::Any { prefer });
        let error = connector.connect().await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { over: "WebSocket", .. }), "{error:?}");
        assert!(error.to_string().contains(&address.to_string()) && !error.to_string().contains('\n'));
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    }
    let only = connector.transport(TransportChoice::Only(Transport::WebSocket));
    assert!(matches!(only.connect().await, Err(ConnectError::Unreachable { .. })));
}

#[tokio::test]
async fn a_certificate_with_another_hash_is_not_believed() {
    let server = FakeServer::start().await;
    let connector = connector(&server, Transport::WebTransport).certificate_hash([0; 32]);
    let error = connector.connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn over_tls_a_hash_or_an_authority_is_believed_and_nothing_else() {
    let mut server = FakeServer::with_tls().await;
    let only = |transport| {
        let url = format!("https://localhost:{}", server.address.port());
        Connector::new(url).ticket("a.b.c").transport(TransportChoice::Only(transport))
    };
    for transport in BOTH {
        let wrong = only(transport).certificate_hash([0; 32]).connect().await;
        assert!(matches!(wrong, Err(ConnectError::Tls { .. })), "{transport}: {wrong:?}");
        let unknown = only(transport).trust_system_roots().connect().await;
        assert!(matches!(unknown, Err(ConnectError::Tls { .. })), "{transport}: {unknown:?}");
    }
    let by_hash = BOTH.map(|transport| only(transport).certificate_hash(server.hash));
    let authority = Trust::Authorities(server.certificate.clone().into_bytes());
    let by_authority = only(Transport::WebSocket).trust(authority);
    for connector in by_hash.into_iter().chain([by_authority]) {
        let (mut client, link) = sit(connector, &mut server).await;
        link.send_snapshot(1, 0, &[7; 5_000]).await;
        assert!(matches!(next(&mut client).await, Event::Snapshot(snapshot) if snapshot.state.len() == 5_000));
    }
}

#[tokio::test]
async fn after_the_grace_a_new_ticket_is_shown_if_there_is_one_else_the_client_closes() {
    for renewable in [true, false] {
        let mut server = FakeServer::start().await;
        let asked = Arc::new(AtomicUsize::new(0));
        let source = TicketSource::from_fn(move || {
            let count = asked.fetch_add(1, Ordering::SeqCst) + 1;
            async move { Ok(format!("ticket-{count}")) }
        });
        let source = if renewable { source } else { "ticket-1".into() };
        let connector = connector(&server, Transport::WebSocket).ticket(source);
        let (client, link) = tokio::join!(connector.connect(), async {
            let mut link = server.link().await;
            link.admit().await;
            let brief = muster::wire::Welcome { grace_ms: 900, ..welcome(ResumeOutcome::Arrived, 0, 0, 1) };
            link.send(&ServerMessage::Welcome(brief)).await;
            link
        });
        let mut client = client.unwrap();
        drop(link);
        // Whoever comes with the resume point is cut off, as if the network failed each time.
        let refuse = async {
            loop {
                let mut link = server.link().await;
                let (ticket, resume, _) = link.admit().await;
                if resume.is_none() {
                    link.send(&ServerMessage::Welcome(welcome(ResumeOutcome::Arrived, 0, 0, 2))).await;
                    break (ticket, link);
                }
            }
        };
        let closed = async {
            loop {
                if let Event::Closed(why) = next(&mut client).await {
                    break why;
                }
            }
        };
        tokio::select! {
            (ticket, _link) = refuse => assert!(renewable && ticket == "ticket-2", "{ticket}"),
            why = closed => assert!(!renewable && matches!(why, Closed::Lost(_)), "{why}"),
        }
    }
}

#[tokio::test]
async fn snapshots_of_any_size_come_whole_and_the_newest_waits_for_a_slow_application() {
    for transport in BOTH {
        let mut server = FakeServer::start().await;
        let (mut client, link) = sit(connector(&server, transport), &mut server).await;
        // One datagram, several, and more than datagrams take.
        for (tick, size) in [(1, 100), (2, 3_000), (3, 40_000)] {
            let state = vec![tick as u8; size];
            link.send_snapshot(tick, 0, &state).await;
            let Event::Snapshot(snapshot) = next(&mut client).await else { panic!("no snapshot") };
            assert_eq!((snapshot.tick, &snapshot.state[..]), (Tick(tick), &state[..]));
        }
        for tick in 4..=30 {
            link.send_snapshot(tick, 0, b"state").await;
        }
        link.send(&chat("behind them all")).await;
        while client.stats().snapshots < 30 {
            tokio::task::yield_now().await;
        }
        let mut seen = Vec::new();
        while seen.len() < 2 {
            match next(&mut client).await {
                Event::Snapshot(snapshot) => seen.push(format!("tick {}", snapshot.tick)),
                Event::Chat(line) => seen.push(line.text),
                other => panic!("{other:?}"),
            }
        }
        seen.sort();
        assert_eq!(seen, ["behind them all", "tick 30"], "{transport}");
    }
}

#[tokio::test]
async fn inputs_go_once_over_websocket_and_are_repeated_over_webtransport_until_applied() {
    for transport in BOTH {
        let mut server = FakeServer::start().await;
        let (client, mut link) = sit(connector(&server, transport), &mut server).await;
        let mut last = Vec::new();
        for seq in 1..=3 {
            assert_eq!(client.send_input(&[seq as u8]), Ok(InputSeq(seq)));
            let ClientMessage::Inputs(inputs) = link.receive_other().await else { panic!("no inputs") };
            last = inputs.inputs.iter().map(|input| input.seq.0).collect();
        }
        let expected: &[u32] = if transport == Transport::WebTransport { &[1, 2, 3] } else { &[3] };
        assert_eq!(last, expected, "{transport}");
        assert!(client.send_input(&[0; 5_000]).is_err());
    }
}

#[tokio::test]
async fn a_request_gets_its_answer() {
    let mut server = FakeServer::start().await;
    let (client, mut link) = arrive(connector(&server, Transport::WebSocket), &mut server).await;
    let (ready, start, ()) = tokio::join!(client.ready(true), client.start(), async {
        assert_eq!(link.receive_request().await, (1, Request::Ready(true)));
        assert_eq!(link.receive_request().await, (2, Request::Start));
        let refusal = Some(Refusal { code: 4_403, reason: "not-the-host".into() });
        link.send(&ServerMessage::Reply(Reply { request: 2, refusal })).await;
        link.send(&ServerMessage::Reply(Reply { request: 1, refusal: None })).await;
    });
    assert_eq!(ready, Ok(()));
    assert!(matches!(start, Err(RequestError::Refused(refused)) if refused.slug == "not-the-host"));
}

#[tokio::test]
async fn a_lost_link_resumes_with_token_and_count_and_sends_again_exactly_what_was_not_carried_out() {
    for transport in BOTH {
        let mut server = FakeServer::start().await;
        let (mut client, mut link) = sit(connector(&server, transport), &mut server).await;
        link.send(&chat("one")).await;
        assert!(matches!(next(&mut client).await, Event::Chat(_)));
        let handle = client.handle();
        let requests =
            tokio::spawn(async move { tokio::join!(handle.ready(true), handle.chat("hello"), handle.start()) });
        for id in 1..=3 {
            assert_eq!(link.receive_request().await.0, id);
        }
        drop(link);

        let mut link = server.link().await;
        let point = ResumePoint { token: ResumeToken([1; 32]), received: 2 };
        let (ticket, resume, _) = link.admit().await;
        assert_eq!((ticket.as_str(), resume), ("", Some(point)), "{transport}");
        link.send(&ServerMessage::Welcome(welcome(ResumeOutcome::Resumed, 4, 1, 2))).await;
        link.send(&ServerMessage::Reply(Reply { request: 1, refusal: None })).await;
        link.send(&chat("two")).await;
        assert_eq!(link.receive_request().await, (2, Request::Chat("hello".into())), "the first was carried out");
        assert_eq!(link.receive_request().await, (3, Request::Start));
        for request in [2, 3] {
            link.send(&ServerMessage::Reply(Reply { request, refusal: None })).await;
        }
        assert_eq!(requests.await.unwrap(), (Ok(()), Ok(()), Ok(())));
        assert!(matches!(next(&mut client).await, Event::Reconnecting { attempt: 1, .. }));
        assert_eq!(next(&mut client).await, Event::Resumed);
        assert!(matches!(next(&mut client).await, Event::Chat(line) if line.text == "two"));
        assert_eq!(client.send_input(b"x"), Ok(InputSeq(1)), "the seat is still one's own");

        // And again, with the token of the second Welcome and what was counted since.
        client.cut().await;
        drop(link);
        let (_, resume, _) = server.link().await.admit().await;
        assert_eq!(resume, Some(ResumePoint { token: ResumeToken([2; 32]), received: 6 }));
    }
}

#[tokio::test]
async fn a_place_is_regained_over_the_other_transport() {
    let mut server = FakeServer::start().await;
    let (mut client, link) = arrive(Connector::new(server.url()).ticket("a.b.c"), &mut server).await;
    assert_eq!(link.transport, "webtransport");
    link.send(&goodbye(Code::Draining, None)).await;
    let mut link = server.link().await;
    let (_, resume, _) = link.admit().await;
    assert!(resume.is_some());
    link.send(&ServerMessage::Welcome(welcome(ResumeOutcome::Restarted, 9, 0, 2))).await;
    let Event::Reconnecting { cause, .. } = next(&mut client).await else { panic!("not lost") };
    assert!(matches!(cause, ConnectError::Refused(refused) if refused.is(Code::Draining)));
    assert_eq!(next(&mut client).await, Event::Restarted);
}

#[tokio::test]
async fn a_ticket_that_is_refused_is_renewed_once_from_the_source() {
    let mut server = FakeServer::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let source = TicketSource::from_fn(move || {
        let count = counter.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok(format!("ticket-{count}")) }
    });
    let connector = connector(&server, Transport::WebSocket).ticket(source);
    let (mut client, link) = arrive(connector, &mut server).await;
    link.send(&goodbye(Code::BadTicket, None)).await;
    let mut link = server.link().await;
    assert_eq!(link.welcome().await, "ticket-2");
    assert!(matches!(next(&mut client).await, Event::Reconnecting { .. }));
    assert!(matches!(next(&mut client).await, Event::Arrived(_)));
    link.send(&goodbye(Code::BadTicket, None)).await;
    let Event::Closed(Closed::Refused(refused)) = next(&mut client).await else { panic!("still open") };
    assert!(refused.is(Code::BadTicket));
    assert_eq!(client.next().await, None);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_is_final_closes_the_client_and_answers_every_request() {
    let mut server = FakeServer::start().await;
    let (mut client, mut link) = arrive(connector(&server, Transport::WebSocket), &mut server).await;
    let handle = client.handle();
    let request = tokio::spawn(async move { handle.start().await });
    link.receive_request().await;
    link.send(&goodbye(Code::Kicked, None)).await;
    let Event::Closed(Closed::Refused(refused)) = next(&mut client).await else { panic!("still open") };
    assert!(refused.is(Code::Kicked));
    assert_eq!(request.await.unwrap(), Err(RequestError::Closed));
    assert_eq!(client.chat("anyone?").await, Err(RequestError::Closed));
}

#[tokio::test]
async fn leaving_says_bye_over_either_transport() {
    for transport in BOTH {
        let mut server = FakeServer::start().await;
        let (client, mut link) = arrive(connector(&server, transport), &mut server).await;
        let ((), ()) = tokio::join!(client.close(), async {
            assert_eq!(link.receive_other().await, ClientMessage::Bye, "{transport}");
            drop(link);
        });
    }
}
