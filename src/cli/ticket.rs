//! `muster ticket`: mint one for a test, or see why one is refused.
//!
//! Owns: the flags, and reading key files, standard input, the wall clock and randomness. Must not know: what makes a
//! ticket good; that is the `ticket` room.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::Failure;
use super::judge::judge;
use crate::config::{Config, Sources};
use crate::ids::PlayerId;
use crate::server;
use crate::ticket::{
    Algorithm, Claims, KeyFault, KeyHint, KeyId, KeyRing, MintFault, Signer, TicketFault, TicketId, TicketPolicy,
    UnixSeconds, Verifier,
};
use crate::wire::Code;

/// Mints and checks tickets.
#[derive(Debug, Subcommand)]
pub enum TicketCommand {
    /// Sign a ticket and print it.
    Mint(MintArgs),
    /// Check the ticket on standard input, by one key file or by a whole configuration: print its claims (exit 0), or code
    /// and slug of the refusal (exit 1).
    Verify(VerifyArgs),
}

/// The flags of `ticket mint`.
#[derive(Debug, Args)]
pub struct MintArgs {
    /// The private key: a PEM (PKCS#8) or a JWK, as `muster key generate` writes them
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Who the player is: 1 to 64 bytes of text
    #[arg(long, value_name = "NAME")]
    pub sub: String,
    /// How long the ticket is good: 60s, 2m. Servers accept up to 120s by default
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = read_duration)]
    pub ttl: Duration,
    /// The claim `session_exp`: when the player must have shown a fresh ticket, counted from now: 10m, 1h [default: never]
    #[arg(long, value_name = "TIME", value_parser = read_duration)]
    pub session: Option<Duration>,
    /// The claim `iss`
    #[arg(long, value_name = "TEXT", default_value = "muster")]
    pub iss: String,
    /// The claim `aud`
    #[arg(long, value_name = "TEXT", default_value = "muster")]
    pub aud: String,
    /// The key's name [default: the JWK's own, else the thumbprint of RFC 7638]
    #[arg(long)]
    pub kid: Option<String>,
    /// The algorithm [default: what the key is for; RS256 for RSA]
    #[arg(long, value_parser = read_algorithm)]
    pub alg: Option<Algorithm>,
    /// A further claim, the value in JSON: --claim rating=1500 --claim 'game="arena"'. Repeat for more; one that names a
    /// claim set above (exp, iat, jti, …) replaces it
    #[arg(long = "claim", value_name = "KEY=JSON", value_parser = read_claim)]
    pub claims: Vec<(String, Value)>,
}

/// The flags of `ticket verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The keys: a PEM, a JWK or a JWK set
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    pub keys: Option<PathBuf>,
    /// Judge as a server with this configuration does, variables included: by any of its issuers. Says which one accepts the
    /// ticket, or why each of them does not. Keys that an issuer publishes at an address are not asked for
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keys", "iss", "aud", "kid", "alg"])]
    pub config: Option<PathBuf>,
    /// The `iss` to ask for
    #[arg(long, value_name = "TEXT", default_value = "muster")]
    pub iss: String,
    /// The `aud` to ask for
    #[arg(long, value_name = "TEXT", default_value = "muster")]
    pub aud: String,
    /// The name of a PEM's key [default: the thumbprint of RFC 7638]
    #[arg(long)]
    pub kid: Option<String>,
    /// The algorithm of a key that fits several [default: what the key is for; RS256 for RSA]
    #[arg(long, value_parser = read_algorithm)]
    pub alg: Option<Algorithm>,
    /// Say which check failed, as --config does by itself. A server never tells a client
    #[arg(long)]
    pub explain: bool,
}

impl TicketCommand {
    /// Runs the command: the ticket to check comes from `input`, what is printed goes to `out`.
    ///
    /// # Errors
    /// What the caller has to mend. A refused ticket is no error but exit code 1.
    // The wall clock enters here and travels as a value.
    #[allow(clippy::disallowed_methods)]
    pub(super) fn run(self, input: &mut impl Read, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixSeconds(now.as_secs());
        match self {
            Self::Mint(args) => {
                let mut random = [0; 16];
                getrandom::fill(&mut random).map_err(|_| Failure::failed(TicketCommandError::NoRandomness))?;
                args.run(out, now, u128::from_be_bytes(random)).map_err(Failure::failed)
            }
            Self::Verify(VerifyArgs { config: Some(file), .. }) => by_configuration(file, input, out, now),
            Self::Verify(args) => args.run(input, out, now).map_err(Failure::failed),
        }
    }
}

impl MintArgs {
    /// Prints a ticket that is signed at `now` and has the id that `random` stands for.
    ///
    /// # Errors
    /// [`TicketCommandError`] for a key that cannot be read or does not sign, a name that no server accepts, a closed output.
    pub fn run(self, out: &mut impl Write, now: UnixSeconds, random: u128) -> Result<ExitCode, TicketCommandError> {
        let player = PlayerId::new(&self.sub).map_err(|_| TicketCommandError::BadPlayer)?;
        let hint = key_hint(self.kid.as_deref(), self.alg)?;
        let signer = Signer::from_text(&read_key_file(&self.key)?, &hint).map_err(in_file(&self.key))?;
        let session_end = self.session.map(|session| ("session_exp".to_owned(), now.plus(session).0.into()));
        let claims = Claims {
            issuer: self.iss,
            audience: self.aud,
            player: player.as_str().to_owned(),
            ticket_id: TicketId::from_random(random),
            issued_at: now,
            expires_at: now.plus(self.ttl),
            more: session_end.into_iter().chain(self.claims).collect::<Map<_, _>>(),
        };
        writeln!(out, "{}", signer.mint(&claims)?.reveal())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl VerifyArgs {
    /// Checks the ticket in `input` at `now` by the keys of one file, and prints its claims, or why the wire would refuse it.
    ///
    /// # Errors
    /// [`TicketCommandError`] for keys that cannot be read, or a broken input or output.
    pub fn run(
        self,
        input: &mut impl Read,
        out: &mut impl Write,
        now: UnixSeconds,
    ) -> Result<ExitCode, TicketCommandError> {
        let hint = key_hint(self.kid.as_deref(), self.alg)?;
        let keys = self.keys.unwrap_or_default();
        let ring = KeyRing::from_text(&read_key_file(&keys)?, &hint).map_err(in_file(&keys))?;
        let policy = TicketPolicy { issuer: Some(self.iss), audience: Some(self.aud), ..TicketPolicy::default() };
        let verified = match read_token(input, policy.max_bytes)? {
            Ok(token) => Verifier::new(ring, policy).judge(&token, now).map_err(|refusal| refusal.fault),
            Err(fault) => Err(fault),
        };
        match verified {
            Ok((_, claims)) => {
                out.write_all(format!("{:#}\n", Value::Object(claims)).as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
            Err(fault) => {
                writeln!(out, "{} {}", Code::BadTicket.number(), Code::BadTicket.slug())?;
                if self.explain {
                    writeln!(out, "{}: {fault}", fault.slug())?;
                }
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

/// Checks the ticket in `input` at `now` as a server would that is configured so.
fn by_configuration(
    file: PathBuf,
    input: &mut impl Read,
    out: &mut impl Write,
    now: UnixSeconds,
) -> Result<ExitCode, Failure> {
    let environment = std::env::vars_os().collect();
    let config = Config::load(&Sources { file: Some(file), environment, ..Sources::default() })?;
    let verifier = server::verifier(&config)?;
    let token = read_token(input, config.limits.ticket_bytes).map_err(Failure::failed)?;
    judge(&config, &verifier, token.as_deref().map_err(|fault| *fault), now, out).map_err(Failure::failed)
}

/// Why `muster ticket` could not do what it was asked: a line that says what to mend.
#[derive(Debug, thiserror::Error)]
pub enum TicketCommandError {
    /// The key file cannot be read.
    #[error("cannot read the key file {}: {reason}", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// What is in the key file is not a good key.
    #[error("{}: {fault}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// `--kid`.
    #[error("--kid: {0}")]
    Kid(KeyFault),
    /// `--sub`.
    #[error("--sub must be 1 to 64 bytes of text without control characters or white space at the ends")]
    BadPlayer,
    /// The key did not sign.
    #[error(transparent)]
    Mint(#[from] MintFault),
    /// The system gives no random bits.
    #[error("the system has no randomness to give")]
    NoRandomness,
    /// Standard input or output is broken.
    #[error("cannot read or write: {0}")]
    Io(#[from] io::Error),
}

fn key_hint(kid: Option<&str>, algorithm: Option<Algorithm>) -> Result<KeyHint, TicketCommandError> {
    let kid = kid.map(KeyId::new).transpose().map_err(TicketCommandError::Kid)?;
    Ok(KeyHint { kid, algorithm })
}

fn read_key_file(path: &Path) -> Result<String, TicketCommandError> {
    // One byte past what a key text may have is enough for the reader of keys to refuse it.
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_KEY_FILE_BYTES + 1).read_to_string(&mut text));
    read.map(|_| text).map_err(|reason| TicketCommandError::KeyFile { path: path.to_owned(), reason })
}

fn in_file(path: &Path) -> impl FnOnce(KeyFault) -> TicketCommandError {
    move |fault| TicketCommandError::Key { path: path.to_owned(), fault }
}

/// Reads one token, keeping no more of the input than a token may have. The rest is read and dropped, so that the
/// program that writes it does not die of a closed pipe.
fn read_token(input: &mut impl Read, max_bytes: usize) -> Result<Result<String, TicketFault>, io::Error> {
    const WHITE_SPACE: u64 = 64;
    let mut bytes = Vec::new();
    input.take(max_bytes as u64 + WHITE_SPACE).read_to_end(&mut bytes)?;
    let rest = io::copy(&mut input.take(MAX_DROPPED_BYTES), &mut io::sink())?;
    if rest > 0 {
        return Ok(Err(TicketFault::TooLong));
    }
    let text = String::from_utf8(bytes).map_err(|_| TicketFault::NotAToken);
    Ok(text.map(|text| text.trim().to_owned()))
}

pub(crate) fn read_algorithm(text: &str) -> Result<Algorithm, KeyFault> {
    text.parse()
}

fn read_claim(text: &str) -> Result<(String, Value), String> {
    let (name, json) = text.split_once('=').ok_or("expected KEY=JSON")?;
    if name.is_empty() {
        return Err("expected KEY=JSON".into());
    }
    let value = serde_json::from_str(json)
        .map_err(|_| format!("the value must be JSON; a text needs its quotes: --claim '{name}=\"…\"'"))?;
    Ok((name.to_owned(), value))
}

fn read_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("expected a time such as 60s, 2m or 1h".into()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a time such as 60s, 2m or 1h")?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "that is too long".into())
}

const MAX_KEY_FILE_BYTES: u64 = KeyRing::MAX_TEXT_BYTES as u64;
const MAX_DROPPED_BYTES: u64 = 64 * 1_024 * 1_024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ticket::generate_key;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    /// A file that is gone when the test is over.
    struct TempFile(PathBuf);

    impl TempFile {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("muster-ticket-{}-{name}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for TempFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn mint(key: &TempFile, claims: &[&str]) -> String {
        let args = MintArgs {
            key: key.0.clone(),
            sub: "ada".into(),
            ttl: Duration::from_secs(60),
            session: Some(Duration::from_secs(600)),
            iss: "muster".into(),
            aud: "muster".into(),
            kid: None,
            alg: None,
            claims: claims.iter().map(|claim| read_claim(claim).unwrap()).collect(),
        };
        let mut out = Vec::new();
        args.run(&mut out, NOW, 7).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn verify(key: &TempFile, input: &[u8], explain: bool) -> (bool, String) {
        let (iss, aud) = ("muster".into(), "muster".into());
        let keys = Some(key.0.clone());
        let args = VerifyArgs { keys, config: None, iss, aud, kid: None, alg: None, explain };
        let (mut input, mut out) = (input, Vec::new());
        let code = args.run(&mut input, &mut out, NOW).unwrap();
        assert!(input.is_empty(), "the whole input is taken");
        (code == ExitCode::SUCCESS, String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_mint_prints_verify_accepts_and_shows() {
        let key = TempFile::new("good.key", &generate_key(Algorithm::EdDsa).unwrap().private);
        let (good, text) = verify(&key, mint(&key, &["rating=1500", r#"game="arena""#]).as_bytes(), false);
        assert!(good, "{text}");
        let claims: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            claims,
            serde_json::json!({
                "iss": "muster", "aud": "muster", "sub": "ada", "jti": TicketId::from_random(7).as_str(),
                "iat": NOW.0, "exp": NOW.0 + 60, "session_exp": NOW.0 + 600, "rating": 1500, "game": "arena",
            })
        );
    }

    #[test]
    fn a_refusal_is_a_code_and_a_slug_and_only_explain_says_more() {
        let key = TempFile::new("refuse.key", &generate_key(Algorithm::EdDsa).unwrap().private);
        let refused = "4401 bad-ticket\n";
        let expired = mint(&key, &["exp=5"]);
        let megabyte = "a".repeat(1_000_000);
        for (input, check) in [
            (expired.as_bytes(), "expired"),
            (megabyte.as_bytes(), "too-long"),
            (b"".as_slice(), "not-a-token"),
            (b"\xff\xfe".as_slice(), "not-a-token"),
        ] {
            assert_eq!(verify(&key, input, false), (false, refused.to_owned()));
            let (good, text) = verify(&key, input, true);
            assert!(!good && text.starts_with(&format!("{refused}{check}: ")), "{text}");
        }
    }

    #[test]
    fn a_key_file_that_is_not_there_or_no_key_is_one_line_that_names_it() {
        let args = |key: &Path, sub: &str| MintArgs {
            key: key.to_owned(),
            sub: sub.into(),
            ttl: Duration::from_secs(60),
            session: None,
            iss: "muster".into(),
            aud: "muster".into(),
            kid: None,
            alg: None,
            claims: Vec::new(),
        };
        let no_key = TempFile::new("no.key", "hello");
        let gone = std::env::temp_dir().join("muster-ticket-no-such-file");
        for path in [&no_key.0, &gone] {
            let fault = args(path, "ada").run(&mut io::sink(), NOW, 7).unwrap_err().to_string();
            assert!(fault.contains(&path.display().to_string()) && fault.lines().count() == 1, "{fault}");
        }
        let fault = args(&no_key.0, " ada").run(&mut io::sink(), NOW, 7).unwrap_err();
        assert!(matches!(fault, TicketCommandError::BadPlayer));
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(read_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(read_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(read_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "-1s", "1.5s", "60 s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(read_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_claim_is_a_name_and_json() {
        assert_eq!(read_claim("rating=1500"), Ok(("rating".into(), Value::from(1500))));
        assert_eq!(read_claim(r#"note="a=b""#), Ok(("note".into(), Value::from("a=b"))));
        for bad in ["rating", "=1", "game=arena", "x="] {
            assert!(read_claim(bad).is_err(), "{bad:?}");
        }
    }
}
