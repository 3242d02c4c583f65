//! One UDP socket, read in batches: what both ends of the datagram floor stand on.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// A socket with large buffers, and room for one batch.
pub struct Batched {
    /// The socket, not waiting.
    pub socket: UdpSocket,
    state: UdpSocketState,
    buffers: Vec<Vec<u8>>,
}

impl Batched {
    /// Binds.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // The kernel caps these; what it grants is enough or shows as snapshots that are missing.
        let _ = socket.set_recv_buffer_size(BUFFER);
        let _ = socket.set_send_buffer_size(BUFFER);
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new((&socket).into())?;
        let room = 2_048 * state.gro_segments();
        Ok(Self { socket, state, buffers: vec![vec![0; room]; BATCH_SIZE] })
    }

    /// Reads what is there and tells of each datagram and its sender.
    pub fn read(&mut self, mut handle: impl FnMut(&mut [u8], SocketAddr)) {
        let Self { socket, state, buffers } = self;
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        loop {
            let mut slices: Vec<IoSliceMut<'_>> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let Ok(count) = state.recv((&*socket).into(), &mut slices, &mut metas) else { return };
            for (meta, buffer) in metas.iter().zip(buffers.iter_mut()).take(count) {
                for datagram in buffer.get_mut(..meta.len).unwrap_or_default().chunks_mut(meta.stride.max(1)) {
                    handle(datagram, meta.addr);
                }
            }
            if count < BATCH_SIZE {
                return;
            }
        }
    }
}

const BUFFER: usize = 4 * 1_024 * 1_024;
