//! What a connection asks for, and what that gets.
//!
//! Owns: the reading of the request's head, the order of the checks. Must not know: streams, what makes a ticket valid.

use std::net::SocketAddr;

use wtransport::proto::session::SessionRequest;

use super::h3;
use crate::admission::Admission;
use crate::outbox::Transport;
use crate::request::{BadRequest, OpenRequest, RequestParts};
use crate::wire::{Code, PLAY_PATH};

/// A request for a WebTransport session.
pub(super) struct Request(SessionRequest);

impl Request {
    pub(super) fn new(head: SessionRequest) -> Self {
        Self(head)
    }

    /// Whether a browser is at the other end, which learns a close code from a capsule only.
    pub(super) fn is_browser(&self) -> bool {
        self.0.origin().is_some()
    }

    /// What is refused by a status, since it needs no explaining: an unknown path, a foreign origin.
    ///
    /// # Errors
    /// The code whose status it gets; it is counted.
    pub(super) fn check(&self, peer: SocketAddr, admission: &Admission) -> Result<(), Code> {
        let path = if self.target().0 == PLAY_PATH { Ok(()) } else { Err(Code::NotFound) };
        let checked = path.and_then(|()| admission.check_origin(self.header("origin")));
        checked.map_err(|code| admission.refuse_link(peer, code).code)
    }

    /// Reads the credentials and the wish.
    ///
    /// # Errors
    /// [`BadRequest`] when they cannot be read.
    pub(super) fn read(&self, peer: SocketAddr, admission: &Admission) -> Result<OpenRequest, BadRequest> {
        let origin = self.header("origin");
        let passed = admission.passed_names(origin);
        let parts = RequestParts {
            query: self.target().1,
            authorization: self.header("authorization").into_iter().collect(),
            protocols: self.header("wt-available-protocols").map(h3::string_list).unwrap_or_default(),
            cookies: self.header("cookie").into_iter().collect(),
            ticket_cookie: admission.ticket_cookie(origin),
            carriers: admission.carriers(),
            passed_cookies: passed.map(|names| names.cookies.as_slice()).unwrap_or_default(),
            passed_headers: passed
                .into_iter()
                .flat_map(|names| &names.headers)
                .filter_map(|name| Some((name.as_str(), self.header(name)?)))
                .collect(),
        };
        let (credentials, wish) = parts.read()?;
        let origin = origin.map(str::to_owned);
        Ok(OpenRequest { transport: Transport::WebTransport, peer, origin, credentials, wish })
    }

    /// The protocol to answer with, when some were offered.
    pub(super) fn protocol(&self, admission: &Admission) -> Option<&'static str> {
        admission.carriers().answer(self.header("wt-available-protocols").map(h3::string_list).unwrap_or_default())
    }

    /// The path and the query.
    fn target(&self) -> (&str, &str) {
        self.0.path().split_once('?').unwrap_or((self.0.path(), ""))
    }

    /// A header by its name in lower case.
    fn header(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }
}
