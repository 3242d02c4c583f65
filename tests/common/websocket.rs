//! A WebSocket peer that writes every byte itself.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use muster::wire::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Opening, soon};

pub struct WsPeer {
    pub stream: TcpStream,
    buffer: BytesMut,
}

/// What HTTP said in place of an upgrade.
#[derive(Clone, Debug, Default)]
pub struct HttpAnswer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl HttpAnswer {
    /// Expects a problem body with the code; over WebTransport the status is all there is.
    pub fn is_problem(&self, code: Code, reason: &str) {
        assert_eq!(self.status, code.http_status(), "{self:?}");
        if self.head.is_empty() {
            return;
        }
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["type"], code.slug(), "{body}");
        assert_eq!(body["code"], code.number(), "{body}");
        assert_eq!(body["status"], code.http_status(), "{body}");
        if reason != code.slug() {
            assert_eq!(body["detail"], reason, "{body}");
        }
        assert_eq!(self.head.contains("www-authenticate:"), self.status == 401, "{}", self.head);
        if matches!(self.status, 429) || matches!(code, Code::Overloaded | Code::Draining) {
            assert!(self.head.contains("retry-after:"), "{}", self.head);
        }
    }
}

/// Says an HTTP request on a connection of its own and reads the answer to its end.
pub async fn http(address: SocketAddr, request: &str) -> HttpAnswer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = BytesMut::new();
    soon("an HTTP answer", read_answer(&mut stream, &mut buffer)).await.expect("an answer")
}

pub async fn get(address: SocketAddr, path: &str) -> HttpAnswer {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
}

/// Reads a head, and a body by its length; leaves what follows in the buffer.
pub async fn read_answer(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<HttpAnswer> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8(buffer.split_to(end).to_vec()).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let body = String::from_utf8(buffer.split_to(length).to_vec()).unwrap();
    Ok(HttpAnswer { status, head, body })
}

impl WsPeer {
    pub async fn open(address: SocketAddr, opening: &Opening<'_>) -> Result<Self, HttpAnswer> {
        let mut more = String::new();
        let mut offers = opening.protocols.unwrap_or("muster.1").to_owned();
        if let Some(origin) = opening.origin {
            more += &format!("Origin: {origin}\r\n");
            if let Some(ticket) = opening.ticket {
                offers += &format!(", ticket.{ticket}");
            }
        } else if let Some(ticket) = opening.ticket {
            more += &format!("Authorization: Bearer {ticket}\r\n");
        }
        more += &format!("Sec-WebSocket-Protocol: {offers}\r\n");
        Self::upgrade(address, &format!("/v1/play{}", opening.query(false)), &more).await
    }

    /// Upgrades with any further headers, each with its line end.
    pub async fn upgrade(address: SocketAddr, target: &str, more: &str) -> Result<Self, HttpAnswer> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        );
        // The answer may come before the whole request is written.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut buffer = BytesMut::new();
        let answer = match soon("an answer to the upgrade", read_answer(&mut stream, &mut buffer)).await {
            Ok(answer) => answer,
            Err(_) => return Err(HttpAnswer::default()),
        };
        if answer.status != 101 {
            return Err(answer);
        }
        assert!(answer.head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{}", answer.head);
        let protocol = if more.contains("Protocol: bearer,") { "bearer" } else { "muster.1" };
        assert!(answer.head.contains(&format!("sec-websocket-protocol: {protocol}\r\n")), "{}", answer.head);
        Ok(Self { stream, buffer })
    }

    /// Any bytes. A server that has closed already is no fault here: what it said is still read.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = soon("room in the socket", self.stream.write_all(bytes)).await;
    }

    /// A masked frame.
    pub async fn frame(&mut self, first: u8, payload: &[u8]) {
        self.raw(&masked(first, payload)).await;
    }

    /// The next message; at the end the code of the Close, if one came.
    pub async fn message(&mut self) -> Result<Vec<u8>, Option<u16>> {
        loop {
            if let Some((first, payload)) = self.take_frame() {
                match first {
                    0x82 => return Ok(payload),
                    0x88 => {
                        let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                        self.frame(0x88, &payload).await;
                        self.ended().await;
                        return Err(code);
                    }
                    0x89 => self.frame(0x8a, &payload).await,
                    0x8a => {}
                    other => panic!("a server does not send {other:#x}"),
                }
                continue;
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(None),
                Ok(_) => {}
            }
        }
    }

    /// The next message, while the server's pings stay without answer.
    pub async fn message_without_pongs(&mut self) -> Vec<u8> {
        loop {
            match self.take_frame() {
                Some((0x82, payload)) => return payload,
                Some((0x89, _)) => {}
                Some((other, _)) => panic!("{other:#x}"),
                None => assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "no message"),
            }
        }
    }

    /// Behind a Close comes nothing but the end of the connection.
    async fn ended(&mut self) {
        let rest = soon("the end of the connection", self.stream.read_buf(&mut self.buffer)).await;
        assert!(matches!(rest, Ok(0) | Err(_)) && self.buffer.is_empty(), "bytes behind a Close");
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (*self.buffer.first()?, *self.buffer.get(1)?);
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (header, length) = match second {
            126 => (4, usize::from(u16::from_be_bytes(*self.buffer.get(2..)?.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*self.buffer.get(2..)?.first_chunk()?) as usize),
            short => (2, usize::from(short)),
        };
        if self.buffer.len() < header + length {
            return None;
        }
        self.buffer.advance(header);
        Some((first, self.buffer.split_to(length).to_vec()))
    }
}

pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}
