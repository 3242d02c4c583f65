//! A link over WebTransport: one control stream, and datagrams for snapshots and inputs.
//!
//! Owns: the WebTransport session and how messages stand on it. Must not know: what messages say.

use std::time::Duration;

use bytes::Bytes;
use wtransport::error::{ConnectingError, ConnectionError, SendDatagramError};
use wtransport::{Connection, RecvStream, SendStream};

use super::error::{ConnectError, Refused, printable};
use super::link::{LinkEnd, MAX_MESSAGE};
use crate::wire::{Assembler, ControlReader, put_control};

/// A live WebTransport session with its control stream.
#[derive(Debug)]
pub(super) struct WebTransportLink {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    reader: ControlReader,
    assembler: Assembler,
    /// Control messages that wait to be written, from `written` on.
    outbound: Vec<u8>,
    written: usize,
    datagram: Vec<u8>,
}

impl WebTransportLink {
    /// Opens the control stream of a session.
    pub(super) async fn open(connection: Connection) -> Result<Self, LinkEnd> {
        let opening = connection.open_bi().await.map_err(end_of)?;
        let (send, receive) = opening.await.map_err(|error| LinkEnd::Broken(error.to_string()))?;
        Ok(Self {
            connection,
            send,
            receive,
            reader: ControlReader::new(MAX_MESSAGE),
            assembler: Assembler::default(),
            outbound: Vec::new(),
            written: 0,
            datagram: Vec::new(),
        })
    }

    /// Appends a message to the control stream.
    pub(super) fn queue(&mut self, message: &[u8]) {
        put_control(message, &mut self.outbound);
    }

    /// Bytes that wait for the control stream.
    pub(super) fn queued(&self) -> usize {
        self.outbound.len() - self.written
    }

    /// Sends a message as one datagram, or on the control stream where no datagram takes it.
    pub(super) fn send_inputs(&mut self, message: &[u8]) {
        self.datagram.clear();
        self.datagram.push(WHOLE);
        self.datagram.extend_from_slice(message);
        match self.connection.send_datagram(&self.datagram) {
            Ok(()) | Err(SendDatagramError::NotConnected) => {}
            Err(SendDatagramError::UnsupportedByPeer | SendDatagramError::TooLarge) => self.queue(message),
        }
    }

    /// The round trip as QUIC measures it.
    pub(super) fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }

    /// Writes what waits and returns the next message, from the control stream first.
    ///
    /// # Cancel safety
    /// Cancel-safe: writing one chunk, reading one chunk and receiving a datagram each are.
    pub(super) async fn receive(&mut self) -> Result<Bytes, LinkEnd> {
        loop {
            match self.reader.poll_message() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(_) => return Err(LinkEnd::Violation("a message that is too long")),
            }
            let rest = self.outbound.get(self.written..).unwrap_or_default();
            tokio::select! {
                biased;
                written = self.send.write(rest), if !rest.is_empty() => match written {
                    Ok(length) => {
                        self.written += length;
                        if self.written == self.outbound.len() {
                            self.outbound.clear();
                            self.written = 0;
                        }
                    }
                    Err(_) => return Err(self.ended().await),
                },
                chunk = self.receive.quic_stream_mut().read_chunk(CHUNK, true) => match chunk {
                    Ok(Some(chunk)) => self.reader.handle_bytes(&chunk.bytes),
                    Ok(None) | Err(_) => return Err(self.ended().await),
                },
                datagram = self.connection.receive_datagram() => match datagram {
                    // A datagram that is no message is dropped: it may be anything, from any time.
                    Ok(datagram) => if let Ok(Some(message)) = self.assembler.handle_datagram(datagram.payload()) {
                        return Ok(message);
                    },
                    Err(error) => return Err(end_of(error)),
                },
            }
        }
    }

    /// Why the control stream ended: the connection's own reason, which may come a moment later.
    async fn ended(&self) -> LinkEnd {
        match tokio::time::timeout(LINGER, self.connection.closed()).await {
            Ok(error) => end_of(error),
            Err(_) => LinkEnd::Broken("the server ended the control stream".into()),
        }
    }
}

/// What became of a connection.
fn end_of(error: ConnectionError) -> LinkEnd {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            // HTTP/3's own codes (0x100 to 0x3ff, RFC 9114 8.1) and 0, which a lost process leaves, say nothing of play.
            match u16::try_from(close.code().into_inner()) {
                Ok(code @ 1_024..) => LinkEnd::Closed(Refused {
                    code,
                    slug: printable(&String::from_utf8_lossy(close.reason())),
                    retry_after: None,
                }),
                _ => LinkEnd::Broken("the server closed the connection".into()),
            }
        }
        other => LinkEnd::Broken(other.to_string()),
    }
}

/// Says why a session could not be had.
pub(super) fn connecting_error(error: ConnectingError, address: String) -> ConnectError {
    let over = "WebTransport";
    match error {
        ConnectingError::SessionRejected => ConnectError::TurnedAway,
        // Alerts of TLS are QUIC errors 0x100 to 0x1ff (RFC 9001 4.8).
        ConnectingError::ConnectionError(ConnectionError::QuicProto(why)) => {
            ConnectError::Tls { address, why: why.to_string() }
        }
        ConnectingError::ConnectionError(ConnectionError::LocalH3Error(why)) => {
            ConnectError::Protocol { address, why: why.to_string() }
        }
        other => ConnectError::Unreachable { address, over, why: other.to_string() },
    }
}

/// The first byte of a datagram that holds a whole message.
const WHOLE: u8 = 0;

/// The most that is read from the control stream at once.
const CHUNK: usize = 16 * 1_024;

/// How long the end of a stream waits for the reason of the connection's end.
const LINGER: Duration = Duration::from_millis(250);
