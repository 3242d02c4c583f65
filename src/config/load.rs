//! From a file, the environment and flags to [`Settings`]: each source in turn goes over the one before.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::knobs::{KNOBS, Knob};
use super::settings::Settings;

/// The variable that names the file when no flag does.
pub const CONFIG_VARIABLE: &str = "MUSTER_CONFIG";

/// A value from a flag.
#[derive(Clone, Debug)]
pub struct Override {
    /// The flag as it is typed, for messages.
    pub flag: &'static str,
    /// The knob it sets, as `section.key`.
    pub key: &'static str,
    /// The value as text, as it would stand in the environment.
    pub value: String,
}

/// Where settings come from. The environment is a value, so that tests need not touch the process's own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Whether the development preset is the base. Only a flag can say so.
    pub dev: bool,
    /// The file that was named, if one was. Without one, [`CONFIG_VARIABLE`] may name it.
    pub file: Option<PathBuf>,
    /// Every environment variable; those that do not begin with `MUSTER_` are not looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags, which have the last word.
    pub flags: Vec<Override>,
}

/// Reads every source, in order: defaults (or the development preset), file, environment, flags.
///
/// # Errors
/// With the file and line, the variable or the flag that is at fault.
pub fn load(sources: &Sources) -> Result<Settings, ConfigError> {
    let base = if sources.dev { Settings::dev_preset() } else { Settings::default() };
    let mut table = table_of(&base)?;

    let named =
        sources.environment.iter().find(|(name, _)| name == CONFIG_VARIABLE).map(|(_, file)| PathBuf::from(file));
    if let Some(path) = sources.file.clone().or(named) {
        merge(&mut table, read_file(&path)?);
    }
    for (name, value) in &sources.environment {
        if let Some(layer) = read_variable(name, value)? {
            merge(&mut table, layer);
        }
    }
    for flag in &sources.flags {
        let knob = KNOBS.iter().find(|knob| knob.key == flag.key).ok_or_else(|| ConfigError::BadValue {
            source_name: flag.flag.to_owned(),
            problem: format!("sets {}, which does not exist", flag.key),
        })?;
        merge(&mut table, layer_of(knob, &flag.value, flag.flag)?);
    }
    table.try_into().map_err(|error: toml::de::Error| ConfigError::BadValue {
        source_name: "configuration".to_owned(),
        problem: one_line(error.message()),
    })
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
    // Into the tree first, for its kinds and unknown keys with their lines; then as a table, to know what was set.
    toml::from_str::<Settings>(&text).and_then(|_| toml::from_str(&text)).map_err(|error| ConfigError::File {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(&text, span.start)),
        problem: explain(error.message()),
    })
}

fn read_variable(name: &OsStr, value: &OsStr) -> Result<Option<toml::Table>, ConfigError> {
    let Some(name) = name.to_str().filter(|name| name.starts_with("MUSTER_") && !NOT_SETTINGS.contains(name)) else {
        return Ok(None);
    };
    let Some(knob) = KNOBS.iter().find(|knob| knob.variable().as_deref() == Some(name)) else {
        if let Some(listed) = KNOBS.iter().find(|knob| knob.is_listed() && name.starts_with(&section_variable(knob))) {
            let problem = format!("a list of tables cannot be set by variables: write {} in the file", listed.header());
            return Err(ConfigError::BadValue { source_name: name.to_owned(), problem });
        }
        let hint = nearest(name, KNOBS.iter().filter_map(Knob::variable));
        return Err(ConfigError::UnknownVariable { name: name.to_owned(), hint });
    };
    let value = value.to_str().ok_or_else(|| ConfigError::NotUnicode { name: name.to_owned() })?;
    layer_of(knob, value, name).map(Some)
}

/// A table with one value. Text is tried as the kinds that it can be written as; the tree decides which one fits.
fn layer_of(knob: &Knob, text: &str, source_name: &str) -> Result<toml::Table, ConfigError> {
    let mut problem = String::new();
    for value in readings(text) {
        let mut layer = toml::Table::new();
        if knob.section().is_empty() {
            layer.insert(knob.name().to_owned(), value);
        } else {
            let section = toml::Table::from_iter([(knob.name().to_owned(), value)]);
            layer.insert(knob.section().to_owned(), toml::Value::Table(section));
        }
        match layer.clone().try_into::<Settings>() {
            Ok(_) => return Ok(layer),
            Err(error) => problem = one_line(error.message()),
        }
    }
    let text = if knob.is_secret() { "[redacted]" } else { text };
    Err(ConfigError::BadValue {
        source_name: source_name.to_owned(),
        problem: format!("{text:?} is not a value of {} ({}): {problem}", knob.key, knob.unit),
    })
}

/// What a text may stand for, the likeliest last, since its complaint is the one that is reported: itself, a list parted
/// by commas, a number or a truth value. What is written as a TOML list is nothing else.
fn readings(text: &str) -> Vec<toml::Value> {
    let itself = toml::Value::String(text.to_owned());
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let list = toml::Value::Array(parts.map(|part| part.to_owned().into()).collect());
    match text.trim().parse::<toml::Value>() {
        Ok(array @ toml::Value::Array(_)) => vec![array],
        Ok(value) if !value.is_str() => vec![itself, list, value],
        _ => vec![list, itself],
    }
}

/// What every variable of a section would begin with.
fn section_variable(knob: &Knob) -> String {
    format!("MUSTER_{}", knob.section().to_ascii_uppercase())
}

fn merge(into: &mut toml::Table, layer: toml::Table) {
    for (key, value) in layer {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => merge(below, above),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

pub(super) fn table_of(settings: &Settings) -> Result<toml::Table, ConfigError> {
    toml::Table::try_from(settings)
        .map_err(|error| ConfigError::BadValue { source_name: "configuration".to_owned(), problem: error.to_string() })
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// serde lists every field after an unknown one; the nearest one is all that helps.
fn explain(message: &str) -> String {
    let message = one_line(message);
    let Some(rest) = message.strip_prefix("unknown field `") else { return message };
    let Some((unknown, known)) = rest.split_once('`') else { return message };
    match nearest(unknown, known.split('`').skip(1).step_by(2).map(str::to_owned)) {
        Some(hint) => format!("no such key `{unknown}`, did you mean `{hint}`? `muster config show` lists every key"),
        None => format!("no such key `{unknown}`; `muster config show` lists every key"),
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The candidate fewest edits away, if it is near enough to be meant.
fn nearest(word: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let near = 1 + word.len() / 4;
    candidates
        .map(|other| (distance(word, &other), other))
        .min()
        .filter(|(edits, _)| *edits <= near)
        .map(|(_, other)| other)
}

/// Levenshtein's distance, on bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let here = (left + 1).min(*cell + 1).min(diagonal + usize::from(x != y));
            diagonal = *cell;
            *cell = here;
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Variables of muster's prefix that are for something else: the file, the ticket of `play`, the binary that test scripts run.
const NOT_SETTINGS: [&str; 3] = [CONFIG_VARIABLE, "MUSTER_TICKET", "MUSTER_BIN"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use super::*;
    use crate::config::{Carrier, LogFormat};

    /// A file of its own for each test, gone with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn holding(test: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("muster-config-{}-{test}.toml", std::process::id()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).ok();
        }
    }

    fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn from_file(test: &str, text: &str) -> Result<Settings, ConfigError> {
        let file = Scratch::holding(test, text);
        load(&Sources { file: Some(file.0.clone()), ..Sources::default() })
    }

    fn from_environment(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        load(&Sources { environment: environment(pairs), ..Sources::default() })
    }

    #[test]
    fn flags_go_over_the_environment_and_that_over_the_file_and_that_over_the_preset() {
        let file = Scratch::holding(
            "order",
            "listen = \"127.0.0.1:1\"\n[limits]\nlinks = 1\nlobbies = 1\nconnects_per_second = 7\n[log]\nformat = \"json\"\n",
        );
        let settings = load(&Sources {
            dev: true,
            file: Some(file.0.clone()),
            environment: environment(&[("MUSTER_LIMITS__LINKS", "2"), ("MUSTER_LISTEN", "127.0.0.1:2"), ("HOME", "/")]),
            flags: vec![Override { flag: "--listen", key: "listen", value: "127.0.0.1:3".into() }],
        })
        .unwrap();
        assert_eq!(settings.listen.port(), 3);
        assert_eq!((settings.limits.links, settings.limits.lobbies), (2, 1));
        assert_eq!(settings.limits.connects_per_second, 7);
        assert_eq!(settings.limits.pending_per_address, Settings::dev_preset().limits.pending_per_address);
        assert_eq!(settings.log.format, LogFormat::Json);
    }

    #[test]
    fn a_variable_that_is_for_something_else_is_no_setting_and_any_other_is_refused() {
        assert!(from_environment(&[("MUSTER_TICKET", "a.b.c"), ("MUSTER_BIN", "target/debug/muster")]).is_ok());
        assert!(from_environment(&[("MUSTER_TICKETS", "a.b.c")]).is_err());
    }

    #[test]
    fn the_environment_sets_numbers_lists_words_and_durations() {
        let settings = from_environment(&[
            ("MUSTER_TICKETS__KEYS", "a.pem, b.jwk"),
            ("MUSTER_LISTEN", "[::1]:7777"),
            ("MUSTER_TICKETS__CARRIERS", "[\"header\"]"),
            ("MUSTER_TICKETS__ISSUER", "1234"),
            ("MUSTER_TICKETS__SINGLE_USE", "false"),
            ("MUSTER_LIMITS__GRACE", "2.5"),
            ("MUSTER_SESSIONS__TICK_RATE", "60"),
            ("MUSTER_ORIGINS__ALLOWED", "https://a.example"),
        ])
        .unwrap();
        assert_eq!(settings.tickets.keys, [PathBuf::from("a.pem"), PathBuf::from("b.jwk")]);
        assert!(settings.listen.is_ipv6(), "brackets alone do not make a list");
        assert_eq!(settings.tickets.carriers, [Carrier::Header]);
        assert_eq!(settings.tickets.issuer, "1234", "text stays text though it looks like a number");
        assert!(!settings.tickets.single_use);
        assert_eq!(settings.limits.grace, Duration::from_millis(2_500));
        assert_eq!(settings.sessions.tick_rate, Some(60));
        assert_eq!(settings.origins.allowed.len(), 1);
    }

    #[test]
    fn a_list_may_be_written_as_toml_or_parted_by_commas() {
        for text in ["a.pem,b.pem", " a.pem , b.pem, ", "[\"a.pem\", 'b.pem']"] {
            let keys = from_environment(&[("MUSTER_TICKETS__KEYS", text)]).unwrap().tickets.keys;
            assert_eq!(keys, [PathBuf::from("a.pem"), PathBuf::from("b.pem")], "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
        let error = from_file("typo", "# a comment\n[limits]\nlinkz = 5\n").unwrap_err().to_string();
        assert!(error.contains("typo.toml:3: no such key `linkz`, did you mean `links`?"), "{error}");
        assert!(!error.contains('\n'));
        let error = from_file("section", "\n[limit]\nlinks = 5\n").unwrap_err().to_string();
        assert!(error.contains(".toml:2: no such key `limit`, did you mean `limits`?"), "{error}");
        let error = from_file("far", "\n\nxyzzy = 5\n").unwrap_err().to_string();
        assert!(error.contains(".toml:3: no such key `xyzzy`; `muster config show`"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_and_broken_toml_are_refused_with_their_line() {
        for (test, text, line) in [
            ("kind", "[limits]\nlinks = \"many\"\n", 2),
            ("negative", "[limits]\n\nlinks = -1\n", 3),
            ("seconds", "[limits]\ngrace = -2\n", 2),
            ("syntax", "[limits\nlinks = 1\n", 1),
            ("twice", "[limits]\nlinks = 1\nlinks = 2\n", 3),
            ("origin", "[origins]\nallowed = [\"game.example\"]\n", 2),
            ("address", "listen = \"7777\"\n", 1),
        ] {
            match from_file(test, text) {
                Err(ConfigError::File { line: found, problem, .. }) => {
                    assert_eq!(found, line, "{test}: {problem}");
                    assert!(!problem.contains('\n') && !problem.is_empty());
                }
                other => panic!("{test}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_unknown_or_misused_variable_is_refused_by_name() {
        let error = from_environment(&[("MUSTER_LIMIT__LINKS", "5")]).unwrap_err().to_string();
        assert!(
            error.starts_with("MUSTER_LIMIT__LINKS: no such setting, did you mean MUSTER_LIMITS__LINKS?"),
            "{error}"
        );
        let error = from_environment(&[("MUSTER_LIMITS__LINKS", "many")]).unwrap_err().to_string();
        assert!(error.starts_with("MUSTER_LIMITS__LINKS: \"many\" is not a value of limits.links (links)"), "{error}");
        let error = from_environment(&[("MUSTER_LOG__FORMAT", "xml")]).unwrap_err().to_string();
        assert!(error.contains("xml") && error.contains("json"), "{error}");
    }

    #[test]
    fn issuers_stand_in_the_file_alone_and_what_is_wrong_in_one_is_told_with_its_line() {
        let text =
            "[[issuers]]\nname = \"a\"\nprofile = \"oidc\"\n[[issuers]]\nname = \"b\"\nprofile = \"simplejwt\"\n";
        let names: Vec<_> = from_file("issuers", text).unwrap().issuers.into_iter().map(|issuer| issuer.name).collect();
        assert_eq!(names, ["a", "b"]);
        let error = from_file("issuers-typo", &format!("{text}playr = \"sub\"\n")).unwrap_err().to_string();
        assert!(error.contains(".toml:7: no such key `playr`, did you mean `player`?"), "{error}");
        let error = from_environment(&[("MUSTER_ISSUERS__NAME", "a")]).unwrap_err().to_string();
        assert!(error.starts_with("MUSTER_ISSUERS__NAME: a list of tables cannot be set by variables"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = PathBuf::from("no/such/muster.toml");
        let error = load(&Sources { file: Some(missing), ..Sources::default() }).unwrap_err().to_string();
        assert!(error.starts_with("no/such/muster.toml: cannot read"), "{error}");
        let error = from_environment(&[(CONFIG_VARIABLE, "no/such/other.toml")]).unwrap_err().to_string();
        assert!(error.starts_with("no/such/other.toml: cannot read"), "{error}");
    }
}
