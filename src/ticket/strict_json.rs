//! JSON objects whose member names are unique, as RFC 7515 section 4 and RFC 7519 section 4 ask.
//!
//! Owns: the reading. Must not know: what the members mean. Two parsers that disagree about which of two `exp` counts
//! are how a ticket means one thing to its issuer and another to us.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// A JSON object that had no name twice at its top level.
pub(super) struct Object(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Unique;

        impl<'de> Visitor<'de> for Unique {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if map.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name is there twice"));
                    }
                }
                Ok(Object(map))
            }
        }

        from.deserialize_map(Unique)
    }
}

/// The object in one part of a token, if it is base64url without padding of such an object.
pub(super) fn object_of_part(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice::<Object>(&bytes).ok().map(|object| object.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_there_twice_is_refused() {
        let read = |text: &str| serde_json::from_str::<Object>(text).is_ok();
        assert!(read(r#"{"exp":1,"iat":2}"#));
        assert!(!read(r#"{"exp":1,"exp":2}"#));
        assert!(!read(r#"{"exp":1,"e\u0078p":2}"#), "escapes do not make it another name");
        assert!(!read("[]"));
        assert!(!read("{} {}"));
        assert!(!read(r#"{"exp":1e400}"#));
    }
}
