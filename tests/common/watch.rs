//! Every test with a server in its process logs at the finest level, and each line is looked at: one that shows what
//! could be a ticket or a resume token ends the test run.

use std::io::{self, Write};
use std::sync::Once;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

/// Begins to watch, once for the process. The levels are those of `--log-level=trace`.
pub fn watch_the_log() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let levels = Targets::new().with_target("muster", LevelFilter::TRACE).with_default(LevelFilter::WARN);
        let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false).with_writer(|| Watch);
        // A test that brings a subscriber of its own looks at its lines itself.
        let _ = tracing::subscriber::set_global_default(lines.finish().with(levels));
    });
}

struct Watch;

impl Write for Watch {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if shows_a_secret(&text) {
            eprintln!("a secret in the log: {text}");
            // A panic would end one thread of the server and might pass unseen.
            std::process::exit(101);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a line holds what could be a ticket (every JWT begins so), a resume token as text (43 letters of base64url) or
/// in hex, or one as a list of bytes. The name of a key may be as long: it is public.
pub fn shows_a_secret(line: &str) -> bool {
    let line = match line.split_once("the kid `") {
        Some((before, named)) => format!("{before}{}", named.split_once('`').map_or(named, |(_, behind)| behind)),
        None => line.to_owned(),
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let longest = line.split(|c| !letter(c)).map(str::len).max().unwrap_or(0);
    let mut bytes = 0;
    let list = line.split([',', '[', ']']).any(|item| {
        bytes = if item.trim().parse::<u8>().is_ok() { bytes + 1 } else { 0 };
        bytes >= 16
    });
    line.contains("eyJ") || longest >= 43 || list
}
