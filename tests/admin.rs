//! The admin API and revocation over real sockets: who may ask, what it does to a link that is open, and what is left of
//! it after a crash.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use common::process::{Process, fresh_signer, write_keys};
use common::websocket::{get, http};
use common::*;
use muster::admission::Admission;
use muster::clock::Clock;
use muster::config::{OriginPolicy, Secret, Settings, TicketSettings};
use muster::directory::{Answer, Burned, Directory, Embedded, Kept, Recorded, Revocation, read_line};
use muster::hub::Hub;
use muster::ids::PlayerId;
use muster::limits::Limits;
use muster::metrics::{Metrics, RevocationFault};
use muster::outbox::Transport;
use muster::request::{Credentials, OpenRequest, RawTicket, Wish};
use muster::ticket::{Signer, TicketFacts, TicketId, TicketPolicy, UnixSeconds, Verifier};
use muster::transport::memory::MemoryLink;
use muster::wire::*;
use serde_json::{Map, Value, json};

const TOKEN: &str = "9f86d081884c7d659a2feaa0c55ad015";

/// Status and body of a request to the admin API, with the token.
async fn ask(admin: SocketAddr, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = http(admin, &request).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
}

fn with_admin(settings: &mut Settings) {
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    settings.admin.token = Some(Secret::new(TOKEN));
    settings.limits.grace = Duration::from_millis(200);
}

async fn world() -> (World, SocketAddr) {
    let world = World::with(with_admin).await;
    let admin = world.server.admin_address().unwrap();
    (world, admin)
}

/// A ticket that the admin API minted, and its id.
async fn minted(admin: SocketAddr, wish: Value) -> (String, String) {
    let (status, answer) = ask(admin, "POST", "/v1/tickets", Some(wish)).await;
    assert_eq!(status, 201, "{answer}");
    (answer["ticket"].as_str().unwrap().to_owned(), answer["jti"].as_str().unwrap().to_owned())
}

fn with_ticket(ticket: &str) -> Opening<'_> {
    Opening { ticket: Some(ticket), ..Opening::default() }
}

/// A ticket that was issued a while ago.
fn issued_ago(world: &World, sub: &str, seconds: u64) -> String {
    world.ticket_with(sub, &[("iat", json!(now() - seconds)), ("exp", json!(now() - seconds + 120))])
}

#[test]
fn a_token_that_is_missing_or_can_be_guessed_refuses_the_start_with_78() {
    let directory = scratch();
    for (file, text) in
        [("empty", ""), ("blank", " \n\n"), ("short", "hunter2"), ("default", "changeme-changeme-changeme-changeme")]
    {
        std::fs::write(directory.join(file), text).unwrap();
    }
    std::fs::write(directory.join("good"), format!("{TOKEN}\n")).unwrap();
    let (same, known) = ("a".repeat(64), "changeme".repeat(4));
    let cases: [&[(&str, &str)]; 12] = [
        &[],
        &[("TOKEN", "")],
        &[("TOKEN", "defaultkey")],
        &[("TOKEN", "defaultencryptionkey")],
        &[("TOKEN", &TOKEN[..31])],
        &[("TOKEN", &same)],
        &[("TOKEN", &known)],
        &[("TOKEN_FILE", "empty")],
        &[("TOKEN_FILE", "blank")],
        &[("TOKEN_FILE", "default")],
        &[("TOKEN_FILE", "nowhere")],
        &[("TOKEN", TOKEN), ("TOKEN_FILE", "good")],
    ];
    for case in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.current_dir(&directory).env_clear().env("MUSTER_ADMIN__LISTEN", "127.0.0.1:0");
        command.args(["serve", "--dev", "--listen=127.0.0.1:0"]);
        command.envs(case.iter().map(|(key, value)| (format!("MUSTER_ADMIN__{key}"), *value)));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{case:?}: {said}");
        assert!(output.stdout.is_empty() && said.lines().count() == 1 && said.contains("admin.token"), "{said}");
        for (_, secret) in case.iter().filter(|(key, value)| *key == "TOKEN" && value.len() > 8) {
            assert!(!said.contains(secret), "{said}");
        }
    }
    for remote in ["0.0.0.0:0", "[::]:0"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.env_clear().env("MUSTER_ADMIN__LISTEN", remote).env("MUSTER_ADMIN__TOKEN", TOKEN);
        let output = command.args(["serve", "--dev", "--listen=127.0.0.1:0"]).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_port_has_none_of_the_routes_and_the_admin_port_none_of_the_public_ones() {
    let (world, admin) = world().await;
    let (_, document) = ask(admin, "GET", "/openapi.json", None).await;
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{jti}", "t").replace("{id}", "ada");
        for method in methods.as_object().unwrap().keys() {
            let (status, _) = ask(world.address(), &method.to_uppercase(), &path, None).await;
            // The public list of lobbies is another route of that name, and shows no private ones.
            let expected = if path == "/v1/lobbies" { 200 } else { 404 };
            assert_eq!(status, expected, "{method} {path}");
            asked += 1;
        }
    }
    assert_eq!(asked, 10);
    for path in ["/v1/play", "/dev/ticket?sub=ada", "/metrics", "/", "/healthz"] {
        assert_eq!(get(admin, path).await.status, 401, "{path}");
    }
    for path in ["/v1/play", "/dev/ticket?sub=ada", "/metrics", "/"] {
        assert_eq!(ask(admin, "GET", path, None).await.0, 404, "{path}");
    }
    let page = "OPTIONS /v1/tickets HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nOrigin: http://localhost\r\n\
                Access-Control-Request-Method: POST\r\n\r\n";
    let answer = http(admin, page).await;
    assert!(answer.status == 429 || answer.status == 401, "{answer:?}");
    assert!(!answer.head.contains("access-control-allow"), "{}", answer.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_ticket_closes_its_open_link_within_a_second_and_nothing_brings_it_back() {
    let (world, admin) = world().await;
    let (status, answer) = ask(admin, "POST", "/v1/tickets", Some(json!({ "sub": "ada" }))).await;
    assert_eq!((status, &answer["type"]), (409, &json!("no-signing-key")), "tickets of somebody else's key");
    for transport in BOTH {
        let jti = format!("jti-{transport:?}");
        let ticket = world.ticket_with("ada", &[("jti", json!(jti))]);
        let opening = Opening { ticket: Some(&ticket), join: "quick:tiny", ..Opening::default() };
        let mut ada = world.arrive(transport, opening).await;
        ada.seat().await;
        let mut bob = world.player(transport, "bob", "").await;
        let point = ada.resume_point();
        let (status, shown) = ask(admin, "GET", "/v1/players/ada", None).await;
        assert_eq!(
            (status, &shown["ticket"]["jti"], &shown["transport"]),
            (200, &json!(jti), &json!(transport.as_str()))
        );
        assert!(shown["lobby"].is_string() && shown["session"].is_string(), "{shown}");

        let asked = Instant::now();
        let path = format!("/v1/tickets/{jti}");
        let revoke = ask(admin, "DELETE", &path, None);
        let (told, (status, answer)) = tokio::join!(ada.is_told(Code::Forbidden, "revoked"), revoke);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        assert_eq!((status, &answer["sent_away"], &answer["kept"]), (200, &json!(1), &json!("memory")), "{answer}");
        assert_eq!(told.retry_after_ms, None);
        world.is_refused(transport, with_ticket(&ticket), Code::BadTicket, "bad-ticket").await;
        let opening = Opening { resume: Some(point), ..Opening::default() };
        world.is_refused(transport, opening, Code::BadTicket, "bad-ticket").await;
        assert_eq!(ask(admin, "GET", "/v1/players/ada", None).await.0, 404);
        bob.ping().await;

        // A ticket that was revoked before it was ever used.
        let unused = world.ticket_with("ada", &[("jti", json!("unused"))]);
        ask(admin, "DELETE", "/v1/tickets/unused", None).await;
        let before = world.metrics().tickets_consumed.get();
        world.is_refused(transport, with_ticket(&unused), Code::BadTicket, "bad-ticket").await;
        assert_eq!(world.metrics().tickets_consumed.get(), before);
        // Another ticket of the same player is not meant.
        drop(world.player(transport, "ada", "").await);
        drop(bob);
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_or_everybody_before_a_time_is_sent_away_and_newer_tickets_are_good() {
    let (world, admin) = world().await;
    // The second round's tickets are newer than what the first one revoked.
    for (transport, age) in [(BOTH[0], 100), (BOTH[1], 60)] {
        let old = [issued_ago(&world, "ada", age), issued_ago(&world, "bob", age)];
        let mut ada = world.arrive(transport, with_ticket(&old[0])).await;
        let mut bob = world.arrive(transport, with_ticket(&old[1])).await;
        let body = json!({ "player": "ada", "issued_before": now() - age + 20 });
        let (status, answer) = ask(admin, "POST", "/v1/revocations", Some(body)).await;
        assert_eq!((status, &answer["sent_away"]), (200, &json!(1)), "{answer}");
        ada.is_told(Code::Forbidden, "revoked").await;
        bob.ping().await;
        let again = issued_ago(&world, "ada", age);
        world.is_refused(transport, with_ticket(&again), Code::BadTicket, "bad-ticket").await;
        let mut ada = world.player(transport, "ada", "").await;

        let body = json!({ "all": true, "issued_before": now() - age + 20 });
        let (status, answer) = ask(admin, "POST", "/v1/revocations", Some(body)).await;
        assert_eq!((status, &answer["sent_away"]), (200, &json!(1)), "{answer}");
        bob.is_told(Code::Forbidden, "revoked").await;
        ada.ping().await;
        let again = issued_ago(&world, "carol", age);
        world.is_refused(transport, with_ticket(&again), Code::BadTicket, "bad-ticket").await;
        drop(ada);
        drop(world.player(transport, "bob", "").await);
        world.is_empty().await;
    }
    // Without a time: everything up to this second, so that a ticket of just now is not spared.
    let mut ada = world.player(BOTH[0], "ada", "").await;
    let (_, answer) = ask(admin, "POST", "/v1/revocations", Some(json!({ "player": "ada" }))).await;
    assert_eq!(answer["sent_away"], 1, "{answer}");
    ada.is_told(Code::Forbidden, "revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kicked_player_goes_and_comes_back_only_with_a_new_ticket() {
    let (world, admin) = world().await;
    for transport in BOTH {
        let mut ada = world.player(transport, "ada/first", "").await;
        let private = LobbySpec { public: false, ..spec("Ours") };
        let lobby = create(&mut ada, private).await;
        let (_, page) = ask(admin, "GET", "/v1/lobbies", None).await;
        let listed = &page["lobbies"][0];
        assert_eq!((&listed["id"], &listed["public"]), (&json!(lobby.id.to_string()), &json!(false)), "{page}");
        assert_eq!((&listed["host"], &listed["members"]), (&json!("ada/first"), &json!(1)), "{page}");
        let point = ada.resume_point();
        let (status, answer) = ask(admin, "DELETE", "/v1/players/ada%2Ffirst", None).await;
        assert_eq!((status, &answer["kicked"]), (200, &json!(true)), "{answer}");
        ada.is_told(Code::Kicked, "kicked").await;
        let opening = Opening { resume: Some(point), ..Opening::default() };
        world.is_refused(transport, opening, Code::BadTicket, "bad-ticket").await;
        assert_eq!(ask(admin, "DELETE", "/v1/players/ada%2Ffirst", None).await.0, 404);

        let mut ada = world.player(transport, "ada/first", "").await;
        let (status, answer) = ask(admin, "DELETE", "/v1/players/ada%2Ffirst?revoke=true", None).await;
        assert_eq!((status, &answer["revocation"]["player"]), (200, &json!("ada/first")), "{answer}");
        assert_eq!(answer["sent_away"], 1, "{answer}");
        ada.is_told(Code::Kicked, "kicked").await;
        let again = issued_ago(&world, "ada/first", 1);
        world.is_refused(transport, with_ticket(&again), Code::BadTicket, "bad-ticket").await;
        world.is_empty().await;
        // Not to stand in the way of the other transport.
        let later = now() + 2;
        world.until("the next second", |_| now() >= later).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn players_are_listed_a_page_at_a_time_in_order() {
    let (world, admin) = world().await;
    let names = ["bob", "ada", "carol", "dave", "eve"];
    let mut peers = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        peers.push(world.player(BOTH[at % 2], name, "").await);
    }
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let (status, page) = ask(admin, "GET", &format!("/v1/players?limit=2{after}"), None).await;
        assert_eq!(status, 200);
        listed.extend(page["players"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(listed, ["ada", "bob", "carol", "dave", "eve"]);
    assert!(peers.iter().all(|peer| peer.welcome.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_read_again_through_the_api_and_a_minted_ticket_joins() {
    let (new, directory) = (fresh_signer(), scratch());
    let key = muster::ticket::generate_key(muster::ticket::Algorithm::Es256).unwrap();
    let signing = directory.join("signing.pem");
    std::fs::write(&signing, key.private).unwrap();
    let world = World::with(|settings| {
        with_admin(settings);
        settings.admin.signing_key = Some(signing.clone());
    })
    .await;
    let admin = world.server.admin_address().unwrap();
    for transport in BOTH {
        let (ticket, _) = minted(admin, json!({ "sub": "ada", "name": "Ada", "game": "tiny", "lifetime": 30 })).await;
        let opening = Opening { ticket: Some(&ticket), join: "quick:tiny", ..Opening::default() };
        let mut ada = world.arrive(transport, opening).await;
        assert_eq!(ada.welcome.clone().unwrap().name, "Ada");
        ada.ping().await;
        world.is_refused(transport, with_ticket(&ticket), Code::TicketUsed, "ticket-used").await;
        // A newer login replaces the older.
        let (ticket, _) = minted(admin, json!({ "sub": "ada" })).await;
        let _newer = world.arrive(transport, with_ticket(&ticket)).await;
        ada.is_told(Code::Replaced, "replaced").await;
    }
    // It may be minted to do less than others.
    let (ticket, _) = minted(admin, json!({ "sub": "bob", "actions": ["chat"] })).await;
    let mut bob = world.arrive(BOTH[0], with_ticket(&ticket)).await;
    let refused = bob.request(Request::Create(spec("Mine"))).await.expect_err("refused");
    assert_eq!((refused.code, refused.reason.as_str()), (Code::Forbidden.number(), "forbidden"));
    for wrong in [json!({ "actions": ["fly"] }), json!({ "claims": { "actions": ["chat"] } })] {
        let mut wish = json!({ "sub": "bob" });
        wish.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        assert_eq!(ask(admin, "POST", "/v1/tickets", Some(wish)).await.0, 400, "{wrong}");
    }

    write_keys(world.directory(), &[&new]);
    let (status, answer) = ask(admin, "POST", "/v1/keys/reload", None).await;
    let kids: Vec<&str> = answer["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(status, 200);
    assert!(kids.contains(&new.key().id().as_str()) && kids.len() == 2, "{answer}");
    let old = world.ticket("bob");
    world.is_refused(BOTH[0], with_ticket(&old), Code::BadTicket, "bad-ticket").await;
    world.arrive(BOTH[0], with_ticket(&mint(&new, "bob", Map::new()))).await.ping().await;

    std::fs::write(world.directory().join("keys.json"), "{").unwrap();
    let (status, answer) = ask(admin, "POST", "/v1/keys/reload", None).await;
    assert_eq!((status, &answer["type"]), (409, &json!("bad-keys")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("keys.json"), "{answer}");
    world.arrive(BOTH[0], with_ticket(&mint(&new, "carol", Map::new()))).await.ping().await;
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_list_keeps_the_old_one_and_a_good_one_sends_away_who_is_on_it() {
    let directory = scratch();
    let list = directory.join("revoked.jsonl");
    std::fs::write(&list, "# banned\n{\"player\":\"mallory\"}\n").unwrap();
    let world = World::with(|settings| settings.revocations.file = Some(list.clone())).await;
    let in_force = |world: &World| world.metrics().revocations.get();
    assert_eq!(in_force(&world), 1);
    let mut eve = world.player(BOTH[1], "eve", "").await;
    let mallory = |world: &World| world.ticket("mallory");
    world.is_refused(BOTH[0], with_ticket(&mallory(&world)), Code::BadTicket, "bad-ticket").await;

    std::fs::write(&list, "{\"player\":\"eve\"}\n{\"player\":}\n").unwrap();
    world.server.reload();
    assert_eq!(world.metrics().revocation_faults.of(RevocationFault::List).get(), 1);
    world.is_refused(BOTH[0], with_ticket(&mallory(&world)), Code::BadTicket, "bad-ticket").await;
    eve.ping().await;

    std::fs::write(&list, "{\"player\":\"eve\"}\n{\"jti\":\"t\"}\n").unwrap();
    world.server.reload();
    eve.is_told(Code::Forbidden, "revoked").await;
    world.until("the new list", |world| in_force(world) == 2).await;
    world.is_refused(BOTH[0], with_ticket(&world.ticket("eve")), Code::BadTicket, "bad-ticket").await;
    world.arrive(BOTH[0], with_ticket(&mallory(&world))).await.ping().await;
    assert_eq!(world.metrics().players_revoked.get(), 1);
    std::fs::remove_dir_all(directory).unwrap();
}

/// The `curl` lines of docs/admin.md: method, path and body.
fn lines_of_the_page() -> Vec<(String, String, Option<Value>)> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/admin.md")).unwrap();
    let line = |line: &str| {
        let rest = line.strip_prefix("curl -H \"$AUTH\" ")?;
        let (options, path) = rest.split_once("$ADMIN").expect("an address");
        let body = options.split_once('\'').map(|(_, body)| body.split('\'').next().unwrap());
        let body = body.map(|body| serde_json::from_str(body).expect("JSON"));
        let method = match options.strip_prefix("-X ") {
            Some(method) => method.split(' ').next().unwrap(),
            None if body.is_some() => "POST",
            None => "GET",
        };
        Some((method.to_owned(), path.trim_end_matches('"').to_owned(), body))
    };
    page.lines().filter_map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_page_does_what_it_says() {
    let directory = scratch();
    let signing = directory.join("signing.pem");
    std::fs::write(&signing, muster::ticket::generate_key(muster::ticket::Algorithm::EdDsa).unwrap().private).unwrap();
    let world = World::with(|settings| {
        with_admin(settings);
        settings.admin.signing_key = Some(signing.clone());
    })
    .await;
    let admin = world.server.admin_address().unwrap();
    let mut peers = Vec::new();
    let lines = lines_of_the_page();
    assert_eq!(lines.len(), 13, "{lines:?}");
    let (_, document) = ask(admin, "GET", "/openapi.json", None).await;
    let mut operations = std::collections::BTreeSet::new();
    for (method, path, body) in lines {
        let template = path.split('?').next().unwrap().replace("/5d2c0e6a9b1f4e07", "/{jti}").replace("/ada", "/{id}");
        let method_told = method.to_lowercase();
        let told = &document["paths"][&template][&method_told];
        assert!(told.is_object(), "{method} {template}");
        operations.insert((template.clone(), method_told));
        if path.starts_with("/v1/players/ada") {
            // Issued later than whatever was revoked above.
            let ticket = world.ticket_with("ada", &[("iat", json!(now() + 3)), ("exp", json!(now() + 60))]);
            peers.push(world.arrive(BOTH[0], with_ticket(&ticket)).await);
        }
        let (status, answer) = ask(admin, &method, &path, body).await;
        assert!(status == 200 || status == 201, "{method} {path}: {status} {answer}");
    }
    let all = document["paths"].as_object().unwrap().values().map(|methods| methods.as_object().unwrap().len());
    assert_eq!(operations.len(), all.sum::<usize>(), "the page leaves a route out");
    assert_eq!(peers.len(), 3);
    std::fs::remove_dir_all(directory).unwrap();
}

const ENVIRONMENT: [(&str, &str); 3] = [
    ("MUSTER_ADMIN__LISTEN", "127.0.0.1:0"),
    ("MUSTER_ADMIN__TOKEN", TOKEN),
    ("MUSTER_REVOCATIONS__STORE", "revoked.jsonl"),
];

async fn is_turned_away(process: &Process, transport: Transport, ticket: &str) {
    match process.open(transport, with_ticket(ticket)).await {
        Ok(mut peer) => drop(peer.is_told(Code::BadTicket, "bad-ticket").await),
        Err(answer) => answer.is_problem(Code::BadTicket, "bad-ticket"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_is_still_revoked_after_a_crash() {
    let mut process = Process::serve_with(&[], &ENVIRONMENT, None).await;
    let with_jti = |process: &Process, jti: &str, sub: &str| {
        mint(&process.signer, sub, Map::from_iter([("jti".to_owned(), json!(jti))]))
    };
    let (revoked, other) = (with_jti(&process, "t1", "ada"), with_jti(&process, "t2", "ada"));
    let admin = process.admin().await;
    let (status, answer) = ask(admin, "DELETE", "/v1/tickets/t1", None).await;
    assert_eq!((status, &answer["kept"]), (200, &json!("disk")), "{answer}");
    let (_, answer) = ask(admin, "POST", "/v1/revocations", Some(json!({ "player": "bob" }))).await;
    assert_eq!(answer["kept"], "disk");
    let bob = mint(&process.signer, "bob", Map::from_iter([("iat".to_owned(), json!(now() - 5))]));
    // A crash in the middle of the next write.
    for torn in [false, true] {
        let store = process.directory.join("revoked.jsonl");
        if torn {
            let mut text = std::fs::read_to_string(&store).unwrap();
            text.push_str("{\"jti\":\"t9\",\"unt");
            std::fs::write(&store, text).unwrap();
        }
        process = process.crash_and_serve(&[], &ENVIRONMENT).await;
        for transport in BOTH {
            is_turned_away(&process, transport, &revoked).await;
            is_turned_away(&process, transport, &bob).await;
        }
        let admin = process.admin().await;
        let (_, listed) = ask(admin, "GET", "/v1/revocations", None).await;
        assert_eq!(listed["total"], 2, "{listed}");
    }
    process.open(BOTH[0], with_ticket(&other)).await.expect("let in").welcomed().await;

    // A line that is broken elsewhere is not guessed at.
    let store = process.directory.join("revoked.jsonl");
    let text = std::fs::read_to_string(&store).unwrap();
    let directory = scratch();
    std::fs::write(directory.join("revoked.jsonl"), format!("oops\n{text}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.current_dir(&directory).env_clear().envs(ENVIRONMENT).args(["serve", "--dev", "--listen=127.0.0.1:0"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && said.contains("revoked.jsonl:1: "), "{said}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_the_revocation_holds_and_sessions_go_on() {
    // No file of this process may grow: writing fails as on a full disk.
    let process = Process::serve_with(&[], &ENVIRONMENT, Some("trap '' XFSZ; ulimit -f 0")).await;
    let admin = process.admin().await;
    let mut bob = process.player(BOTH[0], "bob", "quick:arena").await;
    bob.seat().await;
    let mut ada = process.player(BOTH[0], "ada", "").await;
    let (status, answer) = ask(admin, "POST", "/v1/revocations", Some(json!({ "player": "ada" }))).await;
    assert_eq!((status, &answer["type"]), (507, &json!("not-kept")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().starts_with("it is in force and 1 players were sent away"), "{answer}");
    ada.is_told(Code::Forbidden, "revoked").await;
    let again = mint(&process.signer, "ada", Map::from_iter([("iat".to_owned(), json!(now() - 5))]));
    is_turned_away(&process, BOTH[1], &again).await;
    let tick = bob.snapshot("a snapshot", |_| true).await.tick;
    bob.snapshot("a later one", |snapshot| snapshot.tick > tick).await;
    process.player(BOTH[1], "carol", "").await.ping().await;
    assert_eq!(std::fs::metadata(process.directory.join("revoked.jsonl")).unwrap().len(), 0, "no half line");
    process.wrote("a line of the log", |text| text.find("a restart would forget them")).await;
}

/// A directory in which somebody revokes the player at the worst moment: it was asked whether the ticket is revoked,
/// and the player is not here yet.
struct Late {
    inner: Embedded,
    hub: OnceLock<Hub>,
    found: std::sync::Mutex<Option<usize>>,
}

impl Directory for Late {
    fn burn<'a>(&'a self, ticket: &'a TicketId, until: UnixSeconds, now: UnixSeconds) -> Answer<'a, Burned> {
        Box::pin(async move {
            let revocation = read_line(r#"{"player":"ada"}"#).unwrap();
            assert_eq!(self.inner.revoke(&revocation, now).await, Ok(Recorded::InForce));
            let found = self.hub.get().unwrap().revoke(&revocation).await;
            *self.found.lock().unwrap() = Some(found);
            self.inner.burn(ticket, until, now).await
        })
    }

    fn is_revoked<'a>(&'a self, player: &'a PlayerId, ticket: &'a TicketFacts) -> Answer<'a, bool> {
        self.inner.is_revoked(player, ticket)
    }

    fn revoke<'a>(&'a self, revocation: &'a Revocation, now: UnixSeconds) -> Answer<'a, Recorded> {
        self.inner.revoke(revocation, now)
    }

    fn keep(&self) -> Answer<'_, Kept> {
        self.inner.keep()
    }

    fn forget(&self, now: UnixSeconds) -> Answer<'_, ()> {
        self.inner.forget(now)
    }

    fn in_force(&self) -> Answer<'_, usize> {
        self.inner.in_force()
    }

    fn revocations(&self) -> Answer<'_, Vec<Revocation>> {
        self.inner.revocations()
    }
}

fn node(signer: &Signer, directory: Arc<dyn Directory>) -> (Hub, Admission) {
    let (metrics, clock) = (Arc::new(Metrics::new()), Clock::start());
    let games = common::games::registry();
    let hub = Hub::new(Limits::default(), Duration::from_secs(10), games, metrics, clock, [7; 32]);
    let policy = TicketPolicy::default();
    let verifier = Verifier::new(signer.ring().unwrap(), policy);
    let settings = TicketSettings::default();
    (hub.clone(), Admission::new(hub, verifier, directory, &settings, OriginPolicy::Dev))
}

fn opening(ticket: String) -> OpenRequest {
    let credentials = Some(Credentials::Ticket(RawTicket(ticket)));
    let peer = "192.0.2.1:1".parse().unwrap();
    OpenRequest { transport: Transport::Memory, peer, origin: None, credentials, wish: Wish::None }
}

#[tokio::test]
async fn a_player_who_is_revoked_while_arriving_is_found_all_the_same() {
    muster::ticket::install_crypto();
    let signer = fresh_signer();
    let late = Arc::new(Late { inner: Embedded::new(10), hub: OnceLock::new(), found: std::sync::Mutex::default() });
    let (hub, admission) = node(&signer, Arc::clone(&late) as Arc<dyn Directory>);
    assert!(late.hub.set(hub.clone()).is_ok());
    let refused = admission.admit(&opening(mint(&signer, "ada", Map::new()))).await.err().expect("refused");
    assert_eq!(refused.code, Code::BadTicket);
    assert_eq!(*late.found.lock().unwrap(), Some(0), "the search came too early, as it was meant to");
    assert_eq!((hub.metrics().players.get(), hub.players(None, 10).len()), (0, 0), "nothing is left");
    admission.admit(&opening(mint(&signer, "bob", Map::new()))).await.map(drop).expect("others are let in");
}

#[tokio::test]
async fn a_place_of_an_earlier_login_is_not_given_to_a_later_one() {
    muster::ticket::install_crypto();
    let signer = fresh_signer();
    let (hub, admission) = node(&signer, Arc::new(Embedded::new(10)));
    // The thief's handshake takes its time; meanwhile its ticket is revoked, and the player comes with another.
    let stolen = mint(&signer, "ada", Map::from_iter([("jti".to_owned(), json!("stolen"))]));
    let place = admission.admit(&opening(stolen)).await.map_err(|refused| refused.code).unwrap();
    let outcome = admission.revoke(&read_line(r#"{"jti":"stolen"}"#).unwrap()).await.unwrap();
    assert_eq!(outcome.sent_away, 1);
    let own = MemoryLink::open(&admission, &opening(mint(&signer, "ada", Map::new()))).await;
    let own = own.map_err(|refused| refused.code).unwrap();
    struct Deaf(std::sync::Mutex<Option<Code>>);
    impl muster::outbox::Outlet for Deaf {
        fn transport(&self) -> Transport {
            Transport::Memory
        }
        fn queue(&self, _: &bytes::Bytes) -> Result<(), muster::outbox::QueueFull> {
            panic!("nothing of the player is for the thief")
        }
        fn flush(&self) {}
        fn offer_snapshot(&self, _: &SnapshotFrames) -> muster::outbox::Offered {
            panic!("nothing of the player is for the thief")
        }
        fn close(&self, code: Code, _: &bytes::Bytes) {
            *self.0.lock().unwrap() = Some(code);
        }
        fn round_trip(&self) -> Option<Duration> {
            None
        }
    }
    let deaf = Arc::new(Deaf(std::sync::Mutex::default()));
    let attached = place.attach(Arc::clone(&deaf) as Arc<dyn muster::outbox::Outlet>);
    assert_eq!(*deaf.0.lock().unwrap(), Some(Code::Replaced));
    drop(attached);
    let ada = hub.player(&player("ada")).expect("still here");
    assert_eq!(ada.transport, Some(Transport::Memory), "the link of the player's own is untouched");
    drop(own);
}

#[tokio::test]
async fn one_of_two_thousand_links_is_found_and_closed_fast_and_the_others_stay() {
    muster::ticket::install_crypto();
    let signer = fresh_signer();
    let (hub, admission) = node(&signer, Arc::new(Embedded::new(10_000)));
    let mut links = Vec::new();
    for n in 0..2_000 {
        let ticket = mint(&signer, &format!("p{n}"), Map::from_iter([("jti".to_owned(), json!(format!("t{n}")))]));
        links.push(MemoryLink::open(&admission, &opening(ticket)).await.map_err(|refused| refused.code).unwrap());
    }
    let mut took = Vec::new();
    for n in (0..2_000).step_by(20) {
        let revocation = read_line(&format!("{{\"jti\":\"t{n}\"}}")).unwrap();
        let began = Instant::now();
        let outcome = admission.revoke(&revocation).await.unwrap();
        took.push(began.elapsed());
        assert_eq!(outcome.sent_away, 1, "{n}");
    }
    took.sort();
    println!("revoking one of 2,000: median {:?}, p99 {:?}", took[50], took[98]);
    assert!(took[98] < Duration::from_secs(1), "p99 {:?}", took[98]);
    assert_eq!(hub.metrics().players.get(), 1_900);
    let told = links.iter_mut().map(|link| {
        std::iter::from_fn(|| link.poll_message()).any(|bytes| {
            matches!(muster::codec::decode(&bytes), Ok(ServerMessage::Goodbye(goodbye)) if goodbye.reason == "revoked")
        })
    });
    assert_eq!(told.filter(|told| *told).count(), 100);
    let everybody = read_line(r#"{"all":true}"#).unwrap();
    assert_eq!(admission.revoke(&everybody).await.unwrap().sent_away, 1_900);
    assert_eq!(hub.metrics().players.get(), 0);
}
