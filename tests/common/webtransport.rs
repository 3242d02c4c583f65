//! A WebTransport peer over wtransport's client.

use std::net::SocketAddr;

use bytes::Bytes;
use muster::wire::{Assembler, ControlReader, put_control};
use wtransport::endpoint::ConnectOptions;
use wtransport::endpoint::endpoint_side::Client;
use wtransport::error::{ConnectingError, ConnectionError};
use wtransport::tls::Sha256Digest;
use wtransport::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};

use super::{Opening, soon};

pub struct WtPeer {
    pub link: Connection,
    pub send: SendStream,
    recv: RecvStream,
    reader: ControlReader,
    assembler: Assembler,
    /// The control stream is at its end.
    quiet: bool,
    /// Opened as a page does: the close code comes in a capsule, which wtransport takes for an end without a code.
    pub page: bool,
    _endpoint: Endpoint<Client>,
}

pub fn endpoint(hash: [u8; 32]) -> Endpoint<Client> {
    let hashes = [Sha256Digest::new(hash)];
    let bind = "127.0.0.1:0".parse().unwrap();
    let config = ClientConfig::builder().with_bind_address(bind).with_server_certificate_hashes(hashes).build();
    Endpoint::client(config).unwrap()
}

pub async fn connect(
    endpoint: &Endpoint<Client>,
    address: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<Connection, ConnectingError> {
    let url = format!("https://127.0.0.1:{}{target}", address.port());
    let mut options = ConnectOptions::builder(url);
    for (name, value) in headers {
        options = options.add_header(*name, *value);
    }
    soon("an answer to the CONNECT", endpoint.connect(options.build())).await
}

impl WtPeer {
    /// Connects and opens the control stream; an error is a status, as far as wtransport tells it.
    pub async fn open(address: SocketAddr, hash: [u8; 32], opening: &Opening<'_>) -> Result<Self, u16> {
        let mut headers = Vec::new();
        if let Some(origin) = opening.origin {
            headers.push(("origin", origin));
        }
        if let Some(protocols) = opening.protocols {
            headers.push(("wt-available-protocols", protocols));
        }
        let endpoint = endpoint(hash);
        let target = format!("/v1/play{}", opening.query(true));
        match connect(&endpoint, address, &target, &headers).await {
            Ok(link) => Ok(Self { page: opening.origin.is_some(), ..Self::over(endpoint, link).await }),
            // wtransport does not tell the status.
            Err(ConnectingError::SessionRejected) => Err(403),
            Err(other) => panic!("no WebTransport session: {other}"),
        }
    }

    pub async fn over(endpoint: Endpoint<Client>, link: Connection) -> Self {
        let (send, recv) = soon("a control stream", async { link.open_bi().await.unwrap().await.unwrap() }).await;
        let reader = ControlReader::new(1 << 24);
        Self {
            link,
            send,
            recv,
            reader,
            assembler: Assembler::default(),
            quiet: false,
            page: false,
            _endpoint: endpoint,
        }
    }

    /// Any bytes on the control stream. A server that has stopped it already is no fault here.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = soon("room on the control stream", self.send.write_all(bytes)).await;
    }

    pub async fn control(&mut self, message: &[u8]) {
        let mut framed = Vec::new();
        put_control(message, &mut framed);
        self.raw(&framed).await;
    }

    /// A whole message in a datagram.
    pub fn datagram(&self, message: &[u8]) {
        let _ = self.link.send_datagram([&[0], message].concat());
    }

    /// The next message, from the control stream or from datagrams; at the end the close code.
    pub async fn message(&mut self) -> Result<Vec<u8>, Option<u16>> {
        let mut room = [0; 4_096];
        loop {
            if let Some(message) = self.reader.poll_message().unwrap() {
                return Ok(message.to_vec());
            }
            let Self { link, recv, reader, assembler, quiet, .. } = self;
            tokio::select! {
                biased;
                read = recv.read(&mut room), if !*quiet => match read {
                    Ok(Some(count)) => reader.handle_bytes(&room[..count]),
                    _ => *quiet = true,
                },
                datagram = link.receive_datagram(), if !*quiet => match datagram {
                    Ok(datagram) => {
                        let payload = Bytes::copy_from_slice(&datagram.payload());
                        if let Some(message) = assembler.handle_datagram(payload).unwrap() {
                            return Ok(message.to_vec());
                        }
                    }
                    // What was said before the close is still to be read.
                    Err(_) => {
                        while let Ok(Some(count)) = recv.read(&mut room).await {
                            reader.handle_bytes(&room[..count]);
                        }
                        *quiet = true;
                    }
                },
                end = link.closed(), if *quiet => return Err(match end {
                    ConnectionError::ApplicationClosed(close) => u16::try_from(close.code().into_inner()).ok(),
                    _ => None,
                }),
            }
        }
    }
}
