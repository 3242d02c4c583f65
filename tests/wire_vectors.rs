//! The golden vectors in `tests/vectors`: the bytes of `muster.1`, for this crate and for clients in other languages.
//!
//! `MUSTER_BLESS=1 cargo test --test wire_vectors` writes them anew; without it they are compared. Every encoding here
//! is done a second time from `docs/protocol.md` alone in `tests/protocol_page.rs`, so the vectors do not merely repeat
//! what the encoder happens to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use bytes::Bytes;
use muster::codec;
use muster::ids::*;
use muster::wire::*;
use serde_json::{Value, json};

#[test]
fn client_messages_have_the_bytes_of_the_vectors() {
    let mut vectors = Vec::new();
    for (name, message) in client_messages() {
        let bytes = codec::encode(&message);
        assert_eq!(codec::decode::<ClientMessage>(&bytes).as_ref(), Ok(&message), "{name}");
        vectors.push(json!({ "name": name, "message": client_json(&message), "hex": hex(&bytes) }));
    }
    compare("client.json", "Messages of the client: ClientMessage of docs/protocol.md.", vectors);
}

#[test]
fn server_messages_have_the_bytes_of_the_vectors() {
    let mut vectors = Vec::new();
    for (name, message) in server_messages() {
        let bytes = codec::encode(&message);
        assert_eq!(codec::decode::<ServerMessage>(&bytes).as_ref(), Ok(&message), "{name}");
        let numbered = message.is_numbered();
        vectors
            .push(json!({ "name": name, "message": server_json(&message), "numbered": numbered, "hex": hex(&bytes) }));
    }
    compare("server.json", "Messages of the server: ServerMessage of docs/protocol.md.", vectors);
}

#[test]
fn values_have_the_bytes_of_the_vectors() {
    fn of<T: codec::Encode + codec::Decode<()> + PartialEq + std::fmt::Debug>(
        kind: &str,
        value: T,
        shown: Value,
    ) -> Value {
        let bytes = codec::encode(&value);
        assert_eq!(codec::decode::<T>(&bytes), Ok(value));
        json!({ "name": format!("{kind} {shown}"), "type": kind, "value": shown, "hex": hex(&bytes) })
    }
    let mut vectors = Vec::new();
    vectors.extend([0, 1, 250, 251, 255].map(|n| of::<u8>("u8", n, json!(n))));
    vectors.extend([false, true].map(|b| of("bool", b, json!(b))));
    vectors.extend([0, 250, 251, 252, 255, 256, u16::MAX].map(|n| of::<u16>("u16", n, json!(n))));
    vectors.extend([0, 250, 251, 65_535, 65_536, u32::MAX].map(|n| of::<u32>("u32", n, json!(n))));
    for n in [0, 250, 251, 65_535, 65_536, (1 << 32) - 1, 1 << 32, (1 << 53) - 1, 1 << 53, u64::MAX] {
        vectors.push(of::<u64>("u64", n, json!(n.to_string())));
    }
    for n in [0, 250, 251, 1 << 32, (1 << 64) - 1, 1 << 64, u128::MAX] {
        vectors.push(of::<u128>("u128", n, json!(n.to_string())));
    }
    vectors.extend([0, -1, i8::MIN, i8::MAX].map(|n| of::<i8>("i8", n, json!(n))));
    vectors.extend([0, -1, 1, -2, 125, -125, -126, i16::MIN, i16::MAX].map(|n| of::<i16>("i16", n, json!(n))));
    vectors.extend([0, -1, 1, -3, 125, -126, i32::MIN, i32::MAX].map(|n| of::<i32>("i32", n, json!(n))));
    vectors.extend([0, -1, i64::MIN, i64::MAX].map(|n| of("i64", n, json!(n.to_string()))));
    vectors.extend(
        [0.0, -0.0, 1.5, -2.25, 0.1, f32::MAX, f32::MIN_POSITIVE].map(|n| of::<f32>("f32", n, json!(f64::from(n)))),
    );
    vectors.extend([0.0, 1.5, 0.1, -1e300].map(|n| of::<f64>("f64", n, json!(n))));
    for text in ["", "a", "né", "日本語", "🎲", &"x".repeat(250), &"x".repeat(251)] {
        vectors.push(of("str", text.to_owned(), json!(text)));
    }
    for bytes in [vec![], vec![0], vec![251, 252, 253, 254, 255], vec![7; 251]] {
        vectors.push(of("bytes", bytes.clone(), json!(hex(&bytes))));
    }
    vectors.push(of("[u8; 4]", [0_u8, 251, 254, 255], json!("00fbfeff")));
    vectors.push(of("Option<u32>", None::<u32>, Value::Null));
    vectors.push(of("Option<u32>", Some(7_u32), json!(7)));
    vectors.push(of("Option<u32>", Some(70_000_u32), json!(70_000)));
    vectors.push(of("Vec<u16>", Vec::<u16>::new(), json!([])));
    vectors.push(of("Vec<u16>", vec![1_u16, 251, 65_535], json!([1, 251, 65_535])));
    vectors.push(of("(u16, u32)", (3_u16, 70_000_u32), json!([3, 70_000])));
    vectors.push(of("Vec<(u16, u32)>", vec![(0_u16, 1_u32), (1, 300)], json!([[0, 1], [1, 300]])));
    compare("codec.json", "Values of docs/protocol.md; 64- and 128-bit integers are strings.", vectors);
}

#[test]
fn framing_has_the_bytes_of_the_vectors() {
    let mut vectors = Vec::new();
    for length in [0_usize, 1, 125, 126, 127, 65_535, 65_536, 262_144] {
        let header = ws_header(length, &mut [0; WS_HEADROOM]).to_vec();
        vectors.push(json!({ "name": format!("websocket header of {length} bytes"), "form": "websocket-header", "length": length, "hex": hex(&header) }));
    }
    let ping = codec::encode(&ClientMessage::Ping { nonce: 7, received: 0 });
    let bye = codec::encode(&ClientMessage::Bye);
    for (name, messages) in [
        ("an empty message", vec![vec![]]),
        ("a ping", vec![ping.clone()]),
        ("two messages", vec![ping, bye]),
        ("a message of 300 bytes", vec![vec![0xab; 300]]),
    ] {
        let mut stream = Vec::new();
        messages.iter().for_each(|message| put_control(message, &mut stream));
        let messages: Vec<_> = messages.iter().map(|message| hex(message)).collect();
        vectors.push(json!({ "name": name, "form": "control-stream", "messages": messages, "hex": hex(&stream) }));
    }
    for (name, state) in [
        ("an empty snapshot, whole", 0),
        ("the longest snapshot in one datagram", 1_089),
        ("the shortest snapshot in two pieces", 1_090),
        ("a snapshot in three pieces", 2_500),
        ("the longest snapshot in eight pieces", 8_702),
        ("the shortest snapshot that goes on the control stream", 8_703),
    ] {
        let state = (0..state).map(|i: usize| (i % 251) as u8).collect();
        let snapshot = Snapshot { tag: SessionTag(0x0102_0304), tick: Tick(9), time_us: 0, applied: vec![], state };
        let frames = SnapshotFrames::from(&snapshot);
        let datagrams = frames.datagrams(&[]).map(|all| all.iter().map(|d| hex(d)).collect::<Vec<_>>());
        vectors.push(json!({ "name": name, "form": "snapshot-datagrams", "tag": 0x0102_0304, "tick": 9, "message": hex(&frames.body()), "payloads": datagrams }));
    }
    let inputs = Inputs { seen: Tick(9), inputs: vec![Input { seq: InputSeq(1), data: vec![0xaa] }] };
    let mut message = Vec::new();
    encode_inputs(&inputs, &mut message);
    let payload = [&[0], message.as_slice()].concat();
    vectors.push(json!({ "name": "inputs", "form": "input-datagram", "message": hex(&message), "hex": hex(&payload) }));
    compare("framing.json", "How messages stand on the transports: Framing of docs/protocol.md.", vectors);
}

#[test]
fn codes_are_those_of_the_vectors() {
    let act = |act| match act {
        Act::Stop => "stop",
        Act::Report => "report",
        Act::Retry => "retry",
        Act::Resume => "resume",
        Act::NewTicket => "new ticket",
    };
    let known = Code::ALL.map(|code| {
        let (number, slug) = (code.number(), code.slug());
        json!({ "name": slug, "code": number, "slug": slug, "http": code.http_status(), "act": act(code.act()) })
    });
    let unknown = [0, 1001, 1004, 1014, 4077, 4477, 4577, 4999, 3000].map(
        |number| json!({ "name": format!("unknown {number}"), "code": number, "slug": null, "http": null, "act": act(Code::act_of(number)) }),
    );
    let all = known.into_iter().chain(unknown).collect();
    compare("codes.json", "The code table, and numbers that are not in it.", all);
}

#[test]
fn refused_bytes_are_refused() {
    let long_sub = [&[2, 0, 0, 0, 0][..0], &[0, 65], &[b'a'; 65]].concat();
    let too_many = [&[2, 0, 17][..], &[1, 0].repeat(17)].concat();
    let client: &[(&str, &[u8])] = &[
        ("nothing at all", &[]),
        ("an unknown kind", &[6]),
        ("an unknown kind in three bytes", &[251, 0, 1]),
        ("ff is no varint", &[255]),
        ("a kind wider than u32", &[253, 4, 0, 0, 0, 0, 0, 0, 0]),
        ("a ping cut short", &[1, 7]),
        ("a ping whose varint is cut short", &[1, 251, 7]),
        ("a ping with bytes left over", &[1, 7, 0, 0]),
        ("a nonce wider than u32", &[1, 253, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("bye with a byte left over", &[4, 0]),
        ("a string that is not UTF-8", &[0, 2, 0xc3, 0x28, 0, 0]),
        ("a string cut inside a character", &[0, 1, 0xc3, 0, 0]),
        ("a string longer than the message", &[0, 9, b'a', 0, 0]),
        ("a string of 2^63 bytes", &[0, 253, 0, 0, 0, 0, 0, 0, 0, 128]),
        ("an option that is 2", &[0, 0, 0, 2]),
        ("a resume token cut short", &[0, 0, 0, 1, 1, 2, 3]),
        ("a bool that is 2", &[3, 1, 3, 2]),
        ("an unknown request", &[3, 1, 11]),
        ("no inputs", &[2, 0, 0]),
        ("seventeen inputs", &too_many),
        ("2^32 inputs", &[2, 0, 253, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("inputs with a byte left over", &[2, 0, 1, 1, 0, 0]),
        ("an input longer than the message", &[2, 0, 1, 1, 5, 0]),
        ("kick of nobody", &[3, 1, 5, 0]),
        ("kick of a name with a control character", &[3, 1, 5, 2, b'a', 0]),
        ("kick of a name with white space at the end", &[3, 1, 5, 2, b'a', b' ']),
    ];
    let server: &[(&str, &[u8])] = &[
        ("nothing at all", &[]),
        ("pong cut short", &[2, 7]),
        ("pong with bytes left over", &[2, 7, 0, 0]),
        ("welcome to a player id of 65 bytes", &long_sub),
        ("a game name in upper case", &[5, 1, 1, 1, b'A', 0, 0, 0, 0, 0]),
        (
            "a join code with the letter I",
            &[6, 1, 6, b'A', b'B', b'C', b'D', b'E', b'I', 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        ("a code wider than u16", &[1, 252, 0, 0, 1, 0, 0, 0]),
        ("an unknown reason", &[7, 1, 3]),
        ("a list of 2^32 lobbies", &[5, 253, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("a snapshot cut inside its state", &[3, 1, 1, 0, 0, 5, 1, 2]),
    ];
    let datagrams: &[(&str, &[u8])] = &[
        ("nothing at all", &[]),
        ("an unknown kind", &[2, 0]),
        ("a piece without content", &[1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 2]),
        ("a piece cut inside its header", &[1, 1, 0, 0]),
        ("a piece of one", &[1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 9]),
        ("a piece of nine", &[1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 9, 9]),
        ("a piece past the count", &[1, 1, 0, 0, 0, 1, 0, 0, 0, 2, 2, 9]),
    ];
    let mut vectors = Vec::new();
    for (name, bytes) in client {
        assert!(decode_client(bytes).is_err(), "{name}");
        vectors.push(json!({ "name": name, "of": "client", "hex": hex(bytes) }));
    }
    for (name, bytes) in server {
        assert!(codec::decode::<ServerMessage>(bytes).is_err(), "{name}");
        vectors.push(json!({ "name": name, "of": "server", "hex": hex(bytes) }));
    }
    for (name, bytes) in datagrams {
        assert!(Assembler::default().handle_datagram(Bytes::copy_from_slice(bytes)).is_err(), "{name}");
        vectors.push(json!({ "name": name, "of": "server-datagram", "hex": hex(bytes) }));
    }
    compare("refusals.json", "Bytes that must not be taken for a message.", vectors);
}

#[test]
fn longer_forms_of_a_number_are_read_but_never_written() {
    for bytes in [&[7][..], &[251, 7, 0], &[252, 7, 0, 0, 0]] {
        assert_eq!(codec::decode::<u32>(bytes), Ok(7));
    }
    assert_eq!(codec::encode(&7_u32), [7]);
}

fn client_messages() -> Vec<(&'static str, ClientMessage)> {
    use ClientMessage::{Bye, Hello, Ping};
    let request = |id, body| ClientMessage::Request { id, body };
    let input = |seq, data: &[u8]| Input { seq: InputSeq(seq), data: data.to_vec() };
    let token = ResumeToken(std::array::from_fn(|i| i as u8 * 8));
    vec![
        ("hello with nothing", Hello { ticket: String::new(), join: String::new(), resume: None }),
        ("hello with a ticket", Hello { ticket: "eyJ.eyJ.sig".into(), join: "quick:arena".into(), resume: None }),
        ("hello with a long ticket", Hello { ticket: "t".repeat(300), join: String::new(), resume: None }),
        (
            "hello with a resume point",
            Hello {
                ticket: String::new(),
                join: String::new(),
                resume: Some(ResumePoint { token: token.clone(), received: 3 }),
            },
        ),
        (
            "hello with the largest resume point",
            Hello {
                ticket: String::new(),
                join: String::new(),
                resume: Some(ResumePoint { token: ResumeToken([255; 32]), received: u64::MAX }),
            },
        ),
        ("ping", Ping { nonce: 0, received: 0 }),
        ("ping that acknowledges", Ping { nonce: 7, received: 3 }),
        ("ping past one byte", Ping { nonce: 251, received: 70_000 }),
        ("ping with the largest numbers", Ping { nonce: u32::MAX, received: u64::MAX }),
        ("one input", ClientMessage::Inputs(Inputs { seen: Tick(0), inputs: vec![input(1, &[0xaa])] })),
        (
            "three inputs",
            ClientMessage::Inputs(Inputs {
                seen: Tick(300),
                inputs: vec![input(249, &[]), input(250, &[1, 2, 3]), input(251, &[255; 4])],
            }),
        ),
        (
            "sixteen inputs, the largest numbers",
            ClientMessage::Inputs(Inputs {
                seen: Tick(u32::MAX),
                inputs: (0..16).map(|i| input(u32::MAX - 15 + i, &[i as u8])).collect(),
            }),
        ),
        ("join", request(1, Request::Join { wish: "code:ABCDEF".into() })),
        (
            "create with defaults",
            request(2, Request::Create(LobbySpec { game: "arena".into(), name: "a".into(), ..LobbySpec::default() })),
        ),
        (
            "create with everything",
            request(
                250,
                Request::Create(LobbySpec {
                    game: "relay".into(),
                    name: "Zoë’s 部屋 🎲".into(),
                    public: true,
                    capacity: 1_000,
                    min_players: 251,
                    settings: vec![0, 250, 251, 255],
                }),
            ),
        ),
        ("leave", request(251, Request::Leave)),
        ("ready", request(3, Request::Ready(true))),
        ("not ready", request(4, Request::Ready(false))),
        ("chat", request(65_536, Request::Chat("grüß dich 👋🏽".into()))),
        ("kick", request(6, Request::Kick(player("bob")))),
        ("lock", request(7, Request::Lock(true))),
        ("pass the host on", request(8, Request::PassHost(player("Ünïcode | 日本")))),
        ("start", request(9, Request::Start)),
        ("watch everything", request(10, Request::Watch(LobbyFilter::default()))),
        ("watch open lobbies of a game", request(11, Request::Watch(LobbyFilter { game: "arena".into(), open: true }))),
        ("unwatch with the largest id", request(u32::MAX, Request::Unwatch)),
        ("bye", Bye),
        ("renew", ClientMessage::Renew { ticket: "eyJ.eyJ.sig".into() }),
    ]
}

fn server_messages() -> Vec<(&'static str, ServerMessage)> {
    use ServerMessage as S;
    let welcome = Welcome {
        player: player("ada"),
        name: "Ada".into(),
        resume: ResumeToken(std::array::from_fn(|i| i as u8)),
        outcome: ResumeOutcome::Arrived,
        counted: 0,
        last_request: 0,
        server_time_us: 1_000_000,
        heartbeat_ms: 5_000,
        grace_ms: 15_000,
        max_message: 4_096,
    };
    let lobby = LobbyView {
        id: LobbyId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        code: JoinCode::from_random(0),
        game: game("arena"),
        name: "Ada's lobby".into(),
        public: true,
        locked: false,
        capacity: 8,
        min_players: 1,
        host: Some(player("ada")),
        status: LobbyStatus::Playing(SessionId(0xfedc_ba98_7654_3210_fedc_ba98_7654_3210)),
        members: vec![member("ada", "Ada", WireRole::Player, true, true)],
    };
    let seated = Seated {
        session: SessionId(0xfedc_ba98_7654_3210_fedc_ba98_7654_3210),
        tag: SessionTag(1),
        lobby: lobby.id,
        game: game("arena"),
        seat: Some(SeatId(0)),
        tick_hz: 20,
        settings: vec![],
        last_input: InputSeq(0),
    };
    let snapshot = Snapshot {
        tag: SessionTag(1),
        tick: Tick(4),
        time_us: 1_200_000,
        applied: vec![(SeatId(0), InputSeq(1))],
        state: vec![0xde, 0xad, 0xbe, 0xef],
    };
    let line = |text: &str| S::Chat(ChatLine { player: player("ada"), name: "Ada".into(), text: text.into() });
    let reply = |request, refusal| S::Reply(Reply { request, refusal });
    let ended =
        |reason, result: &[u8]| S::Ended(SessionEnded { session: SessionId(0), reason, result: result.to_vec() });
    let left = |reason| S::LobbyLeft { lobby: LobbyId(u128::MAX), reason };
    let goodbye = |code: Code, retry_after_ms| {
        S::Goodbye(Goodbye { code: code.number(), reason: code.slug().into(), retry_after_ms })
    };
    vec![
        ("welcome", S::Welcome(welcome.clone())),
        (
            "welcome after a resume",
            S::Welcome(Welcome { outcome: ResumeOutcome::Resumed, counted: 5, last_request: 2, ..welcome.clone() }),
        ),
        (
            "welcome with the largest values",
            S::Welcome(Welcome {
                player: player(&"é".repeat(32)),
                name: "日".repeat(32),
                resume: ResumeToken([255; 32]),
                outcome: ResumeOutcome::Restarted,
                counted: u64::MAX,
                last_request: u32::MAX,
                server_time_us: u64::MAX,
                heartbeat_ms: u32::MAX,
                grace_ms: u32::MAX,
                max_message: u32::MAX,
            }),
        ),
        ("goodbye", goodbye(Code::Left, None)),
        ("goodbye with a time to come back", goodbye(Code::Draining, Some(2_000))),
        (
            "goodbye with an unknown code",
            S::Goodbye(Goodbye { code: u16::MAX, reason: String::new(), retry_after_ms: Some(u32::MAX) }),
        ),
        ("pong", S::Pong { nonce: 7, server_time_us: 1_250_000 }),
        ("pong with the largest numbers", S::Pong { nonce: u32::MAX, server_time_us: u64::MAX }),
        ("snapshot", S::Snapshot(snapshot.clone())),
        (
            "snapshot of nothing",
            S::Snapshot(Snapshot { tag: SessionTag(0), tick: Tick(0), time_us: 0, applied: vec![], state: vec![] }),
        ),
        (
            "snapshot with the largest numbers",
            S::Snapshot(Snapshot {
                tag: SessionTag(u32::MAX),
                tick: Tick(u32::MAX),
                time_us: u64::MAX,
                applied: vec![
                    (SeatId(0), InputSeq(1)),
                    (SeatId(250), InputSeq(251)),
                    (SeatId(u16::MAX), InputSeq(u32::MAX)),
                ],
                state: vec![7; 300],
            }),
        ),
        ("reply", reply(1, None)),
        (
            "reply with a refusal",
            reply(251, Some(Refusal { code: Code::LobbyFull.number(), reason: Code::LobbyFull.slug().into() })),
        ),
        ("list of nothing", S::List(vec![])),
        (
            "list of two",
            S::List(vec![
                LobbySummary {
                    id: LobbyId(1),
                    game: game("a"),
                    name: "日本語".into(),
                    players: 0,
                    capacity: 8,
                    playing: false,
                    open: true,
                },
                LobbySummary {
                    id: LobbyId(u128::MAX),
                    game: game(&"z".repeat(32)),
                    name: "🎲".into(),
                    players: 1_000,
                    capacity: u16::MAX,
                    playing: true,
                    open: false,
                },
            ]),
        ),
        ("lobby", S::Lobby(lobby.clone())),
        (
            "lobby that gathers, without a host",
            S::Lobby(LobbyView {
                host: None,
                status: LobbyStatus::Gathering,
                locked: true,
                public: false,
                members: vec![
                    member("ada", "Ada", WireRole::Spectator, false, true),
                    member("bob", "Bøb", WireRole::Spectator, false, false),
                ],
                code: JoinCode::from_random(u64::MAX),
                ..lobby
            }),
        ),
        ("left the lobby", left(LeftReason::Left)),
        ("kicked from the lobby", left(LeftReason::Kicked)),
        ("the lobby closed", left(LeftReason::Closed)),
        ("chat", line("hello")),
        ("chat in many scripts", line("שלום مرحبا 你好 👩‍👩‍👧‍👦")),
        ("seated", S::Seated(seated.clone())),
        (
            "seated as a spectator",
            S::Seated(Seated {
                seat: None,
                tick_hz: 128,
                settings: vec![1, 2],
                tag: SessionTag(u32::MAX),
                ..seated.clone()
            }),
        ),
        (
            "seated at the highest seat, with inputs held",
            S::Seated(Seated { seat: Some(SeatId(u16::MAX)), tick_hz: 255, last_input: InputSeq(251), ..seated }),
        ),
        (
            "roster",
            S::Roster(Roster {
                tag: SessionTag(1),
                seats: vec![
                    SeatInfo { seat: SeatId(0), player: player("ada"), name: "Ada".into(), connected: true },
                    SeatInfo { seat: SeatId(251), player: player("bob"), name: "Bøb".into(), connected: false },
                ],
                spectators: 3,
            }),
        ),
        (
            "roster of one",
            S::Roster(Roster {
                tag: SessionTag(1),
                seats: vec![SeatInfo { seat: SeatId(0), player: player("ada"), name: "Ada".into(), connected: true }],
                spectators: 0,
            }),
        ),
        ("roster of nobody", S::Roster(Roster { tag: SessionTag(0), seats: vec![], spectators: u16::MAX })),
        ("ended", ended(EndReason::Finished, &[1, 2, 3])),
        ("ended because nobody was left", ended(EndReason::Abandoned, &[])),
        ("ended by a crash", ended(EndReason::Crashed, &[])),
        ("ticket wanted", S::TicketWanted { within_ms: 60_000 }),
        ("renewed", S::Renewed(Renewed { refusal: None, ends_in_ms: Some(600_000) })),
        ("renewed without an end", S::Renewed(Renewed { refusal: None, ends_in_ms: None })),
        (
            "not renewed",
            S::Renewed(Renewed {
                refusal: Some(Refusal { code: 4409, reason: "ticket-used".into() }),
                ends_in_ms: Some(59_000),
            }),
        ),
    ]
}

fn player(text: &str) -> PlayerId {
    PlayerId::new(text).unwrap()
}

fn game(text: &str) -> GameName {
    GameName::new(text).unwrap()
}

fn member(id: &str, name: &str, role: WireRole, ready: bool, connected: bool) -> Member {
    Member { player: player(id), name: name.into(), role, ready, connected }
}

fn client_json(message: &ClientMessage) -> Value {
    match message {
        ClientMessage::Hello { ticket, join, resume } => {
            let resume =
                resume.as_ref().map(|r| json!({ "token": hex(&r.token.0), "received": r.received.to_string() }));
            json!({ "kind": "Hello", "ticket": ticket, "join": join, "resume": resume })
        }
        ClientMessage::Ping { nonce, received } => {
            json!({ "kind": "Ping", "nonce": nonce, "received": received.to_string() })
        }
        ClientMessage::Inputs(Inputs { seen, inputs }) => {
            let inputs: Vec<_> = inputs.iter().map(|i| json!({ "seq": i.seq.0, "data": hex(&i.data) })).collect();
            json!({ "kind": "Inputs", "seen": seen.0, "inputs": inputs })
        }
        ClientMessage::Request { id, body } => json!({ "kind": "Request", "id": id, "body": request_json(body) }),
        ClientMessage::Bye => json!({ "kind": "Bye" }),
        ClientMessage::Renew { ticket } => json!({ "kind": "Renew", "ticket": ticket }),
    }
}

fn request_json(request: &Request) -> Value {
    match request {
        Request::Join { wish } => json!({ "kind": "Join", "wish": wish }),
        Request::Create(LobbySpec { game, name, public, capacity, min_players, settings }) => json!({
            "kind": "Create", "game": game, "name": name, "public": public, "capacity": capacity,
            "min_players": min_players, "settings": hex(settings),
        }),
        Request::Leave => json!({ "kind": "Leave" }),
        Request::Ready(ready) => json!({ "kind": "Ready", "ready": ready }),
        Request::Chat(text) => json!({ "kind": "Chat", "text": text }),
        Request::Kick(player) => json!({ "kind": "Kick", "player": player.as_str() }),
        Request::Lock(locked) => json!({ "kind": "Lock", "locked": locked }),
        Request::PassHost(player) => json!({ "kind": "PassHost", "player": player.as_str() }),
        Request::Start => json!({ "kind": "Start" }),
        Request::Watch(LobbyFilter { game, open }) => json!({ "kind": "Watch", "game": game, "open": open }),
        Request::Unwatch => json!({ "kind": "Unwatch" }),
    }
}

fn server_json(message: &ServerMessage) -> Value {
    match message {
        ServerMessage::Welcome(w) => json!({
            "kind": "Welcome", "player": w.player.as_str(), "name": w.name, "resume": hex(&w.resume.0),
            "outcome": format!("{:?}", w.outcome), "counted": w.counted.to_string(), "last_request": w.last_request,
            "server_time_us": w.server_time_us.to_string(), "heartbeat_ms": w.heartbeat_ms, "grace_ms": w.grace_ms,
            "max_message": w.max_message,
        }),
        ServerMessage::Goodbye(g) => {
            json!({ "kind": "Goodbye", "code": g.code, "reason": g.reason, "retry_after_ms": g.retry_after_ms })
        }
        ServerMessage::Pong { nonce, server_time_us } => {
            json!({ "kind": "Pong", "nonce": nonce, "server_time_us": server_time_us.to_string() })
        }
        ServerMessage::Snapshot(s) => {
            let applied: Vec<_> = s.applied.iter().map(|(seat, seq)| json!([seat.0, seq.0])).collect();
            json!({
                "kind": "Snapshot", "tag": s.tag.0, "tick": s.tick.0, "time_us": s.time_us.to_string(),
                "applied": applied, "state": hex(&s.state),
            })
        }
        ServerMessage::Reply(r) => {
            let refusal = r.refusal.as_ref().map(|r| json!({ "code": r.code, "reason": r.reason }));
            json!({ "kind": "Reply", "request": r.request, "refusal": refusal })
        }
        ServerMessage::List(lobbies) => {
            let lobbies: Vec<_> = lobbies
                .iter()
                .map(|l| {
                    json!({
                        "id": l.id.to_string(), "game": l.game.as_str(), "name": l.name, "players": l.players,
                        "capacity": l.capacity, "playing": l.playing, "open": l.open,
                    })
                })
                .collect();
            json!({ "kind": "List", "lobbies": lobbies })
        }
        ServerMessage::Lobby(l) => {
            let status = match l.status {
                LobbyStatus::Gathering => json!({ "kind": "Gathering" }),
                LobbyStatus::Playing(session) => json!({ "kind": "Playing", "session": session.to_string() }),
            };
            let members: Vec<_> = l
                .members
                .iter()
                .map(|m| {
                    json!({
                        "player": m.player.as_str(), "name": m.name, "role": format!("{:?}", m.role),
                        "ready": m.ready, "connected": m.connected,
                    })
                })
                .collect();
            json!({
                "kind": "Lobby", "id": l.id.to_string(), "code": l.code.as_str(), "game": l.game.as_str(),
                "name": l.name, "public": l.public, "locked": l.locked, "capacity": l.capacity,
                "min_players": l.min_players, "host": l.host.as_ref().map(PlayerId::as_str), "status": status,
                "members": members,
            })
        }
        ServerMessage::LobbyLeft { lobby, reason } => {
            json!({ "kind": "LobbyLeft", "lobby": lobby.to_string(), "reason": format!("{reason:?}") })
        }
        ServerMessage::Chat(c) => {
            json!({ "kind": "Chat", "player": c.player.as_str(), "name": c.name, "text": c.text })
        }
        ServerMessage::Seated(s) => json!({
            "kind": "Seated", "session": s.session.to_string(), "tag": s.tag.0, "lobby": s.lobby.to_string(),
            "game": s.game.as_str(), "seat": s.seat.map(|seat| seat.0), "tick_hz": s.tick_hz,
            "settings": hex(&s.settings), "last_input": s.last_input.0,
        }),
        ServerMessage::Roster(r) => {
            let seats: Vec<_> = r
                .seats
                .iter()
                .map(|s| json!({ "seat": s.seat.0, "player": s.player.as_str(), "name": s.name, "connected": s.connected }))
                .collect();
            json!({ "kind": "Roster", "tag": r.tag.0, "seats": seats, "spectators": r.spectators })
        }
        ServerMessage::Ended(e) => json!({
            "kind": "Ended", "session": e.session.to_string(), "reason": format!("{:?}", e.reason),
            "result": hex(&e.result),
        }),
        ServerMessage::TicketWanted { within_ms } => json!({ "kind": "TicketWanted", "within_ms": within_ms }),
        ServerMessage::Renewed(r) => {
            let refusal = r.refusal.as_ref().map(|r| json!({ "code": r.code, "reason": r.reason }));
            json!({ "kind": "Renewed", "refusal": refusal, "ends_in_ms": r.ends_in_ms })
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares with the file, one vector a line; writes the file instead when asked to.
fn compare(file: &str, about: &str, vectors: Vec<Value>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file);
    if std::env::var_os("MUSTER_BLESS").is_some() {
        let lines: Vec<_> = vectors.iter().map(Value::to_string).collect();
        let text = format!("{{\"about\":{},\"vectors\":[\n{}\n]}}\n", json!(about), lines.join(",\n"));
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let read_back = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let stored = read_back(&text);
    let stored = stored["vectors"].as_array().unwrap();
    for (ours, theirs) in vectors.iter().zip(stored) {
        assert_eq!(
            &read_back(&ours.to_string()),
            theirs,
            "{file}: the bytes changed; muster.1 is frozen, so this is a mistake or a new vector"
        );
    }
    assert_eq!(vectors.len(), stored.len(), "{file}: run with MUSTER_BLESS=1 to write new vectors");
}
