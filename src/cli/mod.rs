//! The command line: which commands there are, and how each ends.
//!
//! Owns: flags, exit codes, the one line on standard error. Must not know: how anything is done; each command hands
//! over to a room.

mod cert;
mod config;
mod judge;
mod key;
mod play;
mod serve;
mod ticket;

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Parser, Subcommand};

pub use serve::ServeArgs;

use crate::certificate::CertificateError;
use crate::config::{ConfigError, ListenError};
use crate::server::ServeError;

/// A game lobby server: signed tickets, lobbies, ticking game sessions, over WebTransport and WebSocket.
#[derive(Debug, Parser)]
#[command(name = "muster", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves players.
    Serve(ServeArgs),
    /// Plays: joins a session and shows it in the terminal.
    Play(play::PlayArgs),
    /// Makes and checks tickets.
    #[command(subcommand)]
    Ticket(ticket::TicketCommand),
    /// Makes keys that sign tickets.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Makes certificates.
    Cert(cert::CertCommand),
    /// Shows and checks the configuration.
    Config(config::ConfigCommand),
}

/// How a command that did not succeed ends.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong, or help was asked for; clap says which.
    Usage(clap::Error),
    /// The configuration is wrong.
    Config(String),
    /// The same, with several faults: a line each.
    Configs(Vec<String>),
    /// Anything else.
    Failed(String),
}

impl Failure {
    /// The fault of a command at work: what is wrong and what to do, in one line.
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }

    /// Writes the fault to standard error and says what the process exits with: 0 for help that was asked for, 1 for a
    /// failure, 2 for a wrong command line, 78 (EX_CONFIG of sysexits) for a wrong configuration.
    pub fn report(&self) -> ExitCode {
        let (texts, code) = match self {
            Self::Usage(error) => {
                // Help that goes to a closed pipe is not a failure.
                let _ = error.print();
                return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
            }
            Self::Config(text) => (std::slice::from_ref(text), EXIT_CONFIG),
            Self::Configs(texts) => (texts.as_slice(), EXIT_CONFIG),
            Self::Failed(text) => (std::slice::from_ref(text), EXIT_FAILURE),
        };
        for text in texts {
            let line: Vec<&str> = text.split_whitespace().collect();
            let _ = writeln!(std::io::stderr(), "muster: {}", line.join(" "));
        }
        ExitCode::from(code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error.to_string())
    }
}

impl From<CertificateError> for Failure {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::Library(_) => Self::Failed(error.to_string()),
            // Files and names are what somebody set.
            _ => Self::Config(error.to_string()),
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Listen(error) => error.into(),
            ServeError::Certificate(error) => error.into(),
            ServeError::Keys(_)
            | ServeError::Expired(_)
            | ServeError::Outbound(_)
            | ServeError::Game(_)
            | ServeError::Admin(_)
            | ServeError::Revocations(_) => Self::Config(error.to_string()),
            ServeError::Random(_) | ServeError::WebSocket(_) | ServeError::WebTransport(_) => Self::failed(error),
        }
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        Self::failed(error)
    }
}

/// Reads the command line and does what it says.
///
/// # Errors
/// How the process should end, if not well.
pub fn run() -> Result<ExitCode, Failure> {
    let (mut input, mut out) = (std::io::stdin(), std::io::stdout());
    let done = |()| ExitCode::SUCCESS;
    match Cli::try_parse().map_err(Failure::Usage)?.command {
        Command::Serve(args) => args.run().map(done),
        Command::Play(args) => args.command().map(done),
        Command::Ticket(command) => command.run(&mut input, &mut out),
        Command::Key(command) => command.run(&mut out).map_err(Failure::failed),
        Command::Cert(command) => command.run().map(done),
        Command::Config(command) => command.run().map(done),
    }
}

/// Writes to standard output. A reader that has gone away, as `head` does, has what it wanted.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Unix time in seconds. A command's edge: from here on the time is a value.
#[allow(clippy::disallowed_methods, reason = "where the wall clock enters")]
fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const EXIT_FAILURE: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_CONFIG: u8 = 78;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
