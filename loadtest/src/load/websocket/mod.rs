//! Thousands of players over WebSocket on one thread: one epoll, one buffer, no task and no timer per player.
//!
//! Open loop: arrivals and inputs follow a schedule, whatever the server does. What is measured begins at the scheduled
//! moment, so that a slow server cannot hide behind a tester that waited for it.

mod besides;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use muster::codec;
use muster::ids::InputSeq;
use muster::wire::{Code, Goodbye, PROTOCOL, ServerMessage};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::time::Timespec;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, Type};

use super::revoke::{Revoked, Revoker};
use super::tally::{Tally, Turn, Watch};
use super::{Behaviour, Plan, Seen, Shared, record, rest_us, stay_us};
use crate::clock::now_us;
use crate::fault::Fault;
use crate::frames::{self, BINARY, CLOSE};
use crate::game::PUSH;

/// Lets a group of players play until told to stop.
///
/// # Errors
/// [`Fault::Local`] when the machine gives no epoll. What happens to single players is in [`Seen`].
pub fn run(plan: &Plan, shared: &Arc<Shared>) -> Result<Seen, Fault> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| Fault::local("epoll", error))?;
    let start = now_us();
    let players = (0..plan.players).map(|index| Player::new(plan.first + index as u64 * plan.stride)).collect();
    let mut crowd = Crowd {
        plan,
        shared,
        epoll,
        players,
        start,
        arrived: 0,
        input_turn: 0,
        inputs_from: None,
        ping_us: PING_US,
        pings_from: start + PING_US,
        ping_turn: 0,
        storms: 0,
        message: Vec::new(),
        frame: Vec::new(),
        tally: Tally::new(plan.tick),
        next_new: plan.first + plan.players as u64 * plan.stride,
        forged: None,
        revoker: None,
    };
    crowd.run()?;
    Ok(crowd.tally.seen)
}

struct Crowd<'a> {
    plan: &'a Plan,
    shared: &'a Arc<Shared>,
    epoll: OwnedFd,
    players: Vec<Player>,
    start: u64,
    /// How many have set out.
    arrived: usize,
    /// Inputs sent so far, over all players: whose turn it is follows from it.
    input_turn: u64,
    inputs_from: Option<u64>,
    /// How often each player says that it lives.
    ping_us: u64,
    pings_from: u64,
    ping_turn: u64,
    storms: u64,
    message: Vec<u8>,
    frame: Vec<u8>,
    tally: Tally,
    next_new: u64,
    forged: Option<Forgery>,
    revoker: Option<Revoker>,
}

/// The one who comes with forged tickets.
struct Forgery {
    next_at: u64,
    sent: u64,
}

struct Player {
    number: u64,
    socket: Option<TcpStream>,
    tls: Option<Box<ClientConnection>>,
    state: State,
    forged: bool,
    /// When it was to set out.
    due: u64,
    /// When its request went out.
    asked: u64,
    /// The beginning of a frame or an answer that has not come whole.
    partial: Vec<u8>,
    /// What the socket did not take.
    unsent: Vec<u8>,
    seq: u32,
    watch: Watch,
    resume: Option<[u8; 32]>,
    received: u64,
    resuming: bool,
    /// When it lost its link in a storm.
    lost_at: u64,
    leave_at: u64,
    deaf: bool,
    /// What it is in by, where that is to be taken back.
    ticket: String,
    revoked: Option<Revoked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Away,
    Connecting,
    Securing,
    Asking,
    Open,
    Seated,
    Over,
}

impl Player {
    fn new(number: u64) -> Self {
        Self {
            number,
            socket: None,
            tls: None,
            state: State::Away,
            forged: false,
            due: 0,
            asked: 0,
            partial: Vec::new(),
            unsent: Vec::new(),
            seq: 0,
            watch: Watch::default(),
            resume: None,
            received: 0,
            resuming: false,
            lost_at: 0,
            leave_at: u64::MAX,
            deaf: false,
            ticket: String::new(),
            revoked: None,
        }
    }

    /// Forgets the link; the player itself stays who it is.
    fn hang_up(&mut self) {
        self.socket = None;
        self.tls = None;
        self.partial.clear();
        self.unsent.clear();
        self.deaf = false;
    }
}

impl Crowd<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut events = Vec::with_capacity(1_024);
        let mut buffer = vec![0; 64 * 1_024];
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = now_us();
            self.follow_phase(now);
            self.follow_schedule(now);
            events.clear();
            let wait = self.next_due().saturating_sub(now_us()).clamp(0, 20_000).div_ceil(1_000) * 1_000;
            let timeout = Timespec { tv_sec: 0, tv_nsec: (wait * 1_000) as _ };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Fault::local("epoll", error)),
            }
            for event in &events {
                self.handle_ready(event.data.u64() as usize, &mut buffer);
            }
        }
        self.follow_phase(now_us());
        Ok(())
    }

    fn handle_ready(&mut self, index: usize, buffer: &mut [u8]) {
        let Some(state) = self.players.get(index).map(|player| player.state) else { return };
        let outcome = match state {
            State::Connecting => self.handle_connected(index),
            State::Away | State::Over => Ok(()),
            _ => self.handle_readable(index, buffer),
        };
        if let Err(why) = outcome {
            self.handle_end(index, &why);
        }
    }

    /// Opens and closes the window as the watcher says.
    fn follow_phase(&mut self, now: u64) {
        match self.tally.follow(self.shared, now) {
            Turn::Opened => {
                for player in self.players.iter_mut().filter(|player| player.state == State::Seated && !player.deaf) {
                    self.tally.start(&mut player.watch, now);
                    if let Behaviour::Churn(about) | Behaviour::Forged(about) = self.plan.behaviour {
                        player.leave_at = now + rest_us(about, player.number);
                    }
                }
                if let (Behaviour::Revoke(pace), Some(admin)) = (self.plan.behaviour, &self.plan.admin) {
                    self.revoker = Some(Revoker::new(admin, pace, self.plan.first, now));
                }
            }
            Turn::Closed => {
                (0..self.players.len()).for_each(|index| self.stop_counting(index, now));
                self.end_revocations(now);
            }
            Turn::Same => {}
        }
        let storms = self.shared.storm.load(Ordering::Relaxed);
        if storms != self.storms {
            self.storms = storms;
            self.drop_all(now);
        }
    }

    /// What was due for a player ends with its seat, or with the window.
    fn stop_counting(&mut self, index: usize, now: u64) {
        let Some(player) = self.players.get_mut(index) else { return };
        self.tally.stop(&mut player.watch, now);
    }

    fn follow_schedule(&mut self, now: u64) {
        while self.arrived < self.plan.players && self.arrival(self.arrived) <= now {
            let (index, due) = (self.arrived, self.arrival(self.arrived));
            self.arrived += 1;
            self.set_out(index, due);
        }
        if self.arrived == self.plan.players && self.plan.input_rate > 0 && self.inputs_from.is_none() {
            self.inputs_from = Some(now);
        }
        while self.next_input().is_some_and(|at| at <= now) {
            let index = (self.input_turn % self.plan.players as u64) as usize;
            self.input_turn += 1;
            self.send_input(index);
        }
        while self.next_ping() <= now {
            let index = (self.ping_turn % self.plan.players as u64) as usize;
            self.ping_turn += 1;
            self.send_ping(index);
        }
        match self.plan.behaviour {
            Behaviour::Churn(_) => self.follow_churn(now),
            Behaviour::Forged(stay) => {
                self.follow_churn(now);
                self.follow_forgery(now, stay);
            }
            Behaviour::Revoke(_) => self.follow_revocations(now),
            _ => {}
        }
    }

    fn next_due(&self) -> u64 {
        let arrival = if self.arrived < self.plan.players { self.arrival(self.arrived) } else { u64::MAX };
        let forged = self.forged.as_ref().map_or(u64::MAX, |forgery| forgery.next_at);
        let revoked = self.revoker.as_ref().map_or(u64::MAX, Revoker::next_at);
        arrival.min(self.next_input().unwrap_or(u64::MAX)).min(self.next_ping()).min(forged).min(revoked)
    }

    fn arrival(&self, index: usize) -> u64 {
        self.start + (index as f64 * 1e6 / self.plan.ramp) as u64
    }

    /// Inputs are spread evenly: one player after the other, all of them once in a period.
    fn next_input(&self) -> Option<u64> {
        let rate = u64::from(self.plan.input_rate) * self.plan.players as u64;
        self.inputs_from.map(|from| from + self.input_turn * 1_000_000 / rate.max(1))
    }

    fn next_ping(&self) -> u64 {
        self.pings_from + self.ping_turn * self.ping_us / (self.plan.players as u64).max(1)
    }

    /// A player sets out: with a ticket, or with what brings it back to its place.
    fn set_out(&mut self, index: usize, due: u64) {
        let outcome = self.connect(index, due);
        if let Err(error) = outcome {
            self.handle_end(index, &error.to_string());
        }
    }

    fn connect(&mut self, index: usize, due: u64) -> io::Result<()> {
        let Some(player) = self.players.get_mut(index) else { return Ok(()) };
        player.hang_up();
        player.due = due;
        player.state = State::Connecting;
        let socket = Socket::new(Domain::for_address(self.plan.address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if matches!(self.plan.behaviour, Behaviour::Slow(one_in) if index.is_multiple_of(one_in)) {
            // What it does not read is to be felt soon.
            socket.set_recv_buffer_size(4_096)?;
        }
        match socket.connect(&self.plan.address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let stream = TcpStream::from(socket);
        epoll::add(&self.epoll, &stream, EventData::new_u64(index as u64), EventFlags::OUT)?;
        player.socket = Some(stream);
        Ok(())
    }

    fn handle_connected(&mut self, index: usize) -> Result<(), String> {
        let Some(player) = self.players.get_mut(index) else { return Ok(()) };
        let Some(socket) = &player.socket else { return Ok(()) };
        if let Ok(Some(error)) = socket.take_error() {
            return Err(format!("cannot connect: {error}"));
        }
        epoll::modify(&self.epoll, socket, EventData::new_u64(index as u64), EventFlags::IN)
            .map_err(|error| error.to_string())?;
        let Some(config) = &self.plan.tls else {
            record(&mut self.tally.seen.connect, now_us().saturating_sub(player.due));
            return self.ask(index);
        };
        let name = ServerName::try_from(host_of(&self.plan.authority).to_owned()).map_err(|error| error.to_string())?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
        player.state = State::Securing;
        while tls.wants_write() {
            tls.write_tls(&mut &*socket).map_err(|error| error.to_string())?;
        }
        player.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Sends the request, with the ticket in it.
    fn ask(&mut self, index: usize) -> Result<(), String> {
        let Some(player) = self.players.get_mut(index) else { return Ok(()) };
        player.state = State::Asking;
        let Plan { path, authority, mint, behaviour, .. } = self.plan;
        let credentials = match player.resume {
            Some(token) if player.resuming => {
                format!(
                    "Sec-WebSocket-Protocol: {PROTOCOL}, resume.{}.{}\r\n",
                    URL_SAFE_NO_PAD.encode(token),
                    player.received
                )
            }
            _ => {
                player.resuming = false;
                player.received = 0;
                player.seq = 0;
                let ticket = match &player.revoked {
                    Some(_) => player.ticket.clone(),
                    None if player.forged => mint.forged(player.number),
                    None => mint.ticket(player.number),
                };
                if matches!(behaviour, Behaviour::Revoke(_)) {
                    player.ticket.clone_from(&ticket);
                }
                format!("Sec-WebSocket-Protocol: {PROTOCOL}\r\nAuthorization: Bearer {ticket}\r\n")
            }
        };
        let path = if player.resuming { path.split('?').next().unwrap_or(path) } else { path };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bXVzdGVyIGxvYWQgdGVzdA==\r\n{credentials}\r\n"
        );
        player.asked = now_us();
        write(player, request.as_bytes()).map_err(|error| error.to_string())
    }

    fn handle_readable(&mut self, index: usize, buffer: &mut [u8]) -> Result<(), String> {
        let Some(player) = self.players.get_mut(index) else { return Ok(()) };
        let Some(socket) = &mut player.socket else { return Ok(()) };
        if !player.unsent.is_empty() {
            let rest = std::mem::take(&mut player.unsent);
            write(player, &rest).map_err(|error| error.to_string())?;
            return Ok(());
        }
        let Some(tls) = &mut player.tls else {
            return match socket.read(buffer) {
                Ok(0) => Err("the server hung up".into()),
                Ok(count) => self.handle_bytes(index, buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                Err(error) => Err(error.to_string()),
            };
        };
        match tls.read_tls(socket) {
            Ok(0) => return Err("the server hung up".into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        tls.process_new_packets().map_err(|error| format!("TLS: {error}"))?;
        while tls.wants_write() {
            tls.write_tls(socket).map_err(|error| error.to_string())?;
        }
        if player.state == State::Securing && !tls.is_handshaking() {
            record(&mut self.tally.seen.connect, now_us().saturating_sub(player.due));
            self.ask(index)?;
        }
        loop {
            let Some(tls) = self.players.get_mut(index).and_then(|player| player.tls.as_mut()) else { return Ok(()) };
            match tls.reader().read(buffer) {
                Ok(0) => return Err("the server hung up".into()),
                Ok(count) => self.handle_bytes(index, buffer.get(..count).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn handle_bytes(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        if self.tally.is_open() {
            self.tally.seen.bytes_in += bytes.len() as u64;
        }
        let Some(player) = self.players.get_mut(index) else { return Ok(()) };
        if player.partial.is_empty() {
            let used = self.handle_whole(index, bytes)?;
            if let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty())
                && let Some(player) = self.players.get_mut(index)
            {
                player.partial.extend_from_slice(rest);
            }
            return Ok(());
        }
        let mut joined = std::mem::take(&mut player.partial);
        joined.extend_from_slice(bytes);
        let used = self.handle_whole(index, &joined)?;
        joined.drain(..used);
        if let Some(player) = self.players.get_mut(index) {
            player.partial = joined;
        }
        Ok(())
    }

    /// Handles what is whole at the front; returns how many bytes that was.
    fn handle_whole(&mut self, index: usize, bytes: &[u8]) -> Result<usize, String> {
        let mut used = 0;
        if self.players.get(index).is_some_and(|player| player.state == State::Asking) {
            let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(0) };
            let head = bytes.get(..end).unwrap_or_default();
            if !head.starts_with(b"HTTP/1.1 101") {
                return Err(refusal(bytes));
            }
            used = end + 4;
            if let Some(player) = self.players.get_mut(index) {
                player.state = State::Open;
            }
        }
        while let Some(frame) = frames::first_frame(bytes.get(used..).unwrap_or_default()) {
            used += frame.length;
            match frame.opcode {
                BINARY => self.handle_message(index, frame.payload)?,
                CLOSE => return Err(closed(frame.payload)),
                _ => {}
            }
        }
        Ok(used)
    }

    fn handle_message(&mut self, index: usize, message: &[u8]) -> Result<(), String> {
        let now = now_us();
        if let Some(head) = frames::snapshot_head(message) {
            let Some(player) = self.players.get_mut(index) else { return Ok(()) };
            if player.state == State::Open {
                // The floor has no seats; its first snapshot stands for one.
                self.handle_seat(index, now);
            }
            if let Some(player) = self.players.get_mut(index) {
                self.tally.snapshot(&mut player.watch, head, self.shared, now);
            }
            return Ok(());
        }
        match codec::decode::<ServerMessage>(message) {
            Ok(ServerMessage::Welcome(welcome)) => {
                self.shared.saw_clock(welcome.server_time_us, now);
                self.ping_us = (u64::from(welcome.heartbeat_ms) * 1_000 / 3).max(1_000_000);
                let Some(player) = self.players.get_mut(index) else { return Ok(()) };
                if player.forged {
                    self.tally.seen.forged_accepted += 1;
                }
                if player.revoked.is_some() {
                    self.tally.seen.revoked_accepted += 1;
                }
                player.resume = Some(welcome.resume.0);
                if welcome.outcome != muster::wire::ResumeOutcome::Resumed {
                    player.received = welcome.counted;
                }
                if player.resuming {
                    // Its seat is where it was; nobody tells it again.
                    record(&mut self.tally.seen.back, now.saturating_sub(player.lost_at));
                    self.handle_seat(index, now);
                } else {
                    let (open, flooded) = (self.tally.is_open(), self.shared.flood.load(Ordering::Relaxed));
                    self.tally.seen.welcomed(now.saturating_sub(player.asked), open, flooded);
                }
            }
            Ok(ServerMessage::Goodbye(Goodbye { code, reason, .. })) => return Err(format!("{reason} ({code})")),
            Ok(ServerMessage::Pong { server_time_us, .. }) => self.shared.saw_clock(server_time_us, now),
            Ok(message) => {
                let Some(player) = self.players.get_mut(index) else { return Ok(()) };
                player.received += 1;
                if let ServerMessage::Seated(seated) = message {
                    let InputSeq(last) = seated.last_input;
                    player.seq = last;
                    if player.state == State::Open {
                        record(&mut self.tally.seen.seat, now.saturating_sub(player.asked));
                        self.handle_seat(index, now);
                    }
                }
            }
            Err(error) => return Err(format!("a message that is none: {error}")),
        }
        Ok(())
    }

    fn handle_seat(&mut self, index: usize, now: u64) {
        let Some(player) = self.players.get_mut(index) else { return };
        if player.state == State::Seated {
            return;
        }
        player.state = State::Seated;
        if !self.plan.behaviour.replaces_revoked(&self.tally) {
            self.tally.start(&mut player.watch, now);
        }
        self.shared.seated.fetch_add(1, Ordering::Relaxed);
        match self.plan.behaviour {
            Behaviour::Slow(one_in) if index.is_multiple_of(one_in) => {
                player.deaf = true;
                self.tally.stop(&mut player.watch, now);
                if let Some(socket) = &player.socket {
                    // Without this it would be told of every byte that it does not read.
                    let _ = epoll::modify(&self.epoll, socket, EventData::new_u64(index as u64), EventFlags::empty());
                }
            }
            Behaviour::Churn(about) | Behaviour::Forged(about) if self.tally.is_open() => {
                player.leave_at = now + stay_us(about, player.number);
            }
            _ => {}
        }
    }

    fn send_input(&mut self, index: usize) {
        let Some(player) = self.players.get_mut(index) else { return };
        if player.state != State::Seated || player.deaf {
            return;
        }
        if !player.unsent.is_empty() {
            self.tally.seen.inputs_shed += 1;
            return;
        }
        player.seq += 1;
        self.message.clear();
        self.frame.clear();
        frames::put_input(player.watch.tick, player.seq, &PUSH, &mut self.message);
        frames::put_masked(BINARY, &self.message, player.seq.to_le_bytes(), &mut self.frame);
        let outcome = write(player, &self.frame);
        if self.tally.is_open() {
            self.tally.seen.inputs += 1;
            self.tally.seen.bytes_out += self.frame.len() as u64;
        }
        if let Err(error) = outcome {
            self.handle_end(index, &error.to_string());
        }
    }

    /// Says that the player lives, and what it has received.
    fn send_ping(&mut self, index: usize) {
        let Some(player) = self.players.get_mut(index) else { return };
        let is_muster = player.resume.is_some();
        if player.state != State::Seated || player.deaf || !player.unsent.is_empty() || !is_muster {
            return;
        }
        let ping = muster::wire::ClientMessage::Ping { nonce: 1, received: player.received };
        self.frame.clear();
        frames::put_masked(BINARY, &codec::encode(&ping), [5, 6, 7, 8], &mut self.frame);
        if let Err(error) = write(player, &self.frame) {
            self.handle_end(index, &error.to_string());
        }
    }

    /// A link has ended, or never was.
    fn handle_end(&mut self, index: usize, why: &str) {
        let now = now_us();
        self.stop_counting(index, now);
        if self.handle_revoked(index, why, now) {
            return;
        }
        let Some(player) = self.players.get_mut(index) else { return };
        let (state, forged) = (player.state, player.forged);
        player.hang_up();
        player.state = State::Over;
        if forged {
            if why.starts_with("bad-ticket") {
                self.tally.seen.forged_refused += 1;
            } else {
                self.tally.seen.fail(format!("forged: {why}"));
            }
            return;
        }
        self.tally.seen.fail(why);
        if state == State::Seated {
            self.tally.seen.lost += 1;
            self.shared.seated.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes what the socket takes; the rest waits until it is readable or written to again.
fn write(player: &mut Player, bytes: &[u8]) -> io::Result<()> {
    let Player { socket: Some(socket), tls, unsent, .. } = player else { return Ok(()) };
    if let Some(tls) = tls {
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            match tls.write_tls(socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        return Ok(());
    }
    match socket.write(bytes) {
        Ok(count) => unsent.extend_from_slice(bytes.get(count..).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => unsent.extend_from_slice(bytes),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// What a server said instead of 101: the slug of its problem body, or the first line.
fn refusal(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let slug = serde_json::from_str::<serde_json::Value>(body).ok();
    let slug = slug.as_ref().and_then(|problem| problem.get("type")?.as_str());
    match slug {
        Some(slug) => slug.chars().filter(|c| !c.is_control()).take(64).collect(),
        None => text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(64).collect(),
    }
}

fn closed(payload: &[u8]) -> String {
    let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
    match code.and_then(Code::from_number) {
        Some(code) => format!("{} ({})", code.slug(), code.number()),
        None => "closed".to_owned(),
    }
}

fn host_of(authority: &str) -> &str {
    authority.rsplit_once(':').map_or(authority, |(host, _)| host.trim_matches(['[', ']']))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// How often a player says that it lives, before the server has said how often it must.
const PING_US: u64 = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_slug() {
        let answer = b"HTTP/1.1 401 Unauthorized\r\nx: y\r\n\r\n{\"type\":\"bad-ticket\",\"code\":4401}";
        assert_eq!(refusal(answer), "bad-ticket");
        assert_eq!(refusal(b"HTTP/1.1 500 Oops\r\n\r\n"), "HTTP/1.1 500 Oops");
    }
}
