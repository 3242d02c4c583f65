//! The summary of all rows for a terminal.

use std::fmt::Write as _;

use crate::preset::Summary;

/// Writes every row's report, and the table of all figures at the end, where it is looked for.
pub fn render(summary: &Summary) -> String {
    let mut out = String::new();
    for one in &summary.rows {
        let _ = writeln!(out, "== {}: {}\n", one.row, one.title);
        out.push_str(&super::table::render(&one.report));
        out.push('\n');
    }
    out.push_str(&table(summary));
    out
}

/// The table alone.
pub fn table(summary: &Summary) -> String {
    let mut out = String::new();
    let width = summary.lines.iter().map(|line| line.what.chars().count()).max().unwrap_or_default();
    let _ = writeln!(
        out,
        "{:width$}  {:>11}  {:>11}  {:>7}  {:16} each round",
        "what", "aim", "measured", "players", "verdict"
    );
    for line in &summary.lines {
        let _ = writeln!(
            out,
            "{:width$}  {:>11}  {:>11}  {:>7}  {:16} {}{}",
            line.what,
            line.aimed(),
            line.measured(),
            line.players,
            line.verdict.words(),
            line.each(),
            line.doubt.map(|doubt| format!(" ({doubt})")).unwrap_or_default()
        );
    }
    let (reached, all) = summary.reached();
    let _ = writeln!(
        out,
        "\n{reached} of {all} reached: every round of a figure reached its aim, or it is not established"
    );
    for (row, warning) in summary.warnings() {
        let _ = writeln!(out, "WARNING: {row}: {warning}");
    }
    for (row, fault) in summary.faults() {
        let _ = writeln!(out, "ENDED EARLY: {row}: {fault}");
    }
    out
}
