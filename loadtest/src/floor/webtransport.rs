//! The floor of WebTransport: one thread, one socket; each snapshot sealed for its player and sent by itself, inputs read
//! in batches and opened one by one. No handshake, no acknowledgement, no congestion control.

use std::net::SocketAddr;

use muster::ids::{InputSeq, SeatId, SessionTag, Tick};
use muster::wire::{ServerMessage, SnapshotFrames, encode_server};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;

use super::Spread;
use super::seal::Sealer;
use super::udp::Batched;
use crate::child::{Ready, wait_for_end};
use crate::fault::Fault;
use crate::options::FloorArgs;
use crate::{clock, machine};

/// Serves until the tester is gone.
///
/// # Errors
/// What kept it from starting.
pub fn run(args: &FloorArgs) -> Result<(), Fault> {
    let failed = |why: &dyn std::fmt::Display| Fault::local("the floor", why);
    let mut udp = Batched::bind(args.listen).map_err(|error| failed(&error))?;
    let address = udp.socket.local_addr().map_err(|error| failed(&error))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| failed(&error))?;
    epoll::add(&epoll, &udp.socket, EventData::new_u64(0), EventFlags::IN).map_err(|error| failed(&error))?;
    Ready { address, certificate: None, admin: None }.say().map_err(|error| failed(&error))?;
    std::thread::spawn(|| {
        wait_for_end();
        std::process::exit(0);
    });
    if let Some(core) = args.core {
        machine::pin(core);
    }
    let per_session = usize::from(args.per_session.max(1));
    let (mut sealer, mut spread) = (Sealer::new()?, Spread::new(args.tick));
    let state = vec![0xa5; args.state_bytes];
    let mut sessions: Vec<Vec<(u64, SocketAddr)>> = Vec::new();
    let (mut players, mut inputs, mut sum) = (0, false, 0u64);
    let (mut packet, mut answers) = (Vec::new(), Vec::new());
    let mut events = Vec::with_capacity(16);
    loop {
        let wait = spread.next_due().map(|due| due.saturating_sub(clock::now()).as_micros() as u64);
        let timeout = wait.map(|micros| Timespec { tv_sec: 0, tv_nsec: (micros.div_ceil(1_000) * 1_000_000) as _ });
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(&error)),
        }
        if !events.is_empty() {
            udp.read(|datagram, from| match sealer.open(datagram) {
                Some((player, [])) => answers.push((player, from)),
                Some((_, body)) => {
                    inputs = true;
                    sum = sum.wrapping_add(u64::from(body.last().copied().unwrap_or_default()));
                }
                None => {}
            });
        }
        for (player, from) in answers.drain(..) {
            // A player says hello until it is answered; it has a place from the first time on.
            if !sessions.iter().flatten().any(|(known, _)| *known == player) {
                if players % per_session == 0 {
                    sessions.push(Vec::new());
                    spread.add(clock::now());
                }
                players += 1;
                if let Some(members) = sessions.last_mut() {
                    members.push((player, from));
                }
            }
            let pong = encode_server(&ServerMessage::Pong { nonce: 0, server_time_us: clock::now_us() });
            sealer.seal(player, &pong, &mut packet);
            // Lost ones are asked for again.
            let _ = udp.socket.send_to(&packet, from);
        }
        spread.take_due(clock::now(), |session, tick, due| {
            let Some(members) = sessions.get(session) else { return };
            let told = if inputs { members.len() } else { 0 };
            let applied = (0..told).map(|seat| (SeatId(seat as u16), InputSeq(tick)));
            let frames =
                SnapshotFrames::new(SessionTag(session as u32), Tick(tick), due.as_micros() as u64, applied, &state);
            let Some([body, ..]) = frames.shared_datagrams() else { return };
            for (player, address) in members {
                sealer.seal(*player, body, &mut packet);
                // What a full socket does not take is lost.
                let _ = udp.socket.send_to(&packet, address);
            }
        });
    }
}
