//! The floor of WebSocket: one thread, one epoll, one write a player and tick, one read an input.
//!
//! Nothing is decided here: requests are answered without being looked at, tickets are not checked, inputs are unmasked
//! and thrown away. Frames are those of muster, so that the same players listen to both.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use muster::ids::{InputSeq, SeatId, SessionTag, Tick};
use muster::wire::{ServerMessage, SnapshotFrames, WS_HEADROOM, encode_server, ws_header};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;
use socket2::{Domain, Protocol, Socket, Type};

use super::Spread;
use crate::child::{Ready, wait_for_end};
use crate::clock;
use crate::fault::Fault;
use crate::machine;
use crate::options::FloorArgs;

/// Serves until the tester is gone.
///
/// # Errors
/// What kept it from starting.
pub fn run(args: &FloorArgs) -> Result<(), Fault> {
    let failed = |why: &dyn std::fmt::Display| Fault::local("the floor", why);
    machine::allow_files(60_000).or_else(|_| machine::allow_files(4_096))?;
    let listener = bind(args).map_err(|error| failed(&error))?;
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| failed(&error))?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).map_err(|error| failed(&error))?;
    Ready { address, certificate: None, admin: None }.say().map_err(|error| failed(&error))?;
    // Its own thread waits for the end, so that this one only ever waits for the kernel.
    std::thread::spawn(|| {
        wait_for_end();
        std::process::exit(0);
    });
    if let Some(core) = args.core {
        machine::pin(core);
    }
    let mut floor = Floor {
        spread: Spread::new(args.tick),
        per_session: usize::from(args.per_session),
        state: vec![0xa5; args.state_bytes],
        sessions: Vec::new(),
        links: Vec::new(),
        inputs: false,
        sum: 0,
    };
    let mut events = Vec::with_capacity(1_024);
    let mut buffer = vec![0; 16 * 1_024];
    loop {
        let wait = floor.spread.next_due().map(|due| due.saturating_sub(clock::now()).as_micros() as u64);
        // Whole milliseconds, as tokio's timer and epoll_wait(2) have them.
        let timeout = wait.map(|micros| Timespec { tv_sec: 0, tv_nsec: (micros.div_ceil(1_000) * 1_000_000) as _ });
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(&error)),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => {
                    while let Ok((stream, _)) = listener.accept() {
                        floor.greet(stream, &epoll).map_err(|error| failed(&error))?;
                    }
                }
                link => floor.read(link, &mut buffer),
            }
        }
        floor.tick();
    }
}

struct Floor {
    spread: Spread,
    per_session: usize,
    state: Vec<u8>,
    /// The links of each session.
    sessions: Vec<Vec<u64>>,
    /// By their numbers in the epoll; `None` once gone.
    links: Vec<Option<Link>>,
    /// Whether anybody has sent one.
    inputs: bool,
    /// Keeps what was unmasked from being optimised away.
    sum: u64,
}

struct Link {
    stream: TcpStream,
    session: usize,
    asked: bool,
}

impl Floor {
    fn greet(&mut self, stream: TcpStream, epoll: &rustix::fd::OwnedFd) -> std::io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let id = self.links.len() as u64;
        epoll::add(epoll, &stream, EventData::new_u64(id), EventFlags::IN)?;
        let session = id as usize / self.per_session;
        self.links.push(Some(Link { stream, session, asked: false }));
        Ok(())
    }

    fn read(&mut self, id: u64, buffer: &mut [u8]) {
        let Some(link) = self.links.get_mut(id as usize).and_then(Option::as_mut) else { return };
        let count = match link.stream.read(buffer) {
            Ok(0) => return self.forget(id),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.forget(id),
        };
        if !link.asked {
            link.asked = true;
            let pong = ServerMessage::Pong { nonce: 0, server_time_us: clock::now_us() };
            let mut answer = ANSWER.to_vec();
            put_frame(&encode_server(&pong), &mut answer);
            if link.stream.write_all(&answer).is_err() {
                return self.forget(id);
            }
            let session = link.session;
            while self.sessions.len() <= session {
                self.sessions.push(Vec::new());
                self.spread.add(clock::now());
            }
            if let Some(members) = self.sessions.get_mut(session) {
                members.push(id);
            }
            return;
        }
        self.inputs = true;
        // One frame a read, short: two bytes of header, four of mask.
        let Some((head, payload)) = buffer.get_mut(..count).and_then(|bytes| bytes.split_first_chunk_mut::<6>()) else {
            return;
        };
        let mask = [head[2], head[3], head[4], head[5]];
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        self.sum = self.sum.wrapping_add(u64::from(payload.last().copied().unwrap_or_default()));
    }

    fn forget(&mut self, id: u64) {
        if let Some(link) = self.links.get_mut(id as usize).and_then(Option::take)
            && let Some(members) = self.sessions.get_mut(link.session)
        {
            members.retain(|member| *member != id);
        }
    }

    fn tick(&mut self) {
        let Self { spread, state, sessions, links, inputs, .. } = self;
        spread.take_due(clock::now(), |session, tick, due| {
            let Some(members) = sessions.get(session) else { return };
            // As long as muster's own: with what it tells each player of its inputs, where there are any.
            let told = if *inputs { members.len() } else { 0 };
            let applied = (0..told).map(|seat| (SeatId(seat as u16), InputSeq(tick)));
            let time_us = due.as_micros() as u64;
            let frame = SnapshotFrames::new(SessionTag(session as u32), Tick(tick), time_us, applied, state);
            for member in members {
                if let Some(Some(link)) = links.get_mut(*member as usize) {
                    // What a full socket does not take is lost: the floor holds nothing for anybody.
                    let _ = link.stream.write(frame.websocket());
                }
            }
        });
    }
}

fn bind(args: &FloorArgs) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(args.listen), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&args.listen.into())?;
    socket.listen(4_096)?;
    Ok(socket.into())
}

fn put_frame(message: &[u8], out: &mut Vec<u8>) {
    let mut room = [0; WS_HEADROOM];
    out.extend_from_slice(ws_header(message.len(), &mut room));
    out.extend_from_slice(message);
}

/// The listener's number in the epoll.
const LISTENER: u64 = u64::MAX;
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
Sec-WebSocket-Protocol: muster.1\r\n\r\n";
