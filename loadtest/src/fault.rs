//! What can go wrong: one line each that says what to do. What was measured until then is reported all the same.

/// Why a run did not go as asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nobody answers.
    #[error("cannot reach {address}: {why}; check that the server runs there, or let --spawn start one")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The system's reason.
        why: String,
    },
    /// A server that is not the tester's own was there and is so no longer.
    #[error("the server at {address} went away during the run: {why}")]
    Gone {
        /// Host and port.
        address: String,
        /// The system's reason.
        why: String,
    },
    /// Nobody can join.
    #[error("the server has no game `{0}` that players may join; name one with --game")]
    NoSuchGame(String),
    /// Not one ticket was accepted.
    #[error("the server refuses the tickets ({0}); give the private key that it trusts with --key")]
    TicketRejected(String),
    /// The limit of open files is too low.
    #[error(
        "{needed} open files are needed and {allowed} allowed; raise it with `ulimit -n {needed}` or ask for fewer --players"
    )]
    FileDescriptors {
        /// For this run.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// A server that the tester started is gone.
    #[error("the {what} that was started has died ({how}); see its messages above")]
    ChildDied {
        /// Which.
        what: String,
        /// Exit status or signal.
        how: String,
    },
    /// A server could not be started.
    #[error("cannot start the {what}: {why}")]
    ChildStart {
        /// Which.
        what: String,
        /// The reason.
        why: String,
    },
    /// Fewer players got a seat than were asked for.
    #[error("{missing} of {players} players never got a seat: {why}")]
    NotSeated {
        /// Without a seat.
        missing: usize,
        /// Asked for.
        players: usize,
        /// The most frequent reason.
        why: String,
    },
    /// Not every row was measured to its end.
    #[error("{ended} of {of} rows ended early; the first, {row}: {why}")]
    Rows {
        /// The first that did not.
        row: &'static str,
        /// Its reason.
        why: String,
        /// How many did not.
        ended: usize,
        /// How many there were.
        of: usize,
    },
    /// Options that do not go together.
    #[error("{0}")]
    Options(String),
    /// A file, a thread or a socket of the tester's own.
    #[error("{what}: {why}")]
    Local {
        /// What was tried.
        what: String,
        /// The system's reason.
        why: String,
    },
}

impl Fault {
    /// A fault of this machine.
    pub fn local(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Local { what: what.into(), why: why.to_string() }
    }
}
