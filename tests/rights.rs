//! Who may do what, and who hears of it: every request by everybody it may come from, all cells in one table; and a long
//! random history in which nobody hears of a lobby that it is not in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use common::process::fresh_signer;
use common::{lobby_wish, mint, player, spec};
use muster::admission::Admission;
use muster::clock::Clock;
use muster::codec;
use muster::config::{OriginPolicy, TicketSettings};
use muster::directory::Embedded;
use muster::hub::Hub;
use muster::ids::{LobbyId, PlayerId, SessionId, SessionTag};
use muster::limits::Limits;
use muster::metrics::Metrics;
use muster::outbox::Transport;
use muster::request::{Credentials, OpenRequest, RawTicket, Wish};
use muster::ticket::{Signer, TicketPolicy, Verifier};
use muster::transport::memory::MemoryLink;
use muster::wire::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const OPERATIONS: usize = 100_000;
const SEED: u64 = 25;

/// A node in memory, and who signs for it.
struct Node {
    admission: Admission,
    signer: Signer,
    stop: CancellationToken,
}

impl Node {
    fn start() -> Self {
        let limits = Limits {
            messages_per_second: 1_000_000,
            heartbeat: Duration::from_secs(86_400),
            resume_bytes: 1 << 20,
            ..Limits::default()
        };
        let (metrics, signer) = (Arc::new(Metrics::new()), fresh_signer());
        let games = common::games::registry();
        let hub = Hub::new(limits, Duration::from_secs(5), games, metrics, Clock::start(), [7; 32]);
        let verifier = Verifier::new(signer.ring().unwrap(), TicketPolicy::default());
        let directory = Arc::new(Embedded::new(10_000));
        let admission = Admission::new(hub.clone(), verifier, directory, &TicketSettings::default(), OriginPolicy::Dev);
        let stop = CancellationToken::new();
        tokio::spawn(hub.run(stop.clone()));
        Self { admission, signer, stop }
    }

    async fn arrive(&self, name: &str, more: &Value) -> Actor {
        let ticket = mint(&self.signer, name, more.as_object().unwrap().clone());
        let request = OpenRequest {
            transport: Transport::Memory,
            peer: "192.0.2.1:1".parse().unwrap(),
            origin: None,
            credentials: Some(Credentials::Ticket(RawTicket(ticket))),
            wish: Wish::None,
        };
        let link = MemoryLink::open(&self.admission, &request).await.unwrap();
        let mut actor = Actor { id: player(name), link, asked: 0, lobby: None };
        assert!(matches!(actor.hear().as_slice(), [ServerMessage::Welcome(_), ..]));
        actor
    }
}

struct Actor {
    id: PlayerId,
    link: MemoryLink,
    asked: u32,
    /// Where it is, as its own successes and what it was told say.
    lobby: Option<LobbyId>,
}

impl Actor {
    fn ask(&mut self, body: Request) {
        self.asked += 1;
        self.link.say(&codec::encode(&ClientMessage::Request { id: self.asked, body }));
    }

    fn hear(&mut self) -> Vec<ServerMessage> {
        assert!(matches!(self.link.closed(), None | Some(Code::Kicked)), "{}: {:?}", self.id, self.link.closed());
        std::iter::from_fn(|| self.link.poll_message()).map(|bytes| codec::decode(&bytes).unwrap()).collect()
    }

    /// Asks, and tells how it went and what else came.
    fn outcome(&mut self, body: Request) -> (&'static str, Vec<ServerMessage>) {
        self.ask(body);
        let heard = self.hear();
        let reply = heard.iter().find_map(|message| match message {
            ServerMessage::Reply(reply) if reply.request == self.asked => Some(reply.refusal.clone()),
            _ => None,
        });
        let slug = reply.expect("an answer").map_or("ok", |refusal| {
            let known = ["forbidden", "not-host", "not-member", "not-a-player", "no-such-member", "lobby-locked"];
            let slug = known.into_iter().find(|known| *known == refusal.reason);
            let slug = slug.unwrap_or_else(|| panic!("refused with {refusal:?}"));
            let forbidden = matches!(slug, "forbidden" | "not-host" | "not-a-player");
            assert!(!forbidden || refusal.code == Code::Forbidden.number(), "{refusal:?}");
            slug
        });
        (slug, heard)
    }
}

fn in_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

/// The lobby of `host`, with `player`, `spectator` and `guest`; `other` has one of its own; `nobody` has none.
async fn cast(node: &Node, rights: &Value) -> HashMap<&'static str, Actor> {
    let mut cast = HashMap::new();
    for name in ["host", "player", "spectator", "guest", "other", "nobody"] {
        let mut more = rights.clone();
        more["role"] = json!(if name == "spectator" { "spectator" } else { "player" });
        cast.insert(name, node.arrive(name, &more).await);
    }
    cast
}

/// Brings everybody to its place, with tickets that allow it.
async fn settle(cast: &mut HashMap<&'static str, Actor>) -> (LobbyId, LobbyId) {
    let mut open = |name: &'static str| {
        let actor = cast.get_mut(name).unwrap();
        let (slug, heard) = actor.outcome(Request::Create(spec(name)));
        assert_eq!(slug, "ok");
        heard
            .iter()
            .find_map(|message| if let ServerMessage::Lobby(view) = message { Some(view.id) } else { None })
            .unwrap()
    };
    let (ours, theirs) = (open("host"), open("other"));
    for name in ["player", "spectator", "guest"] {
        assert_eq!(cast.get_mut(name).unwrap().outcome(Request::Join { wish: lobby_wish(ours) }).0, "ok", "{name}");
    }
    // What is said about the arrivals has been said.
    tokio::time::sleep(Duration::from_secs(1)).await;
    cast.values_mut().for_each(|actor| drop(actor.hear()));
    (ours, theirs)
}

type Row = (&'static str, fn(LobbyId) -> Request, [&'static str; 5]);

const WHO: [&str; 5] = ["host", "player", "spectator", "other", "nobody"];

/// Every request, aimed at the lobby of `host` and its member `guest` where it names any; and how it goes for the host, a
/// player and a spectator of that lobby, for the host of another lobby, and for somebody in none. What has no aim acts on
/// one's own lobby and on no other.
#[rustfmt::skip]
const TABLE: [Row; 12] = [
    ("join",      |ours| Request::Join { wish: lobby_wish(ours) }, ["ok", "ok",        "ok",           "ok",             "ok"]),
    ("create",    |_| Request::Create(spec("mine")),               ["ok", "ok",        "forbidden",    "ok",             "ok"]),
    ("leave",     |_| Request::Leave,                              ["ok", "ok",        "ok",           "ok",             "not-member"]),
    ("ready",     |_| Request::Ready(true),                        ["ok", "ok",        "not-a-player", "ok",             "not-member"]),
    ("chat",      |_| Request::Chat("hello".into()),               ["ok", "ok",        "ok",           "ok",             "not-member"]),
    ("kick",      |_| Request::Kick(player("guest")),              ["ok", "not-host",  "not-host",     "no-such-member", "not-member"]),
    ("lock",      |_| Request::Lock(true),                         ["ok", "not-host",  "not-host",     "ok",             "not-member"]),
    ("unlock",    |_| Request::Lock(false),                        ["ok", "not-host",  "not-host",     "ok",             "not-member"]),
    ("pass-host", |_| Request::PassHost(player("guest")),          ["ok", "not-host",  "not-host",     "no-such-member", "not-member"]),
    ("start",     |_| Request::Start,                              ["ok", "not-host",  "not-host",     "ok",             "not-member"]),
    ("watch",     |_| Request::Watch(LobbyFilter::default()),      ["ok", "ok",        "ok",           "ok",             "ok"]),
    ("unwatch",   |_| Request::Unwatch,                            ["ok", "ok",        "ok",           "ok",             "ok"]),
];

#[test]
fn every_request_by_everybody_goes_as_the_table_says_and_outsiders_change_nothing() {
    for (what, request, cells) in TABLE {
        for (who, expected) in WHO.into_iter().zip(cells) {
            in_paused_time(async {
                let node = Node::start();
                let mut cast = cast(&node, &json!({})).await;
                let (ours, _) = settle(&mut cast).await;
                let (slug, _) = cast.get_mut(who).unwrap().outcome(request(ours));
                assert_eq!(slug, expected, "{what} by {who}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                let outsider = matches!(who, "other" | "nobody") && what != "join";
                for name in ["host", "player", "spectator", "guest"] {
                    let heard = cast.get_mut(name).unwrap().hear();
                    assert!(!outsider || heard.is_empty(), "{what} by {who}: {name} heard {heard:?}");
                }
                node.stop.cancel();
            });
        }
    }
}

#[test]
fn a_ticket_that_lists_actions_allows_these_and_to_join_and_to_leave() {
    for listed in [None, Some("chat"), Some("kick"), Some("watch")] {
        for (what, request, cells) in TABLE {
            in_paused_time(async {
                let node = Node::start();
                // Everybody may do everything but one, who may do what is listed, in the lobby that another opened.
                let mut all = cast(&node, &json!({})).await;
                let (ours, _) = settle(&mut all).await;
                let actions: Vec<&str> = listed.into_iter().collect();
                let mut bound = node.arrive("bound", &json!({ "actions": actions })).await;
                assert_eq!(bound.outcome(Request::Join { wish: lobby_wish(ours) }).0, "ok");
                assert_eq!(all.get_mut("host").unwrap().outcome(Request::PassHost(player("bound"))).0, "ok");
                let free = matches!(what, "join" | "leave" | "unwatch");
                let expected = if free || listed == Some(what) { cells[0] } else { "forbidden" };
                assert_eq!(bound.outcome(request(ours)).0, expected, "{what} with {listed:?}");
                node.stop.cancel();
            });
        }
    }
}

#[test]
fn a_ticket_for_one_lobby_or_game_opens_no_other_and_creates_none() {
    in_paused_time(async {
        let node = Node::start();
        let mut all = cast(&node, &json!({})).await;
        let (ours, theirs) = settle(&mut all).await;
        for rights in [json!({ "lobby": theirs.to_string() }), json!({ "game": "arena" })] {
            let mut bound = node.arrive("bound", &rights).await;
            for request in [
                Request::Join { wish: lobby_wish(ours) },
                Request::Join { wish: "quick:duel".into() },
                Request::Create(spec("mine")),
            ] {
                assert_eq!(bound.outcome(request.clone()).0, "forbidden", "{rights} {request:?}");
            }
        }
        node.stop.cancel();
    });
}

/// What the checker knows of the whole.
#[derive(Default)]
struct Truth {
    lobbies: Vec<LobbyId>,
    private: HashSet<LobbyId>,
    sessions: HashMap<SessionTag, (SessionId, LobbyId)>,
    chats: u64,
    views: u64,
    rosters: u64,
    snapshots: u64,
    refused: u64,
}

#[test]
fn in_a_long_random_history_nobody_hears_of_a_lobby_that_it_is_not_in() {
    in_paused_time(async {
        let node = Node::start();
        let mut random = StdRng::seed_from_u64(SEED);
        let mut actors = Vec::new();
        for index in 0..10 {
            actors.push(node.arrive(&format!("p{index}"), &role_of(index)).await);
        }
        let mut truth = Truth::default();
        for step in 0..OPERATIONS {
            let index = random.random_range(0..actors.len());
            let (body, private) = operation(&actors, index, &truth, &mut random);
            let before = actors[index].lobby;
            actors[index].ask(body.clone());
            follow(&mut actors, index, &body, private, before, &mut truth);
            for (index, actor) in actors.iter_mut().enumerate().filter(|(_, actor)| actor.link.closed().is_some()) {
                *actor = node.arrive(&format!("p{index}"), &role_of(index)).await;
            }
            if step % 40 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                hear_all(&mut actors, &mut truth);
            }
        }
        let Truth { chats, views, rosters, snapshots, refused, .. } = truth;
        let told = [chats, views, rosters, snapshots, refused];
        assert!(told.iter().all(|count| *count > 1_000), "the history is about nothing: {told:?}");
        node.stop.cancel();
    });
}

fn role_of(index: usize) -> Value {
    json!({ "role": if index < 2 { "spectator" } else { "player" } })
}

fn operation(actors: &[Actor], index: usize, truth: &Truth, random: &mut StdRng) -> (Request, bool) {
    let somebody = actors[random.random_range(0..actors.len())].id.clone();
    let known = || truth.lobbies.last().copied().unwrap_or(LobbyId(1));
    let private = random.random_bool(0.4);
    let body = match random.random_range(0..100) {
        0..12 => {
            let recent = truth.lobbies.iter().rev().take(6).copied().collect::<Vec<_>>();
            let target = if recent.is_empty() { known() } else { recent[random.random_range(0..recent.len())] };
            Request::Join { wish: lobby_wish(target) }
        }
        12..15 => Request::Join { wish: "quick:short".into() },
        15..20 => Request::Create(LobbySpec { public: !private, ..spec("a lobby") }),
        20..24 => Request::Leave,
        24..34 => Request::Ready(random.random_bool(0.7)),
        // Who says something says where it is: whoever hears it must be there too.
        34..70 => Request::Chat(actors[index].lobby.map_or("nowhere".into(), |lobby| lobby.to_string())),
        70..74 => Request::Kick(somebody),
        74..80 => Request::Lock(random.random_bool(0.3)),
        80..84 => Request::PassHost(somebody),
        84..92 => Request::Start,
        92..96 => Request::Watch(LobbyFilter::default()),
        _ => Request::Unwatch,
    };
    (body, private)
}

/// Learns from the answer what the request has changed, then checks what everybody heard of it.
fn follow(
    actors: &mut [Actor],
    index: usize,
    body: &Request,
    private: bool,
    before: Option<LobbyId>,
    truth: &mut Truth,
) {
    let heard = actors[index].hear();
    let asked = actors[index].asked;
    let mut granted = None;
    for message in &heard {
        if let ServerMessage::Reply(reply) = message {
            assert_eq!((reply.request, granted), (asked, None), "one answer, to whom it belongs");
            granted = Some(reply.refusal.is_none());
        }
    }
    let granted = granted.expect("an answer");
    truth.refused += u64::from(!granted);
    if granted {
        match body {
            Request::Leave => actors[index].lobby = None,
            Request::Kick(target) => {
                let target = actors.iter_mut().find(|actor| actor.id == *target).unwrap();
                assert_eq!(target.lobby, before, "nobody is kicked out of another lobby");
                target.lobby = None;
            }
            Request::Join { wish } if wish.starts_with("lobby:") => {
                actors[index].lobby = Some(wish.trim_start_matches("lobby:").parse().unwrap());
            }
            Request::Join { .. } | Request::Create(_) => {
                let entered = heard.iter().rev().find_map(|message| match message {
                    ServerMessage::Lobby(view) => Some(view.id),
                    _ => None,
                });
                if let Some(id) = entered.filter(|id| Some(*id) != before) {
                    actors[index].lobby = Some(id);
                    if !truth.lobbies.contains(&id) {
                        truth.lobbies.push(id);
                    }
                    if private && matches!(body, Request::Create(_)) {
                        truth.private.insert(id);
                    }
                }
            }
            _ => {}
        }
    }
    check(actors, index, &heard, before, truth);
    hear_all(actors, truth);
}

fn hear_all(actors: &mut [Actor], truth: &mut Truth) {
    for index in 0..actors.len() {
        let heard = actors[index].hear();
        check(actors, index, &heard, None, truth);
    }
}

/// Whether all that one player heard is of the lobby that it is in, or its leave from the one that it was in.
fn check(actors: &mut [Actor], index: usize, heard: &[ServerMessage], before: Option<LobbyId>, truth: &mut Truth) {
    let id = actors[index].id.clone();
    for message in heard {
        let here = actors[index].lobby;
        match message {
            ServerMessage::Lobby(view) => {
                assert_eq!(Some(view.id), here, "{id} saw another lobby");
                for member in &view.members {
                    let theirs = actors.iter().find(|actor| actor.id == member.player).unwrap().lobby;
                    assert_eq!(theirs, here, "{} is shown where it is not", member.player);
                }
                truth.views += 1;
            }
            ServerMessage::Chat(line) => {
                assert_eq!(
                    Some(line.text.clone()),
                    here.map(|lobby| lobby.to_string()),
                    "{id} overheard {}",
                    line.player
                );
                truth.chats += 1;
            }
            ServerMessage::Seated(seated) => {
                assert_eq!(Some(seated.lobby), here, "{id} was seated elsewhere");
                let first = *truth.sessions.entry(seated.tag).or_insert((seated.session, seated.lobby));
                assert_eq!(first, (seated.session, seated.lobby), "one tag, one session");
            }
            ServerMessage::Roster(roster) => {
                assert_eq!(truth.sessions.get(&roster.tag).map(|(_, lobby)| *lobby), here, "{id} saw another roster");
                truth.rosters += 1;
            }
            ServerMessage::Snapshot(snapshot) => {
                assert_eq!(
                    truth.sessions.get(&snapshot.tag).map(|(_, lobby)| *lobby),
                    here,
                    "{id} saw another session"
                );
                truth.snapshots += 1;
            }
            ServerMessage::Ended(ended) => {
                let lobby =
                    truth.sessions.values().find(|(session, _)| *session == ended.session).map(|(_, lobby)| *lobby);
                assert!(lobby.is_some() && (lobby == here || lobby == before), "{id} heard the end of another session");
            }
            ServerMessage::LobbyLeft { lobby, .. } => {
                if here == Some(*lobby) {
                    actors[index].lobby = None;
                }
            }
            ServerMessage::List(list) => {
                assert!(list.iter().all(|entry| !truth.private.contains(&entry.id)), "a private lobby is listed");
            }
            ServerMessage::Reply(_) | ServerMessage::Pong { .. } | ServerMessage::Welcome(_) => {}
            ServerMessage::Goodbye(goodbye) => {
                assert_eq!((goodbye.code, here), (Code::Kicked.number(), None), "{id} was told {goodbye:?}");
            }
        }
    }
}
