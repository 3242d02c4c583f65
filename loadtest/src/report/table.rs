//! The report for a terminal.

use std::fmt::Write as _;

use super::{Ratio, Report};
use crate::figures::{Figures, Quantiles};

/// Writes the whole report.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} ({} cores), Linux {}", report.processor, report.cores, report.kernel);
    for idle in &report.idle_timers_us {
        line("idle timer is late by", idle, &mut out);
    }
    for figures in &report.measurements {
        one(figures, &mut out);
    }
    if report.measurements.len() > 1 {
        let _ = writeln!(out, "\nmedians over the rounds");
        let _ = writeln!(
            out,
            "  {:28} {:>6} {:>14} {:>10} {:>12} {:>12} {:>12} {:>10}",
            "", "rounds", "CPU us/snap.", "delivered", "late p99 ms", "jitter p99", "age p99 ms", "KiB/link"
        );
        for median in &report.medians {
            let _ = writeln!(
                out,
                "  {:28} {:>6} {:>14} {:>10} {:>12} {:>12} {:>12} {:>10}",
                median.subject,
                median.rounds,
                or_dash(median.server_cpu_per_million, |value| format!("{value:.2}")),
                or_dash(median.delivered, |value| format!("{:.2} %", value * 100.0)),
                or_dash(median.lateness_p99_us, ms),
                or_dash(median.jitter_p99_us, ms),
                or_dash(median.age_p99_us, ms),
                or_dash(median.resident_per_link, |value| format!("{:.1}", value / 1_024.0)),
            );
        }
    }
    for ratio in &report.ratios {
        let rounds: Vec<String> = ratio.rounds.iter().map(|value| format!("{value:.2}")).collect();
        let _ = writeln!(
            out,
            "\n{} over {}: {:.2} times the server CPU per delivered snapshot (rounds: {})",
            ratio.subject,
            ratio.over,
            ratio.cpu,
            rounds.join(", ")
        );
    }
    for one in &report.handshakes {
        let _ = writeln!(
            out,
            "\n{}: handshakes to a seat\n  alone {:.0} us of server CPU each, p50 {} ms, p99 {} ms\n  64 at once {:.0} us each, {:.0} a second, {} failed",
            one.subject,
            one.cpu_alone_us,
            ms(one.alone_us.p50 as f64),
            ms(one.alone_us.p99 as f64),
            one.cpu_crowded_us,
            one.per_second,
            one.failed
        );
    }
    for ratio in &report.handshake_ratios {
        let Ratio { subject, over, cpu, rounds } = ratio;
        let _ = writeln!(out, "\n{subject} over {over}: {cpu:.2} times the server CPU per handshake ({rounds:.2?})");
    }
    for ceiling in &report.ceilings {
        let broke = ceiling.broke.as_deref().unwrap_or("the steps ran out");
        let caveat = if ceiling.tester_was_the_bottleneck { "; the tester was at its own end by then" } else { "" };
        let _ = writeln!(out, "\n{} carries {} players; then: {broke}{caveat}", ceiling.subject, ceiling.players);
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "\nWARNING: {warning}");
    }
    if let Some(fault) = &report.fault {
        let _ = writeln!(out, "\nENDED EARLY: {fault}");
    }
    out
}

fn one(figures: &Figures, out: &mut String) {
    let Figures { subject, players, seated, seconds, .. } = figures;
    let _ = writeln!(out, "\n{subject}: {seated} of {players} players seated, {seconds:.1} s");
    for (name, quantiles) in [
        ("cold connect", &figures.connect_us),
        ("ticket to Welcome", &figures.welcome_us),
        ("ticket to seat", &figures.seat_us),
        ("back after the storm", &figures.back_us),
        ("age of state", &figures.age_us),
        ("inter-arrival jitter", &figures.jitter_us),
    ] {
        line(name, quantiles, out);
    }
    let delivered = figures.delivered * 100.0;
    let _ = writeln!(out, "  {:22} {} ({delivered:.2} % of those due)", "snapshots", figures.snapshots);
    let _ = writeln!(
        out,
        "  {:22} p50 {} ms, p99 {} ms, {} ticks skipped",
        "tick lateness",
        or_dash(figures.lateness_p50_us, ms),
        or_dash(figures.lateness_p99_us, ms),
        or_dash(figures.ticks_skipped, |value| format!("{value:.0}")),
    );
    let _ = writeln!(
        out,
        "  {:22} {:.0} in, {:.0} out; {} inputs, {} shed",
        "bytes/player/s",
        figures.bytes_in_per_player_second,
        figures.bytes_out_per_player_second,
        figures.inputs,
        figures.inputs_shed
    );
    let _ = writeln!(
        out,
        "  {:22} {} s per million snapshots, {} of a core; {} KiB per link",
        "server",
        or_dash(figures.server_cpu_per_million, |value| format!("{value:.2}")),
        or_dash(figures.server_core, |value| format!("{:.0} %", value * 100.0)),
        or_dash(figures.resident_per_link, |value| format!("{:.1}", value / 1_024.0)),
    );
    let _ = writeln!(out, "  {:22} {:.0} % of a core", "tester", figures.own_core * 100.0);
    if figures.turnover > 0 {
        let _ = writeln!(out, "  {:22} {} left and were followed", "churn", figures.turnover);
    }
    if figures.forged_refused + figures.forged_accepted > 0 {
        let (refused, accepted) = (figures.forged_refused, figures.forged_accepted);
        let _ = writeln!(out, "  {:22} {refused} refused, {accepted} let in", "forged tickets");
        line("Welcome before them", &figures.calm_us, out);
        line("Welcome among them", &figures.flooded_us, out);
        if figures.calm_us.p99 > 0 {
            let ratio = figures.flooded_us.p99 as f64 / figures.calm_us.p99 as f64;
            let _ = writeln!(out, "  {:22} {ratio:.2} times the p99 before", "p99 among them");
        }
    }
    if figures.revoked_us.count > 0 {
        let Figures { untold, revoked_refused, revoked_accepted, .. } = figures;
        line("revoked to Goodbye", &figures.revoked_us, out);
        line("revoked to answer", &figures.revoke_answer_us, out);
        let _ = writeln!(
            out,
            "  {:22} {untold} not told in time; tried once more: {revoked_refused} refused, {revoked_accepted} let in",
            "revoked players"
        );
    }
    for (why, count) in &figures.failures {
        let _ = writeln!(out, "  {:22} {count} times: {why}", "failure");
    }
}

fn line(name: &str, quantiles: &Quantiles, out: &mut String) {
    if quantiles.count == 0 {
        return;
    }
    let [p50, p99, max] = [quantiles.p50, quantiles.p99, quantiles.max].map(|value| ms(value as f64));
    let _ = writeln!(out, "  {name:22} p50 {p50} ms, p99 {p99} ms, max {max} ms ({})", quantiles.count);
}

fn ms(micros: f64) -> String {
    format!("{:.2}", micros / 1_000.0)
}

fn or_dash(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}
