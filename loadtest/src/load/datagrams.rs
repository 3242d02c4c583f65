//! The players of the datagram floor: one socket for all of them, every packet opened and counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use muster::codec;
use muster::wire::ServerMessage;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;

use super::tally::{Tally, Turn, Watch};
use super::{Plan, Seen, Shared, record};
use crate::clock::now_us;
use crate::fault::Fault;
use crate::floor::seal::Sealer;
use crate::floor::udp::Batched;
use crate::frames;
use crate::game::PUSH;

/// Lets a group of players listen until told to stop.
///
/// # Errors
/// [`Fault::Local`] when there is no socket to be had.
pub fn run(plan: &Plan, shared: &Arc<Shared>) -> Result<Seen, Fault> {
    let mut udp = Batched::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(|e| Fault::local("UDP", e))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| Fault::local("epoll", error))?;
    epoll::add(&epoll, &udp.socket, EventData::new_u64(0), EventFlags::IN)
        .map_err(|error| Fault::local("epoll", error))?;
    let mut sealer = Sealer::new()?;
    let mut tally = Tally::new(plan.tick);
    let mut players: Vec<Player> = vec![Player::default(); plan.players];
    let start = now_us();
    let arrival = |index: usize| start + (index as f64 * 1e6 / plan.ramp) as u64;
    let (mut arrived, mut inputs_from, mut turn, mut seq) = (0, None, 0u64, 0);
    let (mut packet, mut message) = (Vec::new(), Vec::new());
    let mut events = Vec::with_capacity(16);
    while !shared.stop.load(Ordering::Relaxed) {
        let now = now_us();
        follow(&mut tally, shared, &mut players, now);
        // Hellos go again to those who were not answered, a tenth of a second later.
        for (index, player) in players.iter_mut().enumerate().take(arrived) {
            if !player.seated && now >= player.asked + 100_000 {
                hello(&mut sealer, &udp, plan, index, &mut packet);
                player.asked = now;
            }
        }
        while arrived < plan.players && arrival(arrived) <= now {
            hello(&mut sealer, &udp, plan, arrived, &mut packet);
            if let Some(player) = players.get_mut(arrived) {
                (player.due, player.asked) = (arrival(arrived), now);
            }
            arrived += 1;
        }
        if arrived == plan.players && plan.input_rate > 0 {
            inputs_from.get_or_insert(now);
        }
        let rate = (u64::from(plan.input_rate) * plan.players as u64).max(1);
        let mut next = if arrived < plan.players { arrival(arrived) } else { now + 10_000 };
        if let Some(from) = inputs_from {
            while from + turn * 1_000_000 / rate <= now {
                let index = (turn % plan.players as u64) as usize;
                turn += 1;
                seq += u32::from(index == 0);
                let Some(player) = players.get(index) else { continue };
                message.clear();
                // What QUIC and HTTP put before a datagram's payload, as long as theirs.
                message.extend_from_slice(&[0x31, 0, 0, 0]);
                frames::put_input(player.watch.tick, seq, &PUSH, &mut message);
                sealer.seal(number(plan, index), &message, &mut packet);
                // What a full socket does not take is lost.
                let _ = udp.socket.send_to(&packet, plan.address);
                if tally.is_open() {
                    tally.seen.inputs += 1;
                    tally.seen.bytes_out += packet.len() as u64;
                }
            }
            next = next.min(from + turn * 1_000_000 / rate);
        }
        let wait = next.saturating_sub(now_us()).clamp(0, 20_000).div_ceil(1_000);
        let timeout = Timespec { tv_sec: 0, tv_nsec: (wait * 1_000_000) as _ };
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Fault::local("epoll", error)),
        }
        let now = now_us();
        udp.read(|datagram, _| {
            let length = datagram.len() as u64;
            let Some((number, body)) = sealer.open(datagram) else { return };
            let index = number.saturating_sub(plan.first) / plan.stride.max(1);
            let Some(player) = players.get_mut(index as usize) else { return };
            if tally.is_open() {
                tally.seen.bytes_in += length;
            }
            if let Some(head) = body.get(SNAPSHOT_AT..).and_then(frames::snapshot_head) {
                tally.snapshot(&mut player.watch, head, shared, now);
            } else if let Ok(ServerMessage::Pong { server_time_us, .. }) = codec::decode(body) {
                shared.saw_clock(server_time_us, now);
                if !std::mem::replace(&mut player.seated, true) {
                    record(&mut tally.seen.connect, now.saturating_sub(player.due));
                    tally.start(&mut player.watch, now);
                    shared.seated.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    follow(&mut tally, shared, &mut players, now_us());
    Ok(tally.seen)
}

#[derive(Clone, Copy, Default)]
struct Player {
    due: u64,
    asked: u64,
    seated: bool,
    watch: Watch,
}

fn follow(tally: &mut Tally, shared: &Shared, players: &mut [Player], now: u64) {
    match tally.follow(shared, now) {
        Turn::Opened => players.iter_mut().for_each(|player| tally.start(&mut player.watch, now)),
        Turn::Closed => players.iter_mut().for_each(|player| tally.stop(&mut player.watch, now)),
        Turn::Same => {}
    }
}

/// A player's number among those of all processes.
fn number(plan: &Plan, index: usize) -> u64 {
    plan.first + index as u64 * plan.stride
}

fn hello(sealer: &mut Sealer, udp: &Batched, plan: &Plan, index: usize, packet: &mut Vec<u8>) {
    sealer.seal(number(plan, index), &[], packet);
    // One that is lost is sent again.
    let _ = udp.socket.send_to(packet, plan.address);
}

/// A snapshot stands behind the session's quarter stream id and the byte that says it is whole.
const SNAPSHOT_AT: usize = 2;
