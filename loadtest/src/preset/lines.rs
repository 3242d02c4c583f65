//! A figure beside its aim, and what its rounds allow to say of it.

use serde::Serialize;

use crate::figures::median;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What was measured.
    pub what: String,
    /// What is to be reached.
    pub aim: f64,
    /// Whether less is better.
    pub at_most: bool,
    /// What the numbers are.
    pub unit: Unit,
    /// The median of the rounds; `None` when there were none.
    pub median: Option<f64>,
    /// Each round's.
    pub rounds: Vec<f64>,
    /// With so many players; handshakes: at once.
    pub players: usize,
    /// What may be said.
    pub verdict: Verdict,
    /// Why nothing is established although the rounds agree.
    pub doubt: Option<&'static str>,
}

/// What a figure's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// One thing over another.
    Times,
    /// Of a hundred.
    Percent,
    /// Milliseconds.
    Milliseconds,
    /// KiB.
    Kibibytes,
    /// A second.
    PerSecond,
}

/// What may be said of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every round reached the aim.
    Reached,
    /// None did.
    Missed,
    /// Some did and some did not, or there is a doubt.
    NotEstablished,
    /// No round was measured to its end.
    NotMeasured,
}

impl Verdict {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "missed",
            Self::NotEstablished => "not established",
            Self::NotMeasured => "not measured",
        }
    }
}

impl Line {
    /// A figure that is to be small.
    pub fn at_most(what: &str, unit: Unit, aim: f64, rounds: Vec<f64>, players: usize) -> Self {
        Self::new(what, unit, aim, true, rounds, players)
    }

    /// A figure that is to be great.
    pub fn at_least(what: &str, unit: Unit, aim: f64, rounds: Vec<f64>, players: usize) -> Self {
        Self::new(what, unit, aim, false, rounds, players)
    }

    fn new(what: &str, unit: Unit, aim: f64, at_most: bool, mut rounds: Vec<f64>, players: usize) -> Self {
        rounds.retain(|value| value.is_finite());
        let good = rounds.iter().filter(|value| if at_most { **value <= aim } else { **value >= aim }).count();
        let verdict = match good {
            _ if rounds.is_empty() => Verdict::NotMeasured,
            0 => Verdict::Missed,
            _ if good == rounds.len() => Verdict::Reached,
            _ => Verdict::NotEstablished,
        };
        let median = median(rounds.clone());
        Self { what: what.to_owned(), aim, at_most, unit, median, rounds, players, verdict, doubt: None }
    }

    /// Says why the rounds establish nothing, whatever they are.
    pub fn doubt(&mut self, why: &'static str) {
        if self.verdict != Verdict::NotMeasured {
            self.verdict = Verdict::NotEstablished;
        }
        self.doubt = Some(why);
    }

    /// The aim, with its unit.
    pub fn aimed(&self) -> String {
        format!("{} {}", if self.at_most { "≤" } else { "≥" }, self.unit.show(self.aim, true))
    }

    /// The median, with its unit.
    pub fn measured(&self) -> String {
        self.median.map_or_else(|| "–".to_owned(), |median| self.unit.show(median, true))
    }

    /// Each round, without the unit.
    pub fn each(&self) -> String {
        self.rounds.iter().map(|value| self.unit.show(*value, false)).collect::<Vec<_>>().join(", ")
    }
}

impl Unit {
    fn show(self, value: f64, with_unit: bool) -> String {
        let (number, unit) = match self {
            Self::Times => (format!("{value:.2}"), ""),
            Self::Percent => (format!("{value:.2}"), " %"),
            Self::Milliseconds => (format!("{value:.2}"), " ms"),
            Self::Kibibytes => (format!("{value:.1}"), " KiB"),
            Self::PerSecond => (format!("{value:.0}"), "/s"),
        };
        if with_unit { number + unit } else { number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_takes_every_round() {
        let of = |rounds: &[f64]| Line::at_most("x", Unit::Times, 1.15, rounds.to_vec(), 10).verdict;
        assert_eq!(of(&[1.0, 1.1, 1.15]), Verdict::Reached);
        assert_eq!(of(&[1.2, 1.3]), Verdict::Missed);
        assert_eq!(of(&[1.0, 1.1, 1.2]), Verdict::NotEstablished);
        assert_eq!(of(&[f64::NAN]), Verdict::NotMeasured);
        assert_eq!(Line::at_least("x", Unit::Percent, 99.9, vec![99.95], 1).verdict, Verdict::Reached);
    }

    #[test]
    fn a_doubt_outweighs_the_rounds() {
        let mut line = Line::at_least("x", Unit::Times, 0.9, vec![1.0], 10);
        line.doubt("the tester was at its end");
        assert_eq!(line.verdict, Verdict::NotEstablished);
        assert_eq!((line.aimed().as_str(), line.measured().as_str()), ("≥ 0.90", "1.00"));
    }
}
