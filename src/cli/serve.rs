//! `muster serve`, and the flags that every command with a configuration shares.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Failure;
use crate::config::{self, Config, LogFormat, LogLevel, Override, Settings, Sources};
use crate::game::Registry;
use crate::logging;
use crate::server::Server;

/// What `muster serve` takes.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub(super) configuration: ConfigurationArgs,
}

impl ServeArgs {
    /// Serves until a signal says stop.
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.configuration.load()?;
        logging::init(&config.log).map_err(Failure::failed)?;
        runtime().map_err(Failure::failed)?.block_on(async {
            let dev = config.dev();
            let server = Server::start(config, Registry::built_in()).await?;
            super::print(&banner(&server, dev))?;
            server.stop_on_signal().await;
            Ok(())
        })
    }
}

/// One thread where there is one core: no work is handed between threads that cannot run at the same time.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = if cores == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.enable_all().build()
}

/// What somebody who starts the server needs next.
fn banner(server: &Server, dev: bool) -> String {
    let address = server.address();
    let mut text = format!("muster {} serves on {address}, TCP and UDP\n", env!("CARGO_PKG_VERSION"));
    if let Some(hash) = server.certificate_hash() {
        text += &format!("  certificate  sha-256 {}\n", hex(&hash));
    }
    if let Some(admin) = server.admin_address() {
        text += &format!("  admin        http://{admin}/openapi.json\n");
    }
    if !dev {
        return text;
    }
    let scheme = format!("http://{address}/");
    text += &format!("  page         {scheme}\n");
    if let Some(ticket) = server.dev_ticket("guest") {
        text += &format!(
            "  ticket       {}\n               for the player `guest`, good for one arrival within 2 minutes; more at {scheme}dev/ticket\n",
            ticket.reveal()
        );
    }
    let url = if address.port() == DEFAULT_PORT { String::new() } else { format!(" --url muster://{address}") };
    text += &format!("  play         cargo run --release -- play{url}\n");
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const DEFAULT_PORT: u16 = 7777;

/// Flags that name the configuration or go over it.
#[derive(Debug, Args)]
pub(super) struct ConfigurationArgs {
    /// Serve for development: own key, own certificate, tickets for loopback at /dev/ticket
    #[arg(long)]
    dev: bool,
    /// Configuration file (TOML); without it the variable MUSTER_CONFIG may name one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on, TCP and UDP [default: 127.0.0.1:7777]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<String>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
    /// Keys that tickets are checked with (PEM, JWK or JWK set); may be given more than once
    #[arg(long, value_name = "FILE")]
    keys: Vec<String>,
    /// Address and port for /metrics alone
    #[arg(long, value_name = "IP:PORT")]
    metrics_listen: Option<String>,
    /// How logs are written [default: text]
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// The least severity that is logged [default: info]
    #[arg(long, value_enum)]
    log_level: Option<LogLevel>,
}

impl ConfigurationArgs {
    /// Reads file, environment and flags, and checks the whole.
    pub(super) fn load(self) -> Result<Config, Failure> {
        let environment = std::env::vars_os().collect();
        Ok(Config::load(&self.into_sources(environment))?)
    }

    /// Reads file, environment and flags, each value checked by itself. To be looked at, not to be served with.
    pub(super) fn load_unchecked(self) -> Result<Settings, Failure> {
        Ok(config::load(&self.into_sources(std::env::vars_os().collect()))?)
    }

    fn into_sources(self, environment: Vec<(std::ffi::OsString, std::ffi::OsString)>) -> Sources {
        let keys: Vec<toml::Value> = self.keys.into_iter().map(toml::Value::String).collect();
        let keys = (!keys.is_empty()).then(|| toml::Value::Array(keys).to_string());
        let flags = [
            ("--listen", "listen", self.listen),
            ("--tls-cert", "tls.certificate", self.tls_cert),
            ("--tls-key", "tls.key", self.tls_key),
            ("--keys", "tickets.keys", keys),
            ("--metrics-listen", "metrics.listen", self.metrics_listen),
            ("--log-format", "log.format", self.log_format.and_then(name_of)),
            ("--log-level", "log.level", self.log_level.and_then(name_of)),
        ];
        let set = |(flag, key, value): (_, _, Option<String>)| value.map(|value| Override { flag, key, value });
        Sources { dev: self.dev, file: self.config, environment, flags: flags.into_iter().filter_map(set).collect() }
    }
}

fn name_of(value: impl ValueEnum) -> Option<String> {
    value.to_possible_value().map(|value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Probe {
        #[command(flatten)]
        args: ConfigurationArgs,
    }

    fn load(flags: &[&str]) -> Result<Config, String> {
        let probe = Probe::try_parse_from(std::iter::once(&"probe").chain(flags)).map_err(|error| error.to_string())?;
        Config::load(&probe.args.into_sources(Vec::new())).map_err(|error| error.to_string())
    }

    #[test]
    fn every_flag_reaches_its_knob() {
        let config = load(&[
            "--listen=[::]:1",
            "--tls-cert=c.pem",
            "--tls-key=k.pem",
            "--keys=a,b.jwk",
            "--keys=c.jwk",
            "--metrics-listen=127.0.0.1:2",
            "--log-format=json",
            "--log-level=debug",
        ])
        .unwrap();
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.tls.certificate, Some("c.pem".into()));
        assert_eq!(config.tls.key, Some("k.pem".into()));
        assert_eq!(config.tickets.keys, [PathBuf::from("a,b.jwk"), PathBuf::from("c.jwk")]);
        assert_eq!(config.metrics.listen.unwrap().port(), 2);
        assert_eq!((config.log.format, config.log.level), (LogFormat::Json, LogLevel::Debug));
        assert!(!config.dev());
    }

    #[test]
    fn a_flag_with_a_bad_value_is_named() {
        let error = load(&["--dev", "--listen=7777"]).unwrap_err();
        assert!(error.starts_with("--listen: \"7777\" is not a value of listen (IP:port)"), "{error}");
        assert!(load(&["--dev", "--tls-cert=c.pem"]).unwrap_err().contains("--tls-key"));
    }
}
