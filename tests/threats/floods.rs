//! Connections that never show a ticket: slow, half open, silent, or very many. Players come in past them, and what
//! they hold of the server is bounded.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::outbox::Transport;
use muster::wire::{ClientMessage, Code};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::OFTEN;
use crate::common::process::{Process, write_certificate};
use crate::common::trust::{client_crypto, client_tls};
use crate::common::websocket::{get, http};
use crate::common::{BOTH, Opening, World, soon};

/// Every attacker's socket is a file here.
pub fn raise_open_files() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.map_or(usize::MAX, |files| files as usize)
}

/// The attackers' addresses: all of them loopback, none of them that of the good clients.
fn attacker(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 66, (number / 250) as u8, (number % 250 + 1) as u8))
}

async fn connect_from(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

const TOO_FAST: &str = "muster_refusals_total{code=\"too-fast\"}";

/// What a slow client says at first, and no more: nothing; half of a request; a TLS hello of which the rest is missing.
const BEGINNINGS: [&[u8]; 4] = [
    b"",
    b"GET /v1/play HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    // An upgrade without a ticket: it is a WebSocket now, and its first message never comes.
    b"GET /v1/play HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: muster.1\r\n\r\n",
];

async fn is_held(server: &Process, links: u64) {
    soon("all of them are held", async {
        while server.metric("muster_pending_links").await < links {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_who_never_show_a_ticket_hold_little_and_keep_nobody_out() {
    // A quarter of the server's files may be such; the rest of the room is for this process's own.
    let crowd = 2_000.min(raise_open_files() / 5);
    let environment = [("MUSTER_LIMITS__HANDSHAKE", "8"), ("MUSTER_LIMITS__FIRST_MESSAGE", "8")];
    let server = Process::launch(&[], &environment, &[]).await;
    // One of each first: what is made once is not what a connection costs.
    for transport in BOTH {
        drop(server.player(transport, "warm", "quick:relay").await);
    }
    let (resident, files) = (server.resident(), server.open_files());
    let mut slow = Vec::with_capacity(crowd);
    for number in 0..crowd {
        // Twenty from each address, which is what one may have on the way in.
        let mut stream = connect_from(attacker(number / 20), server.address).await.unwrap();
        stream.write_all(BEGINNINGS[number % BEGINNINGS.len()]).await.unwrap();
        slow.push(stream);
    }
    is_held(&server, crowd as u64).await;
    let (resident, files) = (server.resident() - resident, server.open_files() - files);

    let mut joined = Vec::new();
    for number in 0..30 {
        let transport = BOTH[number % 2];
        let began = Instant::now();
        let ticket = server.ticket(&format!("good{number}"));
        let opening = Opening { ticket: Some(&ticket), join: "quick:relay", ..Opening::default() };
        let mut peer = server.open(transport, opening).await.expect("let in");
        peer.welcomed().await;
        joined.push(began.elapsed());
        peer.say(&ClientMessage::Bye).await;
    }
    joined.sort();
    let each = resident / crowd;
    println!(
        "{crowd} slow connections: {each} bytes of memory and {:.2} files each; a good client is in after {:?} (median), \
         {:?} (slowest of {})",
        files as f64 / crowd as f64,
        joined[joined.len() / 2],
        joined[joined.len() - 1],
        joined.len()
    );
    assert!(each <= 16 * 1_024, "{each} bytes for each connection without a ticket");
    assert!(files <= crowd + 16, "{files} files");
    assert!(joined[joined.len() / 2] < Duration::from_secs(1), "{joined:?}");

    // Their time runs out; WebSockets are told 4408, and answer nothing.
    for mut stream in slow {
        let mut said = Vec::new();
        let _ = soon("the end of a slow connection", stream.read_to_end(&mut said)).await;
    }
    soon("nothing is held", async {
        while server.metric("muster_pending_links").await > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let timeouts = server.metric("muster_refusals_total{code=\"ticket-timeout\"}").await;
    assert_eq!(timeouts, crowd as u64 / 4);
}

/// What one connection after the other does, for as long as it is let.
#[derive(Clone, Copy)]
enum Slow {
    /// Headers, one a second.
    Headers,
    /// A body that was announced, a byte a second. It is answered before that, and closed: no route takes one so.
    Body,
    /// Answers, read a byte a second behind a tiny window.
    Reading,
    /// A WebSocket that never shows a ticket, and keeps itself alive.
    Pinging,
}

impl Slow {
    fn begins(self) -> &'static [u8] {
        match self {
            Self::Headers => b"GET /v1/play HTTP/1.1\r\nHost: x\r\n",
            Self::Body => {
                b"POST /v1/play HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 8192\r\n\r\n"
            }
            Self::Reading => b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
            Self::Pinging => BEGINNINGS[3],
        }
    }

    fn goes_on(self) -> &'static [u8] {
        match self {
            Self::Headers => b"X-Slow: 1\r\n",
            Self::Body => b"x",
            Self::Reading => b"",
            // A ping of no bytes, masked.
            Self::Pinging => b"\x89\x80\0\0\0\0",
        }
    }

    /// One connection, to its end or to `end`; how long it was held where the server ended it.
    async fn hold(self, from: IpAddr, to: SocketAddr, end: Instant) -> Option<Duration> {
        let socket = TcpSocket::new_v4().ok()?;
        if matches!(self, Self::Reading) {
            socket.set_recv_buffer_size(2_048).ok()?;
        }
        socket.bind(SocketAddr::new(from, 0)).ok()?;
        let mut stream = socket.connect(to).await.ok()?;
        let began = Instant::now();
        stream.write_all(self.begins()).await.ok()?;
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let ended = match self {
                // What is said to it is not read: only its end is looked for.
                Self::Headers | Self::Body | Self::Pinging => {
                    let mut said = [0; 4_096];
                    let peer_is_gone = matches!(stream.try_read(&mut said), Ok(0));
                    peer_is_gone || stream.write_all(self.goes_on()).await.is_err()
                }
                Self::Reading => !matches!(stream.read(&mut [0]).await, Ok(1)),
            };
            if ended {
                return Some(began.elapsed());
            }
        }
        None
    }
}

/// As `slowhttptest` does with `-H`, `-B` and `-X`: whoever is closed comes again at once.
#[tokio::test(flavor = "multi_thread")]
async fn good_clients_come_in_past_two_thousand_slow_ones_for_as_long_as_they_go_on() {
    let crowd = 2_000.min(raise_open_files() / 5);
    // Past a minute also those are closed who read as slowly as they can.
    let lasts = Duration::from_secs(if crate::long() { 75 } else { 12 });
    let server = Process::launch(&[], &[], &[]).await;
    for transport in BOTH {
        drop(server.player(transport, "warm", "quick:relay").await);
    }
    let before = server.resident();
    let (to, end) = (server.address, Instant::now() + lasts);
    let mut attack = tokio::task::JoinSet::new();
    for number in 0..crowd {
        let slow = [Slow::Headers, Slow::Body, Slow::Reading, Slow::Pinging][number % 4];
        attack.spawn(async move {
            let mut held = Vec::new();
            while Instant::now() < end {
                match slow.hold(attacker(400 + number / 20), to, end).await {
                    Some(time) => held.push(time),
                    // Turned away at the door, or the end.
                    None => tokio::time::sleep(Duration::from_millis(200)).await,
                }
            }
            (number % 4, held)
        });
    }
    is_held(&server, crowd as u64 / 2).await;

    let (mut joined, mut held, mut last, mut largest) = (Vec::new(), 0, 0, 0);
    while Instant::now() + Duration::from_secs(1) < end {
        let began = Instant::now();
        let (transport, ticket) = (BOTH[joined.len() % 2], server.ticket(&format!("good{}", joined.len())));
        let opening = Opening { ticket: Some(&ticket), join: "quick:relay", ..Opening::default() };
        let mut peer = server.open(transport, opening).await.expect("let in");
        peer.welcomed().await;
        joined.push(began.elapsed());
        peer.say(&ClientMessage::Bye).await;
        last = server.metric("muster_pending_links").await;
        held = held.max(last);
        largest = largest.max(server.resident());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    joined.sort();
    let p99 = joined[joined.len() * 99 / 100];
    let each = largest.saturating_sub(before) / crowd;
    println!(
        "{held} of {crowd} slow connections at a time, {last} in the end, for {lasts:?}: {} good clients are in after {:?} (median), {p99:?} (p99); \
         {each} bytes of memory for each slow one",
        joined.len(),
        joined[joined.len() / 2],
    );
    assert!(each <= 16 * 1_024, "{each} bytes for each connection without a ticket");
    // A machine that does much else beside is slower; the figure is one of a machine at rest.
    match crate::long() {
        true => assert!(p99 < Duration::from_millis(250), "{joined:?}"),
        false => assert!(joined[joined.len() / 2] < Duration::from_secs(1), "{joined:?}"),
    }
    // Who does not read does not learn that its minute was over.
    assert!(!crate::long() || last as usize <= crowd * 3 / 4, "{last} in the end");

    let (mut ended, mut longest) = ([0; 4], [Duration::ZERO; 4]);
    for (kind, held) in attack.join_all().await {
        ended[kind] += held.len();
        longest[kind] = longest[kind].max(held.into_iter().max().unwrap_or_default());
    }
    println!(
        "closed by the server: {ended:?} of headers, bodies, readers and pings, after {longest:.1?} at the longest"
    );
    for kind in [Slow::Headers, Slow::Body, Slow::Pinging] {
        assert!(ended[kind as usize] >= crowd / 8, "{ended:?}");
    }
    soon("nothing is held", async {
        while server.metric("muster_pending_links").await > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_finished_handshake_holds_without_a_ticket_is_bounded() {
    const CROWD: usize = 400;
    raise_open_files();
    // The first must still be here when the last is, however busy the machine.
    let patience = [("MUSTER_LIMITS__HANDSHAKE", "120"), ("MUSTER_LIMITS__FIRST_MESSAGE", "120")];
    let environment: Vec<_> = OFTEN.into_iter().chain(patience).collect();
    for over in BOTH {
        let server = Process::launch(&[], &environment, &[]).await;
        drop(server.player(over, "warm", "").await);
        let (mut tcp, mut quic) = (Vec::new(), Vec::new());
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client_tls(&server.directory, b"http/1.1")));
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(client_crypto(&server.directory))));
        let mut before = server.resident();
        for number in 0..CROWD {
            // The first hundred fill what the allocator and the tables hold ready for any number.
            if number == CROWD / 4 {
                is_held(&server, number as u64).await;
                before = server.resident();
            }
            match over {
                Transport::WebSocket => {
                    let stream = TcpStream::connect(server.address).await.unwrap();
                    let stream = connector.connect("localhost".try_into().unwrap(), stream);
                    tcp.push(soon("a TLS handshake", stream).await.unwrap());
                }
                _ => {
                    let connecting = endpoint.connect(server.address, "localhost").unwrap();
                    quic.push(soon("a QUIC handshake", connecting).await.unwrap());
                }
            }
        }
        is_held(&server, CROWD as u64).await;
        let each = server.resident().saturating_sub(before) / (CROWD * 3 / 4);
        println!("{over:?}, encrypted, handshake done, nothing asked: {each} bytes of memory each");
        // QUIC's own state of a connection is what it is.
        let bound = if over == Transport::WebSocket { 16 } else { 64 };
        assert!(each <= bound * 1_024, "{each} bytes over {over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_nothing_behind_its_tls_handshake_is_closed_in_time() {
    let world = World::with_files(write_certificate, |settings| {
        let directory = settings.tickets.keys[0].parent().unwrap().to_owned();
        settings.tls.certificate = Some(directory.join("cert.pem"));
        settings.tls.key = Some(directory.join("key.pem"));
        settings.limits.handshake = Duration::from_secs(2);
    })
    .await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client_tls(world.directory(), b"http/1.1")));
    let open = async || {
        let stream = TcpStream::connect(world.address()).await.unwrap();
        connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
    };
    // One says nothing; one begins a request and stops; one takes its time, and is answered.
    let (mut silent, mut slow, mut late) = (open().await, open().await, open().await);
    slow.write_all(b"GET /hea").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    late.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    soon("an answer", late.read_to_end(&mut said)).await.unwrap();
    assert!(said.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&said));
    for stream in [&mut silent, &mut slow] {
        let mut said = Vec::new();
        // How it ends is the system's matter: in order, or with bytes unread.
        let _ = soon("the end of a connection that asks nothing", stream.read_to_end(&mut said)).await;
        assert_eq!(String::from_utf8_lossy(&said), "");
    }
    world.until("nothing is held", |world| world.metrics().pending_links.get() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_connections_of_eight_addresses_are_turned_away_but_for_their_share() {
    raise_open_files();
    let server = Process::launch(&[], &[("MUSTER_LIMITS__HANDSHAKE", "30")], &[]).await;
    drop(server.player(BOTH[0], "warm", "").await);
    let (resident, files) = (server.resident(), server.open_files());
    let mut flood = tokio::task::JoinSet::new();
    for address in 0..8 {
        let to = server.address;
        flood.spawn(async move {
            let mut streams = Vec::new();
            for _ in 0..5_000 / 8 {
                streams.push(connect_from(attacker(200 + address), to).await.unwrap());
            }
            streams
        });
    }
    let flood = flood.join_all().await;
    let (mut kept, mut told, mut dropped) = (Vec::new(), 0, 0);
    soon("all were looked at", async {
        while server.metric(TOO_FAST).await + server.metric("muster_pending_links").await < 5_000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    for mut stream in flood.into_iter().flatten() {
        let mut room = [0; 512];
        // Who is let in hears nothing: it is to speak first. Each of the others was dropped long before.
        match tokio::time::timeout(Duration::from_millis(10), stream.read(&mut room)).await {
            Err(_) => kept.push(stream),
            Ok(Ok(count)) if room[..count].starts_with(b"HTTP/1.1 429 Too Many Requests\r\n") => told += 1,
            Ok(other) => {
                assert!(matches!(other, Ok(0) | Err(_)), "{other:?}");
                dropped += 1;
            }
        }
    }
    let (resident, files) = (server.resident().saturating_sub(resident), server.open_files() - files);
    println!(
        "5,000 connections of 8 addresses: {} held, {told} told 429, {dropped} dropped; {} KiB and {files} files more",
        kept.len(),
        resident / 1_024
    );
    assert_eq!((kept.len(), told + dropped), (160, 4_840));
    assert_eq!(server.metric(TOO_FAST).await, told + dropped);
    assert!(files <= 160 + 16 && resident < 8 << 20, "{files} files, {resident} bytes");
    for transport in BOTH {
        drop(server.player(transport, "good", "").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_house_says_so_and_takes_the_next_when_one_has_gone() {
    let world = World::with_limits(|limits| limits.pending_links = 4).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(world.address()).await.unwrap());
    }
    world.until("all are held", |world| world.metrics().pending_links.get() == 4).await;
    let before = world.figures(Code::Overloaded);
    let answer = get(world.address(), "/v1/play").await;
    answer.is_problem(Code::Overloaded, "overloaded");
    assert!(world.open(Transport::WebTransport, Opening::default()).await.is_err());
    assert_eq!(world.figures(Code::Overloaded), crate::common::Figures { refusals: before.refusals + 2, ..before });
    silent.pop();
    world.until("room for one", |world| world.metrics().pending_links.get() == 3).await;
    drop(world.player(Transport::WebSocket, "ada", "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_hold_a_quarter_of_the_files_at_the_most() {
    raise_open_files();
    // The soft limit is raised to the hard one; the hard one counts.
    let lowered = ["sh", "-c", "ulimit -Sn 64 && ulimit -Hn 400 && exec \"$@\"", "sh"];
    let server = Process::launch(&lowered, &[], &[]).await;
    let limits = server.proc_file("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["400", "400"]);
    assert!(server.output().contains("limits.pending_links is held to a quarter"), "{}", server.output());
    let mut held = Vec::new();
    for number in 0..150 {
        held.push(connect_from(attacker(300 + number / 15), server.address).await.unwrap());
    }
    soon("all were looked at", async {
        loop {
            let text = String::from_utf8_lossy(&peeked(&mut held).await).into_owned();
            if text.matches("HTTP/1.1 503 ").count() == 50 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let idle = held.len();
    assert!(server.open_files() < 200, "{} files with {idle} at the door", server.open_files());
    // One leaves, and the door is open again.
    held.drain(..20);
    soon("a good player", async {
        loop {
            let answer = http(server.address, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
            if answer.status == 200 {
                return;
            }
            assert_eq!(answer.status, 503);
        }
    })
    .await;
    drop(server.player(BOTH[0], "good", "").await);
}

/// What the server has said on all of these so far, left where it is.
async fn peeked(streams: &mut [TcpStream]) -> Vec<u8> {
    let mut all = Vec::new();
    for stream in streams {
        let mut room = [0; 64];
        let peek = tokio::time::timeout(Duration::from_millis(1), stream.peek(&mut room));
        if let Ok(Ok(count)) = peek.await {
            all.extend_from_slice(&room[..count]);
        }
    }
    all
}
