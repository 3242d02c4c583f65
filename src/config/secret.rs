//! A secret among the settings: it can be read, and is never shown.

use std::fmt;

use serde::de::{Deserializer, Error as _, IgnoredAny};
use serde::{Deserialize, Serialize, Serializer};

/// A text that no log line, no `config show` and no error repeats.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes any text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(SHOWN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            // serde's own complaint would repeat the value.
            Other(IgnoredAny),
        }
        match Written::deserialize(from)? {
            Written::Text(text) => Ok(Self(text)),
            Written::Other(_) => Err(D::Error::custom("expected text between quotes")),
        }
    }
}

/// What stands where a secret would.
pub const SHOWN: &str = "[redacted]";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::config::{Settings, Sources, load, show};

    const CANARY: &str = "canary-canary";

    #[test]
    fn a_secret_is_read_and_never_shown() {
        let from = |text: &str| {
            let environment = vec![("MUSTER_ADMIN__TOKEN".into(), text.into())];
            load(&Sources { environment, ..Sources::default() })
        };
        let settings = from(CANARY).unwrap();
        assert_eq!(settings.admin.token.as_ref().unwrap().reveal(), CANARY);
        assert_eq!(from("77777777").unwrap().admin.token.unwrap().reveal(), "77777777", "digits are text too");
        assert!(!format!("{settings:?}").contains(CANARY));
        let shown = show(&settings).unwrap();
        assert!(!shown.contains(CANARY) && shown.contains("token = \"[redacted]\""), "{shown}");
        let error = from(&format!("[\"{CANARY}\"]")).unwrap_err().to_string();
        assert!(error.starts_with("MUSTER_ADMIN__TOKEN: ") && !error.contains(CANARY), "{error}");
        let error = toml::from_str::<Settings>("[admin]\ntoken = 1234567").unwrap_err();
        assert!(!error.message().contains("1234567"), "{}", error.message());
    }
}
