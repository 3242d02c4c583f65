//! Keys that are changed while players log in: nobody with a good ticket is refused, and a key that was taken back opens
//! nothing any more.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use muster::config::{IssuerSettings, Profile};
use muster::outbox::Transport;
use muster::ticket::Signer;
use muster::wire::{Code, ServerMessage};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::common::process::{fresh_signer, write_certificate};
use crate::common::{BOTH, Heard, Opening, World, mint, soon};

const ROTATE_EVERY: Duration = Duration::from_secs(2);
const ROTATIONS: usize = 3;
/// 500 logins per second are aimed at. A machine that does not get so far has as many under way at a time.
const LOGIN_EVERY: Duration = Duration::from_millis(2);
const UNDER_WAY: usize = 32;

/// Where the server finds keys: a directory that it is told to read again, or an issuer that publishes them.
#[derive(Clone)]
enum Place {
    Directory(PathBuf),
    Issuer(Arc<Mutex<Value>>),
}

/// The keys of one place that are in force: the newest signs, the one before may have tickets under way.
#[derive(Clone)]
struct Rotated {
    place: Place,
    live: Arc<Mutex<VecDeque<Arc<Signer>>>>,
}

impl Rotated {
    fn new(place: Place) -> Self {
        muster::ticket::install_crypto();
        let rotated = Self { place, live: Arc::new(Mutex::new(VecDeque::from([Arc::new(fresh_signer())]))) };
        rotated.show(None);
        rotated
    }

    fn newest(&self) -> Arc<Signer> {
        Arc::clone(self.live.lock().back().unwrap())
    }

    /// Puts the keys where the server looks, and one that nothing is signed with yet.
    fn show(&self, coming: Option<&Signer>) {
        let live = self.live.lock();
        let keys = live.iter().map(|signer| &**signer).chain(coming).map(|signer| signer.key().public_jwk().unwrap());
        match &self.place {
            Place::Issuer(published) => *published.lock() = json!({ "keys": keys.collect::<Vec<_>>() }),
            Place::Directory(directory) => {
                let file = |key: &Value| directory.join(format!("{}.jwk", key["kid"].as_str().unwrap()));
                let mut old: Vec<_> =
                    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
                for key in keys {
                    old.retain(|path| *path != file(&key));
                    std::fs::write(file(&key), key.to_string()).unwrap();
                }
                old.iter().for_each(|path| std::fs::remove_file(path).unwrap());
            }
        }
    }

    fn show_to(&self, world: &World, coming: Option<&Signer>) {
        self.show(coming);
        if matches!(self.place, Place::Directory(_)) {
            // What SIGHUP does.
            world.server.reload();
        }
    }

    /// Brings a new key into use and takes the oldest of three back; how long the server went on believing that one.
    async fn rotate(&self, world: &World) -> Option<Duration> {
        // Shown first and used then: an issuer's are fetched when the first ticket comes, files are read when it is said.
        let coming = Arc::new(fresh_signer());
        self.show_to(world, Some(&coming));
        self.live.lock().push_back(coming);
        if self.live.lock().len() < 3 {
            return None;
        }
        // Whoever holds a ticket of the oldest is still let in: it is in force, however slow the machine is.
        let in_use = || Arc::strong_count(&self.live.lock()[0]) > 1;
        while in_use() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let gone = self.live.lock().pop_front().unwrap();
        let began = Instant::now();
        self.show_to(world, None);
        // What counts is when a login began that was let in, not how long a busy machine took over it.
        let (mut believed, mut tried) = (Duration::ZERO, began.elapsed());
        while login(world, BOTH[0], &gone, "thief").await.is_ok() {
            believed = tried;
            assert!(believed <= Duration::from_secs(5), "{believed:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
            tried = began.elapsed();
        }
        Some(believed)
    }
}

/// Publishes what is there now to everybody who asks.
async fn issuer(published: Arc<Mutex<Value>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read_buf(&mut head).await, Ok(1..)) {}
            let body = published.lock().to_string();
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    url
}

/// A whole arrival, up to the Welcome; else the code of the refusal.
async fn login(world: &World, transport: Transport, signer: &Signer, player: &str) -> Result<(), u16> {
    let ticket = mint(signer, player, Map::new());
    match world.open(transport, Opening { ticket: Some(&ticket), ..Opening::default() }).await {
        Ok(mut peer) => match soon("a first message", peer.next()).await {
            Heard::Message(ServerMessage::Welcome(_)) => Ok(()),
            Heard::Message(ServerMessage::Goodbye(goodbye)) => Err(goodbye.code),
            other => panic!("{other:?}"),
        },
        Err(answer) => {
            let problem: Value = serde_json::from_str(&answer.body).unwrap();
            Err(problem["code"].as_u64().unwrap() as u16)
        }
    }
}

async fn world(keys: &Path, jwks_url: String) -> World {
    // A certificate in files: one that the server made for itself would be made anew by the SIGHUP.
    World::with_files(write_certificate, |settings| {
        let files = settings.tickets.keys[0].parent().unwrap().to_owned();
        settings.tls.certificate = Some(files.join("cert.pem"));
        settings.tls.key = Some(files.join("key.pem"));
        settings.tickets.keys = vec![keys.to_owned()];
        settings.issuers = vec![IssuerSettings {
            name: "id".into(),
            profile: Profile::Muster,
            jwks_url: Some(jwks_url.clone()),
            ..IssuerSettings::default()
        }];
        settings.outbound.jwks_interval = Duration::from_secs(2);
        settings.outbound.jwks_pause = Duration::from_millis(100);
        settings.limits.connects_per_second = 100_000;
        settings.limits.pending_per_address = 1_000;
        settings.limits.grace = Duration::from_millis(200);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_change_every_two_seconds_under_logins_refuse_nobody_and_a_removed_one_opens_nothing() {
    let directory = crate::common::scratch();
    let published = Arc::new(Mutex::new(Value::Null));
    let places = [Place::Directory(directory.clone()), Place::Issuer(Arc::clone(&published))].map(Rotated::new);
    let world = Arc::new(world(&directory, issuer(published).await).await);
    // Who is in stays in, whatever becomes of the key.
    let mut staying = Vec::new();
    for (transport, place) in BOTH.into_iter().zip(&places) {
        let ticket = mint(&place.newest(), &format!("staying-{transport:?}"), Map::new());
        let opening = Opening { ticket: Some(&ticket), join: "quick:tiny", ..Opening::default() };
        staying.push(world.arrive(transport, opening).await);
    }

    let rotating = places.clone().map(|place| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let mut believed = Vec::new();
            for _ in 0..ROTATIONS {
                tokio::time::sleep(ROTATE_EVERY).await;
                believed.extend(place.rotate(&world).await);
            }
            believed
        })
    });
    let (began, room) = (Instant::now(), Arc::new(Semaphore::new(UNDER_WAY)));
    let (told_to_wait, mut logins) = (Arc::new(AtomicU64::new(0)), tokio::task::JoinSet::new());
    let mut pace = tokio::time::interval(LOGIN_EVERY);
    for number in 0_usize.. {
        if rotating.iter().all(|rotating| rotating.is_finished()) {
            break;
        }
        pace.tick().await;
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (world, told_to_wait) = (Arc::clone(&world), Arc::clone(&told_to_wait));
        let signer = places[number % 2].newest();
        // A QUIC handshake costs many times what a WebSocket does.
        let transport = BOTH[usize::from(number % 32 >= 30)];
        logins.spawn(async move {
            let _place = place;
            match login(&world, transport, &signer, &format!("player-{number}")).await {
                Ok(()) => {}
                // That the issuer could not be asked in time is no verdict on the ticket.
                Err(code) if code == Code::Overloaded.number() => drop(told_to_wait.fetch_add(1, Ordering::Relaxed)),
                Err(code) => panic!("a good ticket was refused with {code} over {transport:?}"),
            }
        });
    }
    let elapsed = began.elapsed();
    let logins = logins.join_all().await.len() as u64 - told_to_wait.load(Ordering::Relaxed);
    let mut slowest = Vec::new();
    for rotating in rotating {
        let believed = soon("the last rotation", rotating).await.unwrap();
        assert_eq!(believed.len(), ROTATIONS - 1);
        slowest.push(believed.into_iter().max().unwrap());
    }
    println!(
        "{logins} logins in {elapsed:.1?}, {:.0} per second, 0 refused, {} told to wait; a removed key was believed for \
         {:.1?} (directory) and {:.1?} (issuer) at the longest",
        logins as f64 / elapsed.as_secs_f64(),
        told_to_wait.load(Ordering::Relaxed),
        slowest[0],
        slowest[1]
    );
    assert!(logins >= 20 * ROTATIONS as u64, "{logins} logins");
    for peer in &mut staying {
        peer.ping().await;
    }
    let _ = std::fs::remove_dir_all(directory);
}
