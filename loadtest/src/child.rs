//! Servers that the tester starts as children: another run of the tester's own program.
//!
//! A child says one line of JSON when it is ready, and ends when its standard input does, so that none is left behind.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::machine::Process;

/// What a child says when it is ready.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Ready {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate's SHA-256, where it has one.
    pub certificate: Option<[u8; 32]>,
    /// Where its admin API listens, where it has one.
    pub admin: Option<SocketAddr>,
}

impl Ready {
    /// Tells the tester.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub fn say(&self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(self)?)?;
        out.flush()
    }
}

/// Returns when the tester is gone, or wants this child to end. For a thread of its own.
pub fn wait_for_end() {
    let mut rest = Vec::new();
    // An error means the same as the end.
    let _ = std::io::stdin().lock().read_to_end(&mut rest);
}

/// A server that runs. It ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Child,
    /// What it said.
    pub ready: Ready,
}

impl Running {
    /// Starts this program again with other arguments, and waits until it is ready.
    ///
    /// # Errors
    /// [`Fault::ChildStart`].
    pub fn start(what: &str, arguments: &[String]) -> Result<Self, Fault> {
        let failed = |why: String| Fault::ChildStart { what: what.to_owned(), why };
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let mut line = String::new();
        let said = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let ready = match (said, serde_json::from_str(&line)) {
            (Some(Ok(_)), Ok(ready)) => ready,
            _ => {
                // It is of no use, whether it still runs or not.
                let _ = child.kill();
                let status = child.wait().map_err(|error| failed(error.to_string()))?;
                return Err(failed(format!("it did not get ready ({status})")));
            }
        };
        Ok(Self { what: what.to_owned(), child, ready })
    }

    /// The process, to be measured.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// [`Fault::ChildDied`].
    pub fn check(&mut self) -> Result<(), Fault> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Fault::ChildDied { what: self.what.clone(), how: status.to_string() }),
            Err(error) => Err(Fault::ChildDied { what: self.what.clone(), how: error.to_string() }),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its clients are gone and its figures taken: there is nothing to say goodbye to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
