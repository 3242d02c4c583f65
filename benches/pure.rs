//! What the pure rooms cost: tickets, codec, lobby operations, a session's tick, and the fan-out of its snapshot.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use muster::codec;
use muster::game::arena::{Input, Settings};
use muster::game::{GameKind, Player, arena::Arena};
use muster::ids::{GameName, InputSeq, JoinCode, LobbyId, PlayerId, SeatId, SessionTag, Tick};
use muster::lobby::{Lobby, LobbySettings, Role, StartRule};
use muster::outbox::{Offered, Outlet, QueueFull, Transport};
use muster::session::{Batch, InputOutcome, Mailbox, Simulation};
use muster::text::{DisplayName, LobbyName};
use muster::ticket::{Algorithm, Claims, KeyHint, Signer, TicketId, TicketPolicy, UnixSeconds, Verifier, generate_key};
use muster::wire::{self, ClientFrame, Code, Inputs, ServerMessage, SnapshotFrames};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn tickets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ticket/verify");
    for algorithm in ALGORITHMS {
        let key = generate_key(algorithm).unwrap();
        let hint = KeyHint { kid: None, algorithm: Some(algorithm) };
        let signer = Signer::from_text(&key.private, &hint).unwrap();
        let ticket = signer.mint(&claims(1)).unwrap();
        let verifier = Verifier::new(signer.ring().unwrap(), TicketPolicy::default());
        group.bench_function(algorithm.name(), |bencher| {
            bencher.iter(|| verifier.verify(black_box(ticket.reveal()), NOW).unwrap());
        });
    }
    group.finish();
}

fn claims(number: u128) -> Claims {
    Claims {
        issuer: "muster".into(),
        audience: "muster".into(),
        player: format!("player-{number}"),
        ticket_id: TicketId::from_random(number),
        issued_at: NOW,
        expires_at: NOW.plus(Duration::from_secs(60)),
        more: serde_json::Map::new(),
    }
}

fn codecs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let inputs = wire::Input { seq: InputSeq(70_000), data: vec![7; 24] };
    let mut message = Vec::new();
    wire::encode_inputs(&Inputs { seen: Tick(70_000), inputs: vec![inputs] }, &mut message);
    group.bench_function("read an input of 24 bytes", |bencher| {
        bencher.iter(|| match wire::decode_client(black_box(&message)) {
            Ok(ClientFrame::Inputs(batch)) => batch.map(|(_, data)| data.len()).sum::<usize>(),
            other => panic!("{other:?}"),
        });
    });
    let applied: Vec<_> = (0..10).map(|seat| (SeatId(seat), InputSeq(70_000))).collect();
    group.bench_function("frame a snapshot of 256 bytes for 10", |bencher| {
        let frame = || SnapshotFrames::new(SessionTag(7), Tick(70_000), 1 << 40, applied.iter().copied(), &[9; 256]);
        bencher.iter(|| frame().websocket().len());
    });
    let pong = ServerMessage::Pong { nonce: 7, server_time_us: 1 << 40 };
    group.bench_function("encode a Pong", |bencher| bencher.iter(|| wire::encode_server(black_box(&pong))));
    let encoded = wire::encode_server(&pong);
    group.bench_function("decode a Pong", |bencher| {
        bencher.iter(|| codec::decode::<ServerMessage>(black_box(&encoded)).unwrap());
    });
    group.finish();
}

fn lobbies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lobby");
    let players: Vec<PlayerId> = (0..10).map(|n| PlayerId::new(&format!("player-{n}")).unwrap()).collect();
    let full = || {
        let mut lobby = Lobby::new(LobbyId(1), JoinCode::from_random(1), lobby_settings(), Duration::ZERO);
        for player in &players {
            join(&mut lobby, player);
        }
        while lobby.poll_event().is_some() {}
        lobby
    };
    let empty = || Lobby::new(LobbyId(1), JoinCode::from_random(1), lobby_settings(), Duration::ZERO);
    group.throughput(Throughput::Elements(1));
    group.bench_function("reserve and enter", |bencher| {
        bencher.iter_batched_ref(empty, |lobby| join(lobby, &players[0]), BatchSize::SmallInput);
    });
    group.bench_function("chat", |bencher| {
        bencher.iter_batched_ref(full, |lobby| lobby.chat(&players[3], "good luck").unwrap(), BatchSize::SmallInput);
    });
    group.bench_function("ten get ready, and it starts", |bencher| {
        bencher.iter_batched_ref(
            full,
            |lobby| {
                players.iter().for_each(|player| lobby.set_ready(player, true).unwrap());
                std::iter::from_fn(|| lobby.poll_event()).count()
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("leave", |bencher| {
        bencher.iter_batched_ref(full, |lobby| lobby.leave(&players[5]).unwrap(), BatchSize::SmallInput);
    });
    group.finish();
}

fn join(lobby: &mut Lobby, player: &PlayerId) {
    let soon = Duration::from_secs(5);
    lobby.reserve(player, Role::Player, Duration::ZERO, soon).unwrap();
    lobby.enter(player, DisplayName::new("Ada").unwrap(), false, Duration::ZERO).unwrap();
}

fn lobby_settings() -> LobbySettings {
    LobbySettings {
        game: GameName::new("arena").unwrap(),
        name: LobbyName::new("bench").unwrap(),
        public: true,
        capacity: 10,
        spectators: 0,
        min_players: 2,
        settings: Vec::new(),
        start: StartRule::WhenReady,
        late_join: true,
    }
}

fn ticks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick with an input of each");
    for players in [10, 100, 1_000] {
        group.throughput(Throughput::Elements(u64::from(players)));
        group.bench_with_input(BenchmarkId::from_parameter(players), &players, |bencher, &players| {
            let mut table = Table::new(players);
            bencher.iter(|| table.tick());
        });
    }
    group.finish();
}

/// A session with everybody seated.
struct Table {
    mailbox: Mailbox,
    batch: Batch,
    simulation: Simulation,
    players: u16,
    seq: u32,
    state: Vec<u8>,
    input: Vec<u8>,
}

impl Table {
    fn new(players: u16) -> Self {
        // As large as the arena goes, with no goal that could end the game meanwhile.
        let settings = codec::encode(&Settings { size: 20_000, time_limit: 3_600, target_score: 10_000 });
        let game = GameKind::of::<Arena>().unwrap().create(&settings, 7).unwrap();
        let mut table = Self {
            mailbox: Mailbox::new(players),
            batch: Batch::default(),
            simulation: Simulation::new(game, players, 20),
            players,
            seq: 0,
            state: Vec::new(),
            input: codec::encode(&Input { dx: 1, dy: 2, aim: 3 }),
        };
        table.seat_everybody();
        table
    }

    fn seat_everybody(&mut self) {
        for seat in 0..self.players {
            let id = PlayerId::new(&format!("player-{seat}")).unwrap();
            self.mailbox.push_join(SeatId(seat), Player { id, name: "Ada".into(), rating: None });
        }
    }

    fn tick(&mut self) -> usize {
        self.seq += 1;
        for seat in 0..self.players {
            let taken = self.mailbox.push_input(SeatId(seat), InputSeq(self.seq), &self.input);
            assert_eq!(taken, InputOutcome::Accepted);
        }
        self.mailbox.drain_into(&mut self.batch);
        if self.simulation.run_tick(&self.batch).unwrap().ended.is_some() {
            // An hour of play has passed: another game begins.
            *self = Self::new(self.players);
            return 0;
        }
        self.state.clear();
        self.simulation.write_state(&mut self.state).unwrap();
        self.state.len()
    }
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out, framing included, without the kernel");
    for links in [10, 100, 1_000u64] {
        let audience: Vec<Arc<dyn Outlet>> = (0..links).map(|_| Arc::new(Null) as Arc<dyn Outlet>).collect();
        group.throughput(Throughput::Elements(links));
        group.bench_function(BenchmarkId::from_parameter(links), |bencher| {
            bencher.iter(|| {
                let applied = (0..10).map(|seat| (SeatId(seat), InputSeq(70_000)));
                let frames = SnapshotFrames::new(SessionTag(7), Tick(70_000), 1 << 40, applied, &[9; 256]);
                audience.iter().filter(|outlet| outlet.offer_snapshot(&frames) == Offered::Sent).count()
            });
        });
    }
    group.finish();
}

/// A link that takes everything and does nothing with it.
struct Null;

impl Outlet for Null {
    fn transport(&self) -> Transport {
        Transport::Memory
    }

    fn offer_snapshot(&self, frames: &SnapshotFrames) -> Offered {
        black_box(frames.clone());
        Offered::Sent
    }

    fn queue(&self, message: &Bytes) -> Result<(), QueueFull> {
        black_box(message);
        Ok(())
    }

    fn flush(&self) {}

    fn close(&self, _: Code, _: &Bytes) {}
}

const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::Hs256, Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256, Algorithm::Ps256];

fn short() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000))
        .without_plots()
}

criterion_group! { name = pure; config = short(); targets = tickets, codecs, lobbies, ticks, fan_out }
criterion_main!(pure);
