//! An issuer's keys from where it publishes them: fetched, kept, and fetched again in time.
//!
//! Owns: the fetching of one issuer's key set, and who waits for it. Must not know: tickets beyond the name of their
//! key; what the keys are used for: a set that was read is handed to the owner, who may refuse it.
//!
//! While the issuer cannot be reached, or publishes something that is no sound key set, the last good set serves: the log
//! says so once for each failure, and a metric counts it.

mod schedule;

use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub use schedule::{Promise, Schedule};

use crate::clock::Clock;
use crate::fetch::{Bounds, FetchFault, Fetcher, OddStatus, Url};
use crate::metrics::{IssuerMetrics, Refresh};
use crate::ticket::{Algorithm, KeyFault, KeyRing, PublishedKeys};

/// Where an issuer's keys are, and how often they are fetched.
#[derive(Clone, Debug)]
pub struct Source {
    /// What logs call the issuer.
    pub issuer: String,
    /// Where the set is.
    pub url: Url,
    /// The only algorithms to take keys of; None: all.
    pub algorithms: Option<Vec<Algorithm>>,
    /// From one fetch of the background to the next. Default 300 s.
    pub interval: Duration,
    /// The least time between two fetches that tickets with unknown keys make. Default 10 s.
    pub pause: Duration,
}

/// The published keys of one issuer. Cheap to clone.
#[derive(Clone)]
pub struct PublishedRing(Arc<Inner>);

struct Inner {
    source: Source,
    fetcher: Fetcher,
    clock: Clock,
    metrics: IssuerMetrics,
    schedule: Mutex<Schedule>,
    /// Somebody was promised a fetch.
    wake: Notify,
    progress: watch::Sender<Progress>,
    waiters: Semaphore,
}

/// What has come of the fetches so far.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// The last that is over.
    over: u64,
    /// Whether it brought a set.
    loaded: bool,
    /// The last good set.
    ring: Option<KeyRing>,
}

/// What is known of a key after the issuer was asked, if it could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is there now.
    Known,
    /// It is not among the issuer's keys, as far as they are known.
    Unknown,
    /// The issuer could not be asked in time, or never yet.
    Unavailable,
}

/// Why a fetch brought no keys. The issuer is at fault, or the way to it.
#[derive(Debug, thiserror::Error)]
enum RefreshFault {
    #[error("it {0}")]
    Fetch(#[from] FetchFault),
    #[error("it answered with {0}")]
    Status(OddStatus),
    #[error("its key set was refused: {0}")]
    Keys(#[from] KeyFault),
    #[error("its key set was refused: {0}")]
    Refused(String),
}

impl PublishedRing {
    /// Nothing is fetched before [`Self::run`].
    pub fn new(source: Source, fetcher: Fetcher, clock: Clock, metrics: IssuerMetrics) -> Self {
        let schedule = Mutex::new(Schedule::new(source.interval, source.pause, clock.now()));
        let (progress, waiters) = (watch::Sender::new(Progress::default()), Semaphore::new(WAITERS));
        Self(Arc::new(Inner { source, fetcher, clock, metrics, schedule, wake: Notify::new(), progress, waiters }))
    }

    /// What logs call the issuer.
    pub fn issuer(&self) -> &str {
        &self.0.source.issuer
    }

    /// Asks the issuer for a key that is not known, as far as its rate allows, and waits for at most 2 s. Up to 1,024 wait at
    /// a time; the next is told [`Asked::Unavailable`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped; the fetch goes on.
    pub async fn ask(&self, kid: Option<&str>) -> Asked {
        let inner = &*self.0;
        let mut progress = inner.progress.subscribe();
        let judge = |progress: &Progress, asked: bool| match &progress.ring {
            None => Asked::Unavailable,
            Some(ring) if ring.find(kid).is_some() => Asked::Known,
            Some(_) if asked && !progress.loaded => Asked::Unavailable,
            Some(_) => Asked::Unknown,
        };
        let known = judge(&progress.borrow(), false);
        // A token without a kid names no key; another set would not change that.
        if known == Asked::Known || (kid.is_none() && known == Asked::Unknown) {
            return known;
        }
        let Ok(_waiting) = inner.waiters.try_acquire() else { return Asked::Unavailable };
        let promise = inner.schedule.lock().handle_unknown(inner.clock.now(), PATIENCE);
        let Promise::Fetch(number) = promise else { return known };
        inner.wake.notify_one();
        match tokio::time::timeout(PATIENCE, progress.wait_for(|progress| progress.over >= number)).await {
            Ok(Ok(progress)) => judge(&progress, true),
            Ok(Err(_)) | Err(_) => Asked::Unavailable,
        }
    }

    /// Has the keys fetched now: the operator says that they have changed.
    pub fn refresh(&self) {
        let inner = &*self.0;
        inner.schedule.lock().handle_reload(inner.clock.now());
        inner.wake.notify_one();
    }

    /// Fetches in time until it is told to stop. Every set that is read goes to `publish`, and serves those who wait
    /// once that has returned; a set that it refuses is as if it had not come.
    ///
    /// # Cancel safety
    /// Cancelling ends the fetching; the last good set stays where it was handed to.
    pub async fn run(self, publish: impl Fn(&KeyRing) -> Result<(), String>, stop: CancellationToken) {
        let inner = &*self.0;
        loop {
            let deadline = inner.schedule.lock().next_deadline();
            tokio::select! {
                () = stop.cancelled() => return,
                () = inner.wake.notified() => {}
                () = tokio::time::sleep_until(inner.clock.instant(deadline.unwrap_or_default())) => {}
            }
            let begun = inner.schedule.lock().poll_fetch(inner.clock.now());
            let Some(number) = begun else { continue };
            let outcome = tokio::select! {
                () = stop.cancelled() => return,
                outcome = self.fetch(&publish) => outcome,
            };
            inner.schedule.lock().handle_outcome(inner.clock.now(), outcome.is_ok());
            self.note(&outcome);
            inner.progress.send_modify(|progress| {
                progress.over = number;
                progress.loaded = outcome.is_ok();
                if let Ok(keys) = outcome {
                    progress.ring = Some(keys.ring);
                }
            });
        }
    }

    async fn fetch(&self, publish: &impl Fn(&KeyRing) -> Result<(), String>) -> Result<PublishedKeys, RefreshFault> {
        let Inner { source, fetcher, .. } = &*self.0;
        let answer = fetcher.get(&source.url, HeaderMap::new(), BOUNDS).await?;
        if answer.status != hyper::StatusCode::OK {
            return Err(RefreshFault::Status(OddStatus(answer.status)));
        }
        let text = std::str::from_utf8(&answer.body).map_err(|_| KeyFault::NotASet)?;
        let keys = PublishedKeys::from_text(text, source.algorithms.as_deref())?;
        publish(&keys.ring).map_err(RefreshFault::Refused)?;
        Ok(keys)
    }

    fn note(&self, outcome: &Result<PublishedKeys, RefreshFault>) {
        let Inner { source, metrics, clock, progress, .. } = &*self.0;
        let issuer = &source.issuer;
        let label = match outcome {
            Ok(keys) => {
                metrics.loaded.set(i64::try_from(clock.unix().0).unwrap_or(i64::MAX));
                let Progress { over, loaded, ring: before } = progress.borrow().clone();
                if over > 0 && !loaded && before.is_some() {
                    tracing::info!(%issuer, "the issuer's keys can be fetched again");
                }
                let same =
                    before.is_some_and(|ring| ring.keys().map(|key| key.id()).eq(keys.ring.keys().map(|key| key.id())));
                if !same {
                    tracing::info!(%issuer, keys = keys.ring.len(), skipped = keys.skipped, "the issuer's keys are in force");
                }
                Refresh::Loaded
            }
            Err(fault) => {
                let serving = progress.borrow().ring.as_ref().map_or(0, KeyRing::len);
                tracing::warn!(%issuer, %fault, serving, "the issuer's keys stay as they were");
                match fault {
                    RefreshFault::Fetch(FetchFault::TooLarge(_)) | RefreshFault::Keys(_) | RefreshFault::Refused(_) => {
                        Refresh::Refused
                    }
                    RefreshFault::Fetch(_) | RefreshFault::Status(_) => Refresh::Unreachable,
                }
            }
        };
        metrics.refreshes.of(label).inc();
    }
}

/// How long a player waits for its key to turn up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Players who wait at a time.
const WAITERS: usize = 1_024;
const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(5), body: KeyRing::MAX_TEXT_BYTES };
