//! Why a configuration is refused, in one line that says what to do.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A configuration that muster does not start with. The operator is at fault in every variant.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named cannot be read.
    #[error("{}: cannot read the configuration file ({reason}): check the path given with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: io::Error,
    },
    /// The file is not TOML, or has an unknown key or a value of the wrong kind.
    #[error("{}:{line}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A variable in muster's name space that names no knob.
    #[error("{name}: no such setting{}; `muster config show` lists them all", hint.as_ref().map(|h| format!(", did you mean {h}?")).unwrap_or_default())]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The nearest one that exists.
        hint: Option<String>,
    },
    /// A variable whose value is not Unicode.
    #[error("{name}: the value is not valid UTF-8: set it to plain text")]
    NotUnicode {
        /// The variable.
        name: String,
    },
    /// A variable or a flag with a value that its knob does not take.
    #[error("{source_name}: {problem}")]
    BadValue {
        /// The variable or flag.
        source_name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A value that is well formed but cannot be served with.
    #[error("{key}: {problem}")]
    Invalid {
        /// The knob, as `section.key`.
        key: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// An address that was configured cannot be listened on. The text says why, and how to choose another.
#[derive(Debug)]
pub struct ListenError {
    /// The flag that chooses the address: `--listen` or `--metrics-listen`.
    pub flag: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What the operating system said.
    pub reason: io::Error,
}

impl std::error::Error for ListenError {}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flag, address, reason } = self;
        let other = SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(7777));
        write!(f, "cannot listen on {address}: ")?;
        match reason.kind() {
            io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "port {} is in use: stop the program that has it, or choose another with {flag} {other}",
                    address.port()
                )
            }
            io::ErrorKind::PermissionDenied => {
                write!(f, "port {} is not allowed to this user: choose one from 1024 with {flag}", address.port())
            }
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "{} is not an address of this machine: choose one with {flag}", address.ip())
            }
            _ => write!(f, "{reason}: choose another with {flag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_the_flag_that_chooses_another() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let reason = std::net::TcpListener::bind(address).unwrap_err();
        let text = ListenError { flag: "--listen", address, reason }.to_string();
        assert!(text.starts_with(&format!("cannot listen on {address}: port {} is in use", address.port())), "{text}");
        assert!(text.contains("--listen 127.0.0.1:"), "{text}");
    }
}
