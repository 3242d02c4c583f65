//! `muster config`: what is in force, whether it can be served with, and the reference page.

use clap::{Args, Subcommand};

use super::serve::ConfigurationArgs;
use super::{Failure, print, unix_now};
use crate::certificate::CertificateStore;
use crate::config::{reference, show};

/// What `muster config` takes.
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Prints the configuration in force as TOML, with the meaning, unit and default of every key
    Show(ConfigurationArgs),
    /// Checks the configuration and the certificate files without serving; exit code 78 if they cannot be served with
    Check(ConfigurationArgs),
    /// Prints the reference of every key (docs/configuration.md)
    Reference,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Show(args) => print(&show(&args.load_unchecked()?)?),
            What::Check(args) => {
                let config = args.load()?;
                if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
                    let expired = CertificateStore::from_files(certificate, key)?.current().not_after() < unix_now();
                    if expired {
                        let problem = "has expired: renew it, muster takes up the new one by itself";
                        return Err(Failure::Config(format!("{}: {problem}", certificate.display())));
                    }
                }
                print("ok\n")
            }
            What::Reference => print(&reference()?),
        }
    }
}
