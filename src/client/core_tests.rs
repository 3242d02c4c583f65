#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::ids::{GameName, LobbyId, PlayerId, SessionId};
use crate::wire::{ChatLine, ClientFrame, EndReason, Refusal, Reply, SessionEnded, Snapshot, decode_client};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn welcome(outcome: ResumeOutcome, counted: u64, last_request: u32) -> Welcome {
    Welcome {
        player: PlayerId::new("ada").unwrap(),
        name: "Ada".into(),
        resume: ResumeToken([7; 32]),
        outcome,
        counted,
        last_request,
        server_time_us: 0,
        heartbeat_ms: 5_000,
        grace_ms: 15_000,
        max_message: 4_096,
    }
}

fn arrived() -> Core {
    let mut core = Core::default();
    core.handle_welcome(welcome(ResumeOutcome::Arrived, 0, 0), Transport::WebSocket, MS(0));
    assert!(matches!(core.poll_event(), Some(Event::Arrived(_))));
    core
}

fn hear(core: &mut Core, message: &ServerMessage) -> Vec<Event> {
    core.handle_message(codec::encode(message).into(), MS(0)).unwrap();
    std::iter::from_fn(|| core.poll_event()).collect()
}

fn chat() -> ServerMessage {
    let player = PlayerId::new("bob").unwrap();
    ServerMessage::Chat(ChatLine { player, name: "Bob".into(), text: "hi".into() })
}

fn seated(tag: u32, last_input: u32) -> ServerMessage {
    ServerMessage::Seated(Seated {
        session: SessionId(1),
        tag: SessionTag(tag),
        lobby: LobbyId(1),
        game: GameName::new("arena").unwrap(),
        seat: Some(SeatId(2)),
        tick_hz: 20,
        settings: vec![],
        last_input: InputSeq(last_input),
    })
}

fn snapshot(tag: u32, tick: u32, applied: u32) -> ServerMessage {
    let applied = vec![(SeatId(2), InputSeq(applied))];
    ServerMessage::Snapshot(Snapshot { tag: SessionTag(tag), tick: Tick(tick), time_us: 0, applied, state: vec![1] })
}

/// The numbers of the requests that would be sent now.
fn requests(core: &mut Core, now: Duration) -> Vec<u32> {
    let (mut out, mut ids) = (Vec::new(), Vec::new());
    while core.poll_message(now, &mut out) {
        if let ClientFrame::Message(ClientMessage::Request { id, .. }) = decode_client(&out).unwrap() {
            ids.push(id);
        }
    }
    ids
}

#[test]
fn numbered_messages_are_counted_and_others_are_not() {
    let mut core = arrived();
    hear(&mut core, &chat());
    hear(&mut core, &seated(1, 0));
    hear(&mut core, &snapshot(1, 1, 0));
    hear(&mut core, &ServerMessage::Pong { nonce: 99, server_time_us: 0 });
    assert_eq!(core.resume_point(), Some(ResumePoint { token: ResumeToken([7; 32]), received: 2 }));
}

#[test]
fn a_resume_goes_on_counting_and_a_restart_takes_the_servers_count() {
    let mut core = arrived();
    hear(&mut core, &chat());
    core.handle_loss();
    core.handle_welcome(welcome(ResumeOutcome::Resumed, 2, 0), Transport::WebTransport, MS(0));
    assert_eq!(core.poll_event(), Some(Event::Resumed));
    hear(&mut core, &chat());
    assert_eq!(core.resume_point().unwrap().received, 2, "the one that was missed came again");
    core.handle_loss();
    core.handle_welcome(welcome(ResumeOutcome::Restarted, 40, 0), Transport::WebSocket, MS(0));
    assert_eq!(core.poll_event(), Some(Event::Restarted));
    hear(&mut core, &chat());
    assert_eq!(core.resume_point().unwrap().received, 41);
}

#[test]
fn requests_go_once_and_after_a_resume_exactly_those_that_were_not_carried_out() {
    let mut core = arrived();
    for _ in 0..4 {
        core.handle_request(Request::Ready(true));
    }
    assert_eq!(requests(&mut core, MS(0)), [1, 2, 3, 4]);
    assert!(requests(&mut core, MS(0)).is_empty());
    let reply = ServerMessage::Reply(Reply { request: 1, refusal: None });
    assert_eq!(hear(&mut core, &reply), [Event::Replied { request: 1, outcome: Ok(()) }]);
    core.handle_loss();
    core.handle_welcome(welcome(ResumeOutcome::Resumed, 2, 2), Transport::WebSocket, MS(10));
    assert_eq!(requests(&mut core, MS(10)), [3, 4]);
    assert_eq!(core.unanswered(), 3, "the answer to 2 is among what is resent");
}

#[test]
fn a_request_made_while_the_link_is_down_goes_with_the_next_one() {
    let mut core = arrived();
    core.handle_loss();
    assert_eq!(core.handle_request(Request::Start), 1);
    core.handle_welcome(welcome(ResumeOutcome::Resumed, 0, 0), Transport::WebSocket, MS(0));
    assert_eq!(requests(&mut core, MS(0)), [1]);
}

#[test]
fn a_restart_and_a_new_arrival_say_which_answers_are_lost() {
    let mut core = arrived();
    core.handle_request(Request::Start);
    core.handle_request(Request::Start);
    requests(&mut core, MS(0));
    core.handle_loss();
    core.handle_welcome(welcome(ResumeOutcome::Restarted, 5, 1), Transport::WebSocket, MS(0));
    let lost = |request| Event::Replied { request, outcome: Err(RequestError::OutcomeLost) };
    assert_eq!(core.poll_event(), Some(lost(1)));
    assert_eq!(core.poll_event(), Some(Event::Restarted));
    assert_eq!(requests(&mut core, MS(0)), [2]);
    core.handle_loss();
    core.handle_welcome(welcome(ResumeOutcome::Arrived, 0, 0), Transport::WebSocket, MS(0));
    assert_eq!(core.poll_event(), Some(lost(2)));
    assert_eq!(core.handle_request(Request::Start), 1, "numbers begin again with the place");
}

#[test]
fn a_refusal_reaches_the_request_with_code_and_slug() {
    let mut core = arrived();
    core.handle_request(Request::Start);
    let refusal = Some(Refusal { code: 4_403, reason: "not-the-host".into() });
    let events = hear(&mut core, &ServerMessage::Reply(Reply { request: 1, refusal }));
    let refused = Refused { code: 4_403, slug: "not-the-host".into(), retry_after: None };
    assert_eq!(events, [Event::Replied { request: 1, outcome: Err(RequestError::Refused(refused)) }]);
}

#[test]
fn only_newer_snapshots_of_the_running_session_pass() {
    let mut core = arrived();
    assert_eq!(hear(&mut core, &snapshot(1, 1, 0)), [], "no seat yet");
    hear(&mut core, &seated(1, 0));
    assert_eq!(hear(&mut core, &snapshot(1, 5, 3)).len(), 1);
    assert_eq!(hear(&mut core, &snapshot(1, 5, 3)), [], "twice");
    assert_eq!(hear(&mut core, &snapshot(1, 4, 3)), [], "late");
    assert_eq!(hear(&mut core, &snapshot(2, 6, 3)), [], "of another session");
    let ended = SessionEnded { session: SessionId(1), reason: EndReason::Finished, result: vec![] };
    hear(&mut core, &ServerMessage::Ended(ended));
    assert_eq!(hear(&mut core, &snapshot(1, 7, 3)), [], "after the end");
    assert_eq!((core.stats().snapshots, core.stats().snapshots_stale), (1, 5));
}

#[test]
fn inputs_need_a_seat_and_go_on_from_the_number_the_server_has() {
    let mut core = arrived();
    assert_eq!(core.input_room(), Err(InputError::NoSeat));
    core.handle_input(InputSeq(1), vec![1]);
    let mut out = Vec::new();
    assert!(!core.poll_inputs(false, &mut out));
    hear(&mut core, &seated(1, 41));
    assert_eq!(core.last_input(), InputSeq(41));
    core.handle_input(InputSeq(42), vec![1]);
    core.handle_input(InputSeq(43), vec![0; 5_000]);
    assert!(core.poll_inputs(false, &mut out));
    let ClientFrame::Inputs(batch) = decode_client(&out).unwrap() else { panic!("no inputs") };
    assert_eq!(batch.map(|(seq, _)| seq.0).collect::<Vec<_>>(), [42], "one that is too long is not sent");
}

#[test]
fn being_told_of_the_same_seat_again_keeps_the_inputs() {
    let mut core = arrived();
    hear(&mut core, &seated(1, 0));
    core.handle_input(InputSeq(1), vec![1]);
    hear(&mut core, &seated(1, 0));
    assert!(core.poll_inputs(true, &mut Vec::new()));
    hear(&mut core, &seated(2, 0));
    assert_eq!(core.last_input(), InputSeq(0));
}

#[test]
fn pings_come_quickly_at_first_and_then_steadily_and_silence_is_noticed() {
    let mut core = arrived();
    let (mut now, mut at) = (MS(0), Vec::new());
    while at.len() < 6 {
        assert!(core.poll_message(now, &mut Vec::new()));
        assert!(!core.poll_message(now, &mut Vec::new()));
        at.push(now.as_millis());
        now = core.next_deadline();
    }
    assert_eq!(at, [0, 200, 400, 600, 2_600, 4_600]);
    assert!(!core.is_silent(MS(5_900)));
    assert!(core.is_silent(MS(6_000)));
    core.handle_message(codec::encode(&chat()).into(), MS(5_950)).unwrap();
    assert!(!core.is_silent(MS(6_000)));
}

#[test]
fn a_pong_sets_the_clock_and_a_pong_nobody_asked_for_does_not() {
    let mut core = arrived();
    let mut out = Vec::new();
    assert!(core.poll_message(MS(100), &mut out));
    let ClientFrame::Message(ClientMessage::Ping { nonce, .. }) = decode_client(&out).unwrap() else {
        panic!("no ping")
    };
    let mut pong = |nonce, now| {
        let pong = ServerMessage::Pong { nonce, server_time_us: 7_000_000 };
        core.handle_message(codec::encode(&pong).into(), now).unwrap();
        core.stats().round_trip
    };
    assert_eq!(pong(nonce + 1, MS(130)), None);
    assert_eq!(pong(nonce, MS(140)), Some(MS(40)));
    assert_eq!(pong(nonce, MS(900)), Some(MS(40)), "once only");
    assert_eq!(core.stats().clock_offset_us, Some(6_880_000));
}

#[test]
fn junk_and_a_second_welcome_break_the_link() {
    let mut core = arrived();
    for junk in [&b""[..], b"\xff\xff", b"\x03\x01"] {
        assert!(core.handle_message(Bytes::copy_from_slice(junk), MS(0)).is_err(), "{junk:?}");
    }
    let again = ServerMessage::Welcome(welcome(ResumeOutcome::Arrived, 0, 0));
    assert_eq!(core.handle_message(codec::encode(&again).into(), MS(0)), Err(Broken("a second Welcome")));
}

#[test]
fn a_kind_that_was_added_later_is_counted_and_skipped() {
    let mut core = arrived();
    assert_eq!(core.handle_message(Bytes::from_static(b"\x63\x01\x02"), MS(0)), Ok(None));
    assert_eq!((core.received, core.poll_event()), (1, None));
}

#[test]
fn closing_answers_every_request() {
    let mut core = arrived();
    core.handle_request(Request::Leave);
    core.handle_close();
    assert_eq!(core.poll_event(), Some(Event::Replied { request: 1, outcome: Err(RequestError::Closed) }));
}
