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
const PLAIN: [(&str, KeyPart); 8] = [
    ("tenantId", KeyPart::TenantId),
    ("userId", KeyPart::UserId),
    ("apiKey", KeyPart::ApiKey),
    ("plan", KeyPart::Plan),
    ("clientIp", KeyPart::ClientIp),
    ("routeName", KeyPart::RouteName),
    ("requestId", KeyPart::RequestId),
    ("random", KeyPart::Random),
];

impl KeyPart {
    fn parse(text: &str) -> Option<Self> {
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
