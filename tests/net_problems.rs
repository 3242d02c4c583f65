//! Refusals that native clients hear as HTTP and that no ticket is at fault for: a status, a problem body with slug and
//! number, and when to come back. Those for tickets and wishes are in `net_refusals.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use bytes::BytesMut;
use common::websocket::{get, http, read_answer};
use common::*;
use muster::config::Secret;
use muster::limits::Limits;
use muster::wire::Code;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Connects, and reads what is said at the door before anything is asked, where that is a refusal.
async fn at_the_door(world: &World) -> (TcpStream, Option<HttpAnswer>) {
    let seen = |world: &World| (world.figures(Code::TooFast).refusals, world.metrics().pending_links.get());
    let (refused, held) = seen(world);
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    world.until("a verdict", |world| seen(world) != (refused, held)).await;
    if seen(world).0 == refused {
        return (stream, None);
    }
    let answer = soon("a refusal", read_answer(&mut stream, &mut BytesMut::new())).await.expect("an answer");
    (stream, Some(answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_one_too_many_of_its_address_hears_429_as_a_problem() {
    let bounds: [fn(&mut Limits); 2] =
        [|limits| limits.pending_per_address = 3, |limits| limits.connects_per_second = 1];
    for bound in bounds {
        let world = World::with_limits(bound).await;
        let before = world.figures(Code::TooFast);
        let mut held = Vec::new();
        let (mut refused, answer) = loop {
            match at_the_door(&world).await {
                (stream, None) => held.push(stream),
                (stream, Some(answer)) => break (stream, answer),
            }
            assert!(held.len() < 20, "nobody is refused");
        };
        answer.is_problem(Code::TooFast, "too-fast");
        for header in ["retry-after: 1\r\n", "connection: close\r\n"] {
            assert!(answer.head.contains(header), "{}", answer.head);
        }
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["retry_after_ms"], 1_000, "{body}");
        assert_eq!(soon("the end", refused.read(&mut [0])).await.unwrap(), 0);
        assert_eq!(world.figures(Code::TooFast), Figures { refusals: before.refusals + 1, ..before });
        // When it has waited it is let in.
        drop(held);
        world.until("the door is open again", |world| world.metrics().pending_links.get() == 0).await;
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(get(world.address(), "/healthz").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_past_the_bound_is_413_as_a_problem() {
    const TOKEN: &str = "9f86d081884c7d659a2feaa0c55ad015";
    let world = World::with(|settings| {
        settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
        settings.admin.token = Some(Secret::new(TOKEN));
    })
    .await;
    // One byte too many.
    let body = format!("{{\"sub\":\"{}\"}}", "a".repeat(64 * 1_024 + 1 - 10));
    let head = format!(
        "POST /v1/tickets HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = http(world.server.admin_address().unwrap(), &(head + &body)).await;
    answer.is_problem(Code::MessageTooBig, "the body is longer than 64 KiB");
}
