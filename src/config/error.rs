//! Why a configuration is refused, in one line that says what to do.

use std::path::PathBuf;

/// A configuration that muster does not start with. The operator is at fault in every variant.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named cannot be read.
    #[error("{}: cannot read the configuration file ({reason}): check the path given with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// The file is not TOML, or has an unknown key or a value of the wrong kind.
    #[error("{}:{line}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A variable in muster's name space that names no knob.
    #[error("{name}: no such setting{}; `muster config show` lists them all", hint.as_ref().map(|h| format!(", did you mean {h}?")).unwrap_or_default())]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The nearest one that exists.
        hint: Option<String>,
    },
    /// A variable whose value is not Unicode.
    #[error("{name}: the value is not valid UTF-8: set it to plain text")]
    NotUnicode {
        /// The variable.
        name: String,
    },
    /// A variable or a flag with a value that its knob does not take.
    #[error("{source_name}: {problem}")]
    BadValue {
        /// The variable or flag.
        source_name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A value that is well formed but cannot be served with.
    #[error("{key}: {problem}")]
    Invalid {
        /// The knob, as `section.key`.
        key: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}
