//! The configuration as text: what is in force, as TOML, and the reference page, both from the one table of knobs.

use std::fmt::Write as _;

use super::error::ConfigError;
use super::knobs::{KNOBS, Knob};
use super::load::table_of;
use super::settings::Settings;

/// Writes settings as TOML that can be used as a file, each knob with its meaning, unit and default.
///
/// # Errors
/// When the settings cannot be written as TOML, which no value that was read from TOML leads to.
pub fn show(settings: &Settings) -> Result<String, ConfigError> {
    let (now, defaults) = (table_of(settings)?, table_of(&Settings::default())?);
    let mut text = String::from("# The configuration in force: file, then environment, then flags.\n");
    let mut section = "";
    for knob in KNOBS {
        if knob.is_listed() {
            if knob.section() != section {
                section = knob.section();
                show_listed(&mut text, knob, &now);
            }
            continue;
        }
        if knob.section() != section {
            section = knob.section();
            let _ = writeln!(text, "\n{}", knob.header());
        }
        let default = find(&defaults, knob).map_or_else(|| "not set".to_owned(), |value| value.to_string());
        let _ = writeln!(text, "\n# {}\n# Unit: {}. Default: {default}.", wrapped(knob.meaning), knob.unit);
        let _ = match find(&now, knob) {
            Some(value) => writeln!(text, "{} = {value}", knob.name()),
            None => writeln!(text, "# {} =", knob.name()),
        };
    }
    Ok(text)
}

/// Writes the tables of a section that is a list; the first one, or a comment in its place, has the meanings.
fn show_listed(text: &mut String, first: &Knob, now: &toml::Table) {
    let tables = now.get(first.section()).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let knobs = || KNOBS.iter().filter(|knob| knob.section() == first.section());
    if tables.is_empty() {
        let _ = writeln!(text, "\n# {}", first.header());
        for knob in knobs() {
            let _ = writeln!(text, "\n# {}\n# Unit: {}.\n# {} =", wrapped(knob.meaning), knob.unit, knob.name());
        }
    }
    for (index, table) in tables.iter().enumerate() {
        let _ = writeln!(text, "\n{}", first.header());
        for knob in knobs() {
            if index == 0 {
                let _ = writeln!(text, "\n# {}\n# Unit: {}.", wrapped(knob.meaning), knob.unit);
            }
            let _ = match table.get(knob.name()) {
                Some(value) => writeln!(text, "{} = {value}", knob.name()),
                None => writeln!(text, "# {} =", knob.name()),
            };
        }
    }
}

/// Writes the page `docs/configuration.md`.
///
/// # Errors
/// As [`show`].
pub fn reference() -> Result<String, ConfigError> {
    let defaults = table_of(&Settings::default())?;
    let mut text = String::from(PREAMBLE);
    let mut section = None;
    for knob in KNOBS {
        if section != Some(knob.section()) {
            section = Some(knob.section());
            let title =
                if knob.section().is_empty() { "At the top".to_owned() } else { format!("`{}`", knob.header()) };
            let _ = writeln!(text, "\n## {title}\n\n| key | unit | default | meaning |\n|---|---|---|---|");
        }
        let default = find(&defaults, knob).map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"));
        let _ = writeln!(text, "| `{}` | {} | {default} | {} |", knob.name(), knob.unit, knob.meaning);
    }
    Ok(text)
}

fn find<'a>(table: &'a toml::Table, knob: &Knob) -> Option<&'a toml::Value> {
    match knob.section() {
        "" => table.get(knob.name()),
        section => table.get(section)?.get(knob.name()),
    }
}

/// Breaks a meaning into comment lines.
fn wrapped(meaning: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in meaning.split(' ') {
        if column > 0 && column + 1 + word.len() > COMMENT_COLUMNS {
            text.push_str("\n# ");
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text
}

const COMMENT_COLUMNS: usize = 110;

const PREAMBLE: &str = "\
# Configuration

This page is printed by `muster config reference`; a test holds it against the program.

Values come from four places, each over the one before: the defaults below, a TOML file (`--config FILE`, or the
variable `MUSTER_CONFIG`), the environment, flags. The variable of a key is `MUSTER_`, the section, two underscores and
the key, in capitals: `limits.links` is `MUSTER_LIMITS__LINKS`, `listen` is `MUSTER_LISTEN`. Lists are parted by commas.
A list of tables, as `[[issuers]]`, stands in the file alone: no variable and no flag reaches into it.

A key or a variable that does not exist is refused with its line or its name, and so is a value that cannot be served
with: one line on standard error, exit code 78, before anything listens. `muster config check` does just that, reads every
file that the configuration names (keys, certificates, revocations, the token), and has a line for each that is at fault;
`muster config show` prints what is in force.

`--dev` is a flag and nothing else, so that no file or variable can turn it on: muster makes its own signing key and its
own certificate, hands out tickets at `/dev/ticket` to loopback, and takes many links from one address.
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::IssuerSettings;

    #[test]
    fn what_is_shown_can_be_read_back() {
        let mut settings = Settings::dev_preset();
        settings.tickets.keys = vec!["a \"quoted\" name.pem".into()];
        settings.sessions.tick_rate = Some(60);
        settings.issuers = vec![IssuerSettings::full(), IssuerSettings { name: "second".into(), ..Default::default() }];
        let text = show(&settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings);
        for knob in KNOBS {
            assert!(text.contains(&format!("{} =", knob.name())), "{}", knob.key);
        }
        assert!(text.lines().all(|line| line.len() <= 120), "fits a terminal");
    }

    #[test]
    fn the_reference_page_is_what_the_program_prints() {
        let page = include_str!("../../docs/configuration.md");
        assert_eq!(page, reference().unwrap(), "run: muster config reference > docs/configuration.md");
    }
}
