//! Pages of other sites: no spelling of an Origin passes for a listed one, over either transport.

use std::sync::Arc;
use std::time::Duration;

use muster::wire::Code;
use wtransport::proto::frame::Frame;
use wtransport::proto::headers::Headers;

use crate::common::process::write_certificate;
use crate::common::{BOTH, ORIGIN, Opening, World, WsPeer, soon};

/// What is not `https://game.example`.
const FOREIGN: [&str; 28] = [
    "null",
    "NULL",
    "https://evil.example",
    "http://game.example",
    "wss://game.example",
    "file://game.example",
    "https://game.example.evil.example",
    "https://evilgame.example",
    "https://evil-game.example",
    "https://game.example.",
    "https://game.exampl",
    "https://www.game.example",
    "https://game.example:444",
    "https://game.example:4430",
    "https://game.example:0443x",
    "https://game.example:",
    "https://game.example/",
    "https://game.example/play",
    "https://game.example?x",
    "https://game.example#x",
    "https://game.example@evil.example",
    "https://evil.example@game.example",
    "https://game.example\\.evil.example",
    "https://g\u{430}me.example",
    "https://xn--gme-8cd.example",
    "https://game.example https://evil.example",
    "https://game.example, https://evil.example",
    "//game.example",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_foreign_origin_gets_a_websocket() {
    let world = World::start().await;
    let ticket = world.ticket("ada");
    let before = world.figures(Code::Forbidden);
    for (tries, origin) in (1..).zip(FOREIGN) {
        let opening = Opening { ticket: Some(&ticket), origin: Some(origin), ..Opening::default() };
        let answer = world.open(BOTH[0], opening).await.err().expect(origin);
        // A status and no 101: the page learns nothing, and nothing was upgraded.
        answer.is_problem(Code::Forbidden, "forbidden");
        let refusals = before.refusals + tries;
        assert_eq!(world.figures(Code::Forbidden), crate::common::Figures { refusals, ..before }, "{origin}");
    }
    let foreign = "https://evil.example";
    for lines in [
        format!("Origin: {ORIGIN}\r\nOrigin: {ORIGIN}\r\n"),
        format!("Origin: {ORIGIN}\r\nOrigin: {foreign}\r\n"),
        format!("Origin: {foreign}\r\norigin: {ORIGIN}\r\n"),
        "Origin:\r\n".to_owned(),
    ] {
        let more = format!("{lines}Sec-WebSocket-Protocol: muster.1, ticket.{ticket}\r\n");
        let answer = WsPeer::upgrade(world.address(), "/v1/play", &more).await.err().expect(&lines);
        answer.is_problem(Code::Forbidden, "forbidden");
    }
    // The ticket was not used up by any of these. What browsers would write in another case is the same page.
    for (origin, sub) in [(ORIGIN, "ada"), ("HTTPS://Game.Example", "bob"), ("https://game.example:443", "eve")] {
        let ticket = if sub == "ada" { ticket.clone() } else { world.ticket(sub) };
        let opening = Opening { ticket: Some(&ticket), origin: Some(origin), ..Opening::default() };
        drop(world.arrive(BOTH[0], opening).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_foreign_origin_gets_a_webtransport_session() {
    let world = world().await;
    let path = format!("/v1/play?ticket={}", world.ticket("ada"));
    let before = world.figures(Code::Forbidden);
    for (tries, origin) in (1..).zip(FOREIGN) {
        let bare = Bare::connect(&world).await;
        assert_eq!(bare.status(&path, &[("origin", origin)]).await.as_deref(), Ok("403"), "{origin}");
        let refusals = before.refusals + tries;
        assert_eq!(world.figures(Code::Forbidden), crate::common::Figures { refusals, ..before }, "{origin}");
    }
    assert_eq!(Bare::connect(&world).await.status(&path, &[("origin", "")]).await.as_deref(), Ok("403"));
    // Two of them: the request is malformed, whichever of them is listed, and the connection goes.
    let foreign = "https://evil.example";
    for pair in [[ORIGIN, ORIGIN], [ORIGIN, foreign], [foreign, ORIGIN]] {
        let bare = Bare::connect(&world).await;
        let number = bare.status(&path, &pair.map(|origin| ("origin", origin))).await.expect_err("closed");
        assert_eq!(number, 0x010e, "H3_MESSAGE_ERROR: {pair:?}");
    }
    // None of it used the ticket up.
    assert_eq!(Bare::connect(&world).await.status(&path, &[("origin", ORIGIN)]).await.as_deref(), Ok("200"));
    world.until("admitted", |world| world.figures(Code::Forbidden).tickets == before.tickets + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_session_on_one_connection_is_reset_and_the_first_goes_on() {
    let world = world().await;
    let path = |sub: &str| format!("/v1/play?ticket={}", world.ticket(sub));
    for control_first in [true, false] {
        let bare = Bare::connect(&world).await;
        let (status, _request) = bare.ask(&path("ada"), &[]).await;
        assert_eq!(status.as_deref(), Ok("200"));
        let _control = if control_first {
            let (mut send, recv) = bare.quic.open_bi().await.unwrap();
            send.write_all(&[0x40, 0x41, 0x00]).await.unwrap();
            world.until("ada is in", |world| world.server.hub().links() == 1).await;
            Some((send, recv))
        } else {
            None
        };
        let before = world.figures(Code::Forbidden).tickets;
        let (_send, mut recv) = bare.request(&path("bob"), &[]).await;
        assert!(soon("a reset", recv.read_to_end(64)).await.is_err(), "no answer");
        if control_first {
            assert!(bare.quic.close_reason().is_none(), "the first session goes on");
            assert_eq!(world.server.hub().links(), 1);
        } else {
            // Where the control stream is due, a request is an error of the whole connection.
            soon("a close", bare.quic.closed()).await;
        }
        // Nothing was looked at: the second ticket is as good as new.
        assert!(world.figures(Code::Forbidden).tickets <= before + u64::from(!control_first));
    }
}

async fn world() -> World {
    World::with_files(write_certificate, |settings| {
        let directory = settings.tickets.keys[0].parent().unwrap().to_owned();
        settings.tls.certificate = Some(directory.join("cert.pem"));
        settings.tls.key = Some(directory.join("key.pem"));
    })
    .await
}

/// A client that writes HTTP/3 by hand, so that it can say a field twice.
struct Bare {
    quic: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

impl Bare {
    async fn connect(world: &World) -> Self {
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut config = quinn::ClientConfig::new(Arc::new(crate::common::trust::client_crypto(world.directory())));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(200)));
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        let quic = endpoint.connect(world.address(), "localhost").unwrap().await.unwrap();
        Self { quic, _endpoint: endpoint }
    }

    async fn request(&self, path: &str, more: &[(&str, &str)]) -> (quinn::SendStream, quinn::RecvStream) {
        let authority = format!("localhost:{}", self.quic.remote_address().port());
        let mut pairs = vec![
            (":method", "CONNECT"),
            (":scheme", "https"),
            (":protocol", "webtransport"),
            (":authority", &authority),
            (":path", path),
        ];
        pairs.extend_from_slice(more);
        let mut block = vec![0, 0];
        for (name, value) in pairs {
            // The encoder takes a map; a line of its own for each keeps what is there twice.
            let one: Headers = [(name, value)].into_iter().collect();
            block.extend_from_slice(&one.generate_frame().payload()[2..]);
        }
        let (mut send, recv) = self.quic.open_bi().await.unwrap();
        let mut bytes = vec![1];
        bytes.extend((0x4000 | block.len() as u16).to_be_bytes());
        bytes.extend(block);
        send.write_all(&bytes).await.unwrap();
        (send, recv)
    }

    /// The status of the answer, or the number that the connection was closed with; and the streams, to keep them open.
    async fn ask(
        &self,
        path: &str,
        more: &[(&str, &str)],
    ) -> (Result<String, u64>, (quinn::SendStream, quinn::RecvStream)) {
        let (send, mut recv) = self.request(path, more).await;
        let mut answer = vec![0; 1_024];
        let read = soon("an answer", recv.read(&mut answer)).await;
        let status = match read {
            Ok(Some(count)) => {
                let frame = Frame::read(&mut &answer[..count]).unwrap().unwrap();
                Ok(Headers::with_frame(&frame).unwrap().get(":status").unwrap().to_owned())
            }
            _ => match soon("a close", self.quic.closed()).await {
                quinn::ConnectionError::ApplicationClosed(close) => Err(close.error_code.into_inner()),
                other => panic!("{other}"),
            },
        };
        (status, (send, recv))
    }

    async fn status(&self, path: &str, more: &[(&str, &str)]) -> Result<String, u64> {
        self.ask(path, more).await.0
    }
}
