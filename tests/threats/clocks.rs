//! The real commands under clocks that are wrong: libfaketime changes the wall clock of a process, and leaves it the
//! monotonic one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use muster::outbox::Transport;
use muster::ticket::{Algorithm, KeyHint, Signer, generate_key};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::common::process::{Process, write_certificate, write_keys};
use crate::common::{BOTH, Opening, scratch, soon};

/// Files of a server, with the private key beside them; gone with this.
struct Issuer {
    directory: PathBuf,
    signer: Signer,
    library: String,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Issuer {
    fn new(library: String) -> Self {
        muster::ticket::install_crypto();
        let key = generate_key(Algorithm::EdDsa).unwrap();
        let directory = scratch();
        std::fs::write(directory.join("private.pem"), &key.private).unwrap();
        Self { directory, signer: Signer::from_text(&key.private, &KeyHint::default()).unwrap(), library }
    }

    /// The variables of a process whose clock is that far ahead, or is read from a file.
    fn clock<'a>(&'a self, clock: &'a [(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let preload = [("LD_PRELOAD", self.library.as_str()), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        preload.into_iter().chain(clock.iter().copied()).collect()
    }

    async fn server(&self, clock: &[(&str, &str)]) -> Process {
        let directory = scratch();
        write_certificate(&directory);
        write_keys(&directory, &[&self.signer]);
        let signer = Signer::from_text(
            &std::fs::read_to_string(self.directory.join("private.pem")).unwrap(),
            &KeyHint::default(),
        );
        Process::launch_in(directory, signer.unwrap(), &[], &self.clock(clock), &[]).await
    }

    /// Runs `muster` under a clock, and gives it something to read.
    async fn muster(&self, clock: &[(&str, &str)], arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.current_dir(&self.directory).env_clear().envs(self.clock(clock)).args(arguments).kill_on_drop(true);
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = streams.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads nothing may be gone by now.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        soon("the end of a command", child.wait_with_output()).await.unwrap()
    }

    async fn ticket(&self, clock: &str, player: &str) -> String {
        let mint = ["ticket", "mint", "--key", "private.pem", "--sub", player, "--ttl", "100s"];
        let output = self.muster(&[("FAKETIME", clock)], &mint, "").await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What `muster ticket verify` says under a clock.
    async fn verdict(&self, clock: &str, ticket: &str) -> String {
        let verify = ["ticket", "verify", "--keys", "private.pem", "--explain"];
        let output = self.muster(&[("FAKETIME", clock)], &verify, ticket).await;
        let said = String::from_utf8(output.stdout).unwrap();
        if output.status.success() { "taken".to_owned() } else { said.lines().last().unwrap_or_default().to_owned() }
    }

    /// What `muster play` ends with over a transport: its exit code, and what it said last.
    async fn play(&self, server: &Process, over: Transport, ticket: &str) -> (Option<i32>, String) {
        let url = format!("muster://{}", server.address);
        let authority = server.directory.join("cert.pem");
        let play = ["play", "--url", &url, "--ca", authority.to_str().unwrap(), "--seconds", "1", "--json"];
        let play = [&play[..], &["--transport", over.as_str(), "--ticket", ticket]].concat();
        // The player's own clock is right: its certificate check is not what is tested.
        let output = self.muster(&[("FAKETIME", "+0")], &play, "").await;
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

/// How far the minter's clock is ahead of the judge's, what `ticket verify` says of it, and what a player is told.
const SKEWS: [(i64, &str, &str); 4] = [
    (3_600, "not-yet-valid: ", "bad-ticket (4401)"),
    (-3_600, "expired: ", "ticket-expired (4401)"),
    (3, "taken", ""),
    (-3, "taken", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_by_a_clock_that_is_an_hour_off_is_refused_for_that_and_seconds_are_not() {
    let Some(library) = faketime().await else { return };
    let issuer = Issuer::new(library);
    let right = issuer.server(&[("FAKETIME", "+0")]).await;
    for (ahead, verdict, told) in SKEWS {
        // Either clock may be the wrong one.
        let (wrong, off) = (format!("{ahead:+}"), format!("{:+}", -ahead));
        assert!(issuer.verdict("+0", &issuer.ticket(&wrong, "ada").await).await.starts_with(verdict), "{ahead}");
        assert!(issuer.verdict(&off, &issuer.ticket("+0", "ada").await).await.starts_with(verdict), "{ahead}");
        let skewed = issuer.server(&[("FAKETIME", &off)]).await;
        for over in BOTH {
            for (server, minter) in [(&right, wrong.as_str()), (&skewed, "+0")] {
                let (code, said) = issuer.play(server, over, &issuer.ticket(minter, "ada").await).await;
                let refused = !told.is_empty();
                assert_eq!(code, Some(i32::from(refused)), "{ahead} s over {over:?}: {said}");
                assert!(said.contains(told), "{ahead} s over {over:?}: {said}");
            }
        }
    }
    for reason in ["expired", "not-yet-valid"] {
        let refused = format!("muster_tickets_refused_total{{issuer=\"muster\",reason=\"{reason}\"}}");
        assert_eq!(right.metric(&refused).await, 2, "{reason}");
    }
    for line in ["ticket of muster: the ticket has expired", "its `iat` or `nbf` is ahead of this clock"] {
        right.wrote(line, |text| text.contains(line).then_some(())).await;
    }
    println!("16 players by clocks that differ: an hour is refused either way, three seconds are not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_and_back_under_a_server_brings_no_used_ticket_back() {
    let Some(library) = faketime().await else { return };
    let issuer = Issuer::new(library);
    let file = issuer.directory.join("clock");
    std::fs::write(&file, "+0\n").unwrap();
    let server =
        issuer.server(&[("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()), ("FAKETIME_NO_CACHE", "1")]).await;
    let open = async |ticket: &str| {
        let opening = Opening { ticket: Some(ticket), ..Opening::default() };
        match server.open(Transport::WebSocket, opening).await {
            Ok(mut peer) => {
                peer.welcomed().await;
                Ok(peer)
            }
            Err(answer) => Err((answer.status, answer.body)),
        }
    };
    let used = issuer.ticket("+0", "ada").await;
    let mut ada = open(&used).await.expect("a first use");
    // Late enough for the server to forget it: others come.
    std::fs::write(&file, "+600\n").unwrap();
    for _ in 0..3 {
        open(&issuer.ticket("+600", "bob").await).await.expect("a ticket of that time");
    }
    assert!(open(&used).await.is_err(), "it has expired");
    std::fs::write(&file, "+0\n").unwrap();
    let (status, body) = open(&used).await.err().expect("refused");
    assert!(status == 401 || status == 409, "{status} {body}");
    open(&issuer.ticket("+5", "bob").await).await.expect("a fresh ticket").ping().await;
    // No time but that of tickets is the wall clock's.
    ada.ping().await;
}

/// The library that changes clocks, where it is installed and does so.
async fn faketime() -> Option<String> {
    let found = std::fs::read_dir("/usr/lib").ok().and_then(|folders| {
        let mut libraries = folders
            .flatten()
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .filter(|path| path.exists());
        libraries.next()?.to_str().map(str::to_owned)
    });
    let works = match &found {
        Some(library) => year_by(library).await.is_some_and(|year| year == "1999"),
        None => false,
    };
    if !works {
        // Past what cargo keeps back of tests that pass.
        let _ = writeln!(std::io::stderr(), "NOT CHECKED: faketime is not here, so nothing ran under a changed clock");
    }
    found.filter(|_| works)
}

async fn year_by(library: &str) -> Option<String> {
    let date = ["/usr/bin/date", "/bin/date"].into_iter().find(|path| Path::new(path).exists())?;
    let variables = [("LD_PRELOAD", library), ("FAKETIME", "@1999-06-01 12:00:00")];
    let output = Command::new(date).arg("+%Y").env_clear().envs(variables).output().await.ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
