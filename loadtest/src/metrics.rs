//! Reads a server's `/metrics`: plain HTTP, OpenMetrics text.

use std::net::SocketAddr;

use crate::http;

/// What a server says of itself at one moment.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    text: String,
}

impl Scrape {
    /// Asks the server; `None` when it does not answer within a second.
    pub fn take(address: SocketAddr) -> Option<Self> {
        http::get(address, "/metrics").map(|text| Self { text })
    }

    /// A counter or gauge, all its series added up.
    pub fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|(_, value)| value).sum()
    }

    /// Series of this name: their labels and values.
    fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, value.parse().ok()?))
        })
    }

    /// What a histogram counted since an earlier scrape, by the upper bounds of its buckets.
    pub fn buckets_since(&self, earlier: &Self, name: &str) -> Buckets {
        let name = format!("{name}_bucket");
        let read = |scrape: &Self| -> Vec<(f64, f64)> {
            let bound = |labels: &str| match labels.split_once("le=\"")?.1.split_once('"')?.0 {
                "+Inf" => Some(f64::INFINITY),
                bound => bound.parse().ok(),
            };
            scrape.series(&name).filter_map(|(labels, value)| Some((bound(labels)?, value))).collect()
        };
        let before = read(earlier);
        let of = |bound: f64| before.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, count)| *count);
        Buckets(read(self).into_iter().map(|(bound, count)| (bound, count - of(bound))).collect())
    }
}

/// A histogram: upper bounds in seconds, and how many were at most that.
#[derive(Clone, Debug, Default)]
pub struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// The quantile in microseconds, by a straight line within its bucket; `None` when nothing was counted.
    pub fn quantile_us(&self, quantile: f64) -> Option<f64> {
        let total = self.0.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
        let wanted = total * quantile;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= wanted {
                let high = if bound.is_finite() { *bound } else { low };
                let part = if *count > below { (wanted - below) / (count - below) } else { 1.0 };
                return Some((low + (high - low) * part) * 1e6);
            }
            (low, below) = (*bound, *count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantiles_come_from_what_was_counted_in_between() {
        let scrape = |counts: [u32; 3]| Scrape {
            text: format!(
                "late_bucket{{le=\"0.001\"}} {}\nlate_bucket{{le=\"0.002\"}} {}\nlate_bucket{{le=\"+Inf\"}} {}\nlater 7\nsent_total{{a=\"b\"}} 3\nsent_total{{a=\"c\"}} 4\n",
                counts[0], counts[1], counts[2]
            ),
        };
        let (before, after) = (scrape([10, 10, 10]), scrape([60, 110, 110]));
        let buckets = after.buckets_since(&before, "late");
        assert_eq!(buckets.quantile_us(0.25).unwrap().round(), 500.0);
        assert_eq!(buckets.quantile_us(0.75).unwrap().round(), 1_500.0);
        assert_eq!(after.sum("sent_total"), 7.0);
        assert_eq!(after.buckets_since(&after, "late").quantile_us(0.5), None);
    }
}
