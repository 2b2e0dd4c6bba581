//! The parts that keys are made of: what a limit counts apart, what keeps a caller on a version.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// A part of a key. One set of words for limits and splits; each refuses the parts that make no
/// sense to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyPart {
    /// The caller's verified tenant.
    TenantId,
    /// The caller's verified subject.
    UserId,
    /// The id of the verified API key.
    ApiKey,
    /// The caller's verified plan.
    Plan,
    /// The client's address, behind trusted proxies.
    ClientIp,
    /// The name of the route.
    RouteName,
    /// The name of the route's service.
    Service,
    /// The same for every request.
    Global,
    /// The request id.
    RequestId,
    /// Something new for every request.
    Random,
    /// A request header, `header:NAME`.
    Header(String),
    /// A cookie, `cookie:NAME`.
    Cookie(String),
    /// A claim of the verified token, `claim:NAME`.
    Claim(String),
}

/// The parts without an argument, as they are written.
const PLAIN: [(&str, KeyPart); 10] = [
    ("tenantId", KeyPart::TenantId),
    ("userId", KeyPart::UserId),
    ("apiKey", KeyPart::ApiKey),
    ("plan", KeyPart::Plan),
    ("clientIp", KeyPart::ClientIp),
    ("routeName", KeyPart::RouteName),
    ("service", KeyPart::Service),
    ("global", KeyPart::Global),
    ("requestId", KeyPart::RequestId),
    ("random", KeyPart::Random),
];

impl KeyPart {
    /// The part that a word stands for; none where it is no such word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((_, part)) = PLAIN.iter().find(|(word, _)| *word == text) {
            return Some(part.clone());
        }
        match text.split_once(':')? {
            (_, "") => None,
            ("header", name) => Some(Self::Header(name.to_ascii_lowercase())),
            ("cookie", name) => Some(Self::Cookie(name.to_owned())),
            ("claim", name) => Some(Self::Claim(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Claim(name) => write!(f, "claim:{name}"),
            plain => {
                let word =
                    PLAIN.iter().find(|(_, part)| part == plain).map_or("", |(word, _)| word);
                f.write_str(word)
            }
        }
    }
}

impl<'de> Deserialize<'de> for KeyPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::unknown_variant(
                &text,
                &[
                    "tenantId",
                    "userId",
                    "apiKey",
                    "plan",
                    "clientIp",
                    "routeName",
                    "service",
                    "global",
                    "requestId",
                    "random",
                    "header:NAME",
                    "cookie:NAME",
                    "claim:NAME",
                ],
            )
        })
    }
}

impl Serialize for KeyPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for KeyPart {
    fn schema_name() -> Cow<'static, str> {
        "KeyPart".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = PLAIN.iter().map(|(word, _)| *word).collect();
        json_schema!({
            "anyOf": [
                {"enum": words},
                {"type": "string", "pattern": "^(header|cookie|claim):.+$"}
            ]
        })
    }
}

/// What stands for a part of a key that a request lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingKey {
    /// Another part.
    Part(KeyPart),
    /// Nothing: the request is refused.
    Refuse,
}

impl Default for MissingKey {
    fn default() -> Self {
        Self::Part(KeyPart::ClientIp)
    }
}

/// The word for [`MissingKey::Refuse`].
const REFUSE: &str = "refuse";

impl fmt::Display for MissingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(part) => part.fmt(f),
            Self::Refuse => f.write_str(REFUSE),
        }
    }
}

impl<'de> Deserialize<'de> for MissingKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == REFUSE {
            return Ok(Self::Refuse);
        }
        KeyPart::deserialize(de::value::StrDeserializer::new(&text)).map(Self::Part)
    }
}

impl Serialize for MissingKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for MissingKey {
    fn schema_name() -> Cow<'static, str> {
        "MissingKey".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let part = KeyPart::json_schema(generator);
        json_schema!({"anyOf": [{"enum": [REFUSE]}, part]})
    }
}
