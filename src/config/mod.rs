//! What the operator sets: read from a file, the environment and flags, checked as a whole, then handed on.
//!
//! Owns: the tree of settings, where a value came from, the text that explains each knob. Must not know: sockets, the
//! clock, what a value is used for. Invariant: a [`Config`] exists only if every value in it has been checked, and it
//! is made in one direction: sources -> [`Settings`] -> [`Config`].

mod error;
mod forward;
mod issuers;
mod knobs;
mod load;
mod origin;
mod settings;
mod show;
mod validate;

pub use error::{ConfigError, ListenError};
pub use forward::{ForwardSettings, Outbound};
pub(crate) use issuers::is_fetchable;
pub use issuers::{IssuerSettings, OWN_NAME, Profile};
pub use knobs::{KNOBS, Knob};
pub use load::{CONFIG_VARIABLE, Override, Sources, load};
pub(crate) use origin::is_loopback_authority;
pub use origin::{Origin, OriginPolicy};
pub use settings::{
    Carrier, Log, LogFormat, LogLevel, Metrics, Origins, Sessions, Settings, TicketSettings, Tls, TlsWebSocket,
    Transport,
};
pub use show::{reference, show};
pub use validate::Config;
