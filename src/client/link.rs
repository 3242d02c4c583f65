//! One live link, whichever transport it is on: messages go in, messages come out, and it ends for one reason.
//!
//! Owns: the common vocabulary of the transports. Must not know: what messages say.

use std::fmt;

use bytes::Bytes;

use super::error::Refused;
use super::websocket::WebSocketLink;
use super::webtransport::WebTransportLink;

/// The transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSocket over TCP, with or without TLS.
    WebSocket,
    /// WebTransport over QUIC.
    WebTransport,
}

impl Transport {
    /// A stable name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::WebTransport => "webtransport",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::WebSocket => Self::WebTransport,
            Self::WebTransport => Self::WebSocket,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkEnd {
    /// The server closed with a code: the close frame's, or the connection's.
    Closed(Refused),
    /// The connection broke.
    Broken(String),
    /// The peer broke the rules of the transport.
    Violation(&'static str),
}

/// A live link to the server. Dropping it cuts the connection.
#[derive(Debug)]
pub(super) enum Link {
    /// Over TCP.
    WebSocket(WebSocketLink),
    /// Over QUIC.
    WebTransport(Box<WebTransportLink>),
}

impl Link {
    /// Which transport it is on.
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::WebSocket(_) => Transport::WebSocket,
            Self::WebTransport(_) => Transport::WebTransport,
        }
    }

    /// Appends a reliable message to what goes out. [`Self::receive`] does the sending.
    pub(super) fn queue(&mut self, message: &mut [u8]) {
        match self {
            Self::WebSocket(link) => link.queue(message),
            Self::WebTransport(link) => link.queue(message),
        }
    }

    /// Bytes that wait to go out.
    pub(super) fn queued(&self) -> usize {
        match self {
            Self::WebSocket(link) => link.queued(),
            Self::WebTransport(link) => link.queued(),
        }
    }

    /// Sends a message of inputs: as a datagram where there are any, at once and without a guarantee.
    pub(super) fn send_inputs(&mut self, message: &mut [u8]) {
        match self {
            Self::WebSocket(link) => link.queue(message),
            Self::WebTransport(link) => link.send_inputs(message),
        }
    }

    /// Sends what waits, and returns the next message that comes.
    ///
    /// # Errors
    /// How the link ended. It is of no use any more.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: all progress is kept in the link.
    pub(super) async fn receive(&mut self) -> Result<Bytes, LinkEnd> {
        match self {
            Self::WebSocket(link) => link.receive().await,
            Self::WebTransport(link) => link.receive().await,
        }
    }

    /// Says on the transport's own level that nothing more will come.
    pub(super) fn finish(&mut self) {
        if let Self::WebSocket(link) = self {
            link.queue_close();
        }
    }

    /// The transport's own estimate of the round trip, where it has one.
    pub(super) fn round_trip(&self) -> Option<std::time::Duration> {
        match self {
            Self::WebSocket(_) => None,
            Self::WebTransport(link) => Some(link.round_trip()),
        }
    }
}

/// The longest message that is taken from a server, in bytes.
pub(super) const MAX_MESSAGE: usize = crate::codec::DECODE_LIMIT;
