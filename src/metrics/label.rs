//! Labels from closed sets, each resolved to its own metric once.

use std::marker::PhantomData;
use std::sync::Arc;

use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::outbox::Transport;
use crate::ticket::TicketFault;
use crate::wire::Code;

/// A closed set of values of one label.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value that is exposed.
    const ALL: &'static [Self];

    /// The place in [`Label::ALL`]; any other number for a value that is not exposed.
    fn index(self) -> usize;

    /// The value as text.
    fn value(self) -> &'static str;
}

/// One metric for each value of a label.
#[derive(Debug)]
pub struct Labelled<L, M> {
    each: Box<[M]>,
    /// For values that are not exposed.
    unexposed: M,
    label: PhantomData<fn(L)>,
}

impl<L: Label, M: Clone + Default> Labelled<L, M> {
    /// The metric of one value.
    pub fn of(&self, label: L) -> &M {
        self.each.get(label.index()).unwrap_or(&self.unexposed)
    }

    fn unexposed() -> Self {
        Self { each: Box::default(), unexposed: M::default(), label: PhantomData }
    }

    pub(super) fn register(at: &mut Registry, name: &str, help: &str) -> Self
    where
        Series<M>: Metric,
    {
        let family = Series::<M>::default();
        at.register(name, help, family.clone());
        Self::resolved(&family)
    }

    pub(super) fn register_in_bytes(at: &mut Registry, name: &str, help: &str) -> Self
    where
        Series<M>: Metric,
    {
        let family = Series::<M>::default();
        at.register_with_unit(name, help, Unit::Bytes, family.clone());
        Self::resolved(&family)
    }

    /// One of several metrics of a name, told apart by another label, whose value the operator chose.
    pub(super) fn of_issuer(family: &IssuerSeries<M>, issuer: &str) -> Self {
        let labels = |label: &L| [("issuer", issuer.to_owned()), (L::NAME, label.value().to_owned())];
        let each = L::ALL.iter().map(|label| family.get_or_create(&labels(label)).clone()).collect();
        Self { each, unexposed: M::default(), label: PhantomData }
    }

    fn resolved(family: &Series<M>) -> Self {
        let each = L::ALL.iter().map(|label| family.get_or_create(&[(L::NAME, label.value())]).clone()).collect();
        Self { each, unexposed: M::default(), label: PhantomData }
    }
}

/// Series with the issuer as a further label.
pub(super) type IssuerSeries<M> = Family<[(&'static str, String); 2], M>;

/// One metric for each issuer of tickets. Their names come from the configuration alone.
#[derive(Debug)]
pub struct ByIssuer<M> {
    each: Box<[(Arc<str>, M)]>,
    /// For a name that was not known at the start.
    unexposed: M,
}

impl<M> ByIssuer<M> {
    /// The metric of one issuer.
    pub fn of(&self, issuer: &str) -> &M {
        // A handful at the most.
        self.each.iter().find(|(name, _)| **name == *issuer).map_or(&self.unexposed, |(_, metric)| metric)
    }

    pub(super) fn each(issuers: &[Arc<str>], metric: impl Fn(&str) -> M, unexposed: M) -> Self {
        Self { each: issuers.iter().map(|name| (Arc::clone(name), metric(name))).collect(), unexposed }
    }
}

impl<M: Clone + Default> ByIssuer<M> {
    pub(super) fn resolved(family: &NamedSeries<M>, issuers: &[Arc<str>]) -> Self {
        let metric = |name: &str| family.get_or_create(&[("issuer", name.to_owned())]).clone();
        Self::each(issuers, metric, M::default())
    }
}

impl<L: Label, M: Clone + Default> ByIssuer<Labelled<L, M>> {
    pub(super) fn labelled(family: &IssuerSeries<M>, issuers: &[Arc<str>]) -> Self {
        Self::each(issuers, |name| Labelled::of_issuer(family, name), Labelled::unexposed())
    }
}

/// Series with the issuer as their label.
pub(super) type NamedSeries<M> = Family<[(&'static str, String); 1], M>;

type Series<M> = Family<[(&'static str, &'static str); 1], M>;

impl Label for Transport {
    const NAME: &'static str = "transport";
    const ALL: &'static [Self] = &[Self::WebSocket, Self::WebTransport];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

/// Why an input did not reach its tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputDrop {
    /// It was applied or is waiting already; redundant sending makes these.
    Duplicate,
    /// A newer one was applied before it came.
    Old,
    /// More than the tick takes.
    TooMany,
    /// The game cannot read it.
    Malformed,
    /// The sender has no seat that plays.
    NoSeat,
}

impl Label for InputDrop {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[Self::Duplicate, Self::Old, Self::TooMany, Self::Malformed, Self::NoSeat];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Old => "old",
            Self::TooMany => "too-many",
            Self::Malformed => "malformed",
            Self::NoSeat => "no-seat",
        }
    }
}

/// What came of an attempt to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Everything that was missed was sent.
    Resumed,
    /// The place was given back, but too much was missed.
    Restarted,
    /// No such token: never given, used, or past the grace.
    Refused,
}

impl Label for Resume {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Resumed, Self::Restarted, Self::Refused];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Resumed => "resumed",
            Self::Restarted => "restarted",
            Self::Refused => "refused",
        }
    }
}

/// Where something went wrong with revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationFault {
    /// The operator's list cannot be read; the one before stays in force.
    List,
    /// The store cannot be written; what is in force holds until the process ends.
    Store,
}

impl Label for RevocationFault {
    const NAME: &'static str = "where";
    const ALL: &'static [Self] = &[Self::List, Self::Store];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Store => "store",
        }
    }
}

/// Why a ticket was refused that an issuer has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketRefusal {
    /// It has expired by this clock.
    Expired,
    /// By this clock it will be good one day.
    NotYetValid,
    /// Something else of what it says.
    Claims,
}

impl TicketRefusal {
    /// The reason among those that are counted.
    pub fn of(fault: TicketFault) -> Self {
        match fault {
            TicketFault::Expired => Self::Expired,
            TicketFault::NotYetValid => Self::NotYetValid,
            _ => Self::Claims,
        }
    }
}

impl Label for TicketRefusal {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[Self::Expired, Self::NotYetValid, Self::Claims];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Claims => "claims",
        }
    }
}

/// What came of fetching an issuer's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// They are in force.
    Loaded,
    /// No answer, or one with another status than 200.
    Unreachable,
    /// An answer that is no sound key set.
    Refused,
}

impl Label for Refresh {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Loaded, Self::Unreachable, Self::Refused];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }
}

/// What came of asking the backend who a player is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// It told who it is.
    Known,
    /// It had told so seconds ago, and was not asked again.
    Kept,
    /// It knows no such player.
    Unknown,
    /// It does not let the player in.
    Forbidden,
    /// What the peer showed cannot stand in a request.
    Malformed,
    /// Too many questions were under way.
    Busy,
    /// It had failed, and was left alone.
    LeftAlone,
    /// It did not answer in time.
    Timeout,
    /// It was not reached, or broke off.
    Unreachable,
    /// Its answer said nothing of a player.
    BadAnswer,
}

impl Label for Asking {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[
        Self::Known,
        Self::Kept,
        Self::Unknown,
        Self::Forbidden,
        Self::Malformed,
        Self::Busy,
        Self::LeftAlone,
        Self::Timeout,
        Self::Unreachable,
        Self::BadAnswer,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Kept => "kept",
            Self::Unknown => "unknown",
            Self::Forbidden => "forbidden",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
            Self::LeftAlone => "left-alone",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::BadAnswer => "bad-answer",
        }
    }
}

impl Label for Code {
    const NAME: &'static str = "code";
    const ALL: &'static [Self] = &Code::ALL;

    fn index(self) -> usize {
        // In order of the numbers, as the table promises.
        Code::ALL.binary_search(&self).unwrap_or(usize::MAX)
    }

    fn value(self) -> &'static str {
        self.slug()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places<L: Label>() {
        for (place, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), place, "{}", label.value());
        }
    }

    #[test]
    fn every_label_stands_where_its_index_says() {
        places::<Transport>();
        places::<InputDrop>();
        places::<Resume>();
        places::<RevocationFault>();
        places::<TicketRefusal>();
        places::<Refresh>();
        places::<Asking>();
        places::<Code>();
    }
}
