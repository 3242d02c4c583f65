//! What holds for any bytes at all: decoding never panics, never takes more than is there, and agrees with itself; and
//! datagrams and control streams give back what was sent, or nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use muster::codec::{self, DecodeError};
use muster::ids::*;
use muster::wire::*;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in any_or_nearly_right()) {
        if let Ok(ClientFrame::Inputs(batch)) = decode_client(&bytes) {
            prop_assert!((1..=16).contains(&batch.count()));
        }
        let _ = codec::decode::<ServerMessage>(&bytes);
        let _ = Assembler::default().handle_datagram(Bytes::from(bytes));
    }

    #[test]
    fn what_decodes_encodes_to_the_same_message_again(bytes in any_or_nearly_right()) {
        if let Ok(message) = codec::decode::<ServerMessage>(&bytes) {
            prop_assert_eq!(codec::decode::<ServerMessage>(&codec::encode(&message)), Ok(message));
        }
        if let Ok(message) = codec::decode::<ClientMessage>(&bytes) {
            prop_assert_eq!(codec::decode::<ClientMessage>(&codec::encode(&message)), Ok(message));
        }
    }

    #[test]
    fn client_messages_come_back(message in client_message()) {
        let bytes = codec::encode(&message);
        match decode_client(&bytes).unwrap() {
            ClientFrame::Message(read) => prop_assert_eq!(read, message),
            ClientFrame::Inputs(batch) => prop_assert_eq!(ClientMessage::Inputs(copied(batch)), message),
        }
    }

    #[test]
    fn server_messages_come_back(message in server_message()) {
        prop_assert_eq!(codec::decode::<ServerMessage>(&codec::encode(&message)), Ok(message));
    }

    #[test]
    fn bytes_left_over_are_refused(client in client_message(), server in server_message(), more in vec(any::<u8>(), 1..9)) {
        let bytes = [codec::encode(&client), more.clone()].concat();
        prop_assert_eq!(decode_client(&bytes).err(), Some(DecodeError::TrailingBytes));
        let bytes = [codec::encode(&server), more].concat();
        prop_assert_eq!(codec::decode::<ServerMessage>(&bytes).err(), Some(DecodeError::TrailingBytes));
    }

    #[test]
    fn a_message_cut_short_is_refused(client in client_message(), server in server_message(), at in any::<prop::sample::Index>()) {
        let bytes = codec::encode(&client);
        prop_assert!(decode_client(&bytes[..at.index(bytes.len())]).is_err());
        let bytes = codec::encode(&server);
        prop_assert!(codec::decode::<ServerMessage>(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn inputs_in_place_are_those_of_the_full_decode(bytes in nearly_inputs()) {
        let full = match codec::decode::<ClientMessage>(&bytes) {
            Ok(ClientMessage::Inputs(inputs)) if (1..=16).contains(&inputs.inputs.len()) => Some(inputs),
            _ => None,
        };
        let in_place = match decode_client(&bytes) {
            Ok(ClientFrame::Inputs(batch)) => Some(copied(batch)),
            _ => None,
        };
        prop_assert_eq!(in_place, full);
    }

    #[test]
    fn encoded_inputs_are_the_whole_message(inputs in inputs(0..20)) {
        let mut bytes = Vec::new();
        encode_inputs(&inputs, &mut bytes);
        prop_assert_eq!(&bytes, &codec::encode(&ClientMessage::Inputs(inputs.clone())));
        prop_assert_eq!(decode_client(&bytes).is_ok(), (1..=16).contains(&inputs.inputs.len()));
    }

    #[test]
    fn pieces_in_any_order_doubled_and_lost_give_originals_or_nothing(
        sizes in vec(0_usize..12_000, 1..5),
        script in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..60),
    ) {
        let snapshots: Vec<_> = (1..).zip(&sizes).map(|(tick, size)| snapshot(7, tick, *size)).collect();
        let framed: Vec<_> = snapshots.iter().map(SnapshotFrames::from).collect();
        let sent: Vec<_> = framed.iter().filter_map(|frames| frames.datagrams(&[])).collect();
        let mut assembler = Assembler::default();
        let mut times_whole = std::collections::BTreeMap::new();
        for (which, piece) in script {
            if sent.is_empty() {
                break;
            }
            let pieces = which.get(&sent);
            let payload = piece.get(pieces);
            if let Some(message) = assembler.handle_datagram(payload.clone()).unwrap() {
                let Ok(ServerMessage::Snapshot(read)) = codec::decode(&message) else {
                    return Err(TestCaseError::fail("a mix of pieces"));
                };
                prop_assert!(snapshots.contains(&read));
                if pieces.len() > 1 {
                    *times_whole.entry(read.tick).or_insert(0) += 1;
                }
            }
        }
        prop_assert!(times_whole.values().all(|times| *times == 1), "a tick came out twice: {times_whole:?}");
    }

    #[test]
    fn pieces_of_two_sessions_never_mix(script in vec((0_u32..2, 1_u32..3, 0_usize..3), 0..80)) {
        let mut assembler = Assembler::default();
        for (tag, tick, index) in script {
            let frames = SnapshotFrames::from(&snapshot(tag, tick, 3_000 + tag as usize));
            let payload = frames.datagrams(&[]).unwrap().swap_remove(index);
            if let Some(message) = assembler.handle_datagram(payload).unwrap() {
                prop_assert_eq!(message, frames.body());
            }
        }
    }

    #[test]
    fn pieces_of_one_snapshot_come_out_whole_in_any_order(
        size in 1_090_usize..8_700,
        order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle(),
        prefix in vec(any::<u8>(), 0..4),
    ) {
        let original = SnapshotFrames::from(&snapshot(1, 1, size));
        let sent = original.datagrams(&prefix).unwrap();
        let mut assembler = Assembler::default();
        let mut whole = None;
        for payload in order.into_iter().filter_map(|index| sent.get(index)) {
            prop_assert!(whole.is_none(), "whole before the last piece");
            prop_assert!(payload.starts_with(&prefix) && payload.len() <= prefix.len() + PIECE_BYTES);
            whole = assembler.handle_datagram(payload.slice(prefix.len()..)).unwrap();
        }
        prop_assert_eq!(whole, Some(original.body()));
    }

    #[test]
    fn a_snapshot_goes_in_datagrams_exactly_while_it_fits(size in 8_000_usize..9_500) {
        let frames = SnapshotFrames::from(&snapshot(1, 1, size));
        let datagrams = frames.datagrams(&[]);
        prop_assert_eq!(datagrams.is_some(), frames.body().len() <= MAX_PIECES * (PIECE_BYTES - 11));
        prop_assert!(datagrams.is_none_or(|all| all.len() <= MAX_PIECES));
    }

    #[test]
    fn a_control_stream_cut_anywhere_gives_the_same_messages(
        messages in vec(vec(any::<u8>(), 0..300), 0..8),
        cuts in vec(1_usize..40, 1..20),
    ) {
        let mut stream = Vec::new();
        messages.iter().for_each(|message| put_control(message, &mut stream));
        let mut reader = ControlReader::new(300);
        let mut read = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            reader.handle_bytes(now);
            while let Some(message) = reader.poll_message().unwrap() {
                read.push(message.to_vec());
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn a_control_message_over_the_bound_is_refused_by_its_length_alone(max in 0_usize..5_000, over in 1_usize..1_000_000) {
        let mut reader = ControlReader::new(max);
        reader.handle_bytes(&u32::try_from(max + over).unwrap().to_le_bytes());
        prop_assert_eq!(reader.poll_message(), Err(TooBig { length: max + over, max }));
    }

    #[test]
    fn a_websocket_frame_is_its_header_and_the_message(size in 0_usize..70_000) {
        let frames = SnapshotFrames::from(&snapshot(1, 1, size));
        let mut expected = ws_header(frames.body().len(), &mut [0; WS_HEADROOM]).to_vec();
        prop_assert!(expected.len() <= WS_HEADROOM);
        expected.extend_from_slice(&frames.body());
        prop_assert_eq!(frames.websocket(), &expected[..]);
        let read = codec::decode::<ServerMessage>(&frames.body());
        prop_assert_eq!(read, Ok(ServerMessage::Snapshot(snapshot(1, 1, size))));
    }
}

fn copied(batch: InputBatch<'_>) -> Inputs {
    Inputs { seen: batch.seen, inputs: batch.map(|(seq, data)| Input { seq, data: data.to_vec() }).collect() }
}

fn snapshot(tag: u32, tick: u32, size: usize) -> Snapshot {
    let state = (0..size).map(|at| (at as u32 * 31 + tick) as u8).collect();
    Snapshot { tag: SessionTag(tag), tick: Tick(tick), time_us: 0, applied: vec![], state }
}

/// Any bytes; or a real message with some bytes changed, which gets further into the decoder.
fn any_or_nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let spoilt = (
        prop_oneof![client_message().prop_map(|m| codec::encode(&m)), server_message().prop_map(|m| codec::encode(&m))],
        changes(),
    );
    prop_oneof![vec(any::<u8>(), 0..200), spoilt.prop_map(spoil)]
}

fn nearly_inputs() -> impl Strategy<Value = Vec<u8>> {
    (inputs(0..18).prop_map(|inputs| codec::encode(&ClientMessage::Inputs(inputs))), changes()).prop_map(spoil)
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), 250_u8..=255, Just(0)]), 0..4)
}

fn spoil((mut bytes, changes): (Vec<u8>, Vec<(prop::sample::Index, u8)>)) -> Vec<u8> {
    for (at, byte) in changes {
        let at = at.index(bytes.len());
        bytes[at] = byte;
    }
    bytes
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..4, 249_u32..253, 65_534_u32..65_538, any::<u32>()]
}

fn big() -> impl Strategy<Value = u64> {
    prop_oneof![number().prop_map(u64::from), any::<u64>()]
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 249..260)]
}

fn player() -> impl Strategy<Value = PlayerId> {
    "[a-zé日]{1,20}".prop_map(|text| PlayerId::new(&text).unwrap())
}

fn game() -> impl Strategy<Value = GameName> {
    "[a-z0-9-]{1,32}".prop_map(|text| GameName::new(&text).unwrap())
}

fn inputs(count: std::ops::Range<usize>) -> impl Strategy<Value = Inputs> {
    let input = (number(), blob()).prop_map(|(seq, data)| Input { seq: InputSeq(seq), data });
    (number(), vec(input, count)).prop_map(|(seen, inputs)| Inputs { seen: Tick(seen), inputs })
}

fn resume_token() -> impl Strategy<Value = ResumeToken> {
    any::<[u8; 32]>().prop_map(ResumeToken)
}

fn request() -> impl Strategy<Value = Request> {
    let spec = (".{0,20}", ".{0,20}", any::<bool>(), any::<u16>(), any::<u16>(), blob()).prop_map(
        |(game, name, public, capacity, min_players, settings)| LobbySpec {
            game,
            name,
            public,
            capacity,
            min_players,
            settings,
        },
    );
    prop_oneof![
        ".{0,20}".prop_map(|wish| Request::Join { wish }),
        spec.prop_map(Request::Create),
        Just(Request::Leave),
        any::<bool>().prop_map(Request::Ready),
        ".{0,80}".prop_map(Request::Chat),
        player().prop_map(Request::Kick),
        any::<bool>().prop_map(Request::Lock),
        player().prop_map(Request::PassHost),
        Just(Request::Start),
        (".{0,20}", any::<bool>()).prop_map(|(game, open)| Request::Watch(LobbyFilter { game, open })),
        Just(Request::Unwatch),
    ]
}

fn client_message() -> impl Strategy<Value = ClientMessage> {
    let resume = (resume_token(), big()).prop_map(|(token, received)| ResumePoint { token, received });
    prop_oneof![
        (".{0,40}", ".{0,20}", prop::option::of(resume)).prop_map(|(ticket, join, resume)| ClientMessage::Hello {
            ticket,
            join,
            resume
        }),
        (number(), big()).prop_map(|(nonce, received)| ClientMessage::Ping { nonce, received }),
        inputs(1..17).prop_map(ClientMessage::Inputs),
        (number(), request()).prop_map(|(id, body)| ClientMessage::Request { id, body }),
        Just(ClientMessage::Bye),
    ]
}

fn server_message() -> impl Strategy<Value = ServerMessage> {
    let id = any::<u128>();
    let welcome = ((player(), ".{0,32}", resume_token(), 0..3), (big(), number(), big(), number(), number(), number()))
        .prop_map(|((player, name, resume, outcome), rest)| Welcome {
            player,
            name,
            resume,
            outcome: [ResumeOutcome::Arrived, ResumeOutcome::Resumed, ResumeOutcome::Restarted][outcome as usize],
            counted: rest.0,
            last_request: rest.1,
            server_time_us: rest.2,
            heartbeat_ms: rest.3,
            grace_ms: rest.4,
            max_message: rest.5,
        });
    let applied = vec((any::<u16>(), number()).prop_map(|(seat, seq)| (SeatId(seat), InputSeq(seq))), 0..20);
    let snapshot = (number(), number(), big(), applied, blob()).prop_map(|(tag, tick, time_us, applied, state)| {
        Snapshot { tag: SessionTag(tag), tick: Tick(tick), time_us, applied, state }
    });
    let summary = (id, game(), ".{0,32}", any::<(u16, u16, bool, bool)>()).prop_map(
        |(id, game, name, (players, capacity, playing, open))| LobbySummary {
            id: LobbyId(id),
            game,
            name,
            players,
            capacity,
            playing,
            open,
        },
    );
    let member =
        (player(), ".{0,32}", any::<(bool, bool, bool)>()).prop_map(|(player, name, (plays, ready, connected))| {
            let role = if plays { WireRole::Player } else { WireRole::Spectator };
            Member { player, name, role, ready, connected }
        });
    let lobby = (
        (id, any::<u64>(), game(), ".{0,32}"),
        any::<(bool, bool, u16, u16, Option<u128>)>(),
        prop::option::of(player()),
        vec(member, 0..6),
    )
        .prop_map(|((id, code, game, name), (public, locked, capacity, min_players, session), host, members)| {
            LobbyView {
                id: LobbyId(id),
                code: JoinCode::from_random(code),
                game,
                name,
                public,
                locked,
                capacity,
                min_players,
                host,
                status: session.map_or(LobbyStatus::Gathering, |session| LobbyStatus::Playing(SessionId(session))),
                members,
            }
        });
    let seated = (any::<(u128, u128, Option<u16>, u8)>(), number(), game(), blob(), number()).prop_map(
        |((session, lobby, seat, tick_hz), tag, game, settings, last_input)| Seated {
            session: SessionId(session),
            tag: SessionTag(tag),
            lobby: LobbyId(lobby),
            game,
            seat: seat.map(SeatId),
            tick_hz,
            settings,
            last_input: InputSeq(last_input),
        },
    );
    let seat = (any::<u16>(), player(), ".{0,32}", any::<bool>())
        .prop_map(|(seat, player, name, connected)| SeatInfo { seat: SeatId(seat), player, name, connected });
    let refusal = (any::<u16>(), ".{0,20}").prop_map(|(code, reason)| Refusal { code, reason });
    let reason = prop::sample::select(vec![EndReason::Finished, EndReason::Abandoned, EndReason::Crashed]);
    let left = prop::sample::select(vec![LeftReason::Left, LeftReason::Kicked, LeftReason::Closed]);
    prop_oneof![
        welcome.prop_map(ServerMessage::Welcome),
        (any::<u16>(), ".{0,20}", prop::option::of(number())).prop_map(|(code, reason, retry_after_ms)| {
            ServerMessage::Goodbye(Goodbye { code, reason, retry_after_ms })
        }),
        (number(), big()).prop_map(|(nonce, server_time_us)| ServerMessage::Pong { nonce, server_time_us }),
        snapshot.prop_map(ServerMessage::Snapshot),
        (number(), prop::option::of(refusal))
            .prop_map(|(request, refusal)| ServerMessage::Reply(Reply { request, refusal })),
        vec(summary, 0..6).prop_map(ServerMessage::List),
        lobby.prop_map(ServerMessage::Lobby),
        (id, left).prop_map(|(lobby, reason)| ServerMessage::LobbyLeft { lobby: LobbyId(lobby), reason }),
        (player(), ".{0,32}", ".{0,80}").prop_map(|(player, name, text)| ServerMessage::Chat(ChatLine {
            player,
            name,
            text
        })),
        seated.prop_map(ServerMessage::Seated),
        (number(), vec(seat, 0..6), any::<u16>()).prop_map(|(tag, seats, spectators)| ServerMessage::Roster(Roster {
            tag: SessionTag(tag),
            seats,
            spectators
        })),
        (id, reason, blob()).prop_map(|(session, reason, result)| ServerMessage::Ended(SessionEnded {
            session: SessionId(session),
            reason,
            result
        })),
    ]
}
