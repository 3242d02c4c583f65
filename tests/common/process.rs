//! The real binary as a process.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::*;

/// `muster serve`, with keys and a certificate in files of its own.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    pub hash: [u8; 32],
    pub signer: Signer,
    pub directory: PathBuf,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
        // One that has shown itself already is not to hide what failed.
        if let Some(line) = secret_line(&self.output()).filter(|_| !std::thread::panicking()) {
            panic!("a secret in the log: {line}");
        }
    }
}

/// A line of the log that shows what could be a ticket or a token. What is no line of the log is the banner.
pub fn secret_line(output: &str) -> Option<&str> {
    let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
    let mut lines = output.lines().filter(|line| levels.iter().any(|level| line.contains(level)));
    lines.find(|line| super::watch::shows_a_secret(line))
}

pub fn write_certificate(directory: &Path) {
    let made = muster::certificate::generate(&["localhost", "127.0.0.1"], 13, now()).unwrap();
    std::fs::write(directory.join("cert.pem"), made.certificate_pem).unwrap();
    std::fs::write(directory.join("key.pem"), made.key_pem).unwrap();
}

/// Writes a set of these public keys.
pub fn write_keys(directory: &Path, signers: &[&Signer]) {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.key().public_jwk().unwrap()).collect();
    std::fs::write(directory.join("keys.json"), serde_json::json!({ "keys": keys }).to_string()).unwrap();
}

pub fn fresh_signer() -> Signer {
    Signer::from_text(&generate_key(Algorithm::EdDsa).unwrap().private, &KeyHint::default()).unwrap()
}

impl Process {
    pub async fn serve(flags: &[&str]) -> Self {
        Self::launch(&[], &[], flags).await
    }

    /// As [`Self::serve`], with variables, and after what a shell is told first.
    pub async fn serve_with(flags: &[&str], environment: &[(&str, &str)], first: Option<&str>) -> Self {
        let script = first.map(|first| format!("{first}; exec \"$0\" \"$@\""));
        let runner: Vec<&str> = script.iter().flat_map(|script| ["/bin/sh", "-c", script]).collect();
        Self::launch(&runner, environment, flags).await
    }

    /// As [`Self::serve`], with settings as environment variables, and run by other commands: `sh -c …`, `strace`.
    pub async fn launch(runner: &[&str], environment: &[(&str, &str)], flags: &[&str]) -> Self {
        muster::ticket::install_crypto();
        let directory = scratch();
        let signer = fresh_signer();
        write_certificate(&directory);
        write_keys(&directory, &[&signer]);
        Self::launch_in(directory, signer, runner, environment, flags).await
    }

    /// Kills the process as a crash would, and serves again with the same files.
    pub async fn crash_and_serve(mut self, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        self.signal("KILL");
        soon("the end of the process", self.child.wait()).await.unwrap();
        let directory = std::mem::take(&mut self.directory);
        let signer = std::mem::replace(&mut self.signer, fresh_signer());
        drop(self);
        Self::launch_in(directory, signer, &[], environment, flags).await
    }

    /// Where the admin API listens, as the banner says.
    pub async fn admin(&self) -> SocketAddr {
        self.wrote("admin", |text| text.split("admin        http://").nth(1)?.split('/').next()?.parse().ok()).await
    }

    /// Waits until something can be found in what the process wrote.
    pub async fn wrote<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        soon(what, async {
            loop {
                if let Some(found) = find(&String::from_utf8_lossy(&self.output.lock().unwrap())) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// As [`Self::launch`], with files that are there already.
    pub async fn launch_in(
        directory: PathBuf,
        signer: Signer,
        runner: &[&str],
        environment: &[(&str, &str)],
        flags: &[&str],
    ) -> Self {
        for attempt in 0.. {
            let words: Vec<&str> = runner.iter().copied().chain([env!("CARGO_BIN_EXE_muster")]).collect();
            let mut command = Command::new(words[0]);
            // At the finest level, unless a test says otherwise: each line is looked at in the end.
            command.current_dir(&directory).env_clear().env("MUSTER_LOG__LEVEL", "trace");
            command.envs(environment.iter().copied()).args(&words[1..]);
            command.args(["serve", "--listen=127.0.0.1:0", "--keys=keys.json"]);
            command.args(["--tls-cert=cert.pem", "--tls-key=key.pem"]).args(flags);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
            let output = Arc::new(Mutex::new(Vec::new()));
            let readers = vec![
                tokio::spawn(collect(child.stdout.take().unwrap(), Arc::clone(&output))),
                tokio::spawn(collect(child.stderr.take().unwrap(), Arc::clone(&output))),
            ];
            let read = |output: &Mutex<Vec<u8>>| -> Option<(SocketAddr, [u8; 32])> {
                let text = String::from_utf8_lossy(&output.lock().unwrap()).into_owned();
                let address = text.split("serves on ").nth(1)?.split(',').next()?.parse().ok()?;
                let hex = text.split("sha-256 ").nth(1)?.get(..64)?.to_owned();
                let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
                Some((address, std::array::from_fn(byte)))
            };
            let banner = soon("the banner", async {
                loop {
                    if let Some(banner) = read(&output) {
                        return Ok(banner);
                    }
                    if let Some(status) = child.try_wait().unwrap() {
                        return Err(status);
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            match banner {
                Ok((address, hash)) => return Self { child, address, hash, signer, directory, output, readers },
                // The port that was free in TCP may be somebody's in UDP.
                Err(status) => {
                    assert!(attempt < 20, "{status}: {}", String::from_utf8_lossy(&output.lock().unwrap()));
                }
            }
        }
        unreachable!()
    }

    pub fn ticket(&self, sub: &str) -> String {
        mint(&self.signer, sub, Map::new())
    }

    /// The process's id: the runner's, where a runner stays.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// A file of the system's about the process.
    pub fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.id())).unwrap()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> usize {
        let status = self.proc_file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a VmRSS");
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1_024
    }

    /// Files that are open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// A metric's value, as the server tells it.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = super::websocket::get(self.address, "/metrics").await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    pub async fn open(&self, transport: Transport, opening: Opening<'_>) -> Result<Peer, HttpAnswer> {
        match transport {
            Transport::WebSocket => {
                WsPeer::open(self.address, &opening).await.map(|peer| Peer::over(Link::Ws(Box::new(peer))))
            }
            _ => match WtPeer::open(self.address, self.hash, &opening).await {
                Ok(peer) => Ok(Peer::over(Link::Wt(Box::new(peer)))),
                Err(status) => Err(HttpAnswer { status, ..HttpAnswer::default() }),
            },
        }
    }

    pub async fn player(&self, transport: Transport, sub: &str, join: &str) -> Peer {
        let ticket = self.ticket(sub);
        let opening = Opening { ticket: Some(&ticket), join, ..Opening::default() };
        let mut peer = self.open(transport, opening).await.expect("let in");
        peer.welcomed().await;
        peer
    }

    /// Waits for the process to end by itself; returns what it wrote.
    pub async fn ends(&mut self) -> (ExitStatus, String) {
        let status = soon("the end of the process", self.child.wait()).await.unwrap();
        for reader in self.readers.drain(..) {
            soon("the end of its output", reader).await.unwrap();
        }
        (status, String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned())
    }
}

async fn collect(mut from: impl tokio::io::AsyncRead + Unpin, into: Arc<Mutex<Vec<u8>>>) {
    let mut room = [0; 8_192];
    while let Ok(count @ 1..) = from.read(&mut room).await {
        into.lock().unwrap().extend_from_slice(&room[..count]);
    }
}
