//! `muster key`: makes the keys that tickets are signed and verified with.
//!
//! Owns: the flags, and writing the files. Must not know: how keys are made; that is the `ticket` room.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::ticket::read_algorithm;
use crate::ticket::{Algorithm, GenerateFault, generate_key};

/// Makes keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key for signing tickets. The private key goes to FILE (readable by its owner only), the public key, which
    /// the server verifies with, to FILE.pub as a JWK set. HS256 has no public key: backend and server share FILE
    Generate(GenerateArgs),
}

/// The flags of `key generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// EdDSA, ES256, ES384, RS256, PS256 or HS256
    #[arg(long, default_value = "EdDSA", value_parser = read_algorithm)]
    pub alg: Algorithm,
    /// Where to write the private key
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}

impl KeyCommand {
    /// Runs the command; what is printed goes to `out`.
    ///
    /// # Errors
    /// [`KeyCommandError`] for what the caller has to mend.
    pub fn run(self, out: &mut impl Write) -> Result<ExitCode, KeyCommandError> {
        match self {
            Self::Generate(args) => args.run(out),
        }
    }
}

impl GenerateArgs {
    /// Makes the key and writes its files.
    ///
    /// # Errors
    /// [`KeyCommandError`] when a file is there already, or cannot be written.
    pub fn run(self, out: &mut impl Write) -> Result<ExitCode, KeyCommandError> {
        let public_path = with_suffix(&self.out, ".pub");
        let has_public = !self.alg.is_shared_secret();
        // Both are looked at before either is written: a refusal leaves no half of a pair behind.
        for path in [Some(&self.out), has_public.then_some(&public_path)].into_iter().flatten() {
            if !self.force && path.try_exists().unwrap_or(true) {
                return Err(KeyCommandError::Exists(path.clone()));
            }
        }
        let key = generate_key(self.alg)?;
        write_new(&self.out, &key.private, 0o600, self.force)?;
        writeln!(out, "{} {} private key: {}", key.algorithm, key.kid, self.out.display())?;
        if let Some(public) = key.public {
            write_new(&public_path, &public, 0o644, self.force)?;
            writeln!(out, "{} {} public key set: {}", key.algorithm, key.kid, public_path.display())?;
        }
        if self.alg == Algorithm::Ps256 {
            writeln!(out, "a PEM does not say PS256: mint with --alg PS256")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Why `muster key` could not do what it was asked: a line that says what to mend.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    /// There is a file of that name.
    #[error("{} is there already; choose another name, or --force to replace it", .0.display())]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// No key could be made.
    #[error(transparent)]
    Generate(#[from] GenerateFault),
    /// Standard output is broken.
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
}

/// Writes a file that did not exist, with its mode from its first moment. To replace one, the new file is written
/// beside it and renamed over it, so that neither the mode nor half of the content of the old one remains.
fn write_new(path: &Path, text: &str, mode: u32, replace: bool) -> Result<(), KeyCommandError> {
    let failed = |reason: io::Error| match reason.kind() {
        io::ErrorKind::AlreadyExists if !replace => KeyCommandError::Exists(path.to_owned()),
        _ => KeyCommandError::File { path: path.to_owned(), reason },
    };
    if !replace {
        return write_created(path, text, mode).map_err(failed);
    }
    let beside = with_suffix(path, &format!(".{}.new", std::process::id()));
    let written = write_created(&beside, text, mode).and_then(|()| fs::rename(&beside, path));
    written.map_err(|reason| {
        // What is left beside is of no use to anybody; the failure itself is what is reported.
        let _ = fs::remove_file(&beside);
        failed(reason)
    })
}

fn write_created(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
