//! The child that is measured: muster as a library, with the game of the measurements.

use std::net::Ipv4Addr;
use std::time::Duration;

use muster::config::{Config, LogLevel, Settings};
use muster::server::Server;

use crate::child::{Ready, wait_for_end};
use crate::fault::Fault;
use crate::options::ServeArgs;
use crate::{game, machine};

/// Serves until the tester is gone.
///
/// # Errors
/// What kept the server from starting.
pub fn run(args: &ServeArgs) -> Result<(), Fault> {
    let failed = |why: &dyn std::fmt::Display| Fault::local("the server under test", why);
    if let Some(core) = args.floor.core {
        machine::pin(core);
    }
    machine::allow_files(u64::from(MOST_LINKS)).or_else(|_| machine::allow_files(4_096))?;
    game::set_state_bytes(args.floor.state_bytes);
    let games = game::registry(args.floor.tick)
        .ok_or_else(|| Fault::Options(format!("--tick: one of {:?} ticks per second", game::RATES)))?;
    let config = Config::new(settings(args), true).map_err(|error| failed(&error))?;
    muster::logging::init(&config.log).map_err(|error| failed(&error))?;
    runtime().map_err(|error| failed(&error))?.block_on(async {
        let server = Server::start(config, games).await.map_err(|error| failed(&error))?;
        let ready =
            Ready { address: server.address(), certificate: server.certificate_hash(), admin: server.admin_address() };
        ready.say().map_err(|error| failed(&error))?;
        let (told, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            wait_for_end();
            // The server may be gone before the tester.
            let _ = told.send(());
        });
        let _ = ended.await;
        Ok(())
    })
}

/// As `muster serve` does it: one thread where there is one core.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The defaults, but for the limits that hold one address, or one minute, to what real players do.
fn settings(args: &ServeArgs) -> Settings {
    let mut settings = Settings::dev_preset();
    settings.listen = args.floor.listen;
    settings.log.level = LogLevel::Error;
    settings.tickets.keys = vec![args.keys.clone()];
    if let Some(token) = &args.admin_token {
        // As an operator has it who means it: what is revoked is on the disk before it is answered.
        settings.admin.listen = Some((Ipv4Addr::LOCALHOST, 0).into());
        settings.admin.token_file = Some(token.clone());
        settings.revocations.store = Some(token.with_extension(REVOCATIONS[0]));
    }
    settings.limits.links = MOST_LINKS as usize;
    settings.limits.pending_links = MOST_LINKS as usize;
    settings.limits.pending_per_address = MOST_LINKS as usize;
    settings.limits.connects_per_second = 1_000_000;
    settings.limits.lobby_capacity = args.floor.per_session;
    settings.limits.inputs_per_tick = 8;
    settings.limits.heartbeat = Duration::from_secs(60);
    settings.limits.handshake = Duration::from_secs(30);
    settings
}

/// The extensions of the file of revocations and of its lock, beside the file of the token.
pub const REVOCATIONS: [&str; 2] = ["revoked", "revoked.lock"];
const MOST_LINKS: u32 = 60_000;
