//! WebSocket.
pub mod frames;
