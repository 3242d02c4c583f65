//! One task that reads a share of all WebSocket links: one wake-up for as many of them as have something to say.
//!
//! Owns: an epoll of its own, the table of links and of connections that may become one, their deadlines, the buffers they are
//! read into. Must not know: what a link is at, what a message says.
//!
//! The epoll stands in tokio's as one entry. When any link has something to say, tokio wakes this task once, and it goes
//! from socket to socket as a plain epoll loop does, without a task, a waker and a readiness record for each
//! (`docs/decisions/0010-websocket-loop.md`). Readiness comes edge-triggered: a link is read until it has no more, or is
//! put on the list of those that have. While many links have something to say, the system wakes nobody for them: they are
//! looked at once a millisecond, many at a time (`transport/pace.rs`).

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::door::{Opened, Opening};
use super::link::{Arrival, Link, Next};
use super::mailbox::{Letter, LinkKey, Mailbox};
use super::upgrade::Verdict;
use crate::http::Response;
use crate::transport::pace::{Pace, ROUND};
use crate::transport::timers::{Alarm, Timers};

/// Reads the links that were left in its mailbox.
pub(super) struct Driver {
    bell: Bell,
    poll: Poll,
    pace: Pace,
    mailbox: Arc<Mailbox>,
    table: Table,
    letters: Vec<Letter>,
    events: Events,
}

/// Wakes the driver when any link has something to say, while the epoll stands in tokio's.
struct Bell {
    poll: RawFd,
    watch: Option<AsyncFd<RawFd>>,
}

/// The links, and what is shared by all of them.
struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    serials: u64,
    timers: Timers,
    /// Links that have more to read than they may at a time.
    again: Vec<usize>,
    /// Connections that have said something, and whether it was their last word. Links go first: a ticket costs more to check
    /// than an input to read.
    knocking: VecDeque<(LinkKey, bool)>,
    rooms: Rooms,
}

enum Entry {
    Opening(Box<Opening>),
    Link(Link),
}

/// What links are read into, one after the other: hot, and none of it a link's own.
pub(super) struct Rooms {
    /// As the socket gives it.
    pub(super) raw: Box<[u8]>,
    /// As it is under TLS.
    pub(super) plain: Box<[u8]>,
}

impl Driver {
    /// A driver without links, and where to leave word for it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn new() -> io::Result<(Self, Arc<Mailbox>)> {
        let mailbox = Arc::new(Mailbox::default());
        let rooms = Rooms { raw: vec![0; READ_BYTES].into(), plain: vec![0; READ_BYTES].into() };
        let poll = Poll::new()?;
        let driver = Self {
            bell: Bell { poll: poll.as_raw_fd(), watch: None },
            poll,
            pace: Pace::default(),
            mailbox: Arc::clone(&mailbox),
            table: Table {
                entries: Vec::new(),
                free: Vec::new(),
                serials: 0,
                timers: Timers::default(),
                again: Vec::new(),
                knocking: VecDeque::new(),
                rooms,
            },
            letters: Vec::new(),
            events: Events::with_capacity(EVENTS),
        };
        Ok((driver, mailbox))
    }

    /// Reads until `stop`; then links that are closing have a moment left.
    ///
    /// # Cancel safety
    /// When dropped, so are its links.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut stopped = pin!(stop.cancelled());
        let mut sleep = pin!(sleep_until(tokio::time::Instant::now()));
        let mut end: Option<Instant> = None;
        loop {
            if let Err(error) = self.bell.set(!self.pace.is_timed()) {
                return tracing::error!(%error, "WebSocket links have ended: the system's poll failed");
            }
            let round = self.pace.is_timed().then(|| now() + ROUND);
            let due = [self.table.timers.next(), end, round].into_iter().flatten().min();
            let due = due.map(tokio::time::Instant::from_std);
            if let Some(due) = due.filter(|due| *due != sleep.deadline()) {
                sleep.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                rung = self.bell.rung() => if let Err(error) = rung {
                    return tracing::error!(%error, "WebSocket links have ended: the system's poll failed");
                },
                () = self.mailbox.rung() => {}
                () = sleep.as_mut(), if due.is_some() => {}
                () = stopped.as_mut(), if end.is_none() => {
                    end = Some(now() + STOPPING);
                    self.table.drop_openings(&self.poll);
                }
            }
            loop {
                let now = now();
                self.handle_letters(now);
                let more = match self.handle_events(now) {
                    Ok(more) => more,
                    Err(error) => {
                        return tracing::error!(%error, "WebSocket links have ended: the system's poll failed");
                    }
                };
                self.table.handle_timers(now, &self.poll);
                if end.is_some_and(|end| self.table.is_empty() || now >= end) {
                    return;
                }
                if !more {
                    break;
                }
                // Ticks that are due go first.
                tokio::task::yield_now().await;
            }
        }
    }

    fn handle_letters(&mut self, now: Instant) {
        self.mailbox.collect(&mut self.letters);
        let (table, poll) = (&mut self.table, &self.poll);
        for letter in self.letters.drain(..) {
            match letter {
                Letter::Open(opening) => table.open(opening, poll),
                Letter::Decided(key, verdict) => table.handle_verdict(key, verdict, now, &self.mailbox, poll),
                Letter::Enter(arrival) => table.enter(*arrival, now, &self.mailbox, poll),
                Letter::Judged(key, verdict) => {
                    table.work(key, poll, |link, rooms| link.handle_verdict(verdict, rooms, now));
                }
                Letter::Look(key) => table.work(key, poll, |link, _| link.handle_writable(now)),
            }
        }
    }

    /// Serves the links that are ready, a bounded number of them; returns whether there may be more.
    fn handle_events(&mut self, now: Instant) -> io::Result<bool> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            outcome => outcome?,
        }
        let (table, poll) = (&mut self.table, &self.poll);
        for index in std::mem::take(&mut table.again) {
            table.work_at(index, poll, |link, rooms| link.handle_readable(rooms, false, now));
        }
        // What is cold of each of them is fetched for all side by side, before the first is served.
        for event in &self.events {
            if let Some(Some(Entry::Link(link))) = table.entries.get(event.token().0) {
                link.warm();
            }
        }
        let (mut count, mut spoke) = (0, 0);
        for event in &self.events {
            count += 1;
            // An end that comes with the last bytes is not told again.
            let (index, ended) = (event.token().0, event.is_read_closed());
            if let Some(Some(Entry::Opening(opening))) = table.entries.get(index) {
                // One that can be written to has said nothing yet.
                if event.is_readable() || ended {
                    table.knocking.push_back((opening.key, ended));
                }
            } else {
                // Who comes and goes is no sign of many who play.
                spoke += usize::from(!ended);
                table.work_at(index, poll, |link, rooms| link.handle_readable(rooms, ended, now));
            }
        }
        self.pace.note(spoke, now);
        table.handle_knocking(now, &self.mailbox, poll);
        Ok(count == EVENTS || !table.again.is_empty() || !table.knocking.is_empty())
    }
}

impl Bell {
    /// Waits until a link has something to say; for ever, while it is off.
    ///
    /// # Cancel safety
    /// Cancel safe.
    async fn rung(&self) -> io::Result<()> {
        match &self.watch {
            // Forgotten before the events are taken: what comes from then on rings anew.
            Some(watch) => watch.readable().await.map(|mut ready| ready.clear_ready()),
            None => std::future::pending().await,
        }
    }

    /// Switches it; off, no event wakes anybody. What has come meanwhile rings as soon as it is on.
    // The successor of what puts a descriptor into tokio's epoll is `unsafe`: the caller vouches that it stays the same and
    // open. The driver's own `Poll` does, for as long as there is a bell for it.
    #[allow(deprecated)]
    fn set(&mut self, on: bool) -> io::Result<()> {
        if !on {
            self.watch = None;
        } else if self.watch.is_none() {
            self.watch = Some(AsyncFd::with_interest(self.poll, tokio::io::Interest::READABLE)?);
        }
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}

impl Table {
    fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }

    /// Has the system watch a connection, and gives it a place and a key for what `entry` makes of it.
    fn register(&mut self, socket: &TcpStream, poll: &Poll) -> Option<LinkKey> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        // Both from the start: that a full socket has room again is then told without asking.
        let interest = Interest::READABLE | Interest::WRITABLE;
        match poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(index), interest) {
            Ok(()) => {
                self.serials += 1;
                Some(LinkKey { index, serial: self.serials })
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be watched");
                self.free.push(index);
                None
            }
        }
    }

    fn put(&mut self, index: usize, entry: Entry) {
        if let Some(place) = self.entries.get_mut(index) {
            *place = Some(entry);
        }
    }

    fn open(&mut self, mut opening: Box<Opening>, poll: &Poll) {
        let Some(key) = self.register(opening.socket(), poll) else { return };
        opening.key = key;
        let due = opening.deadline();
        self.timers.set(key.index, &mut opening.alarm, due);
        self.put(key.index, Entry::Opening(opening));
    }

    fn enter(&mut self, arrival: Arrival, now: Instant, mailbox: &Arc<Mailbox>, poll: &Poll) {
        match self.register(arrival.link.socket(), poll) {
            Some(key) => self.begin(key, arrival, now, mailbox, poll),
            None => arrival.link.leave(),
        }
    }

    /// A link takes its place.
    fn begin(&mut self, key: LinkKey, arrival: Arrival, now: Instant, mailbox: &Arc<Mailbox>, poll: &Poll) {
        let Arrival { mut link, early } = arrival;
        link.enter(key, mailbox, now);
        self.put(key.index, Entry::Link(link));
        self.work_at(key.index, poll, |link, rooms| link.handle_early(early, rooms, now));
    }

    /// Looks at connections that have said something, a bounded number of them.
    fn handle_knocking(&mut self, now: Instant, mailbox: &Arc<Mailbox>, poll: &Poll) {
        for _ in 0..KNOCKS {
            let Some((key, ended)) = self.knocking.pop_front() else { return };
            // It may have spoken twice while it waited: then it is a link by now.
            self.work(key, poll, |link, rooms| link.handle_readable(rooms, true, now));
            self.work_on_opening(key, now, mailbox, poll, |opening, rooms| {
                opening.handle_readable(rooms, ended, mailbox, now)
            });
        }
    }

    fn handle_verdict(
        &mut self,
        key: LinkKey,
        verdict: Result<Verdict, Response>,
        now: Instant,
        mailbox: &Arc<Mailbox>,
        poll: &Poll,
    ) {
        self.work_on_opening(key, now, mailbox, poll, |opening, _| opening.handle_verdict(verdict, now));
    }

    /// Does something for a connection that has yet to become a link. Should it panic, that is its end, and nobody else's.
    fn work_on_opening(
        &mut self,
        key: LinkKey,
        now: Instant,
        mailbox: &Arc<Mailbox>,
        poll: &Poll,
        work: impl FnOnce(Box<Opening>, &mut Rooms) -> Opened,
    ) {
        let Some(place) = self.entries.get_mut(key.index) else { return };
        let opening = match place.take() {
            Some(Entry::Opening(opening)) if opening.key == key => opening,
            other => return *place = other,
        };
        let rooms = &mut self.rooms;
        match catch_unwind(AssertUnwindSafe(|| work(opening, rooms))) {
            Ok(Opened::Waits(opening)) => self.put(key.index, Entry::Opening(opening)),
            Ok(Opened::Link(arrival, more)) => {
                self.begin(key, arrival, now, mailbox, poll);
                if more {
                    self.work(key, poll, |link, rooms| link.handle_readable(rooms, true, now));
                }
            }
            Ok(Opened::Leaves(leaving)) => {
                self.free.push(key.index);
                // It was there; and for whoever gets it the driver's epoll is nothing to know of.
                let _ = poll.registry().deregister(&mut SourceFd(&leaving.socket().as_raw_fd()));
                leaving.go();
            }
            // Closed, which takes it out of the epoll.
            Ok(Opened::Gone) | Err(_) => self.free.push(key.index),
        }
    }

    /// Nobody new is let in any more.
    fn drop_openings(&mut self, poll: &Poll) {
        for index in 0..self.entries.len() {
            if let Some(Some(Entry::Opening(_))) = self.entries.get(index) {
                self.remove(index, poll);
            }
        }
    }

    fn work(&mut self, key: LinkKey, poll: &Poll, work: impl FnOnce(&mut Link, &mut Rooms) -> Next) {
        if let Some(Some(Entry::Link(link))) = self.entries.get(key.index)
            && link.is(key)
        {
            self.work_at(key.index, poll, work);
        }
    }

    /// Does something for one link. Should it panic, that is the end of this link, and of no other; the panic hook has
    /// logged it then. That a place has changed hands meanwhile does no harm: everything may be called in vain.
    fn work_at(&mut self, index: usize, poll: &Poll, work: impl FnOnce(&mut Link, &mut Rooms) -> Next) {
        let Some(Some(Entry::Link(link))) = self.entries.get_mut(index) else { return };
        let rooms = &mut self.rooms;
        match catch_unwind(AssertUnwindSafe(|| work(link, rooms))) {
            Ok(Next::Rest) => {}
            Ok(next @ (Next::Changed | Next::Again)) => {
                let due = link.deadline();
                self.timers.set(index, &mut link.alarm, due);
                if next == Next::Again {
                    self.again.push(index);
                }
            }
            Ok(Next::Gone) | Err(_) => self.remove(index, poll),
        }
    }

    fn remove(&mut self, index: usize, poll: &Poll) {
        let Some(entry) = self.entries.get_mut(index).and_then(Option::take) else { return };
        self.free.push(index);
        // An opening is closed, which takes it out of the epoll.
        let Entry::Link(link) = entry else { return };
        // The socket may be open for longer, where a session still has its outlet. It was never there, at worst.
        let _ = poll.registry().deregister(&mut SourceFd(&link.socket().as_raw_fd()));
        if catch_unwind(AssertUnwindSafe(|| link.leave())).is_err() {
            tracing::error!("the end of a link panicked");
        }
    }

    fn handle_timers(&mut self, now: Instant, poll: &Poll) {
        while let Some((at, index)) = self.timers.pop(now) {
            let Some(Some(entry)) = self.entries.get_mut(index) else { continue };
            if !entry.alarm().rings(at) {
                continue;
            }
            match entry {
                // Hearing from a link moves its deadline without telling.
                Entry::Link(_) => self.work_at(index, poll, |link, rooms| link.handle_timeout(rooms, now)),
                Entry::Opening(opening) => match opening.deadline() {
                    Some(due) if due <= now => self.remove(index, poll),
                    later => self.timers.set(index, &mut opening.alarm, later),
                },
            }
        }
    }
}

impl Entry {
    fn alarm(&mut self) -> &mut Alarm {
        match self {
            Self::Opening(opening) => &mut opening.alarm,
            Self::Link(link) => &mut link.alarm,
        }
    }
}

/// Time enters here, once for all links that are served together.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// One read takes at most this much; a whole message and its header fit.
const READ_BYTES: usize = 8 * 1_024;
/// Links that are served before ticks get their turn.
const EVENTS: usize = 128;
/// Connections that are looked at before they do: a TLS handshake or a ticket of EdDSA takes as long as a hundred inputs.
const KNOCKS: usize = 4;
/// How long links have to go when everything ends.
const STOPPING: Duration = Duration::from_millis(1_500);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::super::link::{Asking, Stage};
    use super::super::outlet::WebSocketOutlet;
    use super::*;
    use crate::admission::Admission;
    use crate::clock::Clock;
    use crate::config::{OriginPolicy, TicketSettings};
    use crate::directory::Embedded;
    use crate::game::Registry;
    use crate::hub::Hub;
    use crate::limits::Limits;
    use crate::metrics::Metrics;
    use crate::outbox::Transport;
    use crate::request::{OpenRequest, Wish};
    use crate::ticket::{KeyRing, TicketPolicy, Verifier};

    fn admission() -> Admission {
        let metrics = Arc::new(Metrics::new());
        let hub = Hub::new(Limits::default(), Duration::ZERO, Registry::built_in(), metrics, Clock::start(), [7; 32]);
        let verifier = Verifier::new(KeyRing::default(), TicketPolicy::default());
        Admission::new(hub, verifier, Arc::new(Embedded::new(1)), &TicketSettings::default(), OriginPolicy::Dev)
    }

    /// A link that waits for its first message, and its peer's end.
    fn link(admission: &Admission) -> (Arrival, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (socket, address) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let (transport, wish) = (Transport::WebSocket, Wish::None);
        let request = OpenRequest { transport, peer: address, origin: None, credentials: None, wish };
        let stage = Stage::Asking(Box::new(Asking::new(admission.clone(), request, now())));
        let outlet = Arc::new(WebSocketOutlet::new(socket, None, Vec::new(), 1_024));
        (Arrival { link: Link::new(outlet, stage, admission, None, now()), early: Vec::new() }, peer)
    }

    #[tokio::test]
    async fn a_link_whose_work_panics_ends_alone() {
        let (admission, (mut driver, mailbox)) = (admission(), Driver::new().unwrap());
        let mut peers: Vec<TcpStream> = (0..3)
            .map(|_| {
                let (arrival, peer) = link(&admission);
                mailbox.post(Letter::Enter(Box::new(arrival)));
                peer
            })
            .collect();
        driver.handle_letters(now());
        driver.table.work_at(1, &driver.poll, |_, _| panic!("this is what the test is about"));
        assert!(driver.table.entries[1].is_none() && driver.table.free == [1]);
        assert_eq!(peers[1].read(&mut [0]).unwrap(), 0, "its connection is closed");
        // Its place is given to the next one.
        let (arrival, _peer) = link(&admission);
        mailbox.post(Letter::Enter(Box::new(arrival)));
        driver.handle_letters(now());
        assert!(driver.table.entries.len() == 3 && driver.table.free.is_empty());
        // A text frame is not spoken here: the other two are read, and told so.
        for index in [0, 2] {
            peers[index].write_all(&[0x81, 0x80, 0, 0, 0, 0]).unwrap();
        }
        let running = tokio::spawn(driver.run(CancellationToken::new()));
        let read = tokio::task::spawn_blocking(move || {
            [0, 2].map(|index| {
                let mut said = [0; 256];
                peers[index].read(&mut said).unwrap()
            })
        });
        assert!(read.await.unwrap().iter().all(|count| *count > 0));
        assert!(!running.is_finished());
        running.abort();
    }
}
