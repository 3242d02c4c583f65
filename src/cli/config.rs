//! `muster config`: what is in force, whether it can be served with, and the reference page.

use clap::{Args, Subcommand};

use super::serve::ConfigurationArgs;
use super::{Failure, print, unix_now};
use crate::config::{reference, show};
use crate::server;

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
    /// Checks the configuration and every file that it names without serving: a line for each fault, exit code 78. Addresses
    /// are not asked
    Check(ConfigurationArgs),
    /// Prints the reference of every key (docs/configuration.md)
    Reference,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Show(args) => print(&show(&args.load_unchecked()?)?),
            What::Check(args) => {
                let faults = server::check(&args.load()?, unix_now());
                if !faults.is_empty() {
                    return Err(Failure::Configs(faults.iter().map(ToString::to_string).collect()));
                }
                print("ok\n")
            }
            What::Reference => print(&reference()?),
        }
    }
}
