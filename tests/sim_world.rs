//! A whole node under a clock of its own: the real hub, admission and sessions, and players whose network loses, delays,
//! doubles and cuts, all from one seed. What every history must keep is checked as it happens.
//!
//! A failure prints its seed; `SIM_SEED=n cargo test --test sim_world` plays that one again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use common::games::{BOMB, END, Script};
use common::process::fresh_signer;
use common::{mint, player, spec};
use muster::admission::Admission;
use muster::clock::Clock;
use muster::codec;
use muster::config::{OriginPolicy, TicketSettings};
use muster::directory::Embedded;
use muster::hub::Hub;
use muster::ids::{InputSeq, LobbyId, PlayerId, SeatId, SessionTag, Tick};
use muster::limits::Limits;
use muster::metrics::Metrics;
use muster::outbox::Transport;
use muster::request::{Credentials, OpenRequest, RawTicket, Wish};
use muster::ticket::{Signer, TicketPolicy, Verifier};
use muster::transport::memory::MemoryLink;
use muster::wire::*;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::Map;
use tokio_util::sync::CancellationToken;

const SEEDS: u64 = 200;
const PLAYERS: usize = 7;
const STEPS: usize = 250;

#[test]
fn no_history_of_many_players_on_a_bad_network_breaks_a_rule() {
    let only = std::env::var("SIM_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let signer = fresh_signer();
    let mut total = Told::default();
    for seed in seeds.clone() {
        let _shown = ShowSeed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        total.add(&runtime.block_on(play(seed, &signer)));
    }
    // The histories are not about nothing.
    if only.is_none() {
        let Told { snapshots, chats, resumed, ended, applied, refused, restarted } = total;
        let least = [snapshots, chats, resumed, ended, applied, refused, restarted];
        assert!(least.iter().all(|count| *count > SEEDS / 10), "{total:?}");
    }
}

struct ShowSeed(u64);

impl Drop for ShowSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history of seed {}: SIM_SEED={} cargo test --test sim_world", self.0, self.0);
        }
    }
}

/// What came to pass, over all players.
#[derive(Debug, Default)]
struct Told {
    snapshots: u64,
    chats: u64,
    resumed: u64,
    restarted: u64,
    ended: u64,
    applied: u64,
    refused: u64,
}

impl Told {
    fn add(&mut self, other: &Self) {
        self.snapshots += other.snapshots;
        self.chats += other.chats;
        self.resumed += other.resumed;
        self.restarted += other.restarted;
        self.ended += other.ended;
        self.applied += other.applied;
        self.refused += other.refused;
    }
}

/// What all players together know: what the checker compares with.
#[derive(Default)]
struct Truth {
    told: Told,
    /// The newest input that each player has sent.
    sent: HashMap<PlayerId, InputSeq>,
    /// Who has ever held a seat.
    holders: HashMap<(SessionTag, SeatId), HashSet<PlayerId>>,
    /// Tickets that opened a place.
    accepted: HashSet<String>,
    lobbies: Vec<LobbyId>,
    lines: u32,
}

/// One player's client, with all that it remembers.
struct Actor {
    id: PlayerId,
    link: Option<MemoryLink>,
    ticket: String,
    point: Option<ResumePoint>,
    last_request: u32,
    /// Requests that have no answer yet, to be sent again after a resume.
    asked: VecDeque<(u32, Request)>,
    answered: HashSet<u32>,
    received: u64,
    seated: Option<Seated>,
    seq: u32,
    newest: Option<(SessionTag, Tick)>,
    lobby: Option<LobbyId>,
    /// The newest line heard of each player since the arrival.
    heard: HashMap<PlayerId, u32>,
    /// Inputs on their way: due when, and what.
    flying: Vec<(Duration, Vec<u8>)>,
}

struct Node {
    hub: Hub,
    admission: Admission,
    metrics: Arc<Metrics>,
    clock: Clock,
    stop: CancellationToken,
}

fn node(signer: &Signer, random: &mut StdRng) -> Node {
    let limits = Limits {
        messages_per_second: 200,
        flood_grace: Duration::from_secs(3),
        resume_bytes: if random.random_bool(0.3) { 700 } else { 32 * 1_024 },
        queue_bytes: if random.random_bool(0.2) { 4_096 } else { 64 * 1_024 },
        grace: Duration::from_millis(random.random_range(0..2_000)),
        ..Limits::default()
    };
    let (metrics, clock) = (Arc::new(Metrics::new()), Clock::start());
    let mut seed = [0; 32];
    random.fill_bytes(&mut seed);
    let games = common::games::registry();
    let reservation = Duration::from_millis(500);
    let hub = Hub::new(limits, reservation, games, Arc::clone(&metrics), clock, seed);
    let verifier = Verifier::new(signer.ring().unwrap(), TicketPolicy::default());
    let directory = Arc::new(Embedded::new(10_000));
    let admission = Admission::new(hub.clone(), verifier, directory, &TicketSettings::default(), OriginPolicy::Dev);
    let stop = CancellationToken::new();
    tokio::spawn(hub.clone().run(stop.clone()));
    Node { hub, admission, metrics, clock, stop }
}

async fn play(seed: u64, signer: &Signer) -> Told {
    let mut random = StdRng::seed_from_u64(seed);
    let node = node(signer, &mut random);
    let mut truth = Truth::default();
    let mut actors: Vec<Actor> = (0..PLAYERS).map(|index| Actor::new(&format!("p{index}"), signer)).collect();
    for _ in 0..STEPS {
        let index = random.random_range(0..PLAYERS);
        actors[index].step(&node, signer, &mut truth, &mut random).await;
        for actor in &mut actors {
            actor.land(node.clock.now());
        }
        if random.random_bool(0.6) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..80))).await;
        }
        let connected = actors.iter().filter(|actor| actor.link.is_some()).count();
        assert!(node.hub.links() <= connected, "nobody has two links");
    }
    for actor in &mut actors {
        actor.hear(&mut truth);
        actor.link = None;
    }
    // After a quiet time nothing is left of anybody: no seat, no lobby, no session, no link.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let Metrics { players, lobbies, sessions, .. } = &*node.metrics;
    assert_eq!((players.get(), lobbies.get(), sessions.get(), node.hub.links()), (0, 0, 0, 0));
    assert_eq!(node.metrics.links.of(Transport::Memory).get(), 0);
    assert_eq!(node.metrics.tickets_consumed.get(), truth.accepted.len() as u64, "one place for each ticket");
    node.stop.cancel();
    truth.told
}

impl Actor {
    fn new(id: &str, signer: &Signer) -> Self {
        Self {
            id: player(id),
            link: None,
            ticket: mint(signer, id, Map::new()),
            point: None,
            last_request: 0,
            asked: VecDeque::new(),
            answered: HashSet::new(),
            received: 0,
            seated: None,
            seq: 0,
            newest: None,
            lobby: None,
            heard: HashMap::new(),
            flying: Vec::new(),
        }
    }

    async fn step(&mut self, node: &Node, signer: &Signer, truth: &mut Truth, random: &mut StdRng) {
        if self.link.is_none() {
            return self.connect(node, signer, truth, random).await;
        }
        match random.random_range(0..100) {
            0..30 => self.hear(truth),
            30..60 => self.input(node, truth, random),
            60..80 => {
                let request = self.wish(truth, random);
                self.request(request);
            }
            80..88 => {
                let received = self.received;
                self.say(&ClientMessage::Ping { nonce: random.next_u32(), received });
            }
            88..95 => self.link = None,
            95..97 => self.say(&ClientMessage::Bye),
            // A newer login, while the link is up or the server thinks so.
            _ => self.connect(node, signer, truth, random).await,
        }
    }

    async fn connect(&mut self, node: &Node, signer: &Signer, truth: &mut Truth, random: &mut StdRng) {
        let resume = self.point.clone().filter(|_| random.random_bool(0.8));
        let credentials = match &resume {
            Some(point) => Credentials::Resume(ResumePoint { received: self.received, ..point.clone() }),
            None => Credentials::Ticket(RawTicket(self.ticket.clone())),
        };
        let wish = match random.random_range(0..4) {
            0 => Wish::None,
            1 => pick(&truth.lobbies, random).map_or(Wish::None, Wish::Lobby),
            _ => Wish::Quick(muster::ids::GameName::new(["tiny", "short", "duel"][random.random_range(0..3)]).unwrap()),
        };
        let peer = "192.0.2.1:1".parse().unwrap();
        let request =
            OpenRequest { transport: Transport::Memory, peer, origin: None, credentials: Some(credentials), wish };
        match MemoryLink::open(&node.admission, &request).await {
            Ok(link) => {
                self.link = Some(link);
                self.flying.clear();
                // The token was used up, whatever becomes of the link now.
                self.point = None;
                if resume.is_none() {
                    assert!(truth.accepted.insert(self.ticket.clone()), "a ticket opened two places");
                }
                self.hear_welcome(resume.is_some(), truth);
            }
            Err(refused) => {
                truth.told.refused += 1;
                match (resume.is_some(), refused.code) {
                    (true, Code::BadTicket) => self.point = None,
                    (false, Code::TicketUsed) => {
                        assert!(truth.accepted.contains(&self.ticket) || refused.reason != "ticket-used")
                    }
                    (false, Code::NotFound | Code::LobbyFull | Code::LobbyClosed | Code::Kicked) => {}
                    other => panic!("refused with {other:?}"),
                }
            }
        }
        // A used one is tried again now and then.
        if random.random_bool(0.8) && truth.accepted.contains(&self.ticket) {
            self.ticket = mint(signer, self.id.as_str(), Map::new());
        }
    }

    fn hear_welcome(&mut self, resuming: bool, truth: &mut Truth) {
        let first = self.link.as_mut().and_then(MemoryLink::poll_message).expect("a first message");
        let ServerMessage::Welcome(welcome) = codec::decode(&first).unwrap() else { panic!("not a Welcome") };
        assert_eq!(welcome.player, self.id);
        assert_eq!(welcome.outcome == ResumeOutcome::Arrived, !resuming);
        match welcome.outcome {
            ResumeOutcome::Resumed => {
                truth.told.resumed += 1;
                assert!(welcome.counted >= self.received);
            }
            outcome => {
                truth.told.restarted += u64::from(outcome == ResumeOutcome::Restarted);
                self.received = welcome.counted;
                (self.seated, self.lobby) = (None, None);
                if outcome == ResumeOutcome::Arrived {
                    assert_eq!((welcome.counted, welcome.last_request), (0, 0));
                    self.asked.clear();
                    self.answered.clear();
                    self.last_request = 0;
                    self.heard.clear();
                }
            }
        }
        self.point = Some(ResumePoint { token: welcome.resume, received: 0 });
        assert!(welcome.last_request <= self.last_request, "none was carried out that was not asked");
        self.asked.retain(|(id, _)| *id > welcome.last_request);
        for (id, body) in self.asked.clone() {
            self.say(&ClientMessage::Request { id, body });
        }
    }

    fn say(&mut self, message: &ClientMessage) {
        if let Some(link) = &mut self.link {
            link.say(&codec::encode(message));
        }
    }

    fn request(&mut self, body: Request) {
        self.last_request += 1;
        self.asked.push_back((self.last_request, body.clone()));
        self.say(&ClientMessage::Request { id: self.last_request, body });
    }

    fn wish(&self, truth: &mut Truth, random: &mut StdRng) -> Request {
        let somebody = player(&format!("p{}", random.random_range(0..PLAYERS)));
        match random.random_range(0..20) {
            0..7 => {
                truth.lines += 1;
                Request::Chat(format!("{} {}", truth.lines, "x".repeat(random.random_range(0..200))))
            }
            7..9 => Request::Ready(random.random_bool(0.8)),
            9..11 => Request::Start,
            11 => Request::Leave,
            12 | 13 => {
                let script = Script { padding: random.random_range(0..50), ticks: random.random_range(0..60) };
                Request::Create(LobbySpec {
                    capacity: random.random_range(1..5),
                    settings: codec::encode(&script),
                    ..spec("Simulated")
                })
            }
            14 | 15 => match pick(&truth.lobbies, random) {
                Some(id) => Request::Join { wish: format!("lobby:{id}") },
                None => Request::Join { wish: "quick:tiny".into() },
            },
            16 => Request::Kick(somebody),
            17 => Request::Lock(random.random_bool(0.3)),
            18 => Request::PassHost(somebody),
            _ => Request::Watch(LobbyFilter::default()),
        }
    }

    /// Inputs go as datagrams: the last few each time, some lost, some doubled, some late.
    fn input(&mut self, node: &Node, truth: &mut Truth, random: &mut StdRng) {
        let Some(Seated { tag, seat: Some(_), .. }) = self.seated else { return };
        self.seq += 1;
        let kind = match random.random_range(0..400) {
            0 => BOMB,
            1..4 => END,
            _ => 1,
        };
        let sent = truth.sent.entry(self.id.clone()).or_default();
        *sent = (*sent).max(InputSeq(self.seq));
        let first = self.seq.saturating_sub(random.random_range(0..3)).max(1);
        let inputs = (first..=self.seq)
            .map(|seq| Input { seq: InputSeq(seq), data: vec![if seq == self.seq { kind } else { 1 }] });
        let mut bytes = Vec::new();
        let seen = self.newest.filter(|(of, _)| *of == tag).map_or(Tick(0), |(_, tick)| tick);
        encode_inputs(&Inputs { seen, inputs: inputs.collect() }, &mut bytes);
        for _ in 0..[1, 1, 1, 0, 2][random.random_range(0..5)] {
            let delay = Duration::from_millis(random.random_range(0..150));
            self.flying.push((node.clock.now() + delay, bytes.clone()));
        }
    }

    /// What has been under way long enough arrives.
    fn land(&mut self, now: Duration) {
        let Some(link) = &mut self.link else { return };
        self.flying.retain(|(due, bytes)| {
            if *due <= now {
                link.say(bytes);
            }
            *due > now
        });
    }

    /// Takes in all that the server has said, and checks it.
    fn hear(&mut self, truth: &mut Truth) {
        while let Some(bytes) = self.link.as_mut().and_then(MemoryLink::poll_message) {
            let message: ServerMessage = codec::decode(&bytes).unwrap();
            self.received += u64::from(message.is_numbered());
            match message {
                ServerMessage::Welcome(_) => panic!("a second Welcome"),
                ServerMessage::Goodbye(goodbye) => {
                    let link = self.link.take().unwrap();
                    assert_eq!(link.closed().map(Code::number), Some(goodbye.code), "one code at both ends");
                    match Code::from_number(goodbye.code).unwrap() {
                        Code::Left | Code::Kicked => (self.point, self.seated, self.lobby) = (None, None, None),
                        Code::SessionCrashed | Code::SlowReader => {}
                        // A seat that never was, told from the memory of an earlier arrival, or its own newer login.
                        Code::Replaced | Code::LobbyClosed | Code::LobbyFull => {}
                        other => panic!("closed with {other:?}"),
                    }
                }
                ServerMessage::Snapshot(snapshot) => self.hear_snapshot(&snapshot, truth),
                ServerMessage::Reply(reply) => {
                    assert!(self.answered.insert(reply.request), "answered twice");
                    assert!(reply.request <= self.last_request, "answered what was not asked");
                    self.asked.retain(|(id, _)| *id != reply.request);
                }
                ServerMessage::Lobby(view) => self.hear_lobby(&view, truth),
                ServerMessage::LobbyLeft { lobby, .. } => {
                    assert_eq!(self.lobby, Some(lobby), "left what it was in");
                    (self.lobby, self.seated) = (None, None);
                }
                ServerMessage::Chat(line) => {
                    truth.told.chats += 1;
                    let number = line.text.split(' ').next().unwrap().parse().unwrap();
                    let before = self.heard.insert(line.player, number);
                    assert!(before.is_none_or(|before| before < number), "chat came twice or out of order");
                }
                ServerMessage::Seated(seated) => {
                    assert_eq!(self.lobby, Some(seated.lobby), "seated in the lobby it is in");
                    if let Some(seat) = seated.seat {
                        let sent = truth.sent.get(&self.id).copied().unwrap_or_default();
                        assert!(seated.last_input <= sent, "inputs that it never sent");
                        truth.holders.entry((seated.tag, seat)).or_default().insert(self.id.clone());
                    }
                    self.seq = seated.last_input.0;
                    self.seated = Some(seated);
                }
                ServerMessage::Roster(roster) => {
                    for held in &roster.seats {
                        truth.holders.entry((roster.tag, held.seat)).or_default().insert(held.player.clone());
                    }
                    let seats: HashSet<_> = roster.seats.iter().map(|seat| seat.seat).collect();
                    let players: HashSet<_> = roster.seats.iter().map(|seat| &seat.player).collect();
                    assert_eq!((seats.len(), players.len()), (roster.seats.len(), roster.seats.len()), "{roster:?}");
                    if let Some(Seated { tag, seat: Some(own), .. }) = &self.seated
                        && *tag == roster.tag
                    {
                        let holder = roster.seats.iter().find(|seat| seat.seat == *own).map(|seat| &seat.player);
                        assert_eq!(holder, Some(&self.id), "one's seat is one's own");
                    }
                }
                ServerMessage::Ended(ended) => {
                    truth.told.ended += 1;
                    if self.seated.as_ref().is_some_and(|seated| seated.session == ended.session) {
                        self.seated = None;
                    }
                }
                ServerMessage::TicketWanted { .. } | ServerMessage::Renewed(_) => panic!("no ticket here sets an end"),
                ServerMessage::Pong { .. } | ServerMessage::List(_) => {}
            }
        }
    }

    fn hear_snapshot(&mut self, snapshot: &Snapshot, truth: &mut Truth) {
        truth.told.snapshots += 1;
        if let Some((tag, tick)) = self.newest
            && tag == snapshot.tag
        {
            // The one that waited at the old link may be the first at the new one again, but never an older.
            assert!(snapshot.tick >= tick, "ticks rise: {} after {tick}", snapshot.tick);
        }
        self.newest = Some((snapshot.tag, snapshot.tick));
        let seats: HashSet<_> = snapshot.applied.iter().map(|(seat, _)| *seat).collect();
        assert_eq!(seats.len(), snapshot.applied.len(), "one entry for a seat");
        for (seat, applied) in &snapshot.applied {
            truth.told.applied += 1;
            // Somebody may have sat down whom nobody has been told of yet.
            let Some(holders) = truth.holders.get(&(snapshot.tag, *seat)) else { continue };
            let sent = holders.iter().filter_map(|holder| truth.sent.get(holder)).max().copied().unwrap_or_default();
            assert!(*applied <= sent, "seat {seat}: {applied} applied, {sent} sent");
        }
    }

    fn hear_lobby(&mut self, view: &LobbyView, truth: &mut Truth) {
        self.lobby = Some(view.id);
        if !truth.lobbies.contains(&view.id) {
            truth.lobbies.push(view.id);
        }
        let distinct: HashSet<_> = view.members.iter().map(|member| &member.player).collect();
        assert_eq!(distinct.len(), view.members.len());
        assert!(distinct.contains(&self.id), "told of a lobby it is not in");
        let players = view.members.iter().filter(|member| member.role == WireRole::Player).count();
        assert!(players <= usize::from(view.capacity), "{players} players in {} places", view.capacity);
        assert!(view.host.as_ref().is_none_or(|host| distinct.contains(host)));
    }
}

fn pick<T: Copy>(from: &[T], random: &mut StdRng) -> Option<T> {
    (!from.is_empty()).then(|| from[random.random_range(0..from.len())])
}
