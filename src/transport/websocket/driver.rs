//! One task that reads a share of all WebSocket links: one wake-up for as many of them as have something to say.
//!
//! Owns: an epoll of its own, the table of links, their deadlines, the buffers they are read into. Must not know: what a
//! link is at, what a message says.
//!
//! The epoll stands in tokio's as one entry. When any link has something to say, tokio wakes this task once, and it goes
//! from socket to socket as a plain epoll loop does, without a task, a waker and a readiness record for each
//! (`docs/decisions/0010-websocket-loop.md`). Readiness comes edge-triggered: a link is read until it has no more, or is
//! put on the list of those that have. While many links have something to say, the system wakes nobody for them: they are
//! looked at once a millisecond, many at a time (`transport/pace.rs`).

use std::io;
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

use super::link::{Arrival, Link, Next};
use super::mailbox::{Letter, LinkKey, Mailbox};
use crate::transport::pace::{Pace, ROUND};
use crate::transport::timers::Timers;

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
    links: Vec<Option<Link>>,
    free: Vec<usize>,
    serials: u64,
    timers: Timers,
    /// Links that have more to read than they may at a time.
    again: Vec<usize>,
    rooms: Rooms,
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
                links: Vec::new(),
                free: Vec::new(),
                serials: 0,
                timers: Timers::default(),
                again: Vec::new(),
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
                () = stopped.as_mut(), if end.is_none() => end = Some(now() + STOPPING),
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
        let mut count = 0;
        for event in &self.events {
            count += 1;
            // An end that comes with the last bytes is not told again.
            let ended = event.is_read_closed();
            table.work_at(event.token().0, poll, |link, rooms| link.handle_readable(rooms, ended, now));
        }
        self.pace.note(count, now);
        Ok(count == EVENTS || !table.again.is_empty())
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
        self.free.len() == self.links.len()
    }

    fn enter(&mut self, arrival: Arrival, now: Instant, mailbox: &Arc<Mailbox>, poll: &Poll) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.links.push(None);
            self.links.len() - 1
        });
        self.serials += 1;
        let key = LinkKey { index, serial: self.serials };
        let Arrival { link, early } = arrival;
        let mut link = link;
        link.enter(key, mailbox, now);
        // Both from the start: that a full socket has room again is then told without asking.
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = poll.registry().register(&mut SourceFd(&link.socket().as_raw_fd()), Token(index), interest);
        if let Some(place) = self.links.get_mut(index) {
            *place = Some(link);
        }
        match registered {
            Ok(()) => self.work_at(index, poll, |link, rooms| link.handle_early(early, rooms, now)),
            Err(error) => {
                tracing::warn!(%error, "a link cannot be watched");
                self.remove(index, poll);
            }
        }
    }

    fn work(&mut self, key: LinkKey, poll: &Poll, work: impl FnOnce(&mut Link, &mut Rooms) -> Next) {
        if self.links.get(key.index).and_then(Option::as_ref).is_some_and(|link| link.is(key)) {
            self.work_at(key.index, poll, work);
        }
    }

    /// Does something for one link. Should it panic, that is the end of this link, and of no other; the panic hook has
    /// logged it then. That a place has changed hands meanwhile does no harm: everything may be called in vain.
    fn work_at(&mut self, index: usize, poll: &Poll, work: impl FnOnce(&mut Link, &mut Rooms) -> Next) {
        let Some(Some(link)) = self.links.get_mut(index) else { return };
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
        let Some(link) = self.links.get_mut(index).and_then(Option::take) else { return };
        self.free.push(index);
        // The socket may be open for longer, where a session still has its outlet. It was never there, at worst.
        let _ = poll.registry().deregister(&mut SourceFd(&link.socket().as_raw_fd()));
        if catch_unwind(AssertUnwindSafe(|| link.leave())).is_err() {
            tracing::error!("the end of a link panicked");
        }
    }

    fn handle_timers(&mut self, now: Instant, poll: &Poll) {
        while let Some((at, index)) = self.timers.pop(now) {
            let Some(Some(link)) = self.links.get_mut(index) else { continue };
            if link.alarm.rings(at) {
                // Hearing from a link moves its deadline without telling.
                self.work_at(index, poll, |link, _| link.handle_timeout(now));
            }
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
/// How long links have to go when everything ends.
const STOPPING: Duration = Duration::from_millis(1_500);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

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
        assert!(driver.table.links[1].is_none() && driver.table.free == [1]);
        assert_eq!(peers[1].read(&mut [0]).unwrap(), 0, "its connection is closed");
        // Its place is given to the next one.
        let (arrival, _peer) = link(&admission);
        mailbox.post(Letter::Enter(Box::new(arrival)));
        driver.handle_letters(now());
        assert!(driver.table.links.len() == 3 && driver.table.free.is_empty());
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
