//! Where log lines go and how they look.
//!
//! Owns: the subscriber. Must not know: what is logged. Tickets and resume tokens never get here: muster's types that
//! hold them print without them. Libraries do not know what is secret in a request, and their finer levels write paths
//! and headers; so that the level is muster's own, and of libraries only warnings and errors are written. Lines go to
//! standard error, which leaves standard output to what a command prints.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::{SetGlobalDefaultError, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::config::{Log, LogFormat, LogLevel};

/// Installs the subscriber for the whole process. To be called once.
///
/// # Errors
/// When one is installed already.
pub fn init(log: &Log) -> Result<(), SetGlobalDefaultError> {
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    tracing::subscriber::set_global_default(subscriber(log, std::io::stderr, colours))
}

/// A subscriber that writes where it is told to.
fn subscriber<W>(log: &Log, writer: W, colours: bool) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = filter(log.level);
    let targets = Targets::new().with_target(OWN, level).with_default(level.min(LevelFilter::WARN));
    let base = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    match log.format {
        LogFormat::Text => Box::new(base.with_ansi(colours).with_target(false).finish().with(targets)),
        LogFormat::Json => Box::new(base.json().flatten_event(true).with_current_span(false).finish().with(targets)),
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// What the targets of muster's own lines begin with.
const OWN: &str = "muster";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LogLevel) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(&Log { format, level }, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(code = "bad-ticket", "refused");
            tracing::debug!("a step");
        });
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line_with_its_fields_at_the_top() {
        let text = logged(LogFormat::Json, LogLevel::Info);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "refused");
        assert_eq!(line["code"], "bad-ticket");
    }

    #[test]
    fn text_is_one_plain_line() {
        let text = logged(LogFormat::Text, LogLevel::Info);
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("INFO refused code=\"bad-ticket\"") && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_library_at_its_finest_writes_no_request() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = Log { format: LogFormat::Text, level: LogLevel::Trace };
        tracing::subscriber::with_default(subscriber(&log, move || writer.clone(), false), || {
            tracing::trace!(target: "wtransport::driver", "path=/v1/play?ticket=canary");
            tracing::info!(target: "hyper", "path=/v1/play?ticket=canary");
            tracing::warn!(target: "quinn", "sending failed");
            tracing::trace!("a fine step");
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        assert!(!text.contains("canary") && text.contains("sending failed") && text.contains("a fine step"), "{text}");
    }

    #[test]
    fn the_level_decides_what_is_written() {
        assert_eq!(logged(LogFormat::Text, LogLevel::Warn), "");
        assert_eq!(logged(LogFormat::Text, LogLevel::Debug).lines().count(), 2);
    }
}
