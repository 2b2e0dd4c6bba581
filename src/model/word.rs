//! Values that are one word, or something more: `auth`, `cache.key.query` and `retryOn`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Span;
use super::authorization::{Auth, AuthSettings};
use super::cache::{CacheQuery, Statuses};
use super::route::RetryOn;

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AuthVisitor;
        impl<'de> Visitor<'de> for AuthVisitor {
            type Value = Auth;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`required`, `none`, or a mapping with `providers` and `anyOf`")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Auth, E> {
                match word {
                    "required" => Ok(Auth::Required),
                    "none" => Ok(Auth::None),
                    other => Err(E::unknown_variant(other, &["required", "none"])),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Auth, A::Error> {
                AuthSettings::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(Auth::Settings)
            }
        }
        deserializer.deserialize_any(AuthVisitor)
    }
}

impl Serialize for Auth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Required => serializer.serialize_str("required"),
            Self::Settings(settings) => settings.serialize(serializer),
        }
    }
}

impl JsonSchema for Auth {
    fn schema_name() -> Cow<'static, str> {
        "Auth".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let settings = generator.subschema_for::<AuthSettings>();
        json_schema!({ "anyOf": [{"enum": ["required", "none"]}, settings] })
    }
}

impl<'de> Deserialize<'de> for CacheQuery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QueryVisitor;
        impl<'de> Visitor<'de> for QueryVisitor {
            type Value = CacheQuery;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, `none`, a list of parameter names, or `{except: [NAME]}`")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<CacheQuery, E> {
                match word {
                    "all" => Ok(CacheQuery::All),
                    "none" => Ok(CacheQuery::None),
                    other => Err(E::unknown_variant(other, &["all", "none"])),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<CacheQuery, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(CacheQuery::Names(names))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CacheQuery, A::Error> {
                let mut except = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "except" {
                        return Err(de::Error::unknown_field(&key, &["except"]));
                    }
                    if except.replace(map.next_value()?).is_some() {
                        return Err(de::Error::duplicate_field("except"));
                    }
                }
                except.map(CacheQuery::Except).ok_or_else(|| de::Error::missing_field("except"))
            }
        }
        deserializer.deserialize_any(QueryVisitor)
    }
}

/// A status is a number to YAML, so it counts with quotes and without.
impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
        #[serde(untagged)]
        enum Key {
            Number(u16),
            Text(String),
        }
        let named = BTreeMap::<Key, Span>::deserialize(deserializer)?;
        let mut statuses = BTreeMap::new();
        for (key, span) in named {
            let status = match key {
                Key::Number(status) => status,
                Key::Text(text) => text.parse().map_err(|_| {
                    de::Error::invalid_value(de::Unexpected::Str(&text), &"a status such as 404")
                })?,
            };
            if statuses.insert(status, span).is_some() {
                return Err(de::Error::custom(format_args!("status {status} is named twice")));
            }
        }
        Ok(Self(statuses))
    }
}

impl JsonSchema for Statuses {
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<Span>()
        })
    }
}

impl Serialize for CacheQuery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::None => serializer.serialize_str("none"),
            Self::Names(names) => names.serialize(serializer),
            Self::Except(names) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("except", names)?;
                map.end()
            }
        }
    }
}

impl JsonSchema for CacheQuery {
    fn schema_name() -> Cow<'static, str> {
        "CacheQuery".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"enum": ["all", "none"]},
                {"type": "array", "items": {"type": "string"}},
                {
                    "type": "object",
                    "properties": {
                        "except": {
                            "description": "Parameters that do not count.",
                            "type": "array",
                            "items": {"type": "string"}
                        }
                    },
                    "required": ["except"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

/// The conditions as they are written. A status is a number to YAML, so it counts in both forms.
const RETRY_ON: [(&str, RetryOn); 9] = [
    ("connect-failure", RetryOn::ConnectFailure),
    ("timeout-connect", RetryOn::TimeoutConnect),
    ("timeout", RetryOn::Timeout),
    ("reset", RetryOn::Reset),
    ("429", RetryOn::Status(429)),
    ("500", RetryOn::Status(500)),
    ("502", RetryOn::Status(502)),
    ("503", RetryOn::Status(503)),
    ("504", RetryOn::Status(504)),
];

/// The same, for messages.
const RETRY_ON_WORDS: [&str; 9] =
    ["connect-failure", "timeout-connect", "timeout", "reset", "429", "500", "502", "503", "504"];

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RetryOnVisitor;
        impl Visitor<'_> for RetryOnVisitor {
            type Value = RetryOn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "one of {}", RETRY_ON_WORDS.join(", "))
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<RetryOn, E> {
                RETRY_ON
                    .iter()
                    .find(|(known, _)| *known == word)
                    .map(|(_, on)| *on)
                    .ok_or_else(|| E::unknown_variant(word, &RETRY_ON_WORDS))
            }
            fn visit_u64<E: de::Error>(self, status: u64) -> Result<RetryOn, E> {
                let on = u16::try_from(status).map(RetryOn::Status);
                on.ok()
                    .filter(|on| RETRY_ON.iter().any(|(_, known)| known == on))
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(status), &self))
            }
        }
        deserializer.deserialize_any(RetryOnVisitor)
    }
}

impl Serialize for RetryOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let word = RETRY_ON.iter().find(|(_, on)| on == self).map_or("", |(word, _)| word);
        serializer.serialize_str(word)
    }
}

impl JsonSchema for RetryOn {
    fn schema_name() -> Cow<'static, str> {
        "RetryOn".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "enum": [
                "connect-failure", "timeout-connect", "timeout", "reset",
                "429", "500", "502", "503", "504", 429, 500, 502, 503, 504
            ],
            "description": "A condition under which an attempt is repeated: `connect-failure`: \
                the connection could not be made, nothing was sent; `timeout-connect`: it was not \
                made in time; `timeout`: no answer came within `attemptTimeoutMs`; `reset`: the \
                connection broke before an answer came; 503: the service answered 503."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_to_retry_is_a_number_or_text() {
        let status = RetryOn::Status(503);
        let all = [RetryOn::ConnectFailure, RetryOn::Reset, status, status];
        let read: Vec<RetryOn> =
            serde_yaml::from_str("[connect-failure, reset, 503, \"503\"]").unwrap();
        assert_eq!(read, all);
        for wrong in ["501", "200", "-503", "503.0", "Reset", "true", "[503]"] {
            assert!(serde_yaml::from_str::<RetryOn>(wrong).is_err(), "{wrong}");
        }
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"["connect-failure","reset","503","503"]"#);
        assert_eq!(serde_json::from_str::<Vec<RetryOn>>(&text).unwrap(), all);
    }
}
