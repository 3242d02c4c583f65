//! `muster cert generate`: a self-made certificate in files, for tests and private networks.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use clap::{Args, Subcommand};

use super::{Failure, print, unix_now};
use crate::certificate::{DEV_NAMES, generate};

/// What `muster cert` takes.
#[derive(Debug, Args)]
pub(super) struct CertCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes a self-signed certificate (ECDSA P-256) and its key: cert.pem and key.pem
    Generate(GenerateArgs),
}

#[derive(Debug, Args)]
struct GenerateArgs {
    /// Folder for cert.pem and key.pem; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Days of validity; browsers take at most 14 by hash
    #[arg(long, default_value_t = crate::certificate::DEV_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Host name or IP address it is for; may be given more than once [default: localhost, 127.0.0.1, ::1]
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

impl CertCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        let What::Generate(args) = self.what;
        print(&args.run(unix_now())?)
    }
}

impl GenerateArgs {
    /// Writes both files and says what is in them. `now` is Unix time.
    fn run(self, now: u64) -> Result<String, Failure> {
        let names: Vec<&str> =
            if self.names.is_empty() { DEV_NAMES.to_vec() } else { self.names.iter().map(String::as_str).collect() };
        let made = generate(&names, self.days, now)?;
        let (certificate, key) = (self.out.join("cert.pem"), self.out.join("key.pem"));
        if let Some(there) = [&certificate, &key].into_iter().find(|path| !self.force && path.exists()) {
            let reason = format!("{}: is there already; use another --out, or --force", there.display());
            return Err(Failure::Failed(reason));
        }
        std::fs::create_dir_all(&self.out).map_err(|error| unwritten(&self.out, &error))?;
        write(&key, &made.key_pem, true)?;
        write(&certificate, &made.certificate_pem, false)?;
        let hash = base64::engine::general_purpose::STANDARD.encode(made.identity.hash());
        let browsers = if made.identity.hash_usable_by_browsers() {
            "browsers take it by this hash (serverCertificateHashes)"
        } else {
            "browsers do not take it by hash: it is valid for more than 14 days"
        };
        Ok(format!(
            "certificate  {}\nkey          {}\nnames        {}\ndays         {}\nsha-256      {hash}\n             {browsers}\n",
            certificate.display(),
            key.display(),
            names.join(", "),
            self.days,
        ))
    }
}

/// Writes beside the file and moves it into place, so that a running server never reads half of it. A secret is
/// readable by its owner alone from its first byte on.
fn write(path: &Path, text: &str, secret: bool) -> Result<(), Failure> {
    let beside = path.with_extension("pem.new");
    let attempt = || {
        // What a broken run left behind may have other permissions.
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
        #[cfg(not(unix))]
        let _ = secret;
        options.open(&beside)?.write_all(text.as_bytes())?;
        std::fs::rename(&beside, path)
    };
    attempt().map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{}: cannot write ({error}): choose another --out", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::certificate::CertificateStore;

    fn args(out: &Path, force: bool) -> GenerateArgs {
        GenerateArgs { out: out.to_owned(), days: 13, names: vec!["localhost".into()], force }
    }

    #[test]
    fn generated_files_can_be_served_with_and_are_not_overwritten_unasked() {
        let out = std::env::temp_dir().join(format!("muster-cert-{}", std::process::id()));
        args(&out, false).run(1_800_000_000).unwrap();
        let (certificate, key) = (out.join("cert.pem"), out.join("key.pem"));
        let first = CertificateStore::from_files(&certificate, &key).unwrap().current().hash();
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        match args(&out, false).run(1_800_000_000) {
            Err(Failure::Failed(reason)) => assert!(reason.contains("cert.pem: is there already"), "{reason}"),
            other => panic!("{other:?}"),
        }
        args(&out, true).run(1_800_000_000).unwrap();
        assert_ne!(CertificateStore::from_files(&certificate, &key).unwrap().current().hash(), first);
        std::fs::remove_dir_all(&out).unwrap();
    }
}
