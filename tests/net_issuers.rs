//! Tokens of another backend, over both transports, by the ways that its pages know.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::process::Process;
use common::websocket::WsPeer;
use common::{Link, ORIGIN, Opening, Peer, World, now};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use muster::config::{IssuerSettings, Profile};
use muster::outbox::Transport;
use muster::wire::Code;
use serde_json::json;

const SECRET: &[u8] = b"django-insecure-0123456789-0123456789-0123456789";
const NEW_SECRET: &[u8] = b"django-insecure-9876543210-9876543210-9876543210";

fn write_key(directory: &Path, secret: &[u8]) {
    std::fs::create_dir_all(directory.join("site")).unwrap();
    let jwk = json!({ "kty": "oct", "kid": "site", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(secret) });
    std::fs::write(directory.join("site/secret.jwk"), jwk.to_string()).unwrap();
}

/// A server for a Django site: a directory with the site's secret, and everything else as the profile says.
async fn world() -> World {
    World::with_files(
        |directory| write_key(directory, SECRET),
        |settings| {
            let site = settings.tickets.keys.first().and_then(|keys| keys.parent()).unwrap().join("site");
            settings.issuers = vec![IssuerSettings {
                name: "site".into(),
                profile: Profile::SimpleJwt,
                keys: vec![site],
                player_prefix: "dj:".into(),
                ..IssuerSettings::default()
            }];
        },
    )
    .await
}

fn token(secret: &[u8], kind: &str) -> String {
    muster::ticket::install_crypto();
    let claims = json!({
        "token_type": kind, "exp": now() + 300, "iat": now(), "jti": "0f1c5a3f7a1d4e0d9a7d2c6b5e4f3a21", "user_id": "7",
    });
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret)).unwrap()
}

async fn by_bearer(world: &World, token: &str, more: &str) -> Result<Peer, common::websocket::HttpAnswer> {
    let more = format!("Sec-WebSocket-Protocol: bearer, {token}\r\n{more}");
    WsPeer::upgrade(world.address(), "/v1/play", &more).await.map(|peer| Peer::over(Link::Ws(Box::new(peer))))
}

#[tokio::test]
async fn a_token_of_a_site_opens_links_again_and_again_by_every_carrier_of_its_pages() {
    let world = world().await;
    let token = token(SECRET, "access");
    let mut peer = by_bearer(&world, &token, "").await.expect("let in");
    assert_eq!(peer.welcomed().await.player.as_str(), "dj:7");
    let target = format!("/v1/play?token={token}");
    let peer = WsPeer::upgrade(world.address(), &target, "Sec-WebSocket-Protocol: muster.1\r\n").await.expect("let in");
    assert_eq!(Peer::over(Link::Ws(Box::new(peer))).welcomed().await.player.as_str(), "dj:7");
    let join = format!("quick:tiny&token={token}");
    let mut peer = world.open(Transport::WebTransport, Opening { join: &join, ..Opening::default() }).await.unwrap();
    assert_eq!(peer.welcomed().await.player.as_str(), "dj:7");
    let protocols = format!("\"bearer\", \"{token}\"");
    let opening = Opening { protocols: Some(&protocols), ..Opening::default() };
    let mut peer = world.open(Transport::WebTransport, opening).await.unwrap();
    assert_eq!(peer.welcomed().await.player.as_str(), "dj:7");
    is_counted(&world, "muster_admitted_total{issuer=\"site\"} 4");
    is_counted(&world, "muster_admitted_total{issuer=\"muster\"} 0");
}

/// Expects this line among the metrics.
fn is_counted(world: &World, line: &str) {
    let text = world.metrics().expose();
    assert!(text.lines().any(|other| other == line), "{line}\n{text}");
}

#[tokio::test]
async fn a_refresh_token_is_refused_and_a_page_can_read_why() {
    let world = world().await;
    let refresh = token(SECRET, "refresh");
    by_bearer(&world, &refresh, "").await.err().unwrap().is_problem(Code::BadTicket, "bad-ticket");
    let mut page = by_bearer(&world, &refresh, &format!("Origin: {ORIGIN}\r\n")).await.expect("upgraded, to be told");
    page.is_told(Code::BadTicket, "bad-ticket").await;
    // Whose it is its signature says; what nobody known has signed is nobody's.
    by_bearer(&world, &token(NEW_SECRET, "access"), "").await.err().unwrap();
    is_counted(&world, "muster_tickets_refused_total{issuer=\"site\",reason=\"claims\"} 2");
    is_counted(&world, "muster_tickets_refused_total{issuer=\"muster\",reason=\"claims\"} 0");
    is_counted(&world, "muster_admitted_total{issuer=\"site\"} 0");
}

#[tokio::test]
async fn the_line_of_who_is_let_in_names_who_vouched() {
    let server = Process::serve(&["--log-level=debug"]).await;
    drop(server.player(Transport::WebSocket, "ada", "").await);
    let admitted =
        |line: &&str| line.contains("admitted") && line.contains("player=ada") && line.contains("issuer=muster");
    server.wrote("the line", |text| text.lines().find(admitted).map(drop)).await;
}

#[tokio::test]
async fn what_is_not_switched_on_is_not_looked_at() {
    let world = World::start().await;
    let token = token(SECRET, "access");
    by_bearer(&world, &token, "").await.err().unwrap().is_problem(Code::Version, "version");
}

#[tokio::test]
async fn a_key_directory_is_read_again_and_one_bad_file_leaves_the_old_keys() {
    let world = world().await;
    std::fs::write(world.directory().join("site/broken.pem"), "no key").unwrap();
    write_key(world.directory(), NEW_SECRET);
    world.server.reload();
    is_counted(&world, "muster_key_faults_total 1");
    by_bearer(&world, &token(SECRET, "access"), "").await.expect("the old keys serve").welcomed().await;
    std::fs::remove_file(world.directory().join("site/broken.pem")).unwrap();
    world.server.reload();
    by_bearer(&world, &token(NEW_SECRET, "access"), "").await.expect("the new key serves").welcomed().await;
    by_bearer(&world, &token(SECRET, "access"), "").await.err().unwrap().is_problem(Code::BadTicket, "bad-ticket");
}
