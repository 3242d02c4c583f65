//! The keys that tickets are judged by, and in development the one that signs them.

use std::path::PathBuf;

use serde_json::Value;

use super::ServeError;
use crate::config::Config;
use crate::ticket::{
    Algorithm, Claims, KeyHint, KeyRing, MintFault, Signer, Ticket, TicketPolicy, UnixSeconds, Verifier, generate_key,
};

/// Where keys come from.
pub struct Keys {
    files: Vec<PathBuf>,
    policy: TicketPolicy,
    ring: KeyRing,
    /// With `--dev` and no key files: muster's own.
    signer: Option<Signer>,
}
