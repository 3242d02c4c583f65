//! The protocol `muster.1`: messages, their bytes, and the codes. `docs/protocol.md` is its specification.
//!
//! Owns: the message types, encoding and decoding, the framing of both transports, the code table. Must not know:
//! sockets, lobbies' rules, games. The order of enum variants is the protocol: append only.

mod code;
mod frame;
mod message;

pub use code::{Act, Code};
pub use frame::{
    Assembler, ClientFrame, ControlReader, InputBatch, MAX_PIECES, PIECE_BYTES, SnapshotFrames, TooBig, WS_HEADROOM,
    decode_client, encode_inputs, encode_server, put_control, ws_header,
};
pub use message::{
    ChatLine, ClientMessage, EndReason, Goodbye, Input, Inputs, LeftReason, LobbyFilter, LobbySpec, LobbyStatus,
    LobbySummary, LobbyView, Member, Refusal, Renewed, Reply, Request, ResumeOutcome, ResumePoint, ResumeToken, Roster,
    SeatInfo, Seated, ServerMessage, SessionEnded, Snapshot, Welcome, WireRole,
};

/// The version that both ends name: WebSocket subprotocol and WebTransport protocol.
pub const PROTOCOL: &str = "muster.1";

/// The path under which links are opened on both transports.
pub const PLAY_PATH: &str = "/v1/play";
