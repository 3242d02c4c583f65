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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ticket::{KeyHint, KeyRing, Signer};

    /// A folder that is gone when the test is over.
    struct TempDir(PathBuf);

    impl TempDir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("muster-key-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn generate(alg: Algorithm, out: &Path, force: bool) -> Result<ExitCode, KeyCommandError> {
        GenerateArgs { alg, out: out.to_owned(), force }.run(&mut io::sink())
    }

    #[test]
    fn a_pair_is_written_and_never_overwritten_unasked() {
        let dir = TempDir::new("pair");
        let path = dir.0.join("ticket.pem");
        generate(Algorithm::EdDsa, &path, false).unwrap();
        assert_eq!(dir.names(), ["ticket.pem", "ticket.pem.pub"]);
        let first = fs::read_to_string(&path).unwrap();
        assert!(matches!(generate(Algorithm::EdDsa, &path, false), Err(KeyCommandError::Exists(_))));
        fs::remove_file(&path).unwrap();
        assert!(matches!(generate(Algorithm::EdDsa, &path, false), Err(KeyCommandError::Exists(_))));
        assert_eq!(dir.names(), ["ticket.pem.pub"], "no half of a new pair beside half of an old one");
        fs::write(&path, &first).unwrap();
        generate(Algorithm::EdDsa, &path, true).unwrap();
        let second = fs::read_to_string(&path).unwrap();
        assert_ne!(first, second);
        assert_eq!(dir.names(), ["ticket.pem", "ticket.pem.pub"], "nothing is left beside");
        let signer = Signer::from_text(&second, &KeyHint::default()).unwrap();
        let public = fs::read_to_string(dir.0.join("ticket.pem.pub")).unwrap();
        assert!(
            KeyRing::from_text(&public, &KeyHint::default()).unwrap().find(Some(signer.key().id().as_str())).is_some()
        );
    }

    #[test]
    fn a_shared_secret_has_no_public_file() {
        let dir = TempDir::new("secret");
        generate(Algorithm::Hs256, &dir.0.join("secret.jwk"), false).unwrap();
        assert_eq!(dir.names(), ["secret.jwk"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_private_key_is_for_its_owner_alone_even_where_it_replaces_a_file_that_was_not() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TempDir::new("mode");
        let path = dir.0.join("ticket.pem");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        generate(Algorithm::Es256, &path, false).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        generate(Algorithm::Es256, &path, true).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let dir = TempDir::new("none");
        let fault = generate(Algorithm::EdDsa, &dir.0.join("no/ticket.pem"), false).unwrap_err();
        assert!(fault.to_string().starts_with("cannot write ") && fault.to_string().lines().count() == 1, "{fault}");
    }
}
