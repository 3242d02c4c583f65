//! Progress bars, where somebody looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far a measurement is. Clones draw the same bar.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Draws on standard error; nowhere when told to be quiet, or when that is no terminal.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        if let Ok(style) = ProgressStyle::with_template("{prefix:32} [{bar:30}] {pos}/{len} {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }

    /// Something else begins.
    pub fn begin(&self, what: impl Into<String>) {
        self.bar.set_prefix(what.into());
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
