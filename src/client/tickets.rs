//! Where tickets come from.
//!
//! Owns: asking for one. Must not know: what becomes of it; a ticket's text never reaches a log.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::error::ConnectError;

/// Where tickets come from.
#[derive(Clone)]
pub enum TicketSource {
    /// None: the headers of the request say who the player is, see [`super::Connector::header`].
    None,
    /// One ticket: good for one arrival. Coming back within the grace needs none.
    Fixed(String),
    /// A function that gets a ticket from the game's backend, called whenever one is needed.
    Function(Arc<TicketFunction>),
}

/// What [`TicketSource::Function`] holds: an asynchronous function that returns a ticket, or says why there is none.
pub type TicketFunction = dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync;

impl TicketSource {
    /// Calls `function` whenever a ticket is needed.
    pub fn from_fn<F, T>(function: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, String>> + Send + 'static,
    {
        Self::Function(Arc::new(move || Box::pin(function())))
    }

    /// Whether the player can arrive a second time.
    pub(super) fn is_renewable(&self) -> bool {
        matches!(self, Self::Function(_) | Self::None)
    }

    /// A ticket to show; none where the headers do.
    pub(super) async fn ticket(&self) -> Result<Option<String>, ConnectError> {
        let ticket = match self {
            Self::None => return Ok(None),
            Self::Fixed(ticket) => ticket.clone(),
            Self::Function(function) => function().await.map_err(ConnectError::NoTicket)?,
        };
        let plain = !ticket.is_empty() && ticket.bytes().all(|b| b.is_ascii_graphic());
        if plain { Ok(Some(ticket)) } else { Err(ConnectError::NoTicket("the source gave something else".into())) }
    }
}

impl fmt::Debug for TicketSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSource([redacted])")
    }
}

impl From<&str> for TicketSource {
    fn from(ticket: &str) -> Self {
        Self::Fixed(ticket.to_owned())
    }
}

impl From<String> for TicketSource {
    fn from(ticket: String) -> Self {
        Self::Fixed(ticket)
    }
}
