//! What the tester tells players in processes of their own, and what they tell it: lines of JSON.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::revoke::{Admin, Pace};
use super::{Behaviour, Crowd, Plan, Seen};
use crate::fault::Fault;
use crate::tickets::{Mint, MintOrders};
use crate::tls;

/// The first line that a process of players hears.
#[derive(Deserialize, Serialize)]
pub struct Orders {
    /// Its share of each crowd.
    pub crowds: Vec<CrowdOrders>,
    /// The core to stay on.
    pub core: usize,
}

/// What such a process says, line by line.
#[derive(Deserialize, Serialize)]
pub enum Said {
    /// How it stands.
    Now {
        /// Players that have a seat.
        seated: u64,
        /// Players that will not get one.
        failed: u64,
        /// Snapshots within the window.
        snapshots: u64,
    },
    /// All that its players saw: the last but one word.
    Seen(Box<Seen>),
    /// Why they ended early; the last word.
    Fault(String),
}

/// What such a process hears after its orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Word {
    /// The window is open.
    Open,
    /// It is closed.
    After,
    /// All links drop.
    Storm,
    /// Forged tickets begin to come.
    Flood,
    /// Everybody goes.
    Stop,
}

/// A crowd that can be sent.
#[derive(Deserialize, Serialize)]
pub struct CrowdOrders {
    way: Way,
    address: SocketAddr,
    authority: String,
    path: String,
    tls: bool,
    certificate: Option<[u8; 32]>,
    game: String,
    mint: MintOrders,
    admin: Option<Admin>,
    first: u64,
    stride: u64,
    players: usize,
    ramp: f64,
    input_rate: u32,
    tick: u8,
    behaviour: Behaviour,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
enum Way {
    WebSocket,
    WebTransport,
    Datagrams,
}

impl CrowdOrders {
    /// A share of a crowd: every so manieth player from `part` on. `None` when nobody is left for it.
    pub fn share(crowd: &Crowd, part: usize, of: usize) -> Option<Self> {
        let (way, plan) = match crowd {
            Crowd::WebSocket(plan) => (Way::WebSocket, plan),
            Crowd::WebTransport(plan) => (Way::WebTransport, plan),
            Crowd::Datagrams(plan) => (Way::Datagrams, plan),
        };
        let players = plan.players.checked_sub(part).filter(|rest| *rest > 0)?.div_ceil(of);
        Some(Self {
            way,
            address: plan.address,
            authority: plan.authority.clone(),
            path: plan.path.clone(),
            tls: plan.tls.is_some(),
            certificate: plan.certificate,
            game: plan.game.clone(),
            mint: plan.mint.share(part, of),
            admin: plan.admin.clone(),
            first: plan.first + part as u64 * plan.stride,
            stride: plan.stride * of as u64,
            players,
            ramp: plan.ramp / of as f64,
            input_rate: plan.input_rate,
            tick: plan.tick,
            behaviour: match plan.behaviour {
                Behaviour::Revoke(pace) => Behaviour::Revoke(Pace { every_us: pace.every_us * of as u64, ..pace }),
                same => same,
            },
        })
    }

    /// The crowd itself.
    ///
    /// # Errors
    /// [`Fault`] when there is no TLS to be had, or the key is none.
    pub fn crowd(self) -> Result<Crowd, Fault> {
        let tls = match self.tls {
            true => Some(Arc::new(tls::client(self.certificate, b"http/1.1")?)),
            false => None,
        };
        let plan = Plan {
            address: self.address,
            authority: self.authority,
            path: self.path,
            tls,
            certificate: self.certificate,
            game: self.game,
            mint: Arc::new(Mint::from_orders(self.mint)?),
            admin: self.admin,
            first: self.first,
            stride: self.stride,
            players: self.players,
            ramp: self.ramp,
            input_rate: self.input_rate,
            tick: self.tick,
            behaviour: self.behaviour,
        };
        Ok(match self.way {
            Way::WebSocket => Crowd::WebSocket(plan),
            Way::WebTransport => Crowd::WebTransport(plan),
            Way::Datagrams => Crowd::Datagrams(plan),
        })
    }
}

/// Distributions as JSON: the values that were counted, and how often. Exact, since both ends have the same buckets.
pub mod distribution {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::load::{Micros, micros};

    /// Writes one.
    pub fn serialize<S: Serializer>(micros: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
        let counted: Vec<(u64, u64)> =
            micros.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
        counted.serialize(serializer)
    }

    /// Reads one.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Micros, D::Error> {
        let mut micros = micros();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            micros.saturating_record_n(value, count);
        }
        Ok(micros)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::load::record;

    #[test]
    fn what_was_seen_is_the_same_at_the_other_end() {
        let mut seen = Seen { snapshots: 7, due: 7.5, ..Seen::default() };
        (1..5_000).for_each(|i| record(&mut seen.age, i * i));
        seen.fail("lost");
        let line = serde_json::to_string(&Said::Seen(Box::new(seen))).unwrap();
        assert!(!line.contains('\n'));
        let Said::Seen(read) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        let mut again = Seen::default();
        (1..5_000).for_each(|i| record(&mut again.age, i * i));
        assert_eq!((read.age.clone(), read.snapshots, read.due), (again.age, 7, 7.5));
        assert_eq!(read.failures.get("lost"), Some(&1));
        assert!(read.seat.is_empty());
    }
}
