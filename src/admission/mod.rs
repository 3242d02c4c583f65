//! Who gets in. Both transports come through here, and nothing is held for a peer before it has passed.
//!
//! Owns: the order of checks, from the cheapest to the one that cannot be taken back. Must not know: how a request came.
//!
//! A connection first [knocks](Admission::knock) (caps and rates, before any parsing), then its Origin is checked, then
//! [`Admission::admit`] goes on: size, header and key of the ticket, signature, times, issuer and audience, bindings;
//! revoked or not; a free place, held for seconds; then the ticket is burned; and only then is the player present. A full
//! lobby therefore burns nothing, and of two who race with one ticket exactly one gets in. Whether the ticket is revoked
//! is asked once more then: who revokes records first and looks for players second, so that one of the two is found.

mod gate;
mod renewal;
mod revoke;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::task::JoinSet;

pub use gate::Pending;
pub use revoke::{RevocationSource, RevokeFault, RevokeOutcome};

use self::gate::Gate;
use self::revoke::Listed;
use crate::config::{Carrier, OriginPolicy, TicketSettings};
use crate::directory::{Burned, Directory, Unavailable};
use crate::forward::{Asker, Forward, ForwardFault};
use crate::hub::{Arrival, Hub, JoinFault, Place, Target, encode_goodbye};
use crate::jwks::{Asked, PublishedRing};
use crate::limits::Limits;
use crate::lobby::Role;
use crate::metrics::{IssuerTickets, Resume, TicketRefusal};
use crate::request::{BadRequest, Carriers, Credentials, OpenRequest, PassedNames, RawTicket};
use crate::text::{DisplayName, TextFault};
use crate::ticket::{self, LobbyBinding, Refusal, TicketFault, Verified, Verifier};
use crate::wire::{ClientFrame, ClientMessage, Code, Goodbye, ServerMessage, decode_client, encode_server};

/// Decides who gets in. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    hub: Hub,
    verifier: RwLock<Arc<Verifier>>,
    directory: Arc<dyn Directory>,
    listed: Listed,
    gate: Gate,
    origins: OriginPolicy,
    carriers: Carriers,
    first_message: bool,
    cookie: Option<String>,
    elsewhere: Elsewhere,
    /// Counted by who vouched.
    tickets: IssuerTickets,
}

/// Whom admission may ask beyond this node. The default asks nobody.
#[derive(Clone, Default)]
pub struct Elsewhere {
    /// The issuers whose keys are fetched.
    pub published: Vec<PublishedRing>,
    /// The backend that knows players without a ticket.
    pub forward: Option<Forward>,
    /// What is passed on to it.
    pub passed: PassedNames,
}

/// Why a peer is not let in, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The row of the code table.
    pub code: Code,
    /// A stable slug: the code's own, or a more telling one where that gives nothing away.
    pub reason: &'static str,
    /// When to come back at the earliest.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// The last message of a link that is refused.
    pub fn goodbye(&self) -> Bytes {
        let retry_after_ms = self.retry_after.map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX));
        encode_server(&ServerMessage::Goodbye(Goodbye {
            code: self.code.number(),
            reason: self.reason.to_owned(),
            retry_after_ms,
        }))
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        let retry_after = match code {
            Code::Overloaded | Code::Draining | Code::TooFast => Some(Duration::from_secs(1)),
            _ => None,
        };
        Self { code, reason: code.slug(), retry_after }
    }
}

/// Why a peer is not let in, as the log tells it: which check failed. The wire never does.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the node is draining")]
    Draining,
    #[error("{0}")]
    Ticket(Refusal),
    #[error("the ticket was revoked")]
    Revoked,
    #[error("name: {0}")]
    Name(#[from] TextFault),
    #[error("place: {0}")]
    Place(#[from] JoinFault),
    #[error("the fresh ticket is another player's")]
    OtherPlayer,
    #[error("the ticket was used before")]
    Used,
    #[error(transparent)]
    Directory(#[from] Unavailable),
    #[error("nobody waits for this resume token")]
    NobodyWaits,
    #[error("no ticket")]
    NoTicket,
    #[error("{0}")]
    Forward(#[from] ForwardFault),
    #[error("the issuer of the ticket cannot be asked for its keys")]
    KeysUnavailable,
}

impl Admission {
    /// Decides with these keys and settings, over this hub, and asks nobody else.
    pub fn new(
        hub: Hub,
        verifier: Verifier,
        directory: Arc<dyn Directory>,
        tickets: &TicketSettings,
        origins: OriginPolicy,
    ) -> Self {
        Self::asking(hub, verifier, directory, tickets, origins, Elsewhere::default())
    }

    /// As [`Self::new`], and asks elsewhere what is not known here.
    pub fn asking(
        hub: Hub,
        verifier: Verifier,
        directory: Arc<dyn Directory>,
        tickets: &TicketSettings,
        origins: OriginPolicy,
        elsewhere: Elsewhere,
    ) -> Self {
        let takes = |carrier| tickets.carriers.contains(&carrier);
        let asked = elsewhere.forward.as_ref().map(|_| Verified::ASKED.into());
        let issuers: Vec<_> = verifier.issuers().iter().map(|issuer| Arc::clone(&issuer.name)).chain(asked).collect();
        Self(Arc::new(Inner {
            gate: Gate::new(Arc::clone(hub.metrics())),
            tickets: hub.metrics().issuer_tickets(&issuers),
            hub,
            verifier: RwLock::new(Arc::new(verifier)),
            directory,
            listed: Listed::default(),
            origins,
            carriers: Carriers {
                header: takes(Carrier::Header),
                subprotocol: takes(Carrier::Subprotocol),
                query: takes(Carrier::Query),
                query_token: takes(Carrier::QueryToken),
                bearer_subprotocol: takes(Carrier::BearerSubprotocol),
            },
            first_message: takes(Carrier::FirstMessage),
            cookie: tickets.cookie.clone(),
            elsewhere,
        }))
    }

    /// The node's bounds.
    pub fn limits(&self) -> &Limits {
        self.0.hub.limits()
    }

    /// The node's hub.
    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// What judges tickets now.
    pub fn verifier(&self) -> Arc<Verifier> {
        Arc::clone(&self.0.verifier.read())
    }

    /// Judges tickets with other keys from now on. Nobody who is in notices.
    pub fn replace_verifier(&self, verifier: Verifier) {
        *self.0.verifier.write() = Arc::new(verifier);
    }

    /// Lets a connection begin, or turns it away before anything is read of it.
    ///
    /// # Errors
    /// [`Code::Overloaded`] over the caps of the node, [`Code::TooFast`] over those of one address.
    pub fn knock(&self, peer: SocketAddr) -> Result<Pending, Code> {
        let outcome = self.0.gate.knock(peer.ip(), self.limits(), self.0.hub.clock().now(), self.0.hub.links());
        if let Err(code) = outcome {
            self.0.hub.metrics().refusals.of(code).inc();
            tracing::debug!(%peer, code = code.number(), slug = code.slug(), "turned a connection away");
        }
        outcome
    }

    /// Whether a request with this `Origin` may open a link. One without is not from a web page.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn check_origin(&self, origin: Option<&str>) -> Result<(), Code> {
        if origin.is_none_or(|origin| self.0.origins.may_link(origin)) { Ok(()) } else { Err(Code::Forbidden) }
    }

    /// Which carriers a ticket may come by.
    pub fn carriers(&self) -> Carriers {
        self.0.carriers
    }

    /// The cookie that may carry a ticket, for a page that is listed.
    pub fn ticket_cookie(&self, origin: Option<&str>) -> Option<&str> {
        origin.filter(|origin| self.0.origins.may_read(origin)).and(self.0.cookie.as_deref())
    }

    /// The cookies and headers to pass on to the backend, for a listed page or a peer that is no page. A browser always
    /// says its page, so whoever does not has put its cookies there itself.
    pub fn passed_names(&self, origin: Option<&str>) -> Option<&PassedNames> {
        let trusted = origin.is_none_or(|origin| self.0.origins.may_read(origin));
        (trusted && self.0.elsewhere.forward.is_some()).then_some(&self.0.elsewhere.passed)
    }

    /// The issuers whose keys are fetched.
    pub fn published(&self) -> &[PublishedRing] {
        &self.0.elsewhere.published
    }

    /// Notes that a request was refused for what it says, before any credentials were looked at.
    pub fn refuse_request(&self, peer: SocketAddr, fault: BadRequest) -> Refused {
        let code = match fault {
            BadRequest::Version => Code::Version,
            BadRequest::CarriersDiffer | BadRequest::Wish(_) | BadRequest::Resume => Code::Malformed,
        };
        self.refuse(peer, code.into(), &fault)
    }

    /// Notes that a link was refused with a code, before it was admitted.
    pub fn refuse_link(&self, peer: SocketAddr, code: Code) -> Refused {
        self.refuse(peer, code.into(), &code.slug())
    }

    /// Reads the first message of a link whose request carried no credentials.
    ///
    /// # Errors
    /// [`Code::Malformed`] when it is not a Hello; [`Code::BadTicket`] where tickets may not come so.
    pub fn read_hello(&self, request: &OpenRequest, message: &[u8]) -> Result<OpenRequest, Code> {
        let Ok(ClientFrame::Message(ClientMessage::Hello { ticket, join, resume })) = decode_client(message) else {
            return Err(Code::Malformed);
        };
        let credentials = match resume {
            Some(point) if ticket.is_empty() => Credentials::Resume(point),
            Some(_) => return Err(Code::Malformed),
            None if !self.0.first_message => return Err(Code::BadTicket),
            None => Credentials::Ticket(RawTicket(ticket)),
        };
        let wish = if join.is_empty() { request.wish.clone() } else { join.parse().map_err(|_| Code::Malformed)? };
        Ok(OpenRequest { credentials: Some(credentials), wish, ..request.clone() })
    }

    /// Goes through every check in order and gives a place.
    ///
    /// # Errors
    /// [`Refused`] with the code to tell. It is logged with the peer and the reason, and counted; the ticket is in none
    /// of these.
    ///
    /// # Cancel safety
    /// A cancelled call may have burned the ticket; the place it held lapses by itself.
    pub async fn admit(&self, request: &OpenRequest) -> Result<Place, Refused> {
        match self.judge(request).await {
            Ok(place) => Ok(place),
            Err(fault) => Err(self.refuse(request.peer, fault.told(), &fault)),
        }
    }

    async fn judge(&self, request: &OpenRequest) -> Result<Place, Fault> {
        let Inner { hub, .. } = &*self.0;
        if hub.is_draining() {
            return Err(Fault::Draining);
        }
        match &request.credentials {
            None => Err(Fault::NoTicket),
            Some(Credentials::Resume(point)) => hub.resume(point).map_err(|_| {
                hub.metrics().resumes.of(Resume::Refused).inc();
                Fault::NobodyWaits
            }),
            Some(Credentials::PassedOn(shown)) => {
                let forward = self.0.elsewhere.forward.as_ref().ok_or(Fault::NoTicket)?;
                let asker = Asker { address: request.peer.ip(), origin: request.origin.as_deref() };
                let verified = forward.ask(shown, asker).await?;
                self.place(request, verified).await
            }
            Some(Credentials::Ticket(ticket)) => {
                let verified = self.verify(&ticket.0).await?;
                self.place(request, verified).await
            }
        }
    }

    /// Verifies a ticket; one whose key is not known waits, within bounds, for its issuer to be asked.
    async fn verify(&self, ticket: &str) -> Result<Verified, Fault> {
        match self.judge_ticket(ticket) {
            Err(refusal) if refusal.fault == TicketFault::UnknownKey && !self.0.elsewhere.published.is_empty() => {}
            outcome => return outcome.map_err(Fault::Ticket),
        }
        match self.ask_issuers(ticket).await {
            // Unknown there: the keys of this machine may have been read again meanwhile.
            Asked::Known | Asked::Unknown => self.judge_ticket(ticket).map_err(Fault::Ticket),
            Asked::Unavailable => Err(Fault::KeysUnavailable),
        }
    }

    fn judge_ticket(&self, ticket: &str) -> Result<Verified, Refusal> {
        let judged = self.verifier().judge(ticket, self.0.hub.clock().unix());
        judged.map(|(verified, _)| verified).inspect_err(|refusal| {
            if let Some(issuer) = &refusal.issuer {
                self.0.tickets.refused.of(issuer).of(TicketRefusal::of(refusal.fault)).inc();
            }
        })
    }

    /// Asks the issuers whose keys are fetched for the key of a ticket. The best of what they say counts.
    async fn ask_issuers(&self, ticket: &str) -> Asked {
        let kid = ticket::claimed_kid(ticket);
        let mut asking = JoinSet::new();
        for ring in &self.0.elsewhere.published {
            let (ring, kid) = (ring.clone(), kid.clone());
            asking.spawn(async move { ring.ask(kid.as_deref()).await });
        }
        let mut best = Asked::Unknown;
        while let Some(asked) = asking.join_next().await {
            match asked {
                Ok(Asked::Known) => return Asked::Known,
                Ok(Asked::Unavailable) => best = Asked::Unavailable,
                Ok(Asked::Unknown) | Err(_) => {}
            }
        }
        best
    }

    /// Gives a place to a player who is known: not revoked, a place held, the ticket burned, present.
    async fn place(&self, request: &OpenRequest, verified: Verified) -> Result<Place, Fault> {
        let Inner { hub, .. } = &*self.0;
        self.refuse_revoked(&verified).await?;
        let arrival = arrival_of(&verified)?;
        let target = Target::of(request.wish.clone()).or_else(|| bound_target(&verified));
        let lobby = target.map(|target| hub.reserve(&arrival, &target)).transpose()?;
        if matches!(request.credentials, Some(Credentials::Ticket(_)))
            && let Err(fault) = self.burn(&verified).await
        {
            // Somebody was first: the place is given back.
            lobby.into_iter().for_each(|lobby| hub.cancel(&arrival.player, lobby));
            return Err(fault);
        }
        let place = hub.arrive(arrival, lobby);
        match self.refuse_revoked(&verified).await {
            Ok(()) => {
                let Verified { player, issuer, .. } = &verified;
                self.0.tickets.admitted.of(issuer).inc();
                tracing::debug!(peer = %request.peer, player = %player.in_log(), %issuer, "admitted");
                Ok(place)
            }
            Err(fault) => {
                place.give_up();
                Err(fault)
            }
        }
    }

    async fn refuse_revoked(&self, verified: &Verified) -> Result<(), Fault> {
        if self.is_revoked(&verified.player, &verified.facts).await? { Err(Fault::Revoked) } else { Ok(()) }
    }

    /// Uses the ticket up, where it is good for one use.
    async fn burn(&self, verified: &Verified) -> Result<(), Fault> {
        let Inner { hub, directory, .. } = &*self.0;
        if verified.single_use
            && let Some(jti) = &verified.facts.jti
        {
            match directory.burn(jti, verified.burned_until, hub.clock().unix()).await? {
                Burned::Now => {}
                Burned::Before => return Err(Fault::Used),
                Burned::Late => return Err(Fault::Ticket(TicketFault::Expired.into())),
            }
        }
        hub.metrics().tickets_consumed.inc();
        Ok(())
    }

    fn refuse(&self, peer: SocketAddr, refused: Refused, why: &dyn std::fmt::Display) -> Refused {
        self.0.hub.metrics().refusals.of(refused.code).inc();
        tracing::info!(%peer, code = refused.code.number(), slug = refused.reason, %why, "refused");
        refused
    }
}

impl Fault {
    fn told(&self) -> Refused {
        let code = match self {
            Self::Draining => Code::Draining,
            Self::Ticket(refusal) if refusal.fault.is_expired_but_genuine() => {
                return Refused { reason: "ticket-expired", ..Code::BadTicket.into() };
            }
            Self::Ticket(_) | Self::Revoked | Self::NobodyWaits | Self::NoTicket => Code::BadTicket,
            Self::Name(_) => return Refused { reason: "bad-name", ..Code::Malformed.into() },
            Self::Place(fault) => return Refused { reason: fault.slug(), ..fault.code().into() },
            Self::OtherPlayer => Code::Forbidden,
            Self::Used => Code::TicketUsed,
            Self::Forward(ForwardFault::Unknown | ForwardFault::Malformed) => Code::BadTicket,
            Self::Forward(ForwardFault::Forbidden) => Code::Forbidden,
            Self::Forward(fault) => return Refused { retry_after: fault.retry_after(), ..Code::Overloaded.into() },
            Self::KeysUnavailable => Code::Overloaded,
            Self::Directory(_) => Code::Overloaded,
        };
        code.into()
    }
}

fn arrival_of(verified: &Verified) -> Result<Arrival, TextFault> {
    let name = match &verified.name {
        Some(name) => DisplayName::new(name)?,
        None => DisplayName::new(verified.player.as_str()).unwrap_or_else(|_| DisplayName::nameless()),
    };
    let role = match verified.grants.role {
        ticket::Role::Player | ticket::Role::Host => Role::Player,
        ticket::Role::Spectator => Role::Spectator,
    };
    let grants = Arc::new(verified.grants.clone());
    Ok(Arrival { player: verified.player.clone(), name, grants, role, ticket: verified.facts.clone() })
}

/// A ticket that is bound to one place wishes to go there.
fn bound_target(verified: &Verified) -> Option<Target> {
    let session = verified.grants.session.map(Target::Session);
    session.or_else(|| {
        verified.grants.lobby.map(|binding| match binding {
            LobbyBinding::Id(id) => Target::Lobby(id),
            LobbyBinding::Code(code) => Target::Code(code),
        })
    })
}

/// The last message of a link that is closed with a code.
pub fn goodbye(code: Code, retry_after: Option<Duration>) -> Bytes {
    encode_goodbye(code, retry_after)
}
