//! The Rust client: one call connects a player over whichever transport gets through, and keeps the place across losses.
//!
//! Owns: everything a player's program needs to play on a muster server. Must not know: the server's rooms; it stands on
//! `wire`, `codec` and `ids` alone.
//!
//! Inside: `connect` races the transports; `websocket` and `webtransport` are links, `link` is what they have in common;
//! `core` is the protocol as a pure state machine, with `clock`, `inputs`, `snapshot` and `backoff` as its pure parts;
//! [`Engine`] drives a core over links in the caller's task; [`Client`] is an engine with a task of its own.

mod backoff;
mod clock;
mod connect;
mod core;
mod engine;
mod error;
mod event;
mod headers;
pub mod http;
mod inputs;
mod link;
mod snapshot;
mod target;
mod tickets;
mod trust;
mod websocket;
mod webtransport;

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::codec::{self, Encode};
use crate::ids::{InputSeq, PlayerId};
use crate::wire::{LobbyFilter, LobbySpec, Request};

pub use connect::{Connector, TransportChoice, connect};
pub use engine::Engine;
pub use error::{Closed, ConnectError, InputError, Refused, RequestError};
pub use event::{Arrival, Event, Stats};
pub use link::Transport;
pub use snapshot::SnapshotView;
pub use target::{BadJoin, Join, Target};
pub use tickets::{TicketFunction, TicketSource};
pub use trust::Trust;

/// A connected player. A task of its own keeps the link; events wait here until [`Self::next`] takes them.
///
/// Of snapshots only the newest waits. Other events wait in order, up to 1,024 of them; then the task stops reading, and
/// if that lasts, the server closes the link (the place stays, and the client comes back once events are taken).
/// Dropping the client cuts the link without a word, so the place waits out its grace; [`Self::close`] leaves.
#[derive(Debug)]
pub struct Client {
    handle: Handle,
}

/// What a [`Client`] is told to do, from any task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Command {
    Request(Request, oneshot::Sender<Result<(), RequestError>>),
    Cut,
    Leave,
}

/// What the application and the task of the engine have in common.
#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    /// Something is in the inbox.
    arrived: Notify,
    /// There is room in the inbox again.
    room: Notify,
    uplink: Mutex<Uplink>,
    /// Inputs wait.
    input: Notify,
}

#[derive(Debug, Default)]
struct Inbox {
    reliable: VecDeque<Event>,
    snapshot: Option<SnapshotView>,
    stats: Stats,
    over: bool,
}

/// Inputs on their way to the engine's task, numbered already.
#[derive(Debug)]
struct Uplink {
    room: Result<usize, InputError>,
    last: InputSeq,
    waiting: VecDeque<(InputSeq, Vec<u8>)>,
}

impl Default for Uplink {
    fn default() -> Self {
        Self { room: Err(InputError::NoSeat), last: InputSeq::default(), waiting: VecDeque::new() }
    }
}

impl Client {
    /// Gives an engine a task of its own. Must be called within a tokio runtime.
    pub fn spawn(engine: Engine) -> Self {
        let (commands, inbound) = mpsc::channel(COMMANDS);
        let shared = Arc::new(Shared::default());
        tokio::spawn(run(engine, inbound, Arc::clone(&shared)));
        Self { handle: Handle { commands, shared } }
    }

    /// The next event; `None` after [`Event::Closed`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            {
                let mut inbox = self.shared.inbox.lock();
                let full = inbox.reliable.len() >= EVENTS;
                let event = inbox.reliable.pop_front();
                if event.is_some() && full {
                    self.shared.room.notify_one();
                }
                if let Some(event) = event.or_else(|| inbox.snapshot.take().map(Event::Snapshot)) {
                    return Some(event);
                }
                if inbox.over {
                    return None;
                }
            }
            self.shared.arrived.notified().await;
        }
    }

    /// A handle for other tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Leaves for good, says so to the server, and waits until it is done: at most a second or so.
    ///
    /// # Cancel safety
    /// Dropping the future cuts the link; whether the server was told is not known then.
    pub async fn close(mut self) {
        if self.commands.send(Command::Leave).await.is_ok() {
            while self.next().await.is_some() {}
        }
    }
}

impl Deref for Client {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Handle {
    /// Joins by a wish: `quick:GAME`, `lobby:ID`, `code:CODE` or `session:ID`.
    ///
    /// # Errors
    /// [`RequestError`]: the server's code and slug, or that the answer was lost.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the request back, here and in all others.
    pub async fn join(&self, wish: impl Into<String>) -> Result<(), RequestError> {
        self.request(Request::Join { wish: wish.into() }).await
    }

    /// Creates a lobby and is its host.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn create(&self, lobby: LobbySpec) -> Result<(), RequestError> {
        self.request(Request::Create(lobby)).await
    }

    /// Leaves the lobby, and the session with it.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn leave(&self) -> Result<(), RequestError> {
        self.request(Request::Leave).await
    }

    /// Says whether one is ready.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn ready(&self, ready: bool) -> Result<(), RequestError> {
        self.request(Request::Ready(ready)).await
    }

    /// Says something to the lobby.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn chat(&self, text: impl Into<String>) -> Result<(), RequestError> {
        self.request(Request::Chat(text.into())).await
    }

    /// Host: removes a member.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn kick(&self, player: PlayerId) -> Result<(), RequestError> {
        self.request(Request::Kick(player)).await
    }

    /// Host: lets nobody else in, or lets them in again.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn lock(&self, locked: bool) -> Result<(), RequestError> {
        self.request(Request::Lock(locked)).await
    }

    /// Host: makes another member the host.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn pass_host(&self, player: PlayerId) -> Result<(), RequestError> {
        self.request(Request::PassHost(player)).await
    }

    /// Host: starts the session.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn start(&self) -> Result<(), RequestError> {
        self.request(Request::Start).await
    }

    /// Has the list of public lobbies sent, now and whenever it changes: [`Event::List`].
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn watch(&self, filter: LobbyFilter) -> Result<(), RequestError> {
        self.request(Request::Watch(filter)).await
    }

    /// Stops the list.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn unwatch(&self) -> Result<(), RequestError> {
        self.request(Request::Unwatch).await
    }

    /// Asks for something and waits for the answer, across a lost link if need be.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn request(&self, body: Request) -> Result<(), RequestError> {
        let (answer, outcome) = oneshot::channel();
        self.commands.send(Command::Request(body, answer)).await.map_err(|_| RequestError::Closed)?;
        outcome.await.unwrap_or(Err(RequestError::Closed))
    }

    /// Sends an input to the session: never waits. When the way to the server is full, older inputs are shed.
    /// Over datagrams the last few go again with each until the server has applied them.
    ///
    /// # Errors
    /// [`InputError`] when there is no seat, or it is too long.
    pub fn send_input(&self, data: &[u8]) -> Result<InputSeq, InputError> {
        let mut uplink = self.shared.uplink.lock();
        let max = uplink.room?;
        if data.len() > max {
            return Err(InputError::TooLong { length: data.len(), max });
        }
        uplink.last = InputSeq(uplink.last.0.saturating_add(1));
        let seq = uplink.last;
        if uplink.waiting.len() == INPUTS {
            uplink.waiting.pop_front();
        }
        uplink.waiting.push_back((seq, data.to_vec()));
        self.shared.input.notify_one();
        Ok(seq)
    }

    /// As [`Self::send_input`], for a value in the crate's encoding.
    ///
    /// # Errors
    /// As [`Self::send_input`].
    pub fn send_encoded(&self, input: &impl Encode) -> Result<InputSeq, InputError> {
        self.send_input(&codec::encode(input))
    }

    /// Figures of the link and counts, as of the last event.
    pub fn stats(&self) -> Stats {
        self.shared.inbox.lock().stats
    }

    /// Cuts the connection without a word, as a failing network would; the way back begins at once. For tests of games.
    pub async fn cut(&self) {
        // A client that is closed has no connection to cut.
        let _ = self.commands.send(Command::Cut).await;
    }
}

/// The task of a client: drives the engine, carries commands in and events out.
async fn run(mut engine: Engine, mut commands: mpsc::Receiver<Command>, shared: Arc<Shared>) {
    let mut answers: VecDeque<(u32, oneshot::Sender<Result<(), RequestError>>)> = VecDeque::new();
    loop {
        let full = shared.inbox.lock().reliable.len() >= EVENTS;
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Request(body, answer)) => answers.push_back((engine.request(body), answer)),
                Some(Command::Leave) => engine.leave(),
                Some(Command::Cut) => engine.cut(),
                // The application dropped the client and every handle.
                None => return,
            },
            () = shared.input.notified() => {
                let waiting = std::mem::take(&mut shared.uplink.lock().waiting);
                waiting.into_iter().for_each(|(seq, data)| engine.send_numbered(seq, data));
            }
            event = engine.next(), if !full => match event {
                Some(Event::Replied { request, outcome }) => {
                    if let Some(index) = answers.iter().position(|(id, _)| *id == request)
                        && let Some((_, answer)) = answers.remove(index)
                    {
                        // Whoever asked may have stopped waiting.
                        let _ = answer.send(outcome);
                    }
                }
                event => {
                    if let Some(Event::Seated(_)) = &event {
                        let room = engine.input_room();
                        *shared.uplink.lock() = Uplink { room, last: engine.last_input(), ..Uplink::default() };
                    } else if !matches!(event, Some(Event::Snapshot(_))) {
                        shared.uplink.lock().room = engine.input_room();
                    }
                    let over = event.is_none();
                    shared.inbox.lock().push(event, engine.stats());
                    shared.arrived.notify_one();
                    if over {
                        return;
                    }
                }
            },
            () = shared.room.notified(), if full => {}
        }
    }
}

impl Inbox {
    /// Takes an event, or the end.
    fn push(&mut self, event: Option<Event>, stats: Stats) {
        self.stats = stats;
        match event {
            Some(Event::Snapshot(view)) => self.snapshot = Some(view),
            Some(event) => {
                // A snapshot that waits is not overtaken by what ends its session or begins another.
                if matches!(event, Event::Ended(_) | Event::Seated(_) | Event::Left { .. } | Event::Arrived(_)) {
                    self.reliable.extend(self.snapshot.take().map(Event::Snapshot));
                }
                self.reliable.push_back(event);
            }
            None => self.over = true,
        }
    }
}

/// Commands that wait for the engine's task before the caller waits.
const COMMANDS: usize = 64;
/// Events other than snapshots that wait for the application before the task stops reading.
const EVENTS: usize = 1_024;
/// Inputs that wait for the engine's task before the oldest is shed.
const INPUTS: usize = 8;
