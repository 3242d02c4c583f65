//! Caps and rates of connections that have not shown a ticket yet.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::limits::{Limits, TokenBucket};
use crate::metrics::Metrics;
use crate::wire::Code;

/// Counts connections that are on their way in, in all and per address.
pub struct Gate {
    metrics: Arc<Metrics>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    pending: usize,
    addresses: HashMap<IpAddr, Address>,
}

struct Address {
    pending: usize,
    connects: TokenBucket,
    seen: Duration,
}

/// A connection that is on its way in. Dropped when it is admitted, or gone.
pub struct Pending {
    address: IpAddr,
    metrics: Arc<Metrics>,
    state: Arc<Mutex<State>>,
}

impl Gate {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, state: Arc::default() }
    }

    pub fn knock(&self, address: IpAddr, limits: &Limits, now: Duration, links: usize) -> Result<Pending, Code> {
        let address = network(address);
        let mut state = self.state.lock();
        if state.pending >= limits.pending_links || links + state.pending >= limits.links {
            return Err(Code::Overloaded);
        }
        if state.addresses.len() >= MAX_ADDRESSES {
            // Whoever has been quiet for a second has a full bucket again: forgetting it changes nothing.
            state
                .addresses
                .retain(|_, known| known.pending > 0 || now.saturating_sub(known.seen) < Duration::from_secs(2));
            if state.addresses.len() >= 2 * MAX_ADDRESSES {
                return Err(Code::Overloaded);
            }
        }
        let burst = limits.connects_per_second.saturating_mul(2);
        let known = state.addresses.entry(address).or_insert_with(|| Address {
            pending: 0,
            connects: TokenBucket::full(burst, now),
            seen: now,
        });
        known.seen = now;
        if known.pending >= limits.pending_per_address || !known.connects.take(limits.connects_per_second, burst, now) {
            return Err(Code::TooFast);
        }
        known.pending += 1;
        state.pending += 1;
        self.metrics.pending_links.inc();
        Ok(Pending { address, metrics: Arc::clone(&self.metrics), state: Arc::clone(&self.state) })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.pending = state.pending.saturating_sub(1);
        if let Some(known) = state.addresses.get_mut(&self.address) {
            known.pending = known.pending.saturating_sub(1);
        }
        self.metrics.pending_links.dec();
    }
}

/// One subscriber of IPv6 has a /64: it counts as one address. An IPv4 address in IPv6 clothing counts as itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Past this many known addresses, those that are quiet are forgotten.
const MAX_ADDRESSES: usize = 65_536;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn gate() -> Gate {
        Gate::new(Arc::new(Metrics::new()))
    }

    #[test]
    fn one_address_has_a_bounded_number_on_the_way_in() {
        let limits = Limits { pending_per_address: 2, ..Limits::default() };
        let gate = gate();
        let knock = |address: &str| gate.knock(address.parse().unwrap(), &limits, NOW, 0);
        let (first, _second) = (knock("192.0.2.1").unwrap(), knock("::ffff:192.0.2.1").unwrap());
        assert_eq!(knock("192.0.2.1").err(), Some(Code::TooFast));
        assert!(knock("192.0.2.2").is_ok());
        drop(first);
        assert!(knock("192.0.2.1").is_ok());
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one_address() {
        let limits = Limits { pending_per_address: 1, ..Limits::default() };
        let gate = gate();
        let knock = |address: &str| gate.knock(address.parse().unwrap(), &limits, NOW, 0);
        let _held = knock("2001:db8::1").unwrap();
        assert_eq!(knock("2001:db8::ffff").err(), Some(Code::TooFast));
        assert!(knock("2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn the_node_takes_so_many_links_and_no_more() {
        let limits = Limits { links: 3, pending_links: 2, ..Limits::default() };
        let gate = gate();
        let knock = |links| gate.knock("192.0.2.1".parse().unwrap(), &limits, NOW, links);
        assert_eq!(knock(3).err(), Some(Code::Overloaded));
        let (_a, _b) = (knock(0).unwrap(), knock(1).unwrap());
        assert_eq!(knock(0).err(), Some(Code::Overloaded));
    }

    #[test]
    fn one_address_connects_at_a_bounded_rate() {
        let limits = Limits { connects_per_second: 10, ..Limits::default() };
        let gate = gate();
        let passed = (0..100).filter(|_| gate.knock("192.0.2.1".parse().unwrap(), &limits, NOW, 0).is_ok()).count();
        assert_eq!(passed, 20);
    }
}
