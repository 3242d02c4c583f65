//! Progress bars, where somebody looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far a measurement is. Clones draw the same bar.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
    /// What all of it is a part of.
    whole: String,
}

impl Progress {
    /// Draws on standard error; nowhere when told to be quiet, or when that is no terminal.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        if let Ok(style) = ProgressStyle::with_template("{prefix:44} [{bar:30}] {pos}/{len} {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, quiet, whole: String::new() }
    }

    /// The same bar, for a part of a whole.
    pub fn within(&self, whole: String) -> Self {
        Self { whole, ..self.clone() }
    }

    /// Something else begins.
    pub fn begin(&self, what: impl AsRef<str>) {
        self.bar.set_prefix(format!("{}{}", self.whole, what.as_ref()));
    }

    /// A line that stays, also where no bar is drawn.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }

    /// Players arrive.
    pub fn arriving(&self, seated: u64, players: u64, failed: u64) {
        self.bar.set_length(players);
        self.bar.set_position(seated);
        self.bar.set_message(if failed > 0 { format!("seated, {failed} failed") } else { "seated".into() });
    }

    /// The window is open.
    pub fn playing(&self, passed: Duration, whole: Duration, snapshots: u64) {
        self.bar.set_length(whole.as_secs());
        self.bar.set_position(passed.as_secs());
        self.bar.set_message(format!("s, {snapshots} snapshots"));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
