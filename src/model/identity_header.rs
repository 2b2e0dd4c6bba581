//! Which fact about a caller a header tells the service, and how it is written there: a word, or
//! a mapping.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// What a header tells the service about the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeader {
    /// `subject`, `tenantId`, `roles`, `scopes`, `products`, `email`, `plan`, `clientId`,
    /// `apiKey`, `provider`, `tokenId`, or a claim of the token, `claim:NAME`.
    pub fact: String,
    /// How it is written.
    pub encoding: HeaderEncoding,
}

/// How a fact is written in a header.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum HeaderEncoding {
    /// Visible ASCII as it is; `%`, other characters and spaces at the ends as `%XX` of their
    /// UTF-8. Lists are joined by `,` (scopes by a space); an item that holds the separator
    /// refuses the caller.
    #[default]
    Percent,
    /// The UTF-8 text in standard base64 with padding; lists are joined as in `percent`.
    Base64,
    /// Compact JSON in ASCII: a string, a list, or whatever the claim is.
    Json,
}

impl HeaderEncoding {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Percent => "percent",
            Self::Base64 => "base64",
            Self::Json => "json",
        }
    }
}

impl From<&str> for IdentityHeader {
    fn from(fact: &str) -> Self {
        Self { fact: fact.to_owned(), encoding: HeaderEncoding::default() }
    }
}

/// The mapping.
#[derive(serde::Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, rename = "IdentityHeaderSettings")]
struct Settings {
    /// `subject`, `tenantId`, `roles`, `scopes`, `products`, `email`, `plan`, `clientId`,
    /// `apiKey`, `provider`, `tokenId`, or a claim of the token: `claim:NAME`, where `claim:a.b`
    /// is the claim of that name, or else `b` in the object `a`.
    fact: String,
    /// How it is written.
    #[serde(default)]
    encoding: HeaderEncoding,
}

impl<'de> Deserialize<'de> for IdentityHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = IdentityHeader;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a fact, as in `subject`, or a mapping with `fact` and `encoding`")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<IdentityHeader, E> {
                Ok(word.into())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<IdentityHeader, A::Error> {
                let Settings { fact, encoding } =
                    Settings::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(IdentityHeader { fact, encoding })
            }
        }
        deserializer.deserialize_any(HeaderVisitor)
    }
}

impl Serialize for IdentityHeader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.encoding == HeaderEncoding::default() {
            return serializer.serialize_str(&self.fact);
        }
        Settings { fact: self.fact.clone(), encoding: self.encoding }.serialize(serializer)
    }
}

impl JsonSchema for IdentityHeader {
    fn schema_name() -> Cow<'static, str> {
        "IdentityHeader".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let settings = generator.subschema_for::<Settings>();
        json_schema!({ "anyOf": [{"type": "string"}, settings] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_word_or_a_mapping_and_is_written_back_as_it_was() {
        let read = |yaml: &str| serde_yaml::from_str::<IdentityHeader>(yaml);
        assert_eq!(read("subject").unwrap(), "subject".into());
        assert_eq!(read("{fact: subject}").unwrap(), "subject".into());
        let json = read("{fact: 'claim:profile.name', encoding: json}").unwrap();
        assert_eq!((&*json.fact, json.encoding), ("claim:profile.name", HeaderEncoding::Json));
        for header in [json, "email".into()] {
            let text = serde_json::to_string(&header).unwrap();
            assert_eq!(serde_json::from_str::<IdentityHeader>(&text).unwrap(), header);
        }
        for wrong in ["{}", "{encoding: json}", "{fact: a, encoding: hex}", "{fact: a, b: 1}", "7"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
