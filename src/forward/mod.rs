//! Forward authentication: the game's backend says who a player is, by the cookies or headers of its request.
//!
//! Owns: the question to the backend, the reading of its answer, and how it is spared when it fails. Must not know: how
//! the request came, what happens to the player. The backend's answer is data like any other: bounded, and read as the
//! claims of a ticket are.
//!
//! No log, error or `Debug` of this room shows the value of a cookie or header.

mod breaker;
mod cache;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use hyper::header::{CACHE_CONTROL, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::{StatusCode, http};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use breaker::{Breaker, Passage};
pub use cache::{Answers, Question, lifetime};

use crate::clock::Clock;
use crate::config::ForwardSettings;
use crate::fetch::{Answer, BadUrl, Bounds, FetchFault, Fetcher, OddStatus, Url};
use crate::metrics::{Asking, Metrics};
use crate::request::PassedOn;
use crate::ticket::{TicketFault, Verified};

/// Asks the backend. Cheap to clone.
#[derive(Clone)]
pub struct Forward(Arc<Inner>);

struct Inner {
    url: Url,
    fetcher: Fetcher,
    bounds: Bounds,
    keep: Duration,
    clock: Clock,
    metrics: Arc<Metrics>,
    in_flight: Semaphore,
    breaker: Mutex<Breaker>,
    answers: Mutex<Answers>,
}

/// Whose request it is, for the backend to look at.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The peer's address, told as `X-Forwarded-For`.
    pub address: IpAddr,
    /// The page's origin, if it is one.
    pub origin: Option<&'a str>,
}

/// Why nobody is known to be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardFault {
    /// 401: logged out, or never logged in. The player is to log in.
    #[error("the backend knows no such player")]
    Unknown,
    /// 403: known, and not allowed in.
    #[error("the backend does not let the player in")]
    Forbidden,
    /// A cookie or header that cannot stand in a request. The peer is at fault.
    #[error("a cookie or header that cannot be passed on")]
    Malformed,
    /// More questions under way than are allowed.
    #[error("too many questions to the backend are under way")]
    Busy,
    /// The backend failed lately, and is left alone.
    #[error("the backend failed and is left alone for {0:.1?}")]
    LeftAlone(Duration),
    /// No answer.
    #[error("the backend {0}")]
    Fetch(#[from] FetchFault),
    /// A status that says nothing of a player; redirects are among them.
    #[error("the backend answered with {0}")]
    Status(OddStatus),
    /// 200, and then no description of a player.
    #[error("the backend's answer describes no player: {}", in_answer(*.0))]
    Answer(#[from] TicketFault),
}

/// The fault of a ticket, where there is none.
fn in_answer(fault: TicketFault) -> String {
    match fault {
        TicketFault::UnreadableClaims => "it is not a JSON object with unique names".to_owned(),
        TicketFault::Expired => "its `session_exp` has passed".to_owned(),
        TicketFault::MissingClaim(name) => format!("its `{name}` is missing"),
        TicketFault::BadClaim(name) => format!("its `{name}` is not of the right type or form"),
        fault => fault.to_string(),
    }
}

impl ForwardFault {
    /// When to come back, where that may help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unknown | Self::Forbidden | Self::Malformed => None,
            Self::LeftAlone(after) => Some((*after).max(Duration::from_secs(1))),
            Self::Busy | Self::Fetch(_) | Self::Status(_) | Self::Answer(_) => Some(Duration::from_secs(1)),
        }
    }

    /// Whether the backend is unwell. Else it has answered, and what it said is about this player alone: whoever makes it
    /// answer oddly, with a cookie too long for it, say, must not have it left alone for everybody.
    fn is_of_the_backend(&self) -> bool {
        match self {
            Self::Fetch(fault) => !matches!(fault, FetchFault::TooLarge(_)),
            Self::Status(OddStatus(status)) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown | Self::Forbidden | Self::Malformed | Self::Busy | Self::LeftAlone(_) | Self::Answer(_) => {
                false
            }
        }
    }

    fn counted(&self) -> Asking {
        match self {
            Self::Unknown => Asking::Unknown,
            Self::Forbidden => Asking::Forbidden,
            Self::Malformed => Asking::Malformed,
            Self::Busy => Asking::Busy,
            Self::LeftAlone(_) => Asking::LeftAlone,
            Self::Fetch(FetchFault::Timeout(_)) => Asking::Timeout,
            Self::Fetch(FetchFault::Unreachable(_) | FetchFault::Broken(_)) => Asking::Unreachable,
            Self::Fetch(FetchFault::TooLarge(_)) | Self::Status(_) | Self::Answer(_) => Asking::BadAnswer,
        }
    }
}

impl Forward {
    /// Asks at the configured address; None where there is none.
    ///
    /// # Errors
    /// [`BadUrl`] for an address that is never asked; the configuration has refused it before.
    pub fn new(
        settings: &ForwardSettings,
        fetcher: &Fetcher,
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Self>, BadUrl> {
        let Some(url) = &settings.url else { return Ok(None) };
        Ok(Some(Self(Arc::new(Inner {
            url: url.parse()?,
            fetcher: fetcher.clone(),
            bounds: Bounds { timeout: settings.timeout, body: MAX_ANSWER },
            keep: settings.cache,
            clock,
            metrics: Arc::clone(metrics),
            in_flight: Semaphore::new(settings.in_flight),
            breaker: Mutex::default(),
            answers: Mutex::default(),
        }))))
    }

    /// Asks who it is that shows these.
    ///
    /// # Errors
    /// [`ForwardFault`]; it is counted.
    ///
    /// # Cancel safety
    /// Dropping the future drops the question; nothing else is changed.
    pub async fn ask(&self, shown: &PassedOn, asker: Asker<'_>) -> Result<Verified, ForwardFault> {
        let metrics = &self.0.metrics;
        let question = question(shown, asker);
        let kept = self.0.answers.lock().find(&question, self.0.clock.now());
        // An end of the session may have come since the backend said so.
        let ended =
            |verified: &Verified| verified.facts.session_expires_at.is_some_and(|end| end <= self.0.clock.unix());
        if let Some(verified) = kept.filter(|verified| !ended(verified)) {
            metrics.forward_requests.of(Asking::Kept).inc();
            return Ok(verified);
        }
        let outcome = self.ask_backend(shown, asker, question).await;
        let label = outcome.as_ref().map_or_else(ForwardFault::counted, |_| Asking::Known);
        metrics.forward_requests.of(label).inc();
        outcome
    }

    async fn ask_backend(
        &self,
        shown: &PassedOn,
        asker: Asker<'_>,
        question: Question,
    ) -> Result<Verified, ForwardFault> {
        let inner = &*self.0;
        let headers = headers(shown, asker).map_err(|_| ForwardFault::Malformed)?;
        let _under_way = inner.in_flight.try_acquire().map_err(|_| ForwardFault::Busy)?;
        let passage = inner.breaker.lock().handle_request(inner.clock.now()).map_err(ForwardFault::LeftAlone)?;
        let mut passing = Passing { inner, passage: Some(passage) };
        let outcome = match inner.fetcher.get(&inner.url, headers, inner.bounds).await {
            Ok(answer) => self.read(&answer).map(|verified| (verified, answer)),
            Err(fault) => Err(fault.into()),
        };
        passing.over(outcome.as_ref().err());
        let (verified, answer) = outcome?;
        let said = answer.headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        let keep = lifetime(said, inner.keep);
        if !keep.is_zero() {
            inner.answers.lock().keep(question, verified.clone(), inner.clock.now() + keep);
        }
        Ok(verified)
    }

    fn read(&self, answer: &Answer) -> Result<Verified, ForwardFault> {
        match answer.status {
            StatusCode::OK => Ok(Verified::from_answer(&answer.body, self.0.clock.unix())?),
            StatusCode::UNAUTHORIZED => Err(ForwardFault::Unknown),
            StatusCode::FORBIDDEN => Err(ForwardFault::Forbidden),
            other => Err(ForwardFault::Status(OddStatus(other))),
        }
    }
}

/// A question that was let through to the backend. Dropped without an outcome, it was abandoned.
struct Passing<'a> {
    inner: &'a Inner,
    passage: Option<Passage>,
}

impl Passing<'_> {
    fn over(&mut self, fault: Option<&ForwardFault>) {
        let Some(passage) = self.passage.take() else { return };
        if let Some(fault) = fault.filter(|fault| !matches!(fault, ForwardFault::Unknown | ForwardFault::Forbidden)) {
            tracing::warn!(%fault, "the backend that knows the players failed");
        }
        let mut breaker = self.inner.breaker.lock();
        if !fault.is_some_and(ForwardFault::is_of_the_backend) {
            if breaker.is_open() && passage == Passage::Probe {
                tracing::info!("the backend that knows the players answers again");
            }
            breaker.handle_success(passage);
        } else if breaker.handle_failure(passage, self.inner.clock.now()) {
            tracing::error!(seconds = Breaker::OPEN.as_secs(), "the backend that knows the players is left alone");
        }
        self.inner.metrics.forward_left_alone.set(i64::from(breaker.is_open()));
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        if let Some(passage) = self.passage.take() {
            self.inner.breaker.lock().handle_abandoned(passage);
        }
    }
}

/// What the backend sees of the request.
fn headers(shown: &PassedOn, asker: Asker<'_>) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::new();
    let secret = |text: &str| {
        let mut value = HeaderValue::from_str(text)?;
        value.set_sensitive(true);
        Ok::<_, http::Error>(value)
    };
    if !shown.cookies.is_empty() {
        headers.insert(COOKIE, secret(&shown.cookies)?);
    }
    for (name, value) in &shown.headers {
        headers.append(HeaderName::from_bytes(name.as_bytes())?, secret(value)?);
    }
    headers.insert(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_str(&asker.address.to_string())?);
    if let Some(origin) = asker.origin {
        headers.insert(ORIGIN, HeaderValue::from_str(origin)?);
    }
    Ok(headers)
}

/// A hash of everything that the backend's answer may depend on, each part with its length before it.
fn question(shown: &PassedOn, asker: Asker<'_>) -> Question {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut add = |text: &str| {
        hash.update(&text.len().to_be_bytes());
        hash.update(text.as_bytes());
    };
    add(&shown.cookies);
    for (name, value) in &shown.headers {
        add(name);
        add(value);
    }
    add(&asker.address.to_string());
    add(asker.origin.unwrap_or_default());
    hash.finish().as_ref().try_into().unwrap_or_default()
}

/// The most bytes of an answer's body.
const MAX_ANSWER: usize = 16 * 1_024;
