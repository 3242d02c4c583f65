//! QUIC as a game server wants it: the socket's buffers, the windows, the timers.
//!
//! Owns: numbers and where they go. Must not know: what travels.

use std::any::Any;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::congestion::{Controller, ControllerFactory, NewReno, NewRenoConfig};
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::crypto::{self, Keys, Session, UnsupportedVersion};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, IdleTimeout, RttEstimator, ServerConfig, Side, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use super::listen::BindError;
use crate::limits::Limits;

/// Binds a UDP socket whose buffers hold `buffer_bytes` each way, as far as the kernel grants them.
///
/// A handshake flood into default buffers is dropped by the kernel, and each drop waits for a timer of the client.
pub(super) fn bind_socket(address: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(buffer_bytes)?;
    socket.set_send_buffer_size(buffer_bytes)?;
    // Linux reports twice what it grants: the other half is its own bookkeeping.
    let overhead = if cfg!(target_os = "linux") { 2 } else { 1 };
    let granted = [
        ("receive", "net.core.rmem_max", socket.recv_buffer_size()? / overhead),
        ("send", "net.core.wmem_max", socket.send_buffer_size()? / overhead),
    ];
    for (way, sysctl, bytes) in granted {
        if bytes < buffer_bytes {
            warn!(
                asked = buffer_bytes,
                granted = bytes,
                "the kernel grants UDP less {way} buffer than asked for; set `sysctl -w {sysctl}={buffer_bytes}`"
            );
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The server's half of QUIC and TLS.
///
/// # Errors
/// [`BindError::Tls`] when the TLS configuration cannot serve QUIC.
pub(super) fn server_config(mut tls: rustls::ServerConfig, limits: &Limits) -> Result<ServerConfig, BindError> {
    tls.alpn_protocols = vec![wtransport::tls::WEBTRANSPORT_ALPN.to_vec()];
    // 0-RTT could be replayed, and a request carries a ticket.
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|_| BindError::Tls)?;
    let mut config = ServerConfig::with_crypto(Arc::new(Patient(Arc::new(crypto))));
    config
        .transport_config(Arc::new(transport(limits)))
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES * MAX_INCOMING as u64 / 4);
    Ok(config)
}

fn transport(limits: &Limits) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let message = u32::try_from(limits.message_bytes).unwrap_or(u32::MAX / 16).min(u32::MAX / 16);
    let stream_window = STREAM_WINDOW.max(2 * message);
    transport
        .max_idle_timeout(IdleTimeout::try_from(limits.heartbeat).ok())
        .keep_alive_interval(Some((limits.heartbeat / 4).max(Duration::from_millis(100))))
        // CONNECT and the control stream; the rest is reset, but must get far enough to be.
        .max_concurrent_bidi_streams(VarInt::from_u32(4))
        // Control and two of QPACK; the rest is room for streams whose kind means nothing.
        .max_concurrent_uni_streams(VarInt::from_u32(8))
        .stream_receive_window(VarInt::from_u32(stream_window))
        .receive_window(VarInt::from_u32(4 * stream_window))
        .send_window(SEND_WINDOW)
        .congestion_controller_factory(Arc::new(FlooredConfig::default()))
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BYTES))
        .datagram_send_buffer_size(DATAGRAM_SEND_BYTES)
        // No packet of muster's needs more than the 1,200 bytes that every path carries; probes would only cost.
        .mtu_discovery_config(None);
    transport
}

/// TLS for QUIC, which tells peers to expect acknowledgements after [`MAX_ACK_DELAY`] instead of 25 ms. QUIC itself has
/// no setting for it, but what it says to the peer passes through here.
struct Patient(Arc<QuicServerConfig>);

impl crypto::ServerConfig for Patient {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        let patient = patient(params).unwrap_or(*params);
        Arc::clone(&self.0).start_session(version, &patient)
    }
}

/// The same parameters with the longer delay; `None` should they have one already.
fn patient(params: &TransportParameters) -> Option<TransportParameters> {
    let mut bytes = Vec::with_capacity(256);
    params.write(&mut bytes);
    bytes.extend_from_slice(&[MAX_ACK_DELAY_ID, 1, MAX_ACK_DELAY]);
    TransportParameters::read(Side::Client, &mut &bytes[..]).ok()
}

/// A congestion controller that never shuts the window below what a game needs. A snapshot that waits for the window
/// is of no use: the next one replaces it. Above the floor it is NewReno.
#[derive(Clone)]
struct Floored(NewReno);

#[derive(Default)]
struct FlooredConfig(Arc<NewRenoConfig>);

impl ControllerFactory for FlooredConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Floored(NewReno::new(Arc::clone(&self.0), now, current_mtu)))
    }
}

impl Controller for Floored {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.0.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.0.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.0.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.0.window().max(WINDOW_FLOOR)
    }

    fn initial_window(&self) -> u64 {
        self.0.initial_window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The transport parameter of RFC 9000 18.2.
const MAX_ACK_DELAY_ID: u8 = 0x0b;
/// Milliseconds; below 64, so that it is a varint of one byte. The 25 ms after which QUIC acknowledges, the 30 ms by
/// which a link in a steady beat is late with it, and some for the timers.
const MAX_ACK_DELAY: u8 = 60;
/// Bytes under way that are always allowed: a tick of the largest snapshot that goes by datagrams, and the one before.
const WINDOW_FLOOR: u64 = 20 * 1024;
/// Handshakes that QUIC holds before the listener looks at them.
const MAX_INCOMING: usize = 1_024;
/// What one of these may have sent already.
const INCOMING_BYTES: u64 = 16 * 1024;
const STREAM_WINDOW: u32 = 16 * 1024;
/// Stream bytes that may be under way to a peer that does not acknowledge them.
const SEND_WINDOW: u64 = 128 * 1024;
const DATAGRAM_RECEIVE_BYTES: usize = 16 * 1024;
/// Three snapshots of the most pieces fit; see `link` for why no more ever wait in it.
pub(super) const DATAGRAM_SEND_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]

    use super::*;

    #[test]
    fn the_peer_is_told_the_longer_delay_of_acknowledgements_and_all_else_as_it_was() {
        let plain = [0x04, 2, 0x40, 0x80, 0x08, 1, 4, 0x0a, 1, 5];
        let params = TransportParameters::read(Side::Client, &mut &plain[..]).unwrap();
        let mut bytes = Vec::new();
        patient(&params).unwrap().write(&mut bytes);
        for expected in [&plain[..4], &plain[4..7], &plain[7..], &[MAX_ACK_DELAY_ID, 1, MAX_ACK_DELAY]] {
            assert!(bytes.windows(expected.len()).any(|window| window == expected), "{expected:?} in {bytes:?}");
        }
        assert_eq!(bytes.len(), plain.len() + 3);
    }

    #[test]
    fn losses_do_not_shut_the_window_below_the_floor() {
        let start = Instant::now();
        let mut controller = Arc::new(FlooredConfig::default()).build(start, 1_200);
        for loss in 1..20 {
            let now = start + Duration::from_secs(loss);
            controller.on_congestion_event(now, now, true, 1_200);
        }
        assert_eq!(controller.window(), WINDOW_FLOOR);
    }
}
