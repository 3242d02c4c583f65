//! QUIC as a game server wants it: the socket's buffers, the windows, the timers.
//!
//! Owns: numbers and where they go. Must not know: what travels.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, VarInt};
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
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
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
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BYTES))
        .datagram_send_buffer_size(DATAGRAM_SEND_BYTES)
        // No packet of muster's needs more than the 1,200 bytes that every path carries; probes would only cost.
        .mtu_discovery_config(None);
    transport
}

/// Handshakes that QUIC holds before the listener looks at them.
const MAX_INCOMING: usize = 1_024;
/// What one of these may have sent already.
const INCOMING_BYTES: u64 = 16 * 1024;
const STREAM_WINDOW: u32 = 16 * 1024;
/// Stream bytes that may be under way to a peer that does not acknowledge them.
const SEND_WINDOW: u64 = 128 * 1024;
const DATAGRAM_RECEIVE_BYTES: usize = 16 * 1024;
/// Three snapshots of the most pieces fit; see `link` for why no more ever wait in it.
const DATAGRAM_SEND_BYTES: usize = 32 * 1024;
