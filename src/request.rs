//! The request that opens a link, read the same way from a WebSocket upgrade and from a WebTransport CONNECT.
//!
//! Owns: the carriers of tickets, wishes and resume points. Must not know: whether any of them is valid.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;

use crate::ids::{GameName, JoinCode, LobbyId, SessionId};
use crate::outbox::Transport;
use crate::wire::{PROTOCOL, ResumePoint, ResumeToken};

/// A ticket as it came, not verified. Its text never reaches a log: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct RawTicket(pub String);

impl fmt::Debug for RawTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawTicket([redacted])")
    }
}

/// Where a player wants to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Nowhere yet.
    #[default]
    None,
    /// Any open public lobby of the game; a new one if there is none.
    Quick(GameName),
    /// The lobby with this id.
    Lobby(LobbyId),
    /// The lobby with this code.
    Code(JoinCode),
    /// The lobby whose session this is.
    Session(SessionId),
}

/// A wish that cannot be read. The client is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a wish is quick:GAME, lobby:ID, code:CODE or session:ID")]
pub struct BadWish;

impl FromStr for Wish {
    type Err = BadWish;

    fn from_str(text: &str) -> Result<Self, BadWish> {
        if text.is_empty() {
            return Ok(Self::None);
        }
        let (kind, value) = text.split_once(':').ok_or(BadWish)?;
        match kind {
            "quick" => GameName::new(value).map(Self::Quick),
            "lobby" => value.parse().map(Self::Lobby),
            "code" => value.parse().map(Self::Code),
            "session" => value.parse().map(Self::Session),
            _ => return Err(BadWish),
        }
        .map_err(|_| BadWish)
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Quick(game) => write!(f, "quick:{game}"),
            Self::Lobby(id) => write!(f, "lobby:{id}"),
            Self::Code(code) => write!(f, "code:{code}"),
            Self::Session(id) => write!(f, "session:{id}"),
        }
    }
}

/// How a peer says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A ticket.
    Ticket(RawTicket),
    /// The secret of a place it had.
    Resume(ResumePoint),
    /// What the backend is to be asked with.
    PassedOn(PassedOn),
}

/// What of a request is passed on to the backend that knows who shows it. Its `Debug` shows names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PassedOn {
    /// The listed cookies, as a `Cookie` header holds them; empty if there was none.
    pub cookies: String,
    /// The listed headers that were there, with their values.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for PassedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("PassedOn").field("headers", &names).finish_non_exhaustive()
    }
}

/// The names of what may be passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedNames {
    /// Cookies.
    pub cookies: Vec<String>,
    /// Headers, in lower case.
    pub headers: Vec<String>,
}

/// Everything of the request that muster looks at.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Over which transport it came.
    pub transport: Transport,
    /// From where. Not an identity: addresses change and are shared.
    pub peer: SocketAddr,
    /// The `Origin`: there for browsers, absent for others.
    pub origin: Option<String>,
    /// What came with the request; `None` means that the first message brings it.
    pub credentials: Option<Credentials>,
    /// Where the player wants to go.
    pub wish: Wish,
}

/// A request whose parts contradict each other or cannot be read. The client is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Two carriers with different tickets, or a ticket and a resume point.
    #[error("two carriers that differ")]
    CarriersDiffer,
    /// A `join=` that is no wish.
    #[error(transparent)]
    Wish(#[from] BadWish),
    /// A `resume` that is not one.
    #[error("a resume point is TOKEN.RECEIVED")]
    Resume,
    /// None of the offered protocols is spoken here.
    #[error("this server speaks muster.1")]
    Version,
}

/// What a transport hands over for reading: the parts of an HTTP request, whichever HTTP it was.
#[derive(Debug, Default)]
pub struct RequestParts<'a> {
    /// After the `?`, undecoded.
    pub query: &'a str,
    /// Every `Authorization` header.
    pub authorization: Vec<&'a str>,
    /// The offered subprotocols, in order.
    pub protocols: Vec<&'a str>,
    /// Every `Cookie` header.
    pub cookies: Vec<&'a str>,
    /// The cookie that may carry a ticket, where the operator configured one and the Origin is listed.
    pub ticket_cookie: Option<&'a str>,
    /// Which other carriers are looked at.
    pub carriers: Carriers,
    /// The cookies to pass on to the backend, where one is asked and the page may show them.
    pub passed_cookies: &'a [String],
    /// The headers to pass on to the backend, with their values.
    pub passed_headers: Vec<(&'a str, &'a str)>,
}

/// The carriers of tickets that are looked at. What comes by another one is as if it had not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carriers {
    /// `Authorization: Bearer`.
    pub header: bool,
    /// `ticket.<jwt>` among the subprotocols.
    pub subprotocol: bool,
    /// `?ticket=`.
    pub query: bool,
    /// `?token=`.
    pub query_token: bool,
    /// `bearer`, and the token after it, among the subprotocols.
    pub bearer_subprotocol: bool,
}

impl Default for Carriers {
    fn default() -> Self {
        Self { header: true, subprotocol: true, query: true, query_token: false, bearer_subprotocol: false }
    }
}

impl Carriers {
    /// The one of the offered subprotocols to answer with. A page that offers `bearer` and a token and nothing else speaks
    /// muster.1 all the same: it says `bearer` because its backend wanted to hear that.
    pub fn answer<'a>(self, offers: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
        let mut bearer = false;
        for offer in offers {
            if offer == PROTOCOL {
                return Some(PROTOCOL);
            }
            bearer |= self.bearer_subprotocol && offer == BEARER_PROTOCOL;
        }
        bearer.then_some(BEARER_PROTOCOL)
    }
}

impl RequestParts<'_> {
    /// Reads credentials and wish.
    ///
    /// # Errors
    /// [`BadRequest`] when they contradict each other or cannot be read.
    pub fn read(&self) -> Result<(Option<Credentials>, Wish), BadRequest> {
        let mut found = Found::default();
        let mut wish = Wish::None;
        // A browser adds its cookies whether the page means them or not; such a page says that Hello is to come.
        let mut hello = false;
        for (key, value) in pairs(self.query) {
            match key {
                "hello" => hello = true,
                "ticket" if self.carriers.query => found.ticket(&value)?,
                "token" if self.carriers.query_token => found.ticket(&value)?,
                "resume" => found.resume(&value)?,
                "join" => wish = value.parse()?,
                _ => {}
            }
        }
        for value in &self.authorization {
            if let Some((scheme, token)) = value.split_once(' ')
                && self.carriers.header
                && scheme.eq_ignore_ascii_case("bearer")
            {
                found.ticket(token.trim())?;
            }
        }
        if !self.protocols.is_empty() && self.carriers.answer(self.protocols.iter().copied()).is_none() {
            return Err(BadRequest::Version);
        }
        let mut offers = self.protocols.iter();
        while let Some(offer) = offers.next() {
            if self.carriers.bearer_subprotocol && *offer == BEARER_PROTOCOL {
                if let Some(token) = offers.next() {
                    found.ticket(token)?;
                }
            } else if let Some(ticket) = offer.strip_prefix("ticket.") {
                if self.carriers.subprotocol {
                    found.ticket(ticket)?;
                }
            } else if let Some(point) = offer.strip_prefix("resume.") {
                found.resume(point)?;
            }
        }
        if hello && found.0.is_none() {
            return Ok((None, wish));
        }
        if let Some(name) = self.ticket_cookie
            && found.0.is_none()
        {
            let all = self.cookies.iter().flat_map(|header| header.split(';'));
            for (key, value) in all.filter_map(|pair| pair.trim().split_once('=')) {
                if key == name {
                    found.ticket(value)?;
                }
            }
        }
        Ok((found.0.or_else(|| self.passed_on()), wish))
    }

    /// What the backend is asked with; it is looked at only when there is neither a ticket nor a resume point.
    fn passed_on(&self) -> Option<Credentials> {
        let all = self.cookies.iter().flat_map(|header| header.split(';')).map(str::trim);
        let listed = all.filter(|pair| {
            pair.split_once('=').is_some_and(|(name, _)| self.passed_cookies.iter().any(|listed| listed == name))
        });
        let cookies = listed.collect::<Vec<_>>().join("; ");
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers: Vec<_> = self.passed_headers.iter().map(owned).collect();
        let shown = !cookies.is_empty() || !headers.is_empty();
        shown.then_some(Credentials::PassedOn(PassedOn { cookies, headers }))
    }
}

/// Writes a resume point as requests carry it: the token in unpadded base64url, a dot, the count.
pub fn resume_text(point: &ResumePoint) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(point.token.0), point.received)
}

/// Reads what [`resume_text`] writes.
///
/// # Errors
/// [`BadRequest::Resume`] for anything else.
pub fn parse_resume(text: &str) -> Result<ResumePoint, BadRequest> {
    let (token, received) = text.split_once('.').ok_or(BadRequest::Resume)?;
    let mut bytes = [0; 32];
    let written = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).map_err(|_| BadRequest::Resume)?;
    let received = received.parse().map_err(|_| BadRequest::Resume)?;
    if written == bytes.len() {
        Ok(ResumePoint { token: ResumeToken(bytes), received })
    } else {
        Err(BadRequest::Resume)
    }
}

#[derive(Default)]
struct Found(Option<Credentials>);

impl Found {
    fn add(&mut self, credentials: Credentials) -> Result<(), BadRequest> {
        match &self.0 {
            Some(before) if *before != credentials => Err(BadRequest::CarriersDiffer),
            _ => {
                self.0 = Some(credentials);
                Ok(())
            }
        }
    }

    fn ticket(&mut self, text: &str) -> Result<(), BadRequest> {
        self.add(Credentials::Ticket(RawTicket(text.to_owned())))
    }

    fn resume(&mut self, text: &str) -> Result<(), BadRequest> {
        self.add(Credentials::Resume(parse_resume(text)?))
    }
}

/// The pairs of a query, percent-decoded.
fn pairs(query: &str) -> impl Iterator<Item = (&str, String)> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key, percent_decode_str(value).decode_utf8_lossy().into_owned()))
}

/// The subprotocol that stands before a token.
const BEARER_PROTOCOL: &str = "bearer";

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn parts(query: &str) -> RequestParts<'_> {
        RequestParts { query, ..RequestParts::default() }
    }

    #[test]
    fn a_ticket_is_read_from_each_carrier() {
        let ticket = Some(Credentials::Ticket(RawTicket("a.b.c".into())));
        assert_eq!(parts("ticket=a.b.c").read(), Ok((ticket.clone(), Wish::None)));
        let header = RequestParts { authorization: vec!["bearer a.b.c"], ..RequestParts::default() };
        assert_eq!(header.read(), Ok((ticket.clone(), Wish::None)));
        let offered = RequestParts { protocols: vec!["muster.1", "ticket.a.b.c"], ..RequestParts::default() };
        assert_eq!(offered.read(), Ok((ticket.clone(), Wish::None)));
        let cookie =
            RequestParts { cookies: vec!["x=1; t=a.b.c"], ticket_cookie: Some("t"), ..RequestParts::default() };
        assert_eq!(cookie.read(), Ok((ticket, Wish::None)));
        let unasked = RequestParts { cookies: vec!["t=a.b.c"], ..RequestParts::default() };
        assert_eq!(unasked.read(), Ok((None, Wish::None)));
    }

    #[test]
    fn only_listed_cookies_and_headers_are_passed_on_and_only_without_a_ticket() {
        let listed = ["sessionid".to_owned()];
        let parts = |query| RequestParts {
            query,
            cookies: vec!["theme=dark; sessionid=canary", "csrftoken=x;sessionid2=y"],
            passed_cookies: &listed,
            passed_headers: vec![("x-session", "canary")],
            ..RequestParts::default()
        };
        let Ok((Some(Credentials::PassedOn(shown)), _)) = parts("").read() else { panic!("nothing is passed on") };
        assert_eq!(shown.cookies, "sessionid=canary");
        assert_eq!(shown.headers, [("x-session".to_owned(), "canary".to_owned())]);
        assert!(!format!("{shown:?}").contains("canary"));
        let ticket = Some(Credentials::Ticket(RawTicket("a.b.c".into())));
        assert_eq!(parts("ticket=a.b.c").read().map(|(found, _)| found), Ok(ticket));
        let unlisted = RequestParts { cookies: vec!["theme=dark"], passed_cookies: &listed, ..RequestParts::default() };
        assert_eq!(unlisted.read(), Ok((None, Wish::None)));
    }

    #[test]
    fn the_carriers_of_other_backends_pages_are_read_where_they_are_switched_on() {
        let on = Carriers { query_token: true, bearer_subprotocol: true, ..Carriers::default() };
        let ticket = Ok((Some(Credentials::Ticket(RawTicket("a.b.c".into()))), Wish::None));
        let query = |carriers| RequestParts { query: "token=a.b.c", carriers, ..RequestParts::default() };
        assert_eq!(query(on).read(), ticket);
        assert_eq!(query(Carriers::default()).read(), Ok((None, Wish::None)));
        let offers = |protocols, carriers| RequestParts { protocols, carriers, ..RequestParts::default() };
        assert_eq!(offers(vec!["bearer", "a.b.c"], on).read(), ticket);
        assert_eq!(offers(vec!["muster.1", "bearer", "a.b.c"], on).read(), ticket);
        assert_eq!(offers(vec!["bearer", "a.b.c", "muster.1"], on).read(), ticket);
        assert_eq!(offers(vec!["bearer"], on).read(), Ok((None, Wish::None)), "the token is still to come");
        assert_eq!(offers(vec!["bearer", "a.b.c"], Carriers::default()).read(), Err(BadRequest::Version));
        assert_eq!(offers(vec!["bearer", "a", "ticket.b"], on).read(), Err(BadRequest::CarriersDiffer));
        assert_eq!(offers(vec!["a.b.c"], on).read(), Err(BadRequest::Version));
    }

    #[test]
    fn what_is_answered_was_offered_and_is_never_the_token() {
        let on = Carriers { bearer_subprotocol: true, ..Carriers::default() };
        assert_eq!(on.answer(["bearer", "a.b.c"]), Some("bearer"));
        assert_eq!(on.answer(["bearer", "a.b.c", "muster.1"]), Some("muster.1"));
        assert_eq!(on.answer(["a.b.c"]), None);
        assert_eq!(Carriers::default().answer(["bearer", "a.b.c"]), None);
    }

    #[test]
    fn a_page_that_says_hello_is_not_taken_for_who_its_cookies_say() {
        let listed = ["sessionid".to_owned()];
        let with = |query| RequestParts {
            query,
            cookies: vec!["t=a.b.c; sessionid=1"],
            ticket_cookie: Some("t"),
            passed_cookies: &listed,
            ..RequestParts::default()
        };
        assert_eq!(with("hello=&join=quick:arena").read().map(|(found, _)| found), Ok(None));
        assert!(with("join=quick:arena").read().is_ok_and(|(found, _)| found.is_some()));
        assert!(with("hello=&ticket=x").read().is_ok_and(|(found, _)| found.is_some()), "what it says itself counts");
    }

    #[test]
    fn two_carriers_must_agree() {
        let agree = RequestParts { query: "ticket=a", authorization: vec!["Bearer a"], ..RequestParts::default() };
        assert!(agree.read().is_ok());
        let differ = RequestParts { query: "ticket=a", authorization: vec!["Bearer b"], ..RequestParts::default() };
        assert_eq!(differ.read(), Err(BadRequest::CarriersDiffer));
    }

    #[test]
    fn a_wish_reads_back_what_it_writes() {
        for text in ["", "quick:arena", "code:ABCDEF", "lobby:0123456789abcdef0123456789abcdef"] {
            assert_eq!(text.parse::<Wish>().map(|wish| wish.to_string()), Ok(text.to_owned()));
        }
        for bad in ["quick", "quick:", "code:ABC", "lobby:1", "teleport:mars"] {
            assert_eq!(bad.parse::<Wish>(), Err(BadWish), "{bad}");
        }
        assert_eq!(parts("join=quick%3Aarena").read().map(|(_, wish)| wish.to_string()), Ok("quick:arena".into()));
    }

    #[test]
    fn a_resume_point_reads_back_what_it_writes() {
        let point = ResumePoint { token: ResumeToken([7; 32]), received: 12 };
        assert_eq!(parse_resume(&resume_text(&point)), Ok(point));
        for bad in ["", ".", "AAAA.1", "!.1"] {
            assert_eq!(parse_resume(bad), Err(BadRequest::Resume), "{bad}");
        }
    }

    #[test]
    fn a_protocol_that_is_not_spoken_here_is_told_so() {
        let offered = RequestParts { protocols: vec!["muster.9"], ..RequestParts::default() };
        assert_eq!(offered.read(), Err(BadRequest::Version));
    }
}
