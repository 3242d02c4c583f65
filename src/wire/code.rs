//! Why a link ends or a request is refused: one closed table for both transports.
//!
//! The number is the Goodbye code, the WebSocket close code and the WebTransport close code. Slug, HTTP status, metric
//! label and what a client does next follow from it. The hundreds tell a client what to do with a number it does not know.

/// One row of the code table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Code {
    /// The player left.
    Left = 1000,
    /// The peer broke the transport's own protocol.
    ProtocolError = 1002,
    /// A text frame; only binary messages are spoken here.
    TextFrame = 1003,
    /// Text that is not UTF-8.
    BadUtf8 = 1007,
    /// A frame or message past the transport's bound.
    FrameTooBig = 1009,
    /// A fault of the server.
    Internal = 1011,
    /// The server restarts.
    Restart = 1012,
    /// The server is full, or cannot record the ticket.
    Overloaded = 1013,
    /// The server is draining before it stops.
    Draining = 4001,
    /// The link did not read its reliable messages.
    SlowReader = 4008,
    /// Nothing was heard of the peer for too long.
    HeartbeatLost = 4009,
    /// The game failed; its session is over.
    SessionCrashed = 4011,
    /// The session goes on at another node.
    Moved = 4012,
    /// A message that does not decode, or came out of order.
    Malformed = 4400,
    /// No valid ticket: missing, forged, expired, for another audience. Which of these, the wire does not tell.
    BadTicket = 4401,
    /// The ticket does not allow this, or it was revoked.
    Forbidden = 4403,
    /// No such lobby, session, game or request.
    NotFound = 4404,
    /// No ticket came in time.
    TicketTimeout = 4408,
    /// The ticket was used before.
    TicketUsed = 4409,
    /// A newer login of the same player took over.
    Replaced = 4410,
    /// A message past the application's bound.
    MessageTooBig = 4413,
    /// A protocol version that this server does not speak.
    Version = 4426,
    /// Too much, too fast.
    TooFast = 4429,
    /// The session is over.
    SessionOver = 4500,
    /// The host removed the player.
    Kicked = 4501,
    /// The player is banned.
    Banned = 4502,
    /// No free place; the ticket was not used up.
    LobbyFull = 4503,
    /// The lobby is locked or gone.
    LobbyClosed = 4504,
}

/// What a client does about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The end was asked for, or is final: stop, and tell the player.
    Stop,
    /// One of the two ends has a bug: stop, and report it.
    Report,
    /// Try again later, with a back-off.
    Retry,
    /// Come back with the resume token, jittered.
    Resume,
    /// Get a new ticket or mend the request; do not repeat it as it was.
    NewTicket,
}

impl Code {
    /// Every row, in order of the numbers.
    pub const ALL: [Self; 28] = [
        Self::Left,
        Self::ProtocolError,
        Self::TextFrame,
        Self::BadUtf8,
        Self::FrameTooBig,
        Self::Internal,
        Self::Restart,
        Self::Overloaded,
        Self::Draining,
        Self::SlowReader,
        Self::HeartbeatLost,
        Self::SessionCrashed,
        Self::Moved,
        Self::Malformed,
        Self::BadTicket,
        Self::Forbidden,
        Self::NotFound,
        Self::TicketTimeout,
        Self::TicketUsed,
        Self::Replaced,
        Self::MessageTooBig,
        Self::Version,
        Self::TooFast,
        Self::SessionOver,
        Self::Kicked,
        Self::Banned,
        Self::LobbyFull,
        Self::LobbyClosed,
    ];

    /// The number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The row with this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// A stable name in ASCII: the reason of the close frame, the `type` of a problem body, the metric label.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::ProtocolError => "protocol-error",
            Self::TextFrame => "text-frame",
            Self::BadUtf8 => "bad-utf8",
            Self::FrameTooBig => "frame-too-big",
            Self::Internal => "internal",
            Self::Restart => "restart",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::SlowReader => "slow-reader",
            Self::HeartbeatLost => "heartbeat-lost",
            Self::SessionCrashed => "session-crashed",
            Self::Moved => "moved",
            Self::Malformed => "malformed",
            Self::BadTicket => "bad-ticket",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::TicketTimeout => "ticket-timeout",
            Self::TicketUsed => "ticket-used",
            Self::Replaced => "replaced",
            Self::MessageTooBig => "message-too-big",
            Self::Version => "version",
            Self::TooFast => "too-fast",
            Self::SessionOver => "session-over",
            Self::Kicked => "kicked",
            Self::Banned => "banned",
            Self::LobbyFull => "lobby-full",
            Self::LobbyClosed => "lobby-closed",
        }
    }

    /// What a client does about it.
    pub fn act(self) -> Act {
        Self::act_of(self.number())
    }

    /// What a client does about any number, known or not: the hundreds decide.
    pub fn act_of(number: u16) -> Act {
        match number {
            0 | 1000 | 1001 => Act::Stop,
            1011..=1013 => Act::Retry,
            1002..=1999 => Act::Report,
            4000..=4099 => Act::Resume,
            4400..=4499 => Act::NewTicket,
            4500..=4599 => Act::Stop,
            _ => Act::Report,
        }
    }

    /// The status of a refusal that is told over HTTP, before a link opens.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Left => 200,
            Self::ProtocolError | Self::TextFrame | Self::BadUtf8 | Self::Malformed => 400,
            Self::BadTicket => 401,
            Self::Forbidden | Self::Kicked | Self::Banned => 403,
            Self::NotFound => 404,
            Self::TicketTimeout => 408,
            Self::TicketUsed | Self::Replaced => 409,
            Self::SessionOver | Self::LobbyClosed => 410,
            Self::FrameTooBig | Self::MessageTooBig => 413,
            Self::Version => 426,
            Self::TooFast => 429,
            Self::Internal | Self::SessionCrashed => 500,
            Self::Restart
            | Self::Overloaded
            | Self::Draining
            | Self::SlowReader
            | Self::HeartbeatLost
            | Self::Moved
            | Self::LobbyFull => 503,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_number_and_a_short_ascii_slug() {
        for (index, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(Code::from_number(code.number()), Some(code));
            assert!(code.slug().is_ascii() && code.slug().len() <= 64);
            assert!(Code::ALL.iter().skip(index + 1).all(|other| other.slug() != code.slug() && *other > code));
        }
    }

    #[test]
    fn an_unknown_code_is_acted_on_by_its_hundred() {
        assert_eq!(Code::act_of(4077), Act::Resume);
        assert_eq!(Code::act_of(4477), Act::NewTicket);
        assert_eq!(Code::act_of(4577), Act::Stop);
        assert_eq!(Code::act_of(1013), Act::Retry);
    }
}
