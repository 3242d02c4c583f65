//! Every published figure in one run: row after row, each by itself, and one table of what was to be reached and what
//! was.

mod lines;
mod rows;

pub use lines::{Line, Verdict};
pub use rows::Row;

use std::time::Duration;

use serde::Serialize;

use crate::fault::Fault;
use crate::machine;
use crate::options::Options;
use crate::progress::Progress;
use crate::report::Report;
use crate::run::run;

/// Everything that came out of all rows.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// What it was asked for.
    pub command: String,
    /// The processor.
    pub processor: String,
    /// Its cores.
    pub cores: usize,
    /// The kernel.
    pub kernel: String,
    /// Every figure, beside its aim.
    pub lines: Vec<Line>,
    /// What each row measured, in the order it was measured.
    pub rows: Vec<Measured>,
}

/// One row, measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Its name, as `--rows` takes it.
    pub row: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// All that was seen. Its `fault` says why the row ended early.
    pub report: Report,
}

impl Summary {
    /// How many figures are as they should be, and how many there are.
    pub fn reached(&self) -> (usize, usize) {
        let reached = self.lines.iter().filter(|line| line.verdict == Verdict::Reached).count();
        (reached, self.lines.len())
    }

    /// What each row's reader must know: the row's name, and the sentence.
    pub fn warnings(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.rows.iter().flat_map(|one| one.report.warnings.iter().map(|warning| (one.row, warning.as_str())))
    }

    /// Why rows ended early: the row's name, and the sentence.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.rows.iter().filter_map(|one| Some((one.row, one.report.fault.as_deref()?)))
    }
}

/// Measures the rows that the options pick. A row that ends early does not keep the others from being measured.
pub fn measure(options: &Options, progress: &Progress) -> (Summary, Option<Fault>) {
    let rows = chosen(options);
    announce(options, &rows, progress);
    let mut summary = Summary {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        processor: machine::processor(),
        cores: machine::cores(),
        kernel: machine::kernel(),
        lines: Vec::new(),
        rows: Vec::new(),
    };
    for (index, row) in rows.iter().enumerate() {
        let progress = progress.within(format!("row {}/{} ", index + 1, rows.len()));
        progress.note(&format!("row {}/{}: {}", index + 1, rows.len(), row.title()));
        let own = row.options(options);
        let (mut report, fault) = run(&own, &progress);
        report.command = format!("muster-loadtest --spawn --rows {}", row.name());
        if let Some(fault) = fault {
            progress.note(&format!("  ended early: {fault}"));
        }
        let lines = row.lines(&own, &report);
        for line in &lines {
            progress.note(&format!("  {}: {} ({})", line.what, line.measured(), line.verdict.words()));
        }
        summary.lines.extend(lines);
        summary.rows.push(Measured { row: row.name(), title: row.title(), report });
    }
    let ended = summary.faults().count();
    let fault =
        summary.faults().next().map(|(row, why)| Fault::Rows { row, why: why.to_owned(), ended, of: rows.len() });
    (summary, fault)
}

fn chosen(options: &Options) -> Vec<Row> {
    let mut rows = if options.rows.is_empty() { Row::ALL.to_vec() } else { options.rows.clone() };
    rows.sort();
    rows.dedup();
    rows
}

fn announce(options: &Options, rows: &[Row], progress: &Progress) {
    let times: Vec<Duration> = rows.iter().map(|row| row.estimate(&row.options(options))).collect();
    let minutes = times.iter().sum::<Duration>().as_secs_f64() / 60.0;
    progress.note(&format!("{} rows, about {minutes:.0} minutes:", rows.len()));
    for (row, time) in rows.iter().zip(times) {
        progress.note(&format!("  {:20} {:64} {:>4.0} s", row.name(), row.title(), time.as_secs_f64()));
    }
}
